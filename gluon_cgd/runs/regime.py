"""Whether the ranking loss of a run has left its margin, and when: contraction and escape.

Hard mining first contracts the embedding: all pictures move to nearly one point, where a loss with a margin is exactly
the margin (see `collapse`). It escapes when the features tell the classes of a batch apart, and falls below the margin.
Only then does it order the embedding. A run that ends before, or whose learning rate falls before, says little of the
method that it is meant to test.

The ranking loss has *left* its margin at the first line of the log whose mean is below `left_below`: half of its value
for a single point (`collapse.at_one_point`). There the nearest negative is on average half a margin farther away than
the farthest positive. The soft margin loss has no margin, and half of its value would ask for a gap of 0.88. It has
left where its mean is below that of a gap of half of the paper's margin.

A loss of margin 0 is 0 for a single point and below nowhere: nothing is said of such a run.
"""

import logging
import math
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from gluon_cgd.experiment import Experiment
from gluon_cgd.runs.collapse import at_one_point

log = logging.getLogger(__name__)
GAP = Experiment().margin / 2  # of the soft margin loss, which has no margin of its own
POINTS = 200  # of a curve in a result; the log has all of them
NEVER = "a ranking loss that never left its margin"
LATE = "a ranking loss that had not left its margin at the first decay"

Point = Tuple[int, Mapping[str, float]]  # an iteration and the means of the losses since the point before


class Watch:
    """The losses of a run at each line of its log. points: those of the checkpoint from which it goes on."""

    def __init__(self, experiment: Experiment, iterations: int, points: Sequence[Point] = ()):
        self.experiment, self.iterations = experiment, iterations
        self.first_decay = first_decay(experiment, iterations)
        self.points: List[Point] = sorted(dict(points).items())

    def note(self, iteration: int, losses: Mapping[str, float]) -> None:
        """Keep the means of the `losses`; at the first decay of the learning rate, say in the log how they stand."""
        while self.points and self.points[-1][0] >= iteration:  # of an older run in the same folder
            self.points.pop()
        self.points.append((iteration, {name: rounded(mean) for name, mean in losses.items()}))
        if iteration == self.first_decay and at_one_point(self.experiment):
            found = of_curve(columns(self.points), self.experiment, self.iterations)
            line = "[Iteration %d] first decay of the learning rate: %s"
            log.info(line, iteration, so_far(found, self.experiment))

    def entries(self) -> Dict[str, Any]:
        """What the result says: {"curve": see `curve`, "regime": see `of_curve`}. Logs a line on the regime."""
        found = of_curve(columns(self.points), self.experiment, self.iterations)
        if found:
            log.info("[Iteration %d] end of training: %s", self.iterations, at_the_end(found, self.experiment))
        return {
            "curve": curve(self.points, self.experiment, self.iterations),
            **({"regime": found} if found else {}),
        }


def rounded(mean: float) -> float:
    """`mean` with four digits that count, as the curve has it."""
    return round(float(f"{mean:.4g}"), 6)


def left_below(experiment: Experiment) -> float:
    """The mean ranking loss below which it has left its margin (see above)."""
    if experiment.loss == "soft_margin":
        ranked = at_one_point(experiment) / math.log(2)  # the number of its ranking losses
        return ranked * math.log1p(math.exp(-GAP))
    return at_one_point(experiment) / 2


def first_decay(experiment: Experiment, iterations: int) -> Optional[int]:
    """The number of steps before the learning rate first falls; None if it does not fall during the run."""
    steps = [round(at * iterations) for at in experiment.decay_at] if experiment.decay_factor < 1 else []
    return next((step for step in steps if 0 < step < iterations), None)


def columns(points: Sequence[Point]) -> Dict[str, List[float]]:
    """{"iteration": [...], "ranking": [...], "classification": [...]} of the points that have a ranking loss."""
    known = [(at, losses) for at, losses in points if "ranking" in losses]
    names = [name for name in ("ranking", "classification") if all(name in losses for _, losses in known)]
    return {"iteration": [at for at, _ in known], **{name: [losses[name] for _, losses in known] for name in names}}


def curve(points: Sequence[Point], experiment: Experiment, iterations: int) -> Dict[str, List[float]]:
    """The `columns` of about POINTS points, among them the first, the last, and all that `of_curve` names."""
    whole = columns(points)
    places, count = whole["iteration"], len(whole["iteration"])
    if count <= POINTS:
        return whole
    found, ranking = of_curve(whole, experiment, iterations), whole["ranking"]
    kept = {round(part * (count - 1) / (POINTS - 1)) for part in range(POINTS)} | {ranking.index(min(ranking))}
    kept |= {index for index, at in enumerate(places) if at in (found.get("left_at"), found.get("first_decay"))}
    return {name: [values[index] for index in sorted(kept)] for name, values in whole.items()}


def of_curve(curve: Mapping[str, Sequence[float]], experiment: Experiment, iterations: int) -> Dict[str, Any]:
    """The regime of a run of `iterations` with this `curve`; {} where there is nothing to say.

    {"left_below": the mean below which the ranking loss has left its margin, "left_at": the first iteration at which it
    was below, or None, "first_decay": as `first_decay`, "left_at_first_decay": whether it had left by then, None
    without a decay, "lowest", "lowest_at": its lowest mean, and at which iteration, "last": its last mean}.
    """
    bound, places, ranking = left_below(experiment), curve["iteration"], curve["ranking"]
    if not bound or not len(ranking):
        return {}
    left_at = next((at for at, mean in zip(places, ranking) if mean < bound), None)
    decay, lowest = first_decay(experiment, iterations), min(ranking)
    return {
        "left_below": rounded(bound),
        "left_at": left_at,
        "first_decay": decay,
        "left_at_first_decay": None if decay is None else left_at is not None and left_at <= decay,
        "lowest": lowest,
        "lowest_at": places[list(ranking).index(lowest)],
        "last": ranking[-1],
    }


def of(result: Mapping[str, Any]) -> Dict[str, Any]:
    """The regime of a finished run, made from its curve; {} for a run of an earlier version, which has none."""
    curve = result.get("curve") or {"iteration": (), "ranking": ()}
    last = curve["iteration"][-1] if curve["iteration"] else 0
    return of_curve(curve, Experiment.from_dict(result.get("experiment", {})), result.get("iterations", last))


def completed(result: Mapping[str, Any], losses: Mapping[int, Mapping[str, float]]) -> Dict[str, Any]:
    """`result`, with the curve that an earlier version did not record, from the `losses` of its log."""
    points = [(at, terms) for at, terms in losses.items() if "ranking" in terms]
    if "curve" in result or not points:
        return {**result}
    experiment = Experiment.from_dict(result.get("experiment", {}))
    return {**result, "curve": curve(points, experiment, result.get("iterations", points[-1][0]))}


def findings(result: Mapping[str, Any]) -> Dict[str, str]:
    """{NEVER or LATE: a sentence without its end} for a run that ended, or decayed, before it left; {} for others."""
    found = of(result)
    if not found or found["left_at_first_decay"] or (found["left_at"] is not None and found["first_decay"] is None):
        return {}
    return {LATE if found["left_at"] is not None else NEVER: sentence(result)}


def sentence(result: Mapping[str, Any]) -> str:
    """Whether, and when, the ranking loss of a finished run left its margin, without its end; "" where unknown."""
    found = of(result)
    return at_the_end(found, Experiment.from_dict(result.get("experiment", {}))) if found else ""


def place(experiment: Experiment) -> str:
    """What a ranking loss of `experiment` leaves, in words."""
    return "its margin" if at_one_point(experiment) == experiment.margin else "its value for a single point"


def _bound(experiment):
    """ "0.05, half of 0.1": the mean below which the ranking loss has left, and what that is."""
    if experiment.loss == "soft_margin":
        return f"{left_below(experiment):.4g}, its value where negatives are {GAP:g} farther than positives"
    return f"{left_below(experiment):.4g}, half of {at_one_point(experiment):.4g}"


def so_far(found: Mapping[str, Any], experiment: Experiment) -> str:
    """Whether the ranking loss has left, with the numbers, in the middle of a run. found: see `of_curve`."""
    if found["left_at"] is not None:
        return f"the ranking loss has left {place(experiment)}, at iteration {found['left_at']}{_below(experiment)}"
    return f"the ranking loss has not left {place(experiment)}{_lowest(found, experiment)}"


def at_the_end(found: Mapping[str, Any], experiment: Experiment) -> str:
    """Whether, and when, the ranking loss left its margin, with the numbers, after a run. found: see `of_curve`."""
    if found["left_at"] is None:
        return f"the ranking loss never left {place(experiment)}{_lowest(found, experiment)}"
    told = f"at iteration {found['left_at']}{_below(experiment)}; its last mean is {found['last']:.4f}"
    if found["left_at_first_decay"] is False:
        return (
            f"the ranking loss left {place(experiment)} only after the first decay of the learning rate (at iteration "
            f"{found['first_decay']}), {told}"
        )
    return f"the ranking loss left {place(experiment)} {told}"


def _below(experiment):
    return f" (the first mean below {_bound(experiment)})"


def _lowest(found, experiment):
    return (
        f": its lowest mean, {found['lowest']:.4f} at iteration {found['lowest_at']}, is not below {_bound(experiment)}"
    )
