"""The other side of the comparisons: the same work in PyTorch and faiss-cpu, written as their documentation advises.

It runs in its own environment (see run.sh), which has neither MXNet nor this project.
"""

import os
import sys
import tempfile

import cv2
import numpy as np
import torch

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from peer_network import CGD, loss  # noqa: E402
from turns import serve  # noqa: E402

CORES = len(os.sched_getaffinity(0))
torch.set_num_threads(CORES)
SIZE = int(os.environ.get("BENCHMARK_INPUT_SIZE", 224))
FOLDER = os.environ.get("BENCHMARK_FOLDER", ".")
LAYOUTS = {"contiguous": torch.contiguous_format, "channels last": torch.channels_last}


class Pictures(torch.utils.data.Dataset):
    """The JPEG files of a folder, as the network takes them."""

    def __init__(self, folder):
        self.paths = sorted(os.path.join(folder, name) for name in os.listdir(folder))

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, i):
        picture = cv2.cvtColor(cv2.resize(cv2.imread(self.paths[i]), (SIZE, SIZE)), cv2.COLOR_BGR2RGB)
        return torch.from_numpy(picture).permute(2, 0, 1)


def normalised(batch, layout):
    """uint8 (B, 3, H, W) -> float32, so that ImageNet has mean 0 and standard deviation 1."""
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    scaled = (batch.float() / 255 - mean[:, None, None]) / std[:, None, None]
    return scaled.contiguous(memory_format=LAYOUTS[layout])


def embedding(layout, kind=torch.float32, few=False):
    """Set up: JPEG files to vectors on disk."""

    def setup():
        pictures = Pictures(os.path.join(FOLDER, "few" if few else "pictures"))
        net = CGD().eval().to(memory_format=LAYOUTS[layout])
        out = os.path.join(tempfile.mkdtemp(dir=FOLDER), "vectors.npy")
        cv2.setNumThreads(1)

        def call():
            loader = torch.utils.data.DataLoader(pictures, batch_size=32, num_workers=CORES)
            with torch.inference_mode(), torch.autocast("cpu", kind, enabled=kind != torch.float32):
                rows = [net(normalised(batch, layout))[0].float().numpy() for batch in loader]
            np.save(out, np.concatenate(rows))

        return call, len(pictures)

    return setup


def training(layout, size):
    """Set up: a step of Adam on `size` pictures, with both losses."""

    def setup():
        net = CGD().train().to(memory_format=LAYOUTS[layout])
        adam = torch.optim.Adam(net.parameters(), 1e-4)
        batch = torch.randint(0, 256, (size, 3, SIZE, SIZE), dtype=torch.uint8)
        labels = torch.arange(size) // 4

        def call():
            adam.zero_grad()
            loss(*net(normalised(batch, layout)), labels).backward()
            adam.step()

        return call, size

    return setup


def flat():
    """Set up: Recall@{1,10,100,1000} by faiss's exact search."""
    import faiss

    faiss.omp_set_num_threads(CORES)
    vectors = np.load(os.path.join(FOLDER, "vectors.npy"))
    labels = np.load(os.path.join(FOLDER, "labels.npy"))

    def call():
        index = faiss.IndexFlatIP(vectors.shape[1])
        index.add(vectors)
        hits = np.zeros(4)
        for start in range(0, len(vectors), 4096):
            _, rows = index.search(vectors[start : start + 4096], 1001)
            own = np.arange(start, min(start + 4096, len(vectors)))[:, None]
            if not (rows == own).any(1).all():
                raise ValueError("a query is not among its own 1001 nearest")
            others = rows[rows != own].reshape(len(own), -1)
            right = labels[others] == labels[own]
            hits += [right[:, :k].any(1).sum() for k in (1, 10, 100, 1000)]
        return (hits / len(vectors)).tolist()

    return call, len(vectors)


TASKS = {"faiss flat": flat}
for _layout in LAYOUTS:
    TASKS[f"embed {_layout}"] = embedding(_layout)
    TASKS[f"embed few bf16 {_layout}"] = embedding(_layout, torch.bfloat16, few=True)
    for _size in (32, 128):
        TASKS[f"train {_size} {_layout}"] = training(_layout, _size)

if __name__ == "__main__":
    serve(TASKS)
