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
    device = places.device
    batch = cut(pictures, places, *sent(np.stack(crops[:3]), device), size)
    if crops.factors is not None:
        batch = jittered(batch, sent(crops.factors, device))
    if crops.patches:
        pixels = sent(np.concatenate([patch.pixels.reshape(-1, 3) for patch in crops.patches]), device)
        sizes = [patch.pixels.shape for patch in crops.patches]
        parts = pixels.split([height * width for height, width, _ in sizes])  # in one transfer
        of_device = (part.reshape(size) for part, size in zip(parts, sizes))
        erase(batch, [patch._replace(pixels=part) for patch, part in zip(crops.patches, of_device)])
    return batch


def cut(pictures: Tensor, places: Tensor, tops: Tensor, lefts: Tensor, flips: Tensor, size: int) -> Tensor:
    """As `cropped`, without what else changes. tops, lefts, flips: as in `Crops`, on the device."""
    along = torch.arange(size, device=places.device)[None]  # (1, size)
    rows = tops[:, None] + along  # (B, size)
    columns = lefts[:, None] + torch.where(flips[:, None].bool(), size - 1 - along, along)
    return pictures[places[:, None, None], rows[:, :, None], columns[:, None, :]]


def sent(array: np.ndarray, device: torch.device) -> Tensor:
    """`array` on `device`. Nothing waits for a GPU: it may be behind by several steps."""
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


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
