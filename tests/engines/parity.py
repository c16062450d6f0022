"""The same steps by MXNet and by the PyTorch engine, in float32 and in float64, and how far they are apart.

python -m tests.engines.parity prints the table of docs/engines.md, in some ten minutes; names after it choose rows.
"""

import argparse
import dataclasses
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from gluon_cgd.backbones import BACKBONES
from gluon_cgd.engines import environment
from gluon_cgd.experiment import ATTENTIONS, CLASSIFICATION_LOSSES, CONFIGURATIONS, LOSSES, Experiment

CLASSES, IMAGES = 4, 2  # of a batch
RATE, DECAY = 1e-4, 1e-4
SMALL = Experiment(backbone="cifar_resnet10", pretrained=False, input_size=16, dim=24, weight_decay=DECAY)
CASES = {
    **{loss: {"loss": loss} for loss in LOSSES},
    "without classification": {"classification": False},
    "architecture A": {"architecture": "A", "descriptors": "SMG"},
    "architecture A, margin": {"architecture": "A", "loss": "margin"},
    "architecture B": {"architecture": "B", "descriptors": "SMG"},
    "sum": {"combine": "sum"},
    "frozen batch norm": {"frozen_batch_norm": True},
    "GeM, p = 2.5": {"gem_p": 2.5, "descriptors": "G"},
    **{configuration: {"descriptors": configuration} for configuration in CONFIGURATIONS},
    **{letters: {"descriptors": letters} for letters in (*"PQARWC", "AR")},
    **{loss: {"classification_loss": loss} for loss in CLASSIFICATION_LOSSES[1:]},
    "whitening": {"whiten": True},
    **{f"attention {name}": {"attention": name, "descriptors": "SMG"} for name in ATTENTIONS[1:]},
}
EXPERIMENTS = {name: dataclasses.replace(SMALL, **changes) for name, changes in CASES.items()}
LARGE = ("resnet101", "resnext101", "wide_resnet50", "efficientnet_b5")  # at 64 pixels they take minutes in float64
for name in BACKBONES:
    side = 32 if name.startswith(("small_", "cifar_")) or name in LARGE else 64
    EXPERIMENTS[name] = dataclasses.replace(SMALL, backbone=name, input_size=side, frozen_batch_norm=False)
for name in ("gluoncv:cifar_resnet20_v1", "gluoncv2:resnet20_cifar10"):  # by the graph, as `networks.traced` cuts it
    EXPERIMENTS[name] = dataclasses.replace(SMALL, backbone=name, input_size=32)


def steps_of(name):
    """How many steps are taken: 20 of Adam, and one by large and by deep networks: float64 is slow, rounding grows."""
    return 1 if EXPERIMENTS[name].input_size > 32 or name in LARGE or ":" in name else 20


class Side:
    """A process that answers each line with a line."""

    def __init__(self, command, **variables):
        self.command, self.variables = command, variables
        self.start()

    def start(self):
        pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.process = subprocess.Popen(self.command, env={**environment.variables(), **self.variables}, **pipes)

    def ask(self, line, again=False):
        """The answer. Starts the process `again` after it, which gives its memory back."""
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer or again:
            self.close()
            self.start()
        assert answer, f"{self.command} has ended: see what it said on stderr"
        return answer

    def close(self):
        self.process.communicate()


class Engines:
    """Both, each in a process of its own: MXNet takes the steps and writes a file, PyTorch compares itself with it."""

    def __init__(self, torch, folder):
        self.file = Path(folder) / "steps.npz"
        here = Path(__file__)
        self.mxnet = Side(
            [sys.executable, "-m", "tests.engines.parity_in_mxnet"], MXNET_EXEC_INPLACE_GRAD_SUM_CAP="100"
        )
        self.torch = Side([str(torch), str(here.with_name("parity_in_torch.py"))])

    def compare(self, name):
        """{what: how far apart}, see parity_in_torch.py."""
        self.mxnet.ask(f"{name}\t{self.file}", again=name in LARGE)
        answer = self.torch.ask(self.file, again=name in LARGE)
        self.file.unlink()
        return json.loads(answer)

    def close(self):
        self.mxnet.close()
        self.torch.close()


COLUMNS = {  # heading: what is apart, and MXNet's own rounding of the same
    "float64: loss": ("loss64",),
    "embedding": ("embedding64",),
    "gradient": ("gradient64",),
    "statistics": ("statistics64",),
    "way of all steps": ("way64",),
    "float32: loss (MXNet's rounding)": ("loss", "loss_of_mxnet"),
    "embedding (MXNet's rounding)": ("embedding", "embedding_of_mxnet"),
    "1 - cosine of gradients": ("cosine",),
    "gradient's error (MXNet's)": ("gradient", "gradient_of_mxnet"),
    "statistics ": ("statistics",),
    "loss of the last step": ("steps",),
}


def cell(value, what):
    return f"({value:.0e})" if what.endswith("_of_mxnet") else f"{value:.0e}"


def main(arguments=None):
    parser = argparse.ArgumentParser("python -m tests.engines.parity")
    parser.add_argument("names", nargs="*", metavar="NAME", help="rows of the table (default: all)")
    names = parser.parse_args(arguments).names
    print(f"| | {' | '.join(COLUMNS)} |\n|{'---|' * (1 + len(COLUMNS))}")
    with tempfile.TemporaryDirectory() as folder:
        engines = Engines(environment.interpreter(), folder)
        for name in EXPERIMENTS:
            if names and name not in names:
                continue
            found = engines.compare(name)
            cells = [" ".join(cell(found[what], what) for what in columns) for columns in COLUMNS.values()]
            print(f"| {name} | {' | '.join(cells)} |", flush=True)
        engines.close()


if __name__ == "__main__":
    main()
