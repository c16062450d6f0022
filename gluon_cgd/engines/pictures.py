"""The crops and flips of a batch on the device where its pictures are, equal to those of `images.cropped`."""

import torch
from torch import Tensor

from gluon_cgd.sampler import Crops

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # as images.MEAN and STD, which need OpenCV


def cropped(pictures: Tensor, places: Tensor, crops: Crops, size: int) -> Tensor:
    """`pictures[places]` with their `crops` of `size`: uint8 (B, size, size, 3).

    pictures: uint8 (N, S, S, 3).  places: (B,), on the same device.
    """
    tops, lefts, flips = (torch.from_numpy(part).to(places.device)[:, None] for part in crops)  # (B, 1) each
    along = torch.arange(size, device=places.device)[None]  # (1, size)
    rows = tops + along  # (B, size)
    columns = lefts + torch.where(flips.bool(), size - 1 - along, along)
    return pictures[places[:, None, None], rows[:, :, None], columns[:, None, :]]
