"""The runs behind a number of the page: what was trained, how it came out, and where that comes from."""

from pathlib import Path
from typing import NamedTuple, Tuple

from gluon_cgd.engines import choice
from gluon_cgd.experiment import Experiment
from gluon_cgd.runs import findings
from reproduce import store
from reproduce.page import svg
from reproduce.report.comparison import recall
from visualize import curves


class Runs(NamedTuple):
    """The finished runs of one experiment, as a part of the page (templates/runs.html)."""

    experiment: Experiment
    names: Tuple[str, ...]  # of the rows that they are behind, "Table 1 Both", ...
    results: Tuple[dict, ...]  # as `train.fit` returns them
    wanted: int  # how many there should be
    which: str  # "last" or "best": of the recalls of single branches

    def ks(self):
        """The recalls that a run has: ["R@1", "R@2", ...]."""
        return list(dict.fromkeys(k for result in self.results for k in result["last"]))

    def branches(self):
        """The branches whose recall is known: ["SPoC", "MAC"]."""
        names = [name for result in self.results for name in result.get("branches", {}).get(self.which, {})]
        return list(dict.fromkeys(names))

    def outcome(self, result):
        """The cells of a run's line: last and best recalls, those of the branches, when it was best, and how long."""
        values = [recall(result, source, k) for source in ("last", "best") for k in self.ks()]
        values += [recall(result, self.which, branch) for branch in self.branches()]
        minutes = f"{result['seconds'] / 60:.1f}" if "seconds" in result else "-"
        best, iterations, device = (result.get(key, "-") for key in ("best_iteration", "iterations", "device"))
        return [*("-" if value is None else f"{value:.2f}" for value in values), best, iterations, minutes, device]

    def folder(self, result, revision):
        """The folder of a run, in the folder of all runs. revision: of today's training code."""
        own = f"{self.experiment.key()}/r{result.get('revision', revision)}-seed{result['seed']}"
        return str(store.of_engine(Path(), choice.of(result)) / own)

    def findings(self, result):
        """Sentences: what is to be said against the run, see `runs.findings`."""
        return [text[0].upper() + text[1:] for text in findings.findings(result, self.which).values()]

    def drawing(self):
        """(title, plot) of Recall@1 over the iterations; the plot is an <svg>.

        It is "" where no run was evaluated during its training: before and after are no curve, and stand in the table.
        """
        results = [result for result in self.results if len(result.get("history", ())) >= curves.FEWEST]
        title = f"{self.names[0]}: Recall@1 on the test set over the iterations, {counted(len(results), 'run')}"
        plot = svg.inline(lambda: curves.curves(results), f"{anchor(self.experiment)}-plot", title) if results else ""
        return title, plot


def anchor(experiment):
    """The id of the section of its runs."""
    return f"runs-{experiment.key().rpartition('-')[2]}"


def plain(value):
    """What a result says in one place, for people: a dict as "python 3.11.7, mxnet 1.9.1", "-" for None."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {plain(part)}" for name, part in value.items()) or "-"
    return "-" if value is None or value == "" else str(value)


def counted(number, thing):
    """ "1 run", "2 runs" """
    return f"{number:,} {thing}{'s' * (number != 1)}"


def runs_done(number, wanted):
    """ "2 of 5 runs", or "5 runs" when none is missing."""
    return f"{number} of {wanted} runs" if number < wanted else counted(number, "run")
