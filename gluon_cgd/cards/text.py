"""The card of a trained model: what it is, what it learned from, how good it is, and which classes it confuses."""

import shlex
from pathlib import Path

from gluon_cgd import datasets
from gluon_cgd.cards import confusion
from gluon_cgd.datasets import folders
from gluon_cgd.datasets.records import counted
from gluon_cgd.experiment import Experiment
from gluon_cgd.files.grid import as_markdown, escaped
from gluon_cgd.files.whole import write_text

WORST = 10  # classes in the card's table
STAGES = ("untrained", "last", "best")


def make(folder, net, experiment, split, ctx, which="last", more=()):
    """Write `folder`/card.md and card.png of a finished run and return their paths.

    net: with the run's `which` parameters.  split: what it learned from and was tested on.  more: flags that the
    commands on the card need beside the checkpoint. Raises ValueError for data that are not the run's.
    """
    from gluon_cgd.cards.picture import draw
    from gluon_cgd.datasets.cache import cached, fingerprint
    from gluon_cgd.evaluate import embedded
    from gluon_cgd.runs.log import losses
    from gluon_cgd.runs.results import read_result

    folder = Path(folder)
    result = read_result(folder / "result.json")
    if result.get("data") not in (None, fingerprint([record for part in split for record in part or ()])):
        raise ValueError(f"{experiment.dataset} is not what {folder} was trained on any more: the card would mix two")
    query, gallery = (records and cached(records, experiment.input_size) for records in split[1:])
    pairs = confusion.pairs(*embedded(net, split, query, gallery, ctx))
    names = datasets.class_names(experiment.dataset)
    named = (lambda label: names[label]) if names else str
    text = markdown(folder, result, experiment, split, pairs, named, which, more)
    draw(losses(folder / "train.log"), result.get("history", []), pairs, named, folder / "card.png")
    write_text(folder / "card.md", text)
    return folder / "card.md", folder / "card.png"


def markdown(folder, result, experiment, split, pairs, named, which="last", more=()):
    """The card as a text. pairs: of `confusion.pairs`.  named: gives the name of a label.  The others: see `make`."""
    from gluon_cgd.models.zoo import name_of

    name, dataset = name_of(experiment), Path(experiment.dataset).name
    parts = [
        f"# {name} on {escaped(dataset)}",
        as_markdown([("", ""), *facts(result, experiment, split)]),
        "## Recall",
        "On the test pictures, in %; best is the evaluation with the highest Recall@1 on them.",
        as_markdown(recalls(result)),
        "![Losses, recall, and nearest classes](card.png)",
        "## Nearest classes",
        *nearest_classes(pairs, named, which),
        "## How it was trained",
        *choices(experiment),
        as_markdown([("", ""), *origins(result)]),
        "## How to use it",
        "```\n" + "\n".join(commands(folder, experiment, more)) + "\n```",
    ]
    return "\n\n".join(parts) + "\n"


def facts(result, experiment, split):
    """(name, value) of what the model is and what it learned from."""
    from gluon_cgd.descriptors import DESCRIPTORS  # here: the other commands can do without MXNet

    letters = [DESCRIPTORS[letter].__name__ for letter in experiment.descriptors]
    side = experiment.input_size
    starts = "from ImageNet parameters" if experiment.pretrained else "from random parameters"
    return [
        ("descriptors", f"{experiment.descriptors}: {' + '.join(letters)}, of which {letters[0]} feeds the classifier"),
        ("backbone", f"`{experiment.backbone}`, {starts}, on pictures of {side} x {side}"),
        ("embedding", f"{experiment.dim:,} numbers of unit length, compared by their cosine"),
        ("data", f"{escaped(experiment.dataset)}: {counted(split)}"),
        ("split", divided(experiment)),
        ("trained", f"{result.get('iterations', '-')} steps of {experiment.batch_size} pictures"),
    ]


def divided(experiment):
    """How the dataset of `experiment` was split, in words."""
    if not datasets.is_own(experiment.dataset):
        return "as the benchmark has it"
    if folders.listed(experiment.dataset).parted:
        return "as the collection itself says"
    share = f"{100 * experiment.held_out:g} %"
    what = f"of each class {share} of the pictures" if experiment.split == "images" else f"{share} of the classes"
    return f"to test {what}, drawn with seed {experiment.split_seed}"


def recalls(result):
    """The lines of the table of recalls: of the whole, and of each branch where there are several."""
    columns = list(result["last"])
    lines = [("", *columns)]
    for stage in STAGES:
        at = f" (step {result['best_iteration']})" if stage == "best" and "best_iteration" in result else ""
        lines.append((f"{stage}{at}", *(f"{100 * result[stage][k]:.1f}" for k in columns)))
    branches = result.get("branches", {}).get("last", {})
    for name, recall in branches.items() if len(branches) > 1 else ():
        lines.append((f"last, {name} alone", *(f"{100 * recall[k]:.1f}" if k in recall else "-" for k in columns)))
    return lines


def nearest_classes(pairs, named, which):
    """The part on confusion, in paragraphs."""
    classes = confusion.worst_first(pairs)
    pictures, found = sum(one.pictures for one in classes), sum(one.found for one in classes)
    share = f"{found:,} of {pictures:,} test pictures ({100 * found / max(1, pictures):.1f} %)"
    yield f"By the {which} parameters, the nearest other picture of {share} is of their class."
    wrong = [one for one in classes if one.found < one.pictures][:WORST]
    if wrong:
        head = ("class", "test pictures", "nearest is of it", "most often taken for")
        lines = [
            (
                escaped(named(one.label)),
                f"{one.pictures:,}",
                f"{100 * one.share:.0f} %",
                f"{escaped(named(one.other))} ({one.times:,})",
            )
            for one in wrong
        ]
        yield (
            f"The {len(wrong)} worst of {len(classes):,} classes:"
            if len(wrong) > 1
            else "The only class that is not always found:"
        )
        yield as_markdown([head, *lines])


def choices(experiment):
    """What differs from the paper's defaults, in paragraphs."""
    papers = Experiment()
    changed = {name: value for name, value in experiment.changes().items() if name != "dataset"}
    if not changed:
        yield "All as in the paper."
        return
    yield "What differs from the paper's defaults:"
    lines = [(f"`{name}`", shown(value), shown(getattr(papers, name))) for name, value in changed.items()]
    yield as_markdown([("choice", "here", "default"), *lines])


def shown(value):
    """A value of an experiment for a table: `0.6 0.8`, `yes`, 32.7."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "as the backbone"}[value]
    if isinstance(value, tuple):
        return " ".join(f"{one:.3g}" for one in value) or "never"
    return f"{value:.6g}" if isinstance(value, float) else escaped(value)


def origins(result):
    """(name, value) of where the parameters come from."""
    versions = ", ".join(f"{name} {version}" for name, version in (result.get("versions") or {}).items())
    yield "seed", result["seed"]
    if "seconds" in result:
        yield "time", f"{result['seconds'] / 60:.1f} minutes"
    yield "machine", escaped(result.get("machine") or "-")
    yield "versions", versions or "-"
    yield "commit", f"`{result['commit']}`" if result.get("commit") else "-"
    for name, key in (("data", "data"), ("ImageNet parameters", "weights"), ("parameters", "parameters_sha256")):
        yield f"{name} (hash)", f"`{result[key]}`" if result.get(key) else "-"


def commands(folder, experiment, more):
    """The commands that go on from here."""
    checkpoint = shlex.quote(str(folder))
    photos = shlex.quote(experiment.dataset) if Path(experiment.dataset).is_dir() else "photos"
    yield " ".join([f"python -m gluon_cgd evaluate --checkpoint {checkpoint}", *map(shlex.quote, more)])
    yield f"python -m gluon_cgd index --images {photos} --checkpoint {checkpoint} --out photos.index"
    yield "python -m gluon_cgd search photos.index query.jpg -k 10 --figure found.png"
    yield f"python -m gluon_cgd export --checkpoint {checkpoint} --onnx model.onnx"
