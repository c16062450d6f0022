"""The pictures of a batch on the device where they are, cut and changed to the same bytes as by `images.cropped`."""

import numpy as np
import torch
from torch import Tensor

from gluon_cgd.extensions.augmentation import BITS, GREY, ONE, erase, mixed
from gluon_cgd.sampler import Crops

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # as images.MEAN and STD, which need OpenCV


def cropped(pictures: Tensor, places: Tensor, crops: Crops, size: int) -> Tensor:
    """`pictures[places]` with their `crops` of `size`: uint8 (B, size, size, 3).

    pictures: uint8 (N, S, S, 3).  places: (B,), on the same device.
    """
    tops, lefts, flips = (torch.from_numpy(part).to(places.device)[:, None] for part in crops[:3])  # (B, 1) each
    along = torch.arange(size, device=places.device)[None]  # (1, size)
    rows = tops + along  # (B, size)
    columns = lefts + torch.where(flips.bool(), size - 1 - along, along)
    batch = pictures[places[:, None, None], rows[:, :, None], columns[:, None, :]]
    if crops.factors is not None:
        batch = jittered(batch, torch.from_numpy(crops.factors).to(places.device))
    if crops.patches:
        pixels = torch.from_numpy(np.concatenate([patch.pixels.reshape(-1, 3) for patch in crops.patches]))
        sizes = [patch.pixels.shape for patch in crops.patches]
        parts = pixels.to(places.device).split([height * width for height, width, _ in sizes])  # in one transfer
        of_device = (part.reshape(size) for part, size in zip(parts, sizes))
        erase(batch, [patch._replace(pixels=part) for patch, part in zip(crops.patches, of_device)])
    return batch


def jittered(batch: Tensor, factors: Tensor) -> Tensor:
    """As `augmentation.jittered`, of uint8 (B, H, W, 3) and factors (B, 3)."""
    brightness, contrast, saturation = factors.int().T[..., None, None, None]  # (B, 1, 1, 1) each
    weights = torch.tensor(GREY, device=batch.device, dtype=torch.int32)
    batch = mixed(batch.int(), 0, brightness)
    total = (batch.sum((1, 2), dtype=torch.int64) * weights).sum(1)  # (B,)
    mean = total // (ONE * batch.shape[1] * batch.shape[2])
    batch = mixed(batch, mean.int()[:, None, None, None], contrast)
    grey = ((batch * weights).sum(3, keepdim=True, dtype=torch.int32) + ONE // 2) >> BITS  # (B, H, W, 1)
    return mixed(batch, grey, saturation).to(torch.uint8)
