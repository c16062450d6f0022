"""Flags that have no effect together with the others are refused here, for all commands and scripts.

Who types a flag believes that it does something. A Rule says when some flags of a command do; `check` looks only at
flags that were typed. Which file or model they need is known later: see `check_data`, and `models.opened.open_model`.
"""

from typing import Callable, Dict, NamedTuple, Sequence, Tuple


class Rule(NamedTuple):
    """Flags that have an effect only if `holds(options)`, and the `sentence` that is said else.

    It may hold {flags}, those that were typed, {typed}, the same with their values, and {names} of options.
    """

    flags: Tuple[str, ...]
    holds: Callable
    sentence: str


def is_own(options):
    """Whether the dataset is a folder or a list of people's own pictures."""
    from gluon_cgd import datasets

    return datasets.is_own(dataset_of(options))


def is_divided(options):
    """Whether the dataset says itself which pictures are for training and which for the test."""
    from gluon_cgd.datasets import folders

    return not is_own(options) or folders.listed(options.dataset, allow_partial=True).parted


def dataset_of(options):
    """The dataset that is named, or the default."""
    from gluon_cgd.experiment import Experiment

    return getattr(options, "dataset", None) or Experiment().dataset


def is_benchmark(options):
    """Whether the dataset is one that has to be got from somewhere."""
    from gluon_cgd.datasets import OFFICIAL, whole_of

    return whole_of(options.dataset) in OFFICIAL


def value(options, field):
    """The value of a field of Experiment, as typed or by default."""
    from gluon_cgd.experiment import Experiment

    return getattr(options, field, getattr(Experiment(), field))


def has_batch_norm(options):
    """Whether the backbone has batch norms."""
    from gluon_cgd.experiment import WITHOUT_BATCH_NORM

    return value(options, "backbone") not in WITHOUT_BATCH_NORM


def is_drawn(options) -> bool:
    """Whether the dataset is one that is drawn when it is needed."""
    from gluon_cgd.experiment import WITHOUT_FILES

    return dataset_of(options) in WITHOUT_FILES


FOR = "{typed} is for --engine %s: name both, or leave it out"
ENGINE = (  # kinds_of: of index, for each engine
    Rule(("kind",), lambda o: o.kind in (*o.kinds_of[o.engine], "diskann"), FOR % "faiss"),
    Rule(("kind",), lambda o: o.kind in o.kinds_of[o.engine], FOR % "milvus"),
    Rule(("uri",), lambda o: o.engine not in ("exact", "faiss"), FOR % "milvus"),
)
DATA = (
    Rule(
        ("data", "root"),
        lambda o: not is_own(o),
        "{typed} is for a benchmark, and {dataset} is a folder or a list of your own: leave it out",
    ),
    Rule(
        ("allow_partial",),
        lambda o: not is_drawn(o),
        "{typed} is for pictures that can be missing, and glyphs is drawn: leave it out",
    ),
)
OF_CLASSIFICATION_LOSSES = {  # field: the losses that it is for
    "temperature": ("softmax", "focal"),
    "cosine_scale": ("normalised_softmax", "cosface", "arcface"),
    "cosface_margin": ("cosface",),
    "arcface_margin": ("arcface",),
    "focal_gamma": ("focal",),
}
CLASSIFICATION = ("smoothing", "classifier_batch_norm", "classification_loss", *OF_CLASSIFICATION_LOSSES)
TRAINING = (
    *DATA,
    Rule(
        ("split", "held_out", "split_seed"),
        lambda o: not is_divided(o),
        "{typed}: {dataset} says itself which pictures are for the test: leave it out",
    ),
    Rule(("hap2s_sigma",), lambda o: value(o, "loss") == "hap2s_e", "{typed} is for --loss hap2s_e: leave it out"),
    Rule(("hap2s_alpha",), lambda o: value(o, "loss") == "hap2s_p", "{typed} is for --loss hap2s_p: leave it out"),
    Rule(("margin_boundary",), lambda o: value(o, "loss") == "margin", "{typed} is for --loss margin: leave it out"),
    Rule(
        ("ms_alpha", "ms_beta", "ms_base"),
        lambda o: value(o, "loss") == "multi_similarity",
        "{typed} is for --loss multi_similarity: leave it out",
    ),
    Rule(
        ("proxy_alpha", "proxy_rate"),
        lambda o: value(o, "loss") == "proxy_anchor",
        "{typed} is for --loss proxy_anchor: leave it out",
    ),
    Rule(
        ("margin",),
        lambda o: value(o, "loss") != "soft_margin",
        "{typed} has no effect, since --loss soft_margin has no margin: leave it out",
    ),
    Rule(
        CLASSIFICATION,
        lambda o: value(o, "classification"),
        "{typed} is for the classification loss: leave it out, or leave out --no-classification",
    ),
    *(
        Rule(
            (field,),
            lambda o, names=names: value(o, "classification_loss") in names,
            f"{{typed}} is for --classification-loss {' or '.join(names)}: leave it out",
        )
        for field, names in OF_CLASSIFICATION_LOSSES.items()
    ),
    Rule(
        ("batch",),
        lambda o: not {"batch_classes", "batch_images"} & o.given,
        "{typed} is --batch-classes and --batch-images in one: leave it out, or leave these out",
    ),
    Rule(("rmac_scales",), lambda o: "R" in value(o, "descriptors"), "{typed} is for --descriptors with R"),
    Rule(
        ("frozen_batch_norm",),
        has_batch_norm,
        "{flags} has no effect, since backbone {backbone} has no batch norms: leave it out",
    ),
    Rule(("decay_factor",), lambda o: len(value(o, "decay_at")) > 0, "{typed} needs a --decay-at: leave it out"),
    Rule(
        ("weights",),
        lambda o: value(o, "pretrained"),
        "--weights and --no-pretrained contradict each other: leave one out",
    ),
)
GEM = Rule(
    ("gem_p", "gem_minimum"),
    lambda o: bool(set("GPQA") & set(value(o, "descriptors"))),
    "{typed} is for --descriptors with G, P, Q or A",
)
BEST_RUN = (
    Rule(
        ("runs",),
        lambda o: not {"checkpoint", "model", "pretrained"} & o.given,
        "{typed} is where a model is looked for if none is named: leave it out",
    ),
)
EMBEDDED_BY = ("checkpoint", "model", "pretrained", "weights", "input_size", "runtime", "which")
RULES: Dict[str, Sequence[Rule]] = {
    "data": (
        Rule(
            ("download", "verify", "prepare", "allow_partial", "input_size"),
            lambda o: o.root or not is_benchmark(o),
            "{typed}: name the folder of {dataset} too, with --root",
        ),
        *DATA,
        Rule(("input_size",), lambda o: o.prepare, "{typed} is for --prepare: name both, or leave it out"),
    ),
    "train": (*TRAINING, GEM),
    "choose": TRAINING,
    "check": DATA,
    "index": (
        Rule(("images",), lambda o: not (o.shard or o.join), "{typed}: --shards was told already, leave it out"),
        Rule(
            ("shards",), lambda o: o.images, "{typed} needs pictures that are embedded: name their folder with --images"
        ),
        Rule(
            ("prune", "compact"),
            lambda o: not (o.shards or o.shard or o.join),
            "{flags} is for an index that is there, and --shards makes a new one: leave it out",
        ),
        Rule(
            ("whiten", "reduce", "store", "engine", "kind", "uri", "recall", "memory"),
            lambda o: not o.shard,
            "{flags} comes after all shards are joined: leave it out with --shard, and say it with --join",
        ),
        Rule(
            ("whiten",), lambda o: o.reduce is None, "{flags} and --reduce: one of the two is possible, leave one out"
        ),
        Rule(("backend",), lambda o: o.shards, "{typed} is for --shards N: name both, or leave it out"),
        Rule(("slurm",), lambda o: o.backend == "slurm", "{flags} works only with --backend slurm: add it"),
        Rule(
            ("ctx",),
            lambda o: o.backend != "slurm",
            "{typed} has no effect with --backend slurm, whose jobs take the devices that they get: leave it out",
        ),
        Rule(EMBEDDED_BY, lambda o: not o.shard, "{flags}: a shard takes the model of all, leave it out"),
        Rule(
            ("prune", "skip_bad", *EMBEDDED_BY, "ctx"),
            lambda o: o.images or o.shard,
            "{flags} need pictures that are embedded: name their folder with --images",
        ),
        *ENGINE,
        Rule(
            ("recall", "memory"),
            lambda o: o.engine == "faiss" and o.kind in ("auto", "disksq", "diskpq"),
            "{typed} is for --engine faiss with --kind auto, disksq or diskpq: name one of them, or leave it out",
        ),
    ),
    "serve": ENGINE,
    "search": (
        *ENGINE,
        Rule(
            ("rerank",),
            lambda o: o.threshold is None,
            "{typed} changes the order of the cosines, and --threshold cuts them off: leave one out",
        ),
        Rule(("heatmaps", "difference"), lambda o: o.figure, "{flags} are drawn into a figure: name one with --figure"),
    ),
}


def check(options, rules=None):
    """Raise ValueError if a flag that was typed has no effect. rules: by default those of the command."""
    for rule in RULES.get(getattr(options, "command", ""), ()) if rules is None else rules:
        typed = [flag for flag in rule.flags if flag in getattr(options, "given", ())]
        if typed and not rule.holds(options):
            names, values = (", ".join(written(options, typed, values)) for values in (False, True))
            words = {**vars(options), "dataset": dataset_of(options), "flags": names, "typed": values}
            raise ValueError(rule.sentence.format(**words))


def check_data(options, dataset):
    """As `check`, for --data and --allow-partial of a `dataset` that the model names."""
    check(type(options)(**{**vars(options), "dataset": dataset}), DATA)


def written(options, flags, values):
    """`flags` as they were typed, with their `values` if these are wanted and are texts or numbers."""
    for flag in flags:
        typed = getattr(options, flag)
        shown = f"--{'no-' * (typed is False)}{flag.replace('_', '-')}"
        has_value = isinstance(typed, (str, int, float)) and not isinstance(typed, bool)
        yield f"{shown} {typed}" if values and has_value else shown
