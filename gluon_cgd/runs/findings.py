"""What is to be said against a finished run, wherever its numbers are shown; the definitions are in other files.

`collapse` has those of a run that collapsed or got worse, `regime` those of a ranking loss that stayed at its margin,
and `stand_in` knows the runs of a rehearsal.
"""

import logging
from typing import Any, Dict, List, Mapping

from gluon_cgd.datasets.records import PathLike
from gluon_cgd.experiment import Experiment
from gluon_cgd.files import stand_in
from gluon_cgd.runs import collapse, regime

log = logging.getLogger(__name__)


def findings(result: Mapping[str, Any], which: str = "last") -> Dict[str, str]:
    """What is wrong with a run at its "last" or "best" evaluation: {finding: sentence without its end}; {} for most."""
    return {**made_up(result), **collapse.findings(result, which), **regime.findings(result)}


def made_up(result: Mapping[str, Any]) -> Dict[str, str]:
    """The finding of a rehearsal's run; {} for a real one."""
    parts = stand_in.of(result)
    sentence = f"a rehearsal: its {parts} are made up, so that its numbers say nothing about the paper"
    return {stand_in.FINDING: sentence} if parts else {}


def predicate(finding: str) -> str:
    """A finding as what runs do: "are worse than untrained", "have a ranking loss that never left its margin"."""
    return f"{'have' if finding in (regime.NEVER, regime.LATE) else 'are'} {finding}"


def completed(result: Mapping[str, Any], losses: Mapping[int, Mapping[str, float]], *measured: Any) -> Dict[str, Any]:
    """`result`, with what earlier versions did not record: the `losses` of its log; measured: see `collapse`."""
    return regime.completed(collapse.completed(result, losses, *measured), losses)


def warnings(result: Mapping[str, Any], which: str = "last") -> List[str]:
    """A sentence for each of the `findings`, and one with the remedies; [] without a finding."""
    found = findings(result, which)
    if not found:
        return []
    experiment = Experiment.from_dict(result.get("experiment", {}))
    if set(found) == {stand_in.FINDING}:
        return list(found.values())
    return [*found.values(), f"usual remedies: {collapse.remedies(experiment)}; see docs/training.md"]


def warn(folder: PathLike, result: Mapping[str, Any]) -> None:
    """Log the `warnings` of the run in `folder`."""
    for sentence in warnings(result):
        log.warning("WARNING: %s: %s", folder, sentence)
