"""A student report that put CGD to 22 classes of dishes: its Tables 1 to 3, on pictures of the reader's own.

Its about 1,500 photos are not to be had, so its numbers stand beside ours and are no measure for them. Every recall of
it is a multiple of 1/176: it held out eight pictures of each class, as ours are split where there are few classes.
"""

import json
import logging
import os
from dataclasses import replace
from pathlib import Path

from gluon_cgd import datasets
from gluon_cgd.datasets import settings
from gluon_cgd.datasets.records import counted
from gluon_cgd.experiment import Experiment
from gluon_cgd.files import grid
from gluon_cgd.files.whole import write_json
from reproduce import store
from reproduce.report import formats
from reproduce.tables import Cell, Row, Table, mini, number

log = logging.getLogger("reproduce")
ACCURACY = "train_accuracy.json"  # beside the result of a run
SINGLE = ("Train accuracy", "R@1", "R@2", "R@4", "R@8")
TABLES = (  # title, heads of the first columns, columns, {what stands in the first columns: numbers}
    (
        "Table 1. Results of using global descriptor individually, Wide-ResNet50",
        ("Config.", "Dim."),
        SINGLE,
        {
            "S 1536": "99.8 81.3 86.9 92.0 94.9",
            "G 1536": "100.0 81.3 87.5 92.0 94.9",
            "M 1536": "32.3 14.7 23.3 32.9 53.4",
        },
    ),
    (
        "Table 2. Results of combining S and G, Wide-ResNet50",
        ("Config.", "Dim."),
        SINGLE,
        {
            "GS 512": "99.2 75.0 84.1 90.9 96.0",
            "SG 512": "100 86.4 90.3 94.3 98.3",
            "GS 768": "99.8 83.0 87.5 91.5 94.9",
            "SG 768": "100 85.2 88.6 93.8 97.7",
        },
    ),
    (
        "Table 3. Results of using different backbones, SG 512",
        ("Backbone",),
        ("Train accuracy", "R@1", "R@8"),
        {
            "ResNet50": "99.9 83.5 96.0",
            "ResNet101": "100 79.5 94.9",
            "ResNext50": "99.9 83.5 97.2",
            "ResNext101": "100 84.7 97.2",
            "Wide-ResNet50": "100 86.4 98.3",
            "EfficientNet-B5": "100 85.8 96.0",
        },
    ),
)
BACKBONES = {
    "ResNet50": "resnet50",
    "ResNet101": "resnet101",
    "ResNext50": "resnext50",
    "ResNext101": "resnext101",
    "Wide-ResNet50": "wide_resnet50",
    "EfficientNet-B5": "efficientnet_b5",
}
BASELINE = "Wide-ResNet50"


def base_experiment(dataset, small):
    """(Experiment, lines) that all rows start from: with `small` the paper's, else what fits the pictures `dataset`.

    Raises ValueError for a dataset that is not people's own, and where one is lacking or one too many.
    """
    if small:
        if dataset:
            raise ValueError("--mini runs on the embedded benchmark: leave --dataset out, or --mini")
        return Experiment(), []
    if not dataset or not datasets.is_own(dataset):
        what = f"--dataset {dataset} is not there" if dataset else "report needs --dataset"
        raise ValueError(f"{what}: name a folder with a folder a class, or a .csv file; or say --mini")
    given = {"dataset": os.path.abspath(dataset)}  # the same runs, wherever the command is typed
    base, split, choices = settings.fitted(given)
    return base, [f"{dataset}: {counted(split)}", *settings.lines(choices)]


def table(base, small):
    """The rows of all three tables as one Table; equal ones of two tables are one experiment, trained once.

    With `small` the other backbones of Table 3 are only printed: the mini form of each is the same small network.
    """
    rows = []
    for _, _, columns, numbers in TABLES:
        for name, text in numbers.items():
            backbone = BACKBONES.get(name, BACKBONES[BASELINE])
            letters, dim = ("SG", 512) if name in BACKBONES else name.split()
            experiment = replace(base, backbone=backbone, descriptors=letters, dim=int(dim))
            published = {column: Cell(float(n), None, None, "single") for column, n in zip(columns, text.split())}
            own = not small or backbone == BACKBONES[BASELINE]
            rows.append(Row(name, experiment if own else None, published, mini(experiment) if small and own else None))
    # Of how many runs its numbers are, it does not say
    return Table("report", "a student report's tables, on pictures of one's own", tuple(rows), seeds=1, judged=False)


def measure(experiments, seeds, runs, data, ctx, which):
    """Leave beside each finished run of `experiments` how many of its training pictures it classifies right.

    By its `which` parameters, on the pictures as a test takes them: resized, not cropped or flipped. Done once.
    """
    from gluon_cgd.datasets.cache import cached
    from gluon_cgd.evaluate import accuracy
    from gluon_cgd.machine import devices
    from gluon_cgd.models.opened import load_trained

    for experiment in experiments:
        for result in store.results(runs, experiment, seeds):
            folder = store.folder(runs, experiment, result["seed"])
            known = accuracies(folder, result)
            if which in known:
                continue
            contexts = devices.contexts(ctx)
            net, _ = load_trained(folder, which, contexts)
            train = store.load_data(experiment, data).train
            log.info("accuracy on %d training pictures: %s", len(train), folder)
            found = accuracy(net, cached(train, experiment.input_size), [record.label for record in train], contexts)
            of = {"parameters_sha256": result.get("parameters_sha256")}
            write_json(folder / ACCURACY, {**of, "accuracy": {**known, which: found}})


def accuracies(folder, result):
    """{"last": fraction, ...} that `measure` left for the run of `result`; {} where nothing is, or another run's."""
    try:
        found = json.loads((Path(folder) / ACCURACY).read_text(encoding="utf-8"))
        values = {which: float(value) for which, value in found["accuracy"].items()}
        return values if found["parameters_sha256"] == result.get("parameters_sha256") else {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # it is made anew
        return {}


def results(runs, experiment, seeds):
    """As `runs.results`, with the accuracies that `measure` left under "train_accuracy"."""
    found = store.results(runs, experiment, seeds)
    return [{**one, "train_accuracy": accuracies(store.folder(runs, experiment, one["seed"]), one)} for one in found]


def header(small, which):
    """What the tables are, in lines."""
    lines = [
        "A student report's tables (22 classes of Vietnamese dishes, about 1,500 photos), in %.",
        "'report' is what it printed, of pictures that are not these: its numbers are no measure for ours.",
        f"'{'mini' if small else 'ours'}' is the {which} evaluation of each run, 'untrained' that of its first moment.",
    ]
    if small:
        lines += [
            "MINI: on the embedded benchmark (glyphs), an eighth of the dimensions, and a small network from random",
            f"parameters. It stands for {BASELINE}; the other backbones of Table 3 have no mini form.",
        ]
    return lines


def grids(rows, small):
    """(title, the table as lists of cells, its head first) for each of the three."""
    entries = {row.row: row for row in rows}
    for title, heads, columns, numbers in TABLES:
        lines = [[*heads, "", *columns]]
        for name in numbers:
            row, first = entries[name], name.split(" ", len(heads) - 1)
            sources = [("report", row.published)]
            if row.experiment:
                sources += [("mini" if small else "ours", row.ours), ("untrained", row.untrained)]
            for place, (source, cells) in enumerate(sources):
                shown = [number(cells.get(column)) for column in columns]
                lines.append([*(first if place == 0 else [""] * len(first)), source, *shown])
        yield title, lines


def as_text(table, rows, small, which):
    """The tables for a terminal. Arguments as in `formats.as_text`."""
    text = header(small, which)
    for title, lines in grids(rows, small):
        text += ["", title, *grid.as_text(lines)]
    return "\n".join(text)


def write(table, rows, small, which, runs):
    """Leave the report under `runs`/reports as .md and .json; returns the names of the files."""
    text = ["# A student report's tables", "", *header(small, which)]
    for title, lines in grids(rows, small):
        text += ["", f"## {title}", "", grid.as_markdown(lines)]
    stem = formats.write_files(table, rows, small, which, runs, "\n".join(text) + "\n")
    return f"{stem}.md, .json"
