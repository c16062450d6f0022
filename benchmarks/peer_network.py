"""CGD with ResNet-50 and its losses, written by hand in PyTorch as its documentation advises."""

import torch
from torch import nn
from torch.nn import functional as F


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


def loss(embedding, logits, labels, margin=0.1, temperature=0.5, smoothing=0.1):
    """The batch-hard triplet loss and the classification loss of a batch. labels: (B,), whole numbers."""
    embedding, logits = embedding.float(), logits.float()
    distance = torch.cdist(embedding, embedding)
    same = labels[:, None] == labels
    far = (distance * (same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device))).amax(1)
    near = (distance + 1e6 * same).amin(1)
    triplet = F.relu(margin + far - near).mean()
    return triplet + F.cross_entropy(logits / temperature, labels, label_smoothing=smoothing)
