"""Experiment: every choice that decides a number of the paper, frozen. Where it runs is not in here."""

import hashlib
import json
import math
from dataclasses import asdict, dataclass, field, fields
from numbers import Integral, Real
from typing import Optional, Tuple

CONFIGURATIONS = ("S", "M", "G", "SM", "MS", "SG", "GS", "MG", "GM", "SMG", "MSG", "GSM")  # section 3.4
ARCHITECTURES = ("CGD", "A", "B")  # Figures 1, 2a, 2b
COMBINATIONS = ("concat", "sum")  # Table 4
REVISION = 2  # of the code that trains: raised with every change that gives an equal experiment and seed other numbers
LOSSES = ("batch_hard", "soft_margin", "hap2s_e", "hap2s_p", "margin")  # Table 6


WANTED = {
    float: "a finite number",
    int: "a whole number",
    bool: "True or False",
    str: "a word",
    tuple: "a list of finite numbers",
    type(None): "True, False or None",
}


def number(value):
    """Whether `value` is a finite number, and not a bool."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def of_type(default, value):
    """Whether `value` can stand where a field has `default`; an optional field is a bool."""
    if isinstance(default, float):
        return number(value)
    if isinstance(default, tuple):
        return isinstance(value, (tuple, list)) and all(map(number, value))
    if default is None:
        return value is None or isinstance(value, bool)
    if isinstance(default, int) and not isinstance(default, bool):
        return isinstance(value, Integral) and not isinstance(value, bool)
    return isinstance(value, type(default))


def choice(default, meaning):
    """A field with its default and, for the command line's help, what it decides and where that comes from."""
    return field(default=default, metadata={"meaning": meaning})


@dataclass(frozen=True)
class Experiment:
    """One training run up to its seed. The defaults are the paper's; where it is silent, the field says so.

    Raises ValueError for a value that no run can have.
    """

    dataset: str = choice("cars196", "a name that datasets.load knows, a folder with a folder a class, or a .csv file")
    split: str = choice(
        "classes",
        "of one's own pictures, chosen where it is not said: classes (others to test) or images (some of each)",
    )
    held_out: float = choice(0.5, "share of one's own classes or images that is kept to test; chosen likewise")
    split_seed: int = choice(0, "draws which of one's own classes or images those are")
    backbone: str = choice("resnet50", "a name that backbones.build knows (section 3.1)")
    keep_stride: Optional[bool] = choice(
        None, "keep the down-sampling between stages 3 and 4; without the flag, as backbones.BACKBONES says"
    )
    pretrained: bool = choice(True, "start from ImageNet parameters (section 4.2)")
    input_size: int = choice(224, "side of the network's input; training crops it from 9/8 of it, 252 (section 4.2)")
    descriptors: str = choice("SG", "S SPoC, M MAC, G GeM; the first letter feeds the classifier (section 3.4)")
    dim: int = choice(1536, "of the combined descriptor; each of n branches has dim / n (section 4.2)")
    architecture: str = choice("CGD", "CGD (Figure 1), or A or B (Figure 2, Table 3)")
    combine: str = choice("concat", "concat (equation 3) or sum (Table 4)")
    gem_p: float = choice(3.0, "the exponent of GeM (equation 1)")
    gem_minimum: float = choice(1e-6, "activations are clamped at it before the power; not in the paper")
    loss: str = choice("batch_hard", "the ranking loss (Table 6)")
    margin: float = choice(0.1, "of the ranking loss (section 4.2)")
    hap2s_sigma: float = choice(0.5, "of HAP2S_E (section 4.5)")
    hap2s_alpha: float = choice(10.0, "of HAP2S_P (section 4.5)")
    margin_boundary: float = choice(1.2, "of the margin loss, fixed (section 4.5)")
    margin_underflow: bool = choice(
        False, "draw the margin loss's negatives as MXNet's example did: a defect from 512-d on"
    )
    classification: bool = choice(True, "add the classification loss (Table 1)")
    smoothing: float = choice(0.1, "of the labels, 0 is off (Table 2); the value is not in the paper")
    temperature: float = choice(0.5, "of the softmax, 1 is off (equation 4)")
    frozen_batch_norm: bool = choice(False, "leave the backbone's batch norms as they are; an author trained them")
    classifier_batch_norm: bool = choice(True, "batch norm before the classifier: drawn in Figure 1, not in the text")
    fc_magnitude: float = choice(2.0, "of the FC layers' Xavier initialisation; not in the paper")
    learning_rate: float = choice(1e-4, "of Adam (section 4.2)")
    weight_decay: float = choice(0.0, "of Adam; not in the paper")
    batch_classes: int = choice(32, "x batch_images = 128 (section 4.2); the number of classes is not in the paper")
    batch_images: int = choice(4, "of each class in the batch; not in the paper")
    passes: float = choice(1500 * 128 / 5864, "over the training set; 1,500 iterations on CUB200 (naver/cgd issue 3)")
    decay_at: Tuple[float, ...] = choice((400 / 1500, 800 / 1500), "fractions of the run at which the rate steps down")
    decay_factor: float = choice(0.1, "of each such step (naver/cgd issue 3)")
    evaluations: int = choice(15, "spread evenly over the run, of which best and last are; not in the paper")

    def __post_init__(self):
        for f in fields(self):  # 1 and 1.0, a list and a tuple are the same experiment
            value = getattr(self, f.name)
            wanted = f"must be {WANTED[type(f.default)]}"
            self._need(of_type(f.default, value), f.name, wanted, f"{f.default!r} is the default")
            if isinstance(f.default, (int, float)):  # a NumPy number too
                object.__setattr__(self, f.name, type(f.default)(value))
            elif isinstance(f.default, tuple):
                object.__setattr__(self, f.name, tuple(float(v) for v in value))
        self._one_of("split", ("classes", "images"))
        self._need(0 < self.held_out < 1, "held_out", "must be between 0 and 1", "0.5 keeps half")
        self._one_of("descriptors", CONFIGURATIONS)
        self._one_of("architecture", ARCHITECTURES)
        self._one_of("combine", COMBINATIONS)
        self._need(
            self.architecture == "CGD" or self.combine == "concat",
            "combine",
            f"cannot go with architecture {self.architecture}, which concatenates",
            "leave it at concat",
        )
        self._one_of("loss", LOSSES)
        branches = len(self.descriptors)
        self._need(0 < self.dim <= 2**16, "dim", "must be from 1 to 65536", "1536 is the paper's")
        self._need(
            self.combine == "sum" or self.architecture == "B" or self.dim % branches == 0,
            "dim",
            f"must be divisible by the {branches} branches of {self.descriptors}",
            f"{self.dim - self.dim % branches} and {self.dim + branches - self.dim % branches} are",
        )
        self._need(
            16 <= self.input_size <= 4096 and self.input_size % 8 == 0,
            "input_size",
            "must be a multiple of 8 from 16 to 4096",
            "then the training crop is taken from exactly 9/8 of it, as 224 from 252",
        )
        self._need(0 <= self.smoothing < 1, "smoothing", "must be in [0, 1)", "0 is off")
        self._need(1e-3 <= self.temperature <= 1e3, "temperature", "must be from 0.001 to 1000", "1 is off")
        self._need(0 < self.gem_p <= 100, "gem_p", "must be above 0 and at most 100", "3 is the paper's")
        self._need(self.gem_minimum > 0, "gem_minimum", "must be positive", "a dead channel has no gradient at 0")
        self._need(self.margin >= 0, "margin", "must not be negative", "0.1 is the paper's")
        # Beyond these the weights of distances up to 2 leave the range of float32
        self._need(self.hap2s_sigma >= 0.025, "hap2s_sigma", "must be at least 0.025", "0.5 is the paper's")
        self._need(0 < self.hap2s_alpha <= 35, "hap2s_alpha", "must be above 0 and at most 35", "10 is the paper's")
        self._need(self.margin_boundary > 0, "margin_boundary", "must be positive", "1.2 is the paper's")
        self._need(0 < self.fc_magnitude <= 1e6, "fc_magnitude", "must be above 0 and at most 1e6", "2 is the default")
        self._need(self.learning_rate > 0, "learning_rate", "must be positive", "1e-4 is the paper's")
        self._need(self.weight_decay >= 0, "weight_decay", "must not be negative", "0 is off")
        self._need(self.batch_classes >= 2, "batch_classes", "must be at least 2", "one class has no negatives")
        self._need(self.batch_images >= 2, "batch_images", "must be at least 2", "one image has no positives")
        self._need(self.passes > 0, "passes", "must be positive", "the paper's schedule makes 32.7 passes")
        self._need(
            all(0 < at < 1 for at in self.decay_at) and list(self.decay_at) == sorted(self.decay_at),
            "decay_at",
            "must be rising fractions of the run between 0 and 1",
            "--decay-at 0.6 0.8, say",
        )
        self._need(self.decay_factor > 0, "decay_factor", "must be positive", "0.1 is the default")
        self._need(1 <= self.evaluations <= 10**4, "evaluations", "must be from 1 to 10000", "15 is the default")

    def _one_of(self, name, allowed):
        self._need(getattr(self, name) in allowed, name, "is unknown", f"choose one of {', '.join(allowed)}")

    def _need(self, holds, name, rule, remedy):
        if not holds:
            raise ValueError(f"{name} {getattr(self, name)!r} {rule}: {remedy}")

    @property
    def batch_size(self):
        return self.batch_classes * self.batch_images

    @property
    def resize(self):
        """Side in pixels of the picture that the training crop is taken from: 252 for 224."""
        return self.input_size * 9 // 8

    @property
    def has_branches(self):
        """Whether the embedding is a concatenation of unit vectors, one a descriptor, which can be told apart in it."""
        return self.combine == "concat" and self.architecture != "B"

    def iterations(self, pictures):
        """Number of steps that make `passes` passes over `pictures` training pictures (at least 1)."""
        return max(1, round(self.passes * pictures / self.batch_size))

    def changes(self):
        """The fields that differ from the paper's defaults, as a dict in the order of the fields."""
        return {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}

    def key(self):
        """The name of this experiment's runs: a readable part and a hash of `changes()`.

        Hashing the changes alone lets later versions add fields without renaming the runs that exist.
        """
        changes = json.dumps(self.changes(), sort_keys=True).encode()
        dataset = self.dataset.rstrip("/").rsplit("/", 1)[-1]
        readable = "-".join((dataset, self.backbone, self.descriptors, str(self.dim)))
        return f"{readable}-{hashlib.sha256(changes).hexdigest()[:10]}"

    def to_dict(self):
        """Every field, ready for JSON."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values):
        """The inverse of `to_dict`. Raises ValueError for a field that this version does not know."""
        unknown = sorted(set(values) - {f.name for f in fields(cls)})
        if unknown:
            raise ValueError(f"unknown experiment field {unknown[0]!r}: it was written by another version of gluon_cgd")
        return cls(**values)
