"""The ranks of `recall` counted on a GPU: the same numbers, for what float32 cannot decide goes to the CPU here too."""

import logging
from typing import Any, Iterator, Tuple

import numpy as np
import torch

from gluon_cgd import recall

log = logging.getLogger(__name__)
TILE = 4096  # queries, and items, whose similarities are held at a time: 64 MB; some 0.4 GB if a model has collapsed


class DeviceSearch(recall.Search):
    """As `recall.Search`, whose comparisons in float32 are made on `device`."""

    def __init__(self, device: torch.device, *embeddings: Any):
        super().__init__(*embeddings)
        self.device = device

    def _compared(self, to_beat: np.ndarray, margin: np.float32) -> Iterator[Tuple[np.ndarray, np.ndarray, Tuple]]:
        """As of `recall.Search`. A query is multiplied with all items: a GPU gains nothing by saving half of it."""
        own = (self.query, self.half_squares.astype(np.float32), to_beat)
        query, half_squares, to_beat = (torch.from_numpy(array).to(self.device) for array in own)
        gallery = query if self.itself else torch.from_numpy(self.gallery).to(self.device)
        limit = float(margin)
        for i in range(0, len(query), TILE):
            for j in range(0, len(gallery), TILE):
                difference = (query[i : i + TILE] @ gallery[j : j + TILE].T).sub_(half_squares[j : j + TILE])
                if self.leaves_out and i == j:
                    difference.fill_diagonal_(-torch.inf)
                difference.sub_(to_beat[i : i + TILE])
                nearer = difference > limit
                near = ((difference >= -limit) & ~nearer).nonzero().cpu().numpy()
                rows = np.arange(i, min(i + TILE, len(query)))
                yield rows, nearer.sum(dim=1).cpu().numpy(), (near[:, 0] + i, near[:, 1] + j)


def ranks(device: torch.device, *embeddings: Any) -> np.ndarray:
    """As `recall.ranks` of `embeddings`, (N,), on `device`; on the CPU where it has too little free memory."""
    search = DeviceSearch(device, *embeddings)
    try:
        return 1 + search.ahead(search.nearest_own()[0])
    except torch.OutOfMemoryError:
        log.info("recall is counted on the CPU, for %s has too little free memory", device)
        return recall.ranks(*embeddings)
