"""Experiment: every choice that decides a number of the paper, frozen. Devices and folders are not part of it."""

import hashlib
import json
import math
from dataclasses import asdict, dataclass, fields
from typing import Any, Dict, Mapping, Optional, Tuple

from gluon_cgd.runs.fields import TYPES, choice, is_backbone, one_of, refuse, shown, word_of

CONFIGURATIONS = ("S", "M", "G", "SM", "MS", "SG", "GS", "MG", "GM", "SMG", "MSG", "GSM")  # section 3.4
DESCRIPTOR_NAMES = {"S": "SPoC", "M": "MAC", "G": "GeM"}  # section 3.2; what they compute is in `descriptors`
DESCRIPTOR_NAMES.update(P="TrainedGeM", Q="ChannelGeM", A="WeightedGeM", R="RMAC", W="CroW", C="CentredSPoC")  # others'
ARCHITECTURES = ("CGD", "A", "B")  # Figures 1, 2a, 2b
COMBINATIONS = ("concat", "sum")  # Table 4
ATTENTIONS: Tuple[str, ...] = ("none", "se", "cbam")  # of others, but for none
LOSSES: Tuple[str, ...] = ("batch_hard", "soft_margin", "hap2s_e", "hap2s_p", "margin")  # Table 6
LOSSES += ("multi_similarity", "proxy_anchor")  # of others, as all in the next line but the first
CLASSIFICATION_LOSSES = ("softmax", "normalised_softmax", "cosface", "arcface", "focal")
WITHOUT_FILES = ("glyphs", "glyphs_mini")  # datasets that are drawn when they are needed
WITHOUT_IMAGENET = ("cifar_resnet10",)  # backbones for which nobody published ImageNet parameters
# Worse with the statistics of similar pictures: channels that are constant on them are divided by a deviation near 0
FRAGILE_BATCH_NORM = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")
WITHOUT_BATCH_NORM = ("wide_resnet50", "squeezenet1.1")  # their convolutions have biases: nothing to freeze
LARGE = 30  # activations of last maps are smaller
REVISION = 3  # of the training code: raised by every change that moves the numbers of an equal experiment and seed
REMOVED = {"margin_underflow": False}  # fields of earlier versions, with the one value that runs still stored have


def is_configuration(letters: str) -> bool:
    """Whether `letters` name different descriptors, one or more."""
    return letters in CONFIGURATIONS or 0 < len(letters) == len(set(letters) & set(DESCRIPTOR_NAMES))


# fmt: off
@dataclass(frozen=True)
class Experiment:
    """One training run up to its seed. The defaults are the paper's; where it is silent, they are ours and say so.

    Raises ValueError for a value that no run can have.
    """

    dataset: str = choice("cars196", "a benchmark (section 4.1), a folder with one folder per class, or a .csv file",
        lambda name: name.strip() != "", "is empty", "name a benchmark, a folder or a .csv file")
    split: str = choice("classes", "how your own pictures are divided: classes (test on other classes) or images "
        "(test on other pictures of each class); chosen for you if not given", *one_of(lambda: ("classes", "images")))
    held_out: float = choice(0.5, "share of your own classes or images to test on; chosen for you if not given",
        lambda share: 0 < share < 1, "must be between 0 and 1", "0.5 keeps half")
    split_seed: int = choice(0, "seed that draws these classes or images",
        lambda seed: 0 <= seed < 2**31, "must be from 0 to 2147483647", "0 is the default")
    backbone: str = choice("resnet50", "the network that computes the features (section 3.1)",
        is_backbone, "is of no library that is known",
        "write gluoncv:NAME, gluoncv2:NAME, onnx:FILE, or a name without a colon")
    keep_stride: Optional[bool] = choice(None, "keep the down-sampling between stages 3 and 4 (section 3.1, "
        "Table 7)")
    pretrained: bool = choice(True, "start from ImageNet parameters (section 4.2)")
    input_size: int = choice(224, "side of the network's input in pixels; training crops it from a picture of 9/8 of "
        "that side, 252 for 224 (section 4.2)",
        lambda side: 16 <= side <= 4096 and side % 8 == 0, "must be a multiple of 8 from 16 to 4096",
        "then the training crop is taken from exactly 9/8 of it, as 224 from 252")
    descriptors: str = choice("SG", "one letter per branch: S SPoC, M MAC, G GeM (section 3.4), or others' (see "
        "docs/descriptors.md); the first feeds the classifier", lambda letters: is_configuration(letters), "is unknown",
        lambda: f"take different letters of {', '.join(DESCRIPTOR_NAMES)}, as in {', '.join(CONFIGURATIONS)}")
    dim: int = choice(1536, "length of the combined descriptor; each of n branches has dim / n (section 4.2)",
        lambda dim: 0 < dim <= 2**16, "must be from 1 to 65536", "1536 is the paper's")
    architecture: str = choice("CGD", "CGD (Figure 1), or A or B (Figure 2, Table 3)", *one_of(lambda: ARCHITECTURES))
    combine: str = choice("concat", "concat (equation 3) or sum (Table 4)", *one_of(lambda: COMBINATIONS))
    gem_p: float = choice(3.0, "exponent of GeM (equation 1)",
        lambda p: 0 < p <= 100, "must be above 0 and at most 100", "3 is the paper's")
    gem_minimum: float = choice(1e-6, "GeM raises smaller activations to this value first; not in the paper",
        lambda minimum: 1e-30 <= minimum <= 1e6, "must be from 1e-30 to 1e6", "a dead channel has no gradient at 0")
    rmac_scales: int = choice(3, "scales of the regions of R-MAC, the descriptor R; not in the paper",
        lambda scales: 1 <= scales <= 3, "must be 1, 2 or 3", "3 is R-MAC's")
    attention: str = choice("none", "what weighs the last map in front of all descriptors: none, se (squeeze-and-"
        "excitation) or cbam; not in the paper", *one_of(lambda: ATTENTIONS))
    whiten: bool = choice(False, "whiten the embedding by PCA, learned from training pictures after training; not in "
        "the paper")
    loss: str = choice("batch_hard", "the ranking loss: " + ", ".join(LOSSES[:5]) + " (Table 6), "
        + ", ".join(LOSSES[5:]) + " (not in the paper)", *one_of(lambda: LOSSES))
    margin: float = choice(0.1, "margin of the ranking loss (section 4.2)",
        lambda margin: 0 <= margin <= 1e6, "must be from 0 to 1e6", "0.1 is the paper's")
    # The backward pass squares the sum of up to 16384 weights of distances from 0 to 2, and that square has to stay a
    # normal float32: the sum lies between 1.1e-19 and 1.8e19. So exp(2 / sigma) and 3^alpha are at most 1.1e15, which
    # needs sigma >= 0.058 and alpha <= 31, and exp(-2 / sigma) and 3^(-2 alpha) at least 1.1e-19: alpha <= 19.8
    hap2s_sigma: float = choice(0.5, "sigma of HAP2S_E (section 4.5)",
        lambda sigma: 0.06 <= sigma <= 1e6, "must be from 0.06 to 1e6", "0.5 is the paper's, and gradients overflow "
        "below 0.06")
    hap2s_alpha: float = choice(10.0, "alpha of HAP2S_P (section 4.5)",
        lambda alpha: 0 < alpha <= 19, "must be above 0 and at most 19", "10 is the paper's, and gradients overflow "
        "above 19")
    margin_boundary: float = choice(1.2, "fixed boundary beta of the margin loss (section 4.5)",
        lambda boundary: 0 < boundary <= 1e6, "must be above 0 and at most 1e6", "1.2 is the paper's")
    ms_alpha: float = choice(2.0, "alpha of multi_similarity, of positives; not in the paper",
        lambda alpha: 1e-3 <= alpha <= 1e3, "must be from 0.001 to 1000", "2 is that loss's")
    ms_beta: float = choice(50.0, "beta of multi_similarity, of negatives; not in the paper",
        lambda beta: 1e-3 <= beta <= 1e3, "must be from 0.001 to 1000", "50 is that loss's")
    ms_base: float = choice(0.5, "the cosine from which multi_similarity counts; not in the paper",
        lambda base: -1 <= base <= 1, "must be from -1 to 1", "0.5 is of its authors' code")
    proxy_alpha: float = choice(32.0, "alpha of proxy_anchor; not in the paper",
        lambda alpha: 1e-3 <= alpha <= 1e3, "must be from 0.001 to 1000", "32 is that loss's")
    proxy_rate: float = choice(100.0, "how many times as fast proxy_anchor's proxies learn; not in the paper",
        lambda rate: 1e-3 <= rate <= 1e3, "must be from 0.001 to 1000", "100 is of its authors' code")
    classification: bool = choice(True, "add the classification loss (section 3.3, Table 1)")
    classification_loss: str = choice("softmax", "which one: softmax is the paper's; "
        + ", ".join(CLASSIFICATION_LOSSES[1:]) + " are not in the paper", *one_of(lambda: CLASSIFICATION_LOSSES))
    cosine_scale: float = choice(30.0, "what normalised_softmax, cosface and arcface multiply cosines by, in place of "
        "1 / temperature", lambda scale: 1e-3 <= scale <= 1e3, "must be from 0.001 to 1000", "16 to 64 are usual")
    cosface_margin: float = choice(0.35, "margin of cosface, of a cosine",
        lambda margin: 0 <= margin <= 2, "must be from 0 to 2", "0.35 is that loss's")
    arcface_margin: float = choice(0.5, "margin of arcface, of an angle in radians",
        lambda margin: 0 <= margin <= 3, "must be from 0 to 3", "0.5 is that loss's")
    focal_gamma: float = choice(2.0, "gamma of focal",
        lambda gamma: 0 <= gamma <= 100, "must be from 0 to 100", "2 is that loss's, 0 makes it softmax")
    smoothing: float = choice(0.1, "label smoothing, 0 is off (section 3.3, Table 2); the value is not in the paper",
        lambda smoothing: 0 <= smoothing < 1, "must be in [0, 1)", "0 is off")
    temperature: float = choice(0.5, "temperature of the softmax, 1 is off (equation 4)",
        lambda temperature: 1e-3 <= temperature <= 1e3, "must be from 0.001 to 1000", "1 is off")
    frozen_batch_norm: Optional[bool] = choice(None, "keep the backbone's batch norms as they are, if it has some; not "
        "in the paper, an author trained them (naver/cgd issue 3)")
    classifier_batch_norm: bool = choice(True, "batch norm before the classifier; not in the text, and Figure 1 is "
        "ambiguous")
    fc_magnitude: float = choice(2.0, "magnitude of the FC layers' Xavier initialisation; not in the paper",
        lambda magnitude: 0 < magnitude <= 1e6, "must be above 0 and at most 1e6", "2 is the default")
    learning_rate: float = choice(1e-4, "Adam's learning rate (section 4.2)",
        lambda rate: 0 < rate <= 1e30, "must be positive and at most 1e30", "1e-4 is the paper's")
    weight_decay: float = choice(0.0, "Adam's weight decay; not in the paper",
        lambda decay: 0 <= decay <= 1e6, "must be from 0 to 1e6", "0 is off")
    batch_classes: int = choice(32, "classes in a batch, times batch_images = 128 (section 4.2); not in the paper: "
        "32 x 4 is leftthomas/CGD's, 4 x 32 clovaai/embedding-expansion's",
        lambda classes: 2 <= classes <= 2**14, "must be at least 2 and at most 16384", "one class has no negatives")
    batch_images: int = choice(4, "pictures of each class in a batch; not in the paper",
        lambda images: 2 <= images <= 2**14, "must be at least 2 and at most 16384", "one image has no positives")
    erasing: float = choice(0.0, "chance that a rectangle of a training picture is erased, 0 is off; not in the paper",
        lambda chance: 0 <= chance <= 1, "must be from 0 to 1", "0.5 is of random erasing's authors")
    colour_jitter: float = choice(0.0, "how far brightness, contrast and saturation of training pictures change, as "
        "factors from 1 - F to 1 + F, 0 is off; not in the paper",
        lambda strength: 0 <= strength <= 1, "must be from 0 to 1", "0.4 changes them much, 0 is off")
    passes: float = choice(1500 * 128 / 5864, "passes over the training set; the default makes 1,500 iterations on "
        "CUB200 (naver/cgd issue 3)",
        lambda passes: 0 < passes <= 1e5, "must be positive and at most 100000", "the default is 32.7")
    decay_at: Tuple[float, ...] = choice((400 / 1500, 800 / 1500), "fractions of the run at which the learning rate "
        "drops (naver/cgd issue 3)",
        lambda parts: all(0 < at < 1 for at in parts) and list(parts) == sorted(parts) and len(parts) <= 100,
        "must be up to 100 rising fractions of the run between 0 and 1", "--decay-at 0.6 0.8, say")
    decay_factor: float = choice(0.1, "factor of each drop of the learning rate (naver/cgd issue 3)",
        lambda factor: 0 < factor <= 1e3, "must be positive and at most 1000", "0.1 is the default")
    evaluations: int = choice(15, "evaluations, spread evenly over the run; the best of them is kept beside the last; "
        "not in the paper", lambda count: 1 <= count <= 10**4, "must be from 1 to 10000", "15 is the default")
    features: str = choice("", "the node of a backbone LIBRARY:NAME whose output is the last map; found in its graph "
        "if not given")
    # fmt: on

    def __post_init__(self) -> None:
        for f in fields(self):
            value, about = getattr(self, f.name), f.metadata
            kind, has_type = TYPES[type(f.default)]
            if not has_type(value):
                refuse(f.name, value, f"must be {kind}", f"{f.default!r} is the default")
            # 1 and 1.0, a list and a tuple, a NumPy number and Python's are the same experiment
            if isinstance(f.default, (int, float)):
                value = type(f.default)(value)
            elif isinstance(f.default, tuple):
                value = tuple(float(v) for v in value)
            object.__setattr__(self, f.name, value)
            if not about["holds"](value):
                remedy = about["remedy"]
                refuse(f.name, value, about["rule"], remedy() if callable(remedy) else remedy)
        if self.frozen_batch_norm is None:
            object.__setattr__(self, "frozen_batch_norm", self.usually_frozen)
        if self.features and ":" not in self.backbone:
            refuse("features", self.features, f"is for a backbone LIBRARY:NAME, not {self.backbone}", "leave it out")
        if self.architecture != "CGD" and self.combine != "concat":
            rule = f"cannot go with architecture {self.architecture}, which concatenates"
            refuse("combine", self.combine, rule, "leave it at concat")
        if self.architecture == "A" and self.loss == "proxy_anchor":
            refuse("loss", self.loss, "cannot go with architecture A, whose branches have no proxies", "take CGD or B")
        if set("PQ") & set(self.descriptors) and not 1 < self.gem_p < 10:
            rule = f"cannot begin the trained exponent of {self.descriptors}, which stays between 1 and 10"
            refuse("gem_p", self.gem_p, rule, "3 is the paper's")
        if "G" in self.descriptors:
            self._check_gem()
        if self.batch_size > 2**14:  # the ranking losses compare each picture of a batch with each
            rule = f"times batch_images {self.batch_images} are more than 16384 pictures in a batch"
            refuse("batch_classes", self.batch_classes, rule, "32 times 4 is the default")
        branches = len(self.descriptors)
        rest = self.dim % branches
        if rest and self.combine == "concat" and self.architecture != "B":
            rule = f"must be divisible by the {branches} branches of {self.descriptors}"
            refuse("dim", self.dim, rule, f"{self.dim - rest} and {self.dim + branches - rest} are")

    def _check_gem(self) -> None:
        """Raise ValueError where the power of a dead channel, or of a usual activation, leaves the range of float32."""
        p, least = self.gem_p, math.log10(self.gem_minimum)
        if p * least < -37:  # then its power, or 1 by that, is none: the gradient is NaN
            rule = f"to the power of gem_p {p} is too small for float32: channels that are 0 would have no gradient"
            lower = f"or gem_p to at most {math.floor(10 * 37 / -least) / 10}"
            refuse("gem_minimum", self.gem_minimum, rule, f"raise it to {10.0 ** -math.floor(37 / p):g}, {lower}")
        most = max(LARGE, self.gem_minimum)
        if p * math.log10(most) > 33:  # the mean is a sum first, of up to 65536 positions
            rule = f"raises activations of {most:g} out of the range of float32"
            highest = math.floor(10 * 33 / math.log10(most)) / 10
            refuse("gem_p", p, rule, f"take at most {highest}, or M for the maximum")

    @property
    def usually_frozen(self) -> bool:
        """The default of `frozen_batch_norm`, which depends on the backbone.

        `dataclasses.replace` keeps the value of the old backbone: name both, or frozen_batch_norm=None.
        """
        return self.pretrained and self.backbone in FRAGILE_BATCH_NORM

    @property
    def backbone_word(self) -> str:
        """The backbone as a part of a file's name."""
        return word_of(self.backbone)

    @property
    def batch_size(self) -> int:
        """Pictures in a batch: 128 in the paper."""
        return self.batch_classes * self.batch_images

    @property
    def resize(self) -> int:
        """Side in pixels of the picture that the training crop is taken from: 252 for 224."""
        return self.input_size * 9 // 8

    @property
    def has_branches(self) -> bool:
        """Whether the embedding has one piece per descriptor (equation 3), each of which can be evaluated alone."""
        return self.combine == "concat" and self.architecture != "B"

    def iterations(self, pictures: int) -> int:
        """Number of steps that make `passes` passes over `pictures` training pictures (at least 1)."""
        return max(1, round(self.passes * pictures / self.batch_size))

    def changes(self) -> Dict[str, Any]:
        """The fields that differ from the paper's defaults, as a dict in the order of the fields."""
        usual = {**{f.name: f.default for f in fields(self)}, "frozen_batch_norm": self.usually_frozen}
        return {name: getattr(self, name) for name, value in usual.items() if getattr(self, name) != value}

    def key(self) -> str:
        """The name of this experiment's runs: a readable part and a hash of `changes()`.

        Hashing the changes alone lets later versions add fields without renaming the runs that exist.
        """
        changes = json.dumps(self.changes(), sort_keys=True).encode()
        dataset = self.dataset.rstrip("/").rsplit("/", 1)[-1]
        readable = "-".join((dataset, self.backbone_word, self.descriptors, str(self.dim)))
        return f"{readable}-{hashlib.sha256(changes).hexdigest()[:10]}"

    def to_dict(self) -> Dict[str, Any]:
        """Every field, ready for JSON."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Experiment":
        """The inverse of `to_dict`; a missing field has its default.

        Raises ValueError for a field that this version does not know, and for a removed one that was in use.
        """
        if not isinstance(values, Mapping):
            raise ValueError(f"an experiment must be a table of fields, and not {shown(values)}: train again")
        for name in REMOVED.keys() & values.keys():
            if values[name] != REMOVED[name]:
                refuse(name, values[name], "is of an earlier version of gluon_cgd", "train again without it")
        values = {name: value for name, value in values.items() if name not in REMOVED}
        unknown = sorted(set(values) - {f.name for f in fields(cls)})
        if unknown:
            raise ValueError(f"unknown experiment field {unknown[0]!r}: it was written by another version of gluon_cgd")
        return cls(**values)
