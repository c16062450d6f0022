"""What the JSON files of runs hold, declared once: results, checkpoints, and what lies beside a published model.

A rule is a function of a value and of the name of its place; it returns what is wrong, as the rest of a sentence that
begins with the file's name, or None. Entries that no rule names are left alone: later versions may add some.
"""

import re
from typing import Any, Callable, Mapping, Optional

from gluon_cgd.experiment import Experiment
from gluon_cgd.runs.fields import is_number, is_whole, shown

Rule = Callable[[Any, str], Optional[str]]
MOST = 10**9  # iterations; more than any run makes
CLASSES = 10**7  # of a classifier; its weights alone would fill 30 GB


def whole(low: int, high: int) -> Rule:
    """The rule of a whole number from `low` to `high`."""
    return _within(is_whole, "a whole number", low, high)


def number(low: float, high: float) -> Rule:
    """The rule of a finite number from `low` to `high`."""
    return _within(is_number, "a number", low, high)


def _within(has_type, kind, low, high):
    def rule(value, place):
        if not has_type(value) or not low <= value <= high:
            return f"has {place} {shown(value)}, which must be {kind} from {low:,} to {high:,}"
        return None

    return rule


def text(value: Any, place: str) -> Optional[str]:
    """The rule of a text, of no more than 4,096 characters."""
    fits = isinstance(value, str) and len(value) <= 4096
    return None if fits else f"has {place} {shown(value)}, which must be a text of at most 4,096 characters"


def truth(value: Any, place: str) -> Optional[str]:
    """The rule of True or False."""
    return None if isinstance(value, bool) else f"has {place} {shown(value)}, which must be true or false"


def optional(rule: Rule) -> Rule:
    """The rule of a value that obeys `rule` or is null."""
    return lambda value, place: None if value is None else rule(value, place)


def each(rule: Rule, keys: str = ".{0,200}", of: type = dict) -> Rule:
    """The rule of a table, or with `of=list` of a list, all of whose values obey `rule`.

    keys: a regular expression of a table's keys.
    """

    def checked(value, place):
        if not isinstance(value, of):
            return f"has {place} {shown(value)}, which must be a {'table' if of is dict else 'list'}"
        wrong = [key for key in value if not re.fullmatch(keys, key, re.DOTALL)] if of is dict else []
        if wrong:
            return f"has {shown(wrong[0])} under {place}, which is no name that belongs there"
        return _first(rule(part, place) for part in (value.values() if of is dict else value))

    return checked


def fields(needed: Mapping[str, Rule], others: Optional[Mapping[str, Rule]] = None, *more: Rule) -> Rule:
    """The rule of a table that has the entries `needed` and may have `others`; as a whole it obeys `more` rules."""
    rules = {**needed, **(others or {})}

    def checked(value, place):
        if not isinstance(value, dict):
            return f"has {place or 'contents'} {shown(value)}, which must be a table"
        missing = [name for name in needed if name not in value]
        if missing:
            return f"has no {missing[0]!r} under {place}" if place else f"has no {missing[0]!r}"
        under = f" under {place}" if place else ""
        wrong = _first(rule(value[name], f"{name!r}{under}") for name, rule in rules.items() if name in value)
        return wrong or _first(rule(value, place) for rule in more)

    return checked


def _first(wrongs):
    return next((wrong for wrong in wrongs if wrong), None)


def experiment(value: Any, place: str) -> Optional[str]:
    """The rule of the fields of an Experiment: those that the class itself checks."""
    if not isinstance(value, dict):
        return f"has {place} {shown(value)}, which must be a table"
    try:
        Experiment.from_dict(value)
    except ValueError as error:
        return f"has an experiment that cannot be ({error})"
    return None


def classes(value: Any, place: str) -> Optional[str]:
    """The rule of a number of classes."""
    if is_whole(value) and value > CLASSES:
        return f"has {shown(value)} classes, and {CLASSES:,} are the most"
    return None if is_whole(value) and value >= 1 else f"has {shown(value)} classes"


def recall(value: Any, place: str) -> Optional[str]:
    """The rule of {"R@1": fraction, ...}; where a K is given, R@1 is."""
    wrong = each(lambda *_: None, "R@[1-9][0-9]{0,8}")(value, place)
    if wrong or not value:
        return wrong
    if not all(is_number(fraction) and 0 <= fraction <= 1 for fraction in value.values()):
        return f"has a recall under {place} that is not between 0 and 1"
    return None if "R@1" in value else f"has recalls under {place} without R@1"


def measured(value: Any, place: str) -> Optional[str]:
    """The rule of a recall that is there: its R@1 is."""
    return recall(value, place) or (None if value else f"has no R@1 under {place}")


def alike(value: Any, place: str) -> Optional[str]:
    """The rule of the evaluations of one run: all of them have the same K and the same branches."""
    kinds = {(tuple(entry["recall"]), tuple(entry.get("branches", ()))) for entry in value}
    return f"has evaluations under {place} that differ in what they measure" if len(kinds) > 1 else None


STAGES = ("untrained", "last", "best")
LOSS = number(-(10**30), 10**30)
COSINE = optional(number(-1.01, 1.01))  # None where no two test pictures are of one class, or of two
EVALUATION = fields(
    {"iteration": whole(0, MOST), "recall": measured},
    {"branches": each(measured), "spread": fields({"same": COSINE, "other": COSINE}), "losses": each(LOSS)},
)


def history(value: Any, place: str) -> Optional[str]:
    """The rule of the evaluations of a run, in their order."""
    return each(EVALUATION, of=list)(value, place) or alike(value, place)


def branches(value: Any, place: str) -> Optional[str]:
    """The rule of the recall of each branch at each of STAGES."""
    return fields({}, dict.fromkeys(STAGES, each(measured)))(value, "" if isinstance(value, dict) else place)


def evaluations(value: Any, place: str) -> Optional[str]:
    """The rule of the history in a checkpoint: a list that is not empty; `history` says what its entries are."""
    return each(fields({}), of=list)(value, place) or (None if value else f"has no {place}")


def logged(value: Any, place: str) -> Optional[str]:
    """The rule of an iteration with its losses, as train.log has them: [50, {"ranking": 0.1}]."""
    if not isinstance(value, list) or len(value) != 2:
        return f"has {place} {shown(value)}, which must be an iteration and its losses"
    return whole(1, MOST)(value[0], place) or each(number(-1e38, 1e38), r"\w{1,100}")(value[1], place)


def curve(value: Any, place: str) -> Optional[str]:
    """The rule of a curve of `regime`: equally many rising iterations and finite mean losses, and not none."""
    losses = each(number(-1e39, 1e39), of=list)  # of float32
    wrong = fields({"iteration": each(whole(1, MOST), of=list), "ranking": losses}, {"classification": losses})(
        value, place
    )
    if wrong:
        return wrong
    iterations = value["iteration"]
    if not iterations or any(
        len(value.get(name, iterations)) != len(iterations) for name in ("ranking", "classification")
    ):
        return f"has lists under {place} that are empty or of different lengths"
    return None if iterations == sorted(set(iterations)) else f"has iterations under {place} that do not rise"


STEP = optional(whole(1, MOST))
REGIME = fields(
    {"left_below": LOSS, "left_at": STEP, "first_decay": STEP, "left_at_first_decay": optional(truth)},
    {"lowest": LOSS, "lowest_at": STEP, "last": LOSS},
)
FILES = each(text)
# Of a run that another engine than MXNet trained
ENGINE = fields({"name": text, "precision": text}, {"deterministic": truth, "device": text, "versions": each(text)})
OF_A_RUN: Mapping[str, Rule] = {  # what identifies a run, and how it was made: not in every version's files
    "revision": whole(0, MOST),
    "data": optional(text),
    "weights": optional(text),
    "parts": whole(1, MOST),
    "device": optional(text),
    "machine": optional(text),
    "threads": optional(whole(0, MOST)),
    "commit": optional(text),
    "versions": optional(each(optional(text))),
    "parameters_sha256": optional(text),
    "files": FILES,
    "seconds": number(0, 10**10),
    "engine": ENGINE,
}
SEED = whole(0, 2**31 - 1)
OUTCOME: Mapping[str, Rule] = {
    "seed": SEED,
    "classes": classes,
    "untrained": recall,
    "last": measured,
    "best": measured,
}
MORE: Mapping[str, Rule] = {
    **OF_A_RUN,
    "iterations": whole(1, MOST),
    "best_iteration": whole(0, MOST),
    "branches": branches,
    "history": history,
    "curve": curve,
    "regime": REGIME,
    "training": optional(fields({})),  # `training_part.trained_of` says what is in it
}
RESULT = fields({"experiment": experiment, **OUTCOME}, MORE)
RECORDED = fields({"experiment": experiment, "runs": each(fields(OUTCOME, MORE), of=list)})  # of `reproduce --record`
CHECKPOINT = fields(
    {
        "experiment": experiment,
        "iteration": whole(1, MOST),
        "history": evaluations,
        "seconds": number(0, 10**10),
    },
    {
        "files": FILES,
        "engine": ENGINE,
        "pending": each(each(LOSS, of=list), of=list),
        "logged": each(logged, of=list),
        "curve": each(logged, of=list),
    },
)
PUBLISHED = fields(  # what `zoo.save` writes beside a model
    {"experiment": experiment, "classes": classes, "sha1": text},
    {"name": text, "which": optional(text), "recall": optional(recall), "seed": optional(SEED), **OF_A_RUN},
)
