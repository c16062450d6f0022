"""Rules that choose the settings of an experiment on people's own pictures, each with its reason.

The defaults are for a hundred classes or more and thousands of pictures; a collection may be much smaller.
"""

import math
import statistics
from collections import Counter
from dataclasses import replace
from typing import Any, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from gluon_cgd import datasets
from gluon_cgd.datasets import folders
from gluon_cgd.datasets.records import PathLike, Split
from gluon_cgd.experiment import Experiment

PAPER = Experiment()
BATCHES = 2  # holding out whole classes must leave training classes for this many batches
HELD_OUT = 0.2  # share of each class's pictures to test on: enough for that, and most are left to train on
MOST_PASSES = 400  # over a few pictures: more passes teach nothing more
MOST_IMAGES = 8  # of a class in a batch: the hardest of many positives is often mislabelled or hopeless


class Choice(NamedTuple):
    """A field of Experiment, its value, and the reason in words."""

    field: str
    value: Any
    why: str


def fitted(
    given: Mapping[str, Any], root: Optional[PathLike] = None, allow_partial: bool = False
) -> Tuple[Experiment, Split, List[Choice]]:
    """(Experiment, Split, [Choice, ...]): the fields `given` keep their values, the others are chosen.

    root, allow_partial: see `datasets.load`. For a dataset that is not people's own nothing is chosen: the paper's
    values hold.
    """
    experiment = Experiment(**given)
    if not datasets.is_own(experiment.dataset):
        return experiment, datasets.split_of(experiment, root, allow_partial), []
    listing = folders.listed(experiment.dataset, allow_partial)
    sizes = list(Counter(label for label, *_ in listing.pictures).values())
    choices = [] if listing.parted else division(sizes, given)
    experiment = replace(experiment, **{choice.field: choice.value for choice in choices})
    split = datasets.split_of(experiment, root, allow_partial)
    sizes = list(Counter(record.label for record in split.train).values())
    if len(sizes) < 2:
        rule = "a folder for each class in each part" if listing.parted else "a folder for each class"
        raise ValueError(
            f"{experiment.dataset} has {len(sizes)} class to train on, and 2 are needed at least: make {rule}"
        )
    choices += schedule(sizes, sum(len(part) for part in split[1:] if part), given)
    return replace(experiment, **{choice.field: choice.value for choice in choices}), split, choices


def division(sizes: Sequence[int], given: Mapping[str, Any]) -> List[Choice]:
    """[Choice, ...] of how to split a collection whose classes have `sizes` pictures, for fields that are not `given`.

    With few classes, all are trained on, and some pictures of each are held out to test on: a person's dishes, rooms or
    plants stay the same, and half of them would be too few. With many classes, or classes of few pictures like a shop's
    products, whole classes are held out, as in the paper: there the next picture is of a new class.
    """
    classes, choices = len(sizes), []
    half, needed = classes - round(PAPER.held_out * classes), BATCHES * PAPER.batch_classes
    divisible = sum(size >= 4 for size in sizes)  # two to train and two to test, see folders.divide
    split = given.get("split")
    if split is None and half < needed and 2 * divisible > classes:
        split = "images"
        why = (
            f"{classes:,} classes are too few to keep half of them for the test ({half:,} would be left, {needed} are "
            "needed); so every class is trained on, and some pictures of each are kept for the test"
        )
        choices.append(Choice("split", split, why))
    elif split is None and classes < 4:
        split = "images"
        why = f"{classes} classes are too few to hold out whole ones; so every class is trained on"
        choices.append(Choice("split", split, why))
    elif split is None:
        split = "classes"
        many = f"{classes:,} classes are enough to hold out whole ones, as in the paper"
        few = f"{classes - divisible:,} of {classes:,} classes have fewer than 4 pictures, too few to hold some out"
        choices.append(Choice("split", split, few if half < needed else many))
    if "held_out" not in given and (split == "classes" or divisible):
        fifth = "of the pictures of each class are for testing, the others for training"
        share = (
            (HELD_OUT, fifth)
            if split == "images"
            else (PAPER.held_out, "of the classes are for testing, as in the paper")
        )
        choices.append(Choice("held_out", *share))
    return choices


def schedule(sizes: Sequence[int], tested: int, given: Mapping[str, Any]) -> List[Choice]:
    """[Choice, ...] of batches, passes and evaluations, for fields that are not `given`.

    sizes: training pictures of each class.  tested: test pictures, which each evaluation embeds.
    """
    pictures, classes, typical = sum(sizes), len(sizes), max(2, int(statistics.median(sizes)))
    chosen, choices = dict(given), []

    def take(field, value, why):
        if field not in given:
            chosen[field] = value
            choices.append(Choice(field, value, why))

    enough, default_classes = classes >= PAPER.batch_classes, PAPER.batch_classes
    why = (
        f"the default, of {classes:,}"
        if enough
        else f"all training classes, fewer than the default of {default_classes}"
    )
    take("batch_classes", default_classes if enough else max(2, classes), why)
    images, why = PAPER.batch_images, "the default"
    if not enough and "batch_classes" not in given:
        images = min(max(images, PAPER.batch_size // chosen["batch_classes"]), MOST_IMAGES)
        why = f"with {chosen['batch_classes']} classes this comes near the paper's batch of {PAPER.batch_size} pictures"
    if typical < images:
        images, why = typical, f"half of the classes have no more than {typical} training pictures"
    take("batch_images", images, why)
    batch = chosen["batch_classes"] * chosen["batch_images"]
    fewest, most = (PAPER.iterations(datasets.OFFICIAL[name][0][0]) for name in ("cub200", "sop"))
    steps = PAPER.passes * pictures / batch
    passes, why = PAPER.passes, "the default"
    if steps < fewest:
        passes = min(MOST_PASSES, math.ceil(10 * fewest * batch / pictures) / 10)
        why = f"the default, {PAPER.passes:.1f}, is {steps:,.0f} steps; the paper's smallest benchmark has {fewest:,}"
    elif steps > most:
        passes = round(most * batch / pictures, 4)
        why = f"the default, {PAPER.passes:.1f}, is {steps:,.0f} steps; the paper's largest benchmark has {most:,}"
    take("passes", passes, f"{why}; {max(1, round(passes * pictures / batch)):,} steps of {batch} pictures")
    afforded = max(
        1, int(chosen["passes"] * pictures / max(1, tested))
    )  # a training step costs three times an embedding
    evaluations = min(PAPER.evaluations, afforded)
    few = f"more, of {tested:,} test pictures each, would take longer than a third of the training"
    take("evaluations", evaluations, few if afforded < PAPER.evaluations else f"of {tested:,} test pictures each")
    return choices


def lines(choices: Sequence[Choice]) -> List[str]:
    """A line for each of `choices`: "--batch-classes 22: all training classes ..."."""
    return [f"--{choice.field.replace('_', '-')} {choice.value}: {choice.why}" for choice in choices]
