"""A training loop of CGD that is written without this project, in PyTorch; its numbers are in peer_in_torch.json.

    python tests/peer_in_torch.py    # wherever PyTorch is installed; the project itself does not need it

It learns 25 batches with Adam: a network of two convolutions, SPoC, MAC and GeM, label smoothing, temperature and the
batch-hard triplet loss. `tests/test_parity.py` does the same with the project's own network, losses and Adam.
"""

import json
from pathlib import Path

import numpy as np

FILE = Path(__file__).with_suffix(".json")
STEPS, CLASSES, IMAGES, SIDE = 25, 4, 4, 12
RATE, MARGIN, SMOOTHING, TEMPERATURE = 1e-3, 0.1, 0.1, 0.5
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SHAPES = {  # by the names of the project's parameters
    "backbone.layers.0.weight": (6, 3, 3, 3),
    "backbone.layers.1.gamma": (6,),
    "backbone.layers.1.beta": (6,),
    "backbone.layers.3.weight": (10, 6, 3, 3),
    "backbone.layers.4.gamma": (10,),
    "backbone.layers.4.beta": (10,),
    "reductions.0.weight": (5, 10),
    "reductions.1.weight": (5, 10),
    "reductions.2.weight": (5, 10),
    "classifier.0.gamma": (10,),
    "classifier.0.beta": (10,),
    "classifier.1.weight": (CLASSES, 10),
    "classifier.1.bias": (CLASSES,),
}


def parameters():
    """{name: float32 array}: the values that training starts from."""
    draw = np.random.RandomState(0)  # its stream is the same in every version of NumPy
    values = {}
    for name, shape in SHAPES.items():
        centre = 1 if name.endswith("gamma") else 0
        width = 0.1 if len(shape) == 1 else np.sqrt(2 / np.prod(shape[1:]))
        values[name] = (centre + width * draw.randn(*shape)).astype(np.float32)
    return values


def batches():
    """[(pictures, uint8 (B, SIDE, SIDE, 3), labels (B,)), ...]: coarse patterns, one a class, under much noise."""
    draw = np.random.RandomState(1)
    patterns = np.kron(draw.randint(60, 196, (CLASSES, 3, 3, 3)), np.ones((1, SIDE // 3, SIDE // 3, 1)))
    labels = np.repeat(np.arange(CLASSES), IMAGES)
    noise = [draw.randn(len(labels), SIDE, SIDE, 3) for _ in range(STEPS)]
    return [(np.clip(patterns[labels] + 60 * one, 0, 255).astype(np.uint8), labels) for one in noise]


def embed(torch, values, pictures):
    """(embedding (B, 15), logits (B, CLASSES)) of uint8 pictures (B, SIDE, SIDE, 3), batch norms in training."""
    F = torch.nn.functional

    def norm(x, name):
        return F.batch_norm(x, None, None, values[f"{name}.gamma"], values[f"{name}.beta"], training=True, eps=1e-5)

    x = (torch.tensor(pictures, dtype=torch.float64) / 255 - torch.tensor(MEAN)) / torch.tensor(STD)
    x = x.permute(0, 3, 1, 2)
    x = torch.relu(norm(F.conv2d(x, values["backbone.layers.0.weight"], padding=1), "backbone.layers.1"))
    x = torch.relu(norm(F.conv2d(x, values["backbone.layers.3.weight"], padding=1, stride=2), "backbone.layers.4"))
    flat = x.flatten(2)  # (B, 10, 36)
    pooled = [flat.mean(2), flat.max(2).values, flat.clamp(min=1e-6).pow(3).mean(2).pow(1 / 3)]
    units = [F.normalize(F.linear(f, values[f"reductions.{i}.weight"])) for i, f in enumerate(pooled)]
    logits = F.linear(norm(pooled[0], "classifier.0"), values["classifier.1.weight"], values["classifier.1.bias"])
    return F.normalize(torch.cat(units, 1)), logits


def losses(torch, embedding, logits, labels):
    """(ranking loss, classification loss): an anchor at a time, and PyTorch's own smoothed cross entropy."""
    terms = []
    for anchor, label in enumerate(labels):
        distances = {j: (embedding[anchor] - embedding[j]).norm() for j in range(len(labels)) if j != anchor}
        farthest = max((d for j, d in distances.items() if labels[j] == label), key=lambda d: d.item())
        nearest = min((d for j, d in distances.items() if labels[j] != label), key=lambda d: d.item())
        terms.append(torch.clamp(MARGIN + farthest - nearest, min=0))
    smoothed = torch.nn.CrossEntropyLoss(label_smoothing=SMOOTHING)
    return torch.stack(terms).mean(), smoothed(logits / TEMPERATURE, torch.tensor(labels))


def main():
    """Train, and write the gradients of the first step and the losses of all."""
    import torch

    torch.set_default_dtype(torch.float64)
    values = {name: torch.tensor(v.astype(np.float64), requires_grad=True) for name, v in parameters().items()}
    adam = torch.optim.Adam(values.values(), lr=RATE)
    curve, gradients = [], {}
    for pictures, labels in batches():
        pair = losses(torch, *embed(torch, values, pictures), labels)
        adam.zero_grad()
        sum(pair).backward()
        gradients = gradients or {name: [float(f"{g:.9g}") for g in v.grad.flatten()] for name, v in values.items()}
        adam.step()
        curve.append([round(loss.item(), 9) for loss in pair])
    made = {"torch": torch.__version__, "losses": curve, "gradients": gradients}
    FILE.write_text(json.dumps(made) + "\n", encoding="utf-8")
    print(curve[0], curve[-1])


if __name__ == "__main__":
    main()
