"""The comparisons and our aims. Each task is "SCRIPT TASK", a task of ours.py or of peers.py."""

from typing import NamedTuple, Optional, Tuple

EMBED = ("peers embed contiguous", "peers embed channels last")
BF16 = ("peers embed few bf16 channels last",)
STEP = ("peers train 32 contiguous", "peers train 32 channels last")


class Row(NamedTuple):
    """One comparison: the task `ours` against the fastest of the tasks `others`.

    work, against: what both sides do, in words.  at_least: the ratio of the rates that we aim at, or at_most_more: by
    how many seconds we may be slower.
    """

    work: str
    against: str
    ours: str
    others: Tuple[str, ...]
    unit: str
    at_least: Optional[float] = None
    at_most_more: Optional[float] = None


class Group(NamedTuple):
    """Rows whose tasks take turns.

    needs: the inputs, of inputs.MAKERS.  together: all processes run at once; else each turn starts a new one, which
    needs less memory.  warm: each process does the work once before it is measured.
    """

    name: str
    needs: Tuple[str, ...]
    rows: Tuple[Row, ...]
    rounds: int = 5
    together: bool = True
    warm: bool = True


NETWORK = "ResNet-50 without the down-sampling, SG, 1536 dimensions, 224 x 224"
GROUPS = (
    Group(
        "embed",
        ("pictures", "models"),
        (
            Row(
                "JPEG files to vectors on disk, float32, MXNet",
                "PyTorch, float32, the faster layout, DataLoader",
                "ours embed",
                EMBED,
                "img/s",
                1.6,
            ),
            Row(
                "the same by the exported model, ONNX Runtime",
                "the same",
                "ours embed onnxruntime",
                EMBED,
                "img/s",
                1.6,
            ),
            Row("the same by the exported model, OpenVINO", "the same", "ours embed openvino", EMBED, "img/s", 1.6),
            Row(
                "the same in 8 bits, OpenVINO",
                "our float32, MXNet",
                "ours embed int8 openvino",
                ("ours embed",),
                "img/s",
            ),
        ),
    ),
    Group(
        "embed 8 bits",
        ("pictures", "models"),
        (
            Row(
                "JPEG files to vectors on disk, in 8 bits, OpenVINO",
                "PyTorch, bfloat16 by autocast, channels last",
                "ours embed few int8 openvino",
                BF16,
                "img/s",
                2.5,
            ),
            Row("the same, ONNX Runtime", "the same", "ours embed few int8 onnxruntime", BF16, "img/s", 2.5),
        ),
        rounds=3,
    ),
    Group(
        "arithmetic",
        ("pictures", "models"),
        (
            Row(
                "the network's multiply-adds, float32, batch of 32",
                "a float32 matrix product of 2048 x 2048, MXNet",
                "ours network",
                ("ours product",),
                "GFLOP/s",
                0.7,
            ),
        ),
    ),
    Group(
        "train 32",
        (),
        (
            Row(
                "a training step, float32, batch of 32",
                "PyTorch, the faster layout",
                "ours train 32",
                STEP,
                "img/s",
                1.7,
            ),
        ),
        rounds=7,
    ),
    Group(
        "train 128",
        (),
        (
            Row(
                "a training step, float32, batch of 128",
                "PyTorch, channels last",
                "ours train 128",
                ("peers train 128 channels last",),
                "img/s",
                1.7,
            ),
        ),
        rounds=2,
        together=False,
    ),
    Group(
        "recall",
        ("vectors",),
        (
            Row(
                "Recall@1, 10, 100, 1000 of 60,502 x 1,536",
                "the bare product of all pairs in blocks, NumPy",
                "ours recall",
                ("ours blocked product",),
                "queries/s",
                1 / 1.4,
            ),
            Row("the same", "faiss-cpu's flat index, top 1000", "ours recall", ("peers faiss flat",), "queries/s", 1.5),
        ),
        rounds=2,
        warm=False,
    ),
    Group(
        "batches",
        ("pictures",),
        (
            Row(
                "training pictures from the cache, cropped and flipped",
                "decoded each time with cv2",
                "ours batches from the cache",
                ("ours batches decoded",),
                "img/s",
                20,
            ),
        ),
    ),
    Group(
        "heatmap",
        ("pictures", "models"),
        (
            Row(
                "the heatmaps of a pair, its forward pass included",
                "the forward pass alone",
                "ours heatmap",
                ("ours pair",),
                "pairs/s",
                1 / 1.3,
            ),
        ),
        rounds=9,
    ),
    Group(
        "import",
        (),
        (
            Row(
                "`import gluon_cgd, mxnet`",
                "`import mxnet`",
                "ours import gluon_cgd",
                ("ours import mxnet",),
                "/s",
                at_most_more=0.3,
            ),
        ),
        rounds=9,
    ),
)
