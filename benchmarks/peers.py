"""The other side of the comparisons: the same work in PyTorch and faiss-cpu, written as their documentation advises.

It runs in its own environment (see run.sh), which has neither MXNet nor this project.
"""

import os
import sys
import tempfile

import cv2
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from turns import serve  # noqa: E402

CORES = len(os.sched_getaffinity(0))
torch.set_num_threads(CORES)
SIZE = int(os.environ.get("BENCHMARK_INPUT_SIZE", 224))
FOLDER = os.environ.get("BENCHMARK_FOLDER", ".")
LAYOUTS = {"contiguous": torch.contiguous_format, "channels last": torch.channels_last}


class Bottleneck(nn.Module):
    """A block of ResNet-50 with the stride in its 3 x 3 convolution."""

    def __init__(self, inputs, width, stride, changes):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, width, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, stride, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, 4 * width, 1, bias=False),
            nn.BatchNorm2d(4 * width),
        )
        shortcut = [nn.Conv2d(inputs, 4 * width, 1, stride, bias=False), nn.BatchNorm2d(4 * width)]
        self.shortcut = nn.Sequential(*shortcut) if changes else nn.Identity()

    def forward(self, x):
        return F.relu(self.body(x) + self.shortcut(x), inplace=True)


class CGD(nn.Module):
    """ResNet-50 without the down-sampling between stages 3 and 4, the descriptors S and G, 1536 dimensions."""

    def __init__(self, classes=98):
        super().__init__()
        layers = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True)]
        layers, inputs = [*layers, nn.MaxPool2d(3, 2, 1)], 64
        for width, count, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 1)):
            for i in range(count):
                layers.append(Bottleneck(inputs, width, stride if i == 0 else 1, i == 0))
                inputs = 4 * width
        self.backbone = nn.Sequential(*layers)
        self.reductions = nn.ModuleList([nn.Linear(inputs, 768, bias=False) for _ in "SG"])
        self.normalised, self.classifier = nn.BatchNorm1d(inputs), nn.Linear(inputs, classes)

    def forward(self, x):
        features = self.backbone(x)
        pooled = features.mean((2, 3)), features.clamp(min=1e-6).pow(3).mean((2, 3)).pow(1 / 3)
        branches = [F.normalize(layer(x)) for layer, x in zip(self.reductions, pooled)]
        return F.normalize(torch.cat(branches, 1)), self.classifier(self.normalised(pooled[0]))


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
            embedded, logits = net(normalised(batch, layout))
            distance = torch.cdist(embedded, embedded)
            same = labels[:, None] == labels
            far = (distance * (same & ~torch.eye(size, dtype=torch.bool))).amax(1)
            near = (distance + 1e6 * same).amin(1)
            triplet = F.relu(0.1 + far - near).mean()
            (triplet + F.cross_entropy(logits / 0.5, labels, label_smoothing=0.1)).backward()
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
