"""What of an experiment fits people's own pictures where they do not say: rules, each with its reason.

The paper's defaults are for a hundred classes or more and thousands of pictures; a collection has what it has.
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
BATCHES = 2  # that the classes must fill which are left when others are held out
HELD_OUT = 0.2  # of each class's pictures: the more are learned from, the better, and to test even that is enough
MOST_PASSES = 400  # of a handful of pictures, which nothing more is learned from
MOST_IMAGES = 8  # of a class in a batch: the hardest of many positives is often a wrong or a hopeless one


class Choice(NamedTuple):
    """A field of Experiment, what it is to be, and why, in words."""

    field: str
    value: Any
    why: str


def fitted(
    given: Mapping[str, Any], root: Optional[PathLike] = None, allow_partial: bool = False
) -> Tuple[Experiment, Split, List[Choice]]:
    """(Experiment, Split, [Choice, ...]) for the fields `given`, a dict; nothing of it is changed.

    root, allow_partial: as of `datasets.load`. Where the dataset is not people's own, all else is the paper's.
    """
    experiment = Experiment(**given)
    if not datasets.is_own(experiment.dataset):
        return experiment, datasets.split_of(experiment, root, allow_partial), []
    found, parted, _ = folders.listed(experiment.dataset)
    choices = [] if parted else division(list(Counter(label for label, *_ in found).values()), given)
    experiment = replace(experiment, **{one.field: one.value for one in choices})
    split = datasets.split_of(experiment, root, allow_partial)
    sizes = list(Counter(record.label for record in split.train).values())
    choices += schedule(sizes, sum(len(part) for part in split[1:] if part), given)
    return replace(experiment, **{one.field: one.value for one in choices}), split, choices


def division(sizes: Sequence[int], given: Mapping[str, Any]) -> List[Choice]:
    """[Choice, ...] of how to split a collection whose classes have `sizes` pictures, where `given` does not say.

    Few classes are all learned from, and tested on pictures of theirs that were held out: a person's dishes, rooms or
    plants stay the same, and half of them would leave too few. Many classes, or classes of a few pictures as a shop's
    products are, are held out whole, as in the paper: there the next picture is of a class that nobody has seen.
    """
    classes, choices = len(sizes), []
    half, needed = classes - round(PAPER.held_out * classes), BATCHES * PAPER.batch_classes
    divisible = sum(size >= 4 for size in sizes)  # two to train and two to test, see folders.divide
    split = given.get("split")
    if split is None and half < needed and 2 * divisible > classes:
        split = "images"
        why = f"half of the {classes:,} classes would leave {half:,} to learn from, and {BATCHES} batches take {needed}"
        choices.append(Choice("split", split, f"{why}; so all are learned from, and some pictures of each held out"))
    elif split is None:
        split = "classes"
        many = f"there are {classes:,} classes, enough to hold out whole ones, as in the paper"
        few = f"{classes - divisible:,} of {classes:,} classes have fewer than 4 pictures, too few to hold some out"
        choices.append(Choice("split", split, few if half < needed else many))
    if "held_out" not in given:
        fifth = "of the pictures of each class, to test on; the others are learned from"
        share = (HELD_OUT, fifth) if split == "images" else (PAPER.held_out, "of the classes, as in the paper")
        choices.append(Choice("held_out", *share))
    return choices


def schedule(sizes: Sequence[int], tested: int, given: Mapping[str, Any]) -> List[Choice]:
    """[Choice, ...] of batches, passes and evaluations, where `given` does not say.

    sizes: pictures of each class to learn from.  tested: pictures that an evaluation embeds.
    """
    pictures, classes, typical = sum(sizes), len(sizes), max(2, int(statistics.median(sizes)))
    chosen, choices = dict(given), []

    def take(field, value, why):
        if field not in given:
            chosen[field] = value
            choices.append(Choice(field, value, why))

    enough = classes >= PAPER.batch_classes
    every = f"all that there are to learn from, fewer than the paper's {PAPER.batch_classes}"
    take(
        "batch_classes",
        PAPER.batch_classes if enough else max(2, classes),
        f"as in the paper, of {classes:,}" if enough else every,
    )
    images, why = PAPER.batch_images, "as in the paper"
    if not enough and "batch_classes" not in given:
        images = min(max(images, PAPER.batch_size // chosen["batch_classes"]), MOST_IMAGES)
        why = f"so that a batch of {chosen['batch_classes']} classes comes near the paper's {PAPER.batch_size} pictures"
    if typical < images:
        images, why = typical, f"half of the classes have no more than {typical} pictures to learn from"
    take("batch_images", images, why)
    batch = chosen["batch_classes"] * chosen["batch_images"]
    fewest, most = (PAPER.iterations(datasets.OFFICIAL[name][0][0]) for name in ("cub200", "sop"))
    papers = PAPER.passes * pictures / batch  # steps
    passes, why = PAPER.passes, "as in the paper"
    if papers < fewest:
        passes = min(MOST_PASSES, math.ceil(10 * fewest * batch / pictures) / 10)
        why = f"the paper's {PAPER.passes:.1f} would be {papers:,.0f} steps, and its smallest benchmark has {fewest:,}"
    elif papers > most:
        passes = round(most * batch / pictures, 4)
        why = f"the paper's {PAPER.passes:.1f} would be {papers:,.0f} steps, and its largest benchmark has {most:,}"
    take("passes", passes, f"{why}; {max(1, round(passes * pictures / batch)):,} steps of {batch} pictures")
    afforded = max(1, int(chosen["passes"] * pictures / max(1, tested)))  # three times the work of embedding, a picture
    evaluations = min(PAPER.evaluations, afforded)
    few = f"more, of {tested:,} test pictures each, would take longer than a third of the training"
    take("evaluations", evaluations, few if afforded < PAPER.evaluations else f"of {tested:,} test pictures each")
    return choices


def lines(choices: Sequence[Choice]) -> List[str]:
    """`choices` for a person, a line each: "--batch-classes 22: all that there are ..."."""
    return [f"--{one.field.replace('_', '-')} {one.value}: {one.why}" for one in choices]
