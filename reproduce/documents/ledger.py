"""What the paper leaves open, what we do, and where that comes from: the ledger of REPRODUCE.md.

[A] an author's answer in naver/cgd issue 3; [E] naver/cgd's evaluation code; [L] clovaai/embedding-expansion, MXNet
code by an author of CGD that says it is modified from naver/cgd (evidence, not proof); [T] leftthomas/CGD, a
re-implementation in PyTorch.
"""

from typing import NamedTuple, Tuple

from gluon_cgd.experiment import Experiment
from gluon_cgd.files import grid


class Open(NamedTuple):
    """A detail that the paper does not fix. fields: of Experiment, whose defaults are what we do; ours: what else."""

    detail: str
    fields: Tuple[str, ...]
    ours: str
    source: str
    others: str = ""  # other readings, and how to have them


LEDGER = (
    Open(
        "schedule",
        ("passes", "decay_at", "decay_factor"),
        "the same number of passes and the same fractions on every dataset",
        "[A] for CUB200: 1,500 iterations, steps at 400 and 800",
        "[T] `--passes 20 --decay-at 0.6 0.8`; [L] `--passes 100 --decay-at 0.1 0.2 0.4 0.8 --decay-factor 0.5`",
    ),
    Open(
        "classes in a batch of 128",
        ("batch_classes", "batch_images"),
        "of a class with fewer images, drawn with replacement",
        "[L] 32 classes",
        "`--batch-classes`, `--batch-images`",
    ),
    Open("batch norm of the backbone", ("frozen_batch_norm",), "trained", "[A]", "[T] frozen: `--frozen-batch-norm`"),
    Open(
        "batch norm before the classifier",
        ("classifier_batch_norm",),
        "pooled vector, batch norm, FC with bias",
        "drawn so in the paper's Figure 1",
        "`--no-classifier-batch-norm`",
    ),
    Open("label smoothing", ("smoothing",), "spread over all classes, the target among them", "the usual value"),
    Open(
        "weight decay",
        ("weight_decay",),
        "the loss is the mean over the batch",
        "none is mentioned",
        "[L] 5e-4 with the loss summed, which is `--weight-decay 3.9e-6` of a mean over 128",
    ),
    Open("initialisation of the FC layers", ("fc_magnitude",), "Xavier", "[L]", "`--fc-magnitude`"),
    Open(
        "clamp of GeM",
        ("gem_minimum",),
        "before the power",
        "without it a channel that is 0 everywhere has no finite gradient (measured)",
        "`--gem-minimum`",
    ),
    Open(
        "distance in the losses",
        (),
        "Euclidean, its square clipped at 1e-12 before the root",
        "a root has no slope at 0",
    ),
    Open("reduction of the losses", (), "mean over all anchors, those without a loss included", "the usual reading"),
    Open("margin of HAP2S", ("margin",), "as for the triplets", "not in the paper"),
    Open(
        "crop to the bounding box",
        (),
        "image[y : y + h, x : x + w] in whole pixels, cut at the border, no padding",
        "[E]",
    ),
    Open("resizing", (), "bilinear, as MXNet's and OpenCV's, which are equal bit for bit (measured)", "the framework"),
    Open("normalisation of pictures", (), "ImageNet's mean and standard deviation", "[E]"),
    Open("random crop", (), "of every training picture", "the text", "[L] of every other one: not offered"),
    Open(
        "evaluation",
        (),
        "Euclidean distance of the combined descriptor; the query itself is left out, but on In-shop; a tie is a miss",
        "[E]",
    ),
    Open(
        "which checkpoint counts",
        ("evaluations",),
        "the last one; the best on the test set is recorded beside it",
        "a test set must not choose",
        "what the authors' lineage keeps is the best: `--compare best`",
    ),
    Open("classes of SOP and In-shop", (), "product and item", "[E] and the usual reading"),
    Open("ResNet-50", ("backbone",), "GluonCV's `resnet50_v1b`", "GluonCV's default", "`resnet50_v1`, `resnet50_v1d`"),
    Open("width of ShuffleNet-v2", (), "x1.0", "the usual one", "`shufflenet_v2_x2`"),
    Open(
        "architecture A (Table 3)",
        ("architecture",),
        "a ranking loss for each branch, added up; the classification loss stays; concatenated only to search",
        "Figure 2a",
    ),
    Open(
        "architecture B (Table 3)",
        (),
        "pooled vectors concatenated, one FC without bias, one ranking loss; classifier on the first",
        "Figure 2b",
    ),
    Open(
        "dimensions of a sum (Table 4)",
        ("combine",),
        "every branch has all 1,536",
        "a sum does not add dimensions",
        "`--dim 768`",
    ),
    Open(
        "runs of Table 7", (), "five", "not stated; an author's released CUB200 model is a single one [E]", "`--seeds`"
    ),
    Open(
        "test set of SOP in Figure 3",
        (),
        "100 products drawn from each of the 12 super-classes, all their images",
        "section 4.4.1",
    ),
    Open(
        "removed down-sampling",
        ("keep_stride",),
        "stage 3 to 4 of ResNet-50 and SE-ResNet-50, where Table 7 has its double dagger",
        "Table 7",
        "[T] removes another one, of stage 2 to 3, at 1.7 times the cost",
    ),
)


def as_markdown():
    """The ledger as a table; what we do is read from Experiment's defaults."""
    defaults = Experiment().to_dict()
    lines = [("open detail", "what we do", "why, from where", "other readings")]
    for one in LEDGER:
        values = ", ".join(f"`{name}={shown(defaults[name])}`" for name in one.fields)
        ours = "; ".join(part for part in (values, one.ours) if part)
        lines.append((one.detail, ours, one.source, one.others or "-"))
    return grid.as_markdown(lines)


def shown(value):
    """A default as it is read: three digits are enough."""
    if isinstance(value, list):
        return "[" + ", ".join(map(shown, value)) + "]"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
