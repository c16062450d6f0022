"""The test part of a dataset for one model: without pictures that it was trained on, and what to know of it."""

import logging
import os
from collections import Counter
from typing import List, Optional, Set, Tuple

from gluon_cgd import datasets
from gluon_cgd.datasets import folders
from gluon_cgd.datasets.cache import fingerprint
from gluon_cgd.datasets.records import PathLike, Record, Split, counted, is_searched_in_training, limits
from gluon_cgd.datasets.training_part import (
    Trained,
    contents_of,
    hash_of_test,
    hashes_of,
    learned_boxes,
    place_of,
    said_of_copies,
    tested_records,
)
from gluon_cgd.experiment import Experiment

log = logging.getLogger(__name__)


def load_tested(
    experiment: Experiment, trained: Optional[Trained], root: Optional[PathLike] = None, allow_partial: bool = False
) -> Tuple[Split, List[str]]:
    """(the Split of `experiment`'s dataset on which a model can be tested, what is to be known of it, in sentences).

    The sentences are logged as warnings too.  trained: what the model says, None if it says nothing.
    root, allow_partial: see `datasets.load`. Raises as that does, and as `tested_part`.
    """
    split = datasets.split_of(experiment, root, allow_partial)
    said: List[str] = []
    if trained is not None:
        split, said = tested_part(split, experiment.dataset, experiment.split, trained)
    if datasets.is_own(experiment.dataset):
        log.info("%s: %s", experiment.dataset, counted(split))
    said += limits(split, datasets.recall_ks(experiment.dataset))
    for sentence in said:
        log.warning("%s", sentence)
    return split, said


def check_unchanged(split: Split, dataset: str, trained: Trained, why: str) -> None:
    """Raise ValueError if `split` of `dataset` is not that of the training. why: what that spoils, in words."""
    if trained.data is None:
        log.warning("the run does not say what %s was when it was trained: %s if it has changed", dataset, why)
    elif not _as_before(split, trained):
        raise ValueError(f"{dataset} has changed since the training, and {why}: restore the pictures, or train again")


def _as_before(split: Split, trained: Trained) -> bool:
    """Whether `split` has the files that the model was trained on, and tests the same pictures."""
    if trained.data != fingerprint([record for part in split for record in part or ()]):
        return False
    if trained.part is None:
        return True
    return trained.part["test_hash"] == hash_of_test(split, contents_of(tested_records(split)))


def tested_part(split: Split, dataset: str, how: str, trained: Trained) -> Tuple[Split, List[str]]:
    """(the Split on which a model can be tested, sentences about it): no test picture is one that it was trained on.

    split: that of `dataset` as it is now, drawn by the rule `how` ("classes" or "images").  trained: what the model
    says. A dataset that is as it was at the training keeps its Split. In one that has changed, the training part is the
    pictures that the model was trained on, wherever they are now, and the others are the test part.
    Raises ValueError if there are no others.
    """
    everything = [*split.train, *split.query, *(split.gallery or [])]
    same_place = os.path.realpath(dataset) == os.path.realpath(trained.dataset)
    as_before = _as_before(split, trained)
    if dataset in datasets.NAMES:
        differs = dataset == trained.dataset and trained.data is not None and not as_before
        copy = f"this copy of {dataset} is not the one that the model was trained on: do not compare with its record"
        return split, [copy] * differs + _about_boxes(split, dataset, trained)
    if trained.part is None:
        return split, _unknown(dataset, trained, as_before, same_place) + _about_boxes(split, dataset, trained)
    if as_before:
        return split, said_of_copies(trained.part)
    known = _known(everything, dataset, hashes_of(trained.part), same_place)
    if not known and not same_place:
        return split, [_other(split, dataset, trained), *_about_boxes(split, dataset, trained)]
    new, rest = _divided(split, dataset, how, known)
    if not new.query or new.gallery == []:
        raise ValueError(
            f"the model was trained on all pictures of {dataset} that could be tested, or on others of their classes: "
            "add pictures that it has not seen, or name another --dataset"
        )
    return new, [_changed(dataset, trained, new) + rest, *_about_boxes(new, dataset, trained)]


def _other(split: Split, dataset: str, trained: Trained) -> str:
    """The sentence for another dataset than that of the training, without one file of it."""
    assert trained.part is not None
    learned = {place for _, place in hashes_of(trained.part)}
    alike = sum(place_of(record.path, dataset) in learned for record in tested_records(split))
    other = f"the model was trained on {trained.dataset}, and none of those files is in {dataset}"
    words = f"{other}; its test part is drawn in the same way"
    if alike:
        words += (
            f"; {alike:,} test pictures have the names of training pictures: if they are the same pictures, saved "
            "again, the model was trained on them, and the recall is too high"
        )
    return words


def _known(records: List[Record], dataset: str, hashes: List[Tuple[bytes, bytes]], same_place: bool) -> Set[str]:
    """The paths of `records` whose picture is one of `hashes`: by its content, or saved again at the same place."""
    contents = contents_of(records)
    learned, there = {content for content, _ in hashes}, set(contents.values())
    known = {path for path, content in contents.items() if content in learned}
    if known or same_place:  # in another folder the same names say nothing
        lost = {place for content, place in hashes if content not in there}
        known |= {path for path in contents if place_of(path, dataset) in lost}
    return known


def _divided(split: Split, dataset: str, how: str, known: Set[str]) -> Tuple[Split, str]:
    """(Split whose training part is the pictures `known`, words on those that are in neither part)."""
    small = is_searched_in_training(split)
    if not small and (split.gallery is not None or folders.listed(dataset, allow_partial=True).parted):
        train = [record for part in split for record in part or () if record.path in known]
        query, gallery = ([r for r in part if r.path not in known] if part else None for part in split[1:])
        new = sum(record.path not in known for record in split.train)
        return Split(train, query or [], gallery), f"; {new:,} others are in its training part" * bool(new)
    records = sorted([*split.train, *split.query], key=lambda record: (record.label, record.path))
    train = [record for record in records if record.path in known]
    test = [record for record in records if record.path not in known]
    seen, counts = {record.label for record in train}, Counter(record.label for record in test)
    # As in `folders.divide`: classes that nothing was trained on, or at least two pictures of a class
    test = [r for r in test if (r.label not in seen if how == "classes" else counts[r.label] > 1)]
    if how != "classes" and (small or not test):
        test = [r for r in records if r.path not in known and r.label in seen]  # one of each is searched in the others
        return Split(train, test, train), ""
    rest, why = len(records) - len(train) - len(test), "the only one of their class"
    why = "of training classes" if how == "classes" else why
    return Split(train, test), f"; {rest:,} others are in neither part ({why})" * bool(rest)


def _changed(dataset: str, trained: Trained, new: Split) -> str:
    """The sentence for a dataset that has changed since the training."""
    assert trained.part is not None
    tested = len(tested_records(new))
    same_place = os.path.realpath(dataset) == os.path.realpath(trained.dataset)
    changed = "has changed since the training" if same_place else f"is not what {trained.dataset} was at the training"
    return (
        f"{dataset} {changed}: the model was trained on {len(new.train):,} of its pictures "
        f"({trained.part['pictures']:,} at the training), which are not tested; the test pictures are {tested:,} others"
        f" ({trained.part['tested']:,} at the training), so do not compare this recall with the recorded one"
    )


def _unknown(dataset: str, trained: Trained, as_before: bool, same_place: bool) -> List[str]:
    """What is to be said of a model that does not list its training pictures, on people's own pictures."""
    if as_before or trained.dataset in datasets.NAMES:
        return []
    changed = f"{dataset} has changed since the training" if same_place and trained.data else f"{dataset} is tested"
    return [
        f"{changed}, and the model does not say which pictures it was trained on (an earlier version wrote it): some "
        "of them may be among the test pictures, which makes the recall too high; train again to be sure"
    ]


def _about_boxes(split: Split, dataset: str, trained: Trained) -> List[str]:
    """A sentence if the model was trained on boxes and is tested on whole pictures, or the other way round."""
    if trained.part is None and trained.dataset not in datasets.NAMES:
        return []
    boxes = learned_boxes(trained)
    tested = any(record.box for record in split.query)
    if boxes == tested:
        return []
    kinds = {True: "pictures cut out by their boxes", False: "whole pictures"}
    return [f"the model was trained on {kinds[boxes]}, and {dataset} has {kinds[tested]}: expect a lower recall"]
