"""The part of the page that is one table or Figure 3: its numbers, orderings and plot."""

import functools

from reproduce.page import svg
from reproduce.report import comparison
from reproduce.verdicts import effects, figure3, orderings
from reproduce.verdicts.care import is_rehearsal
from reproduce.verdicts.table import sentence
from reproduce.verdicts.verdict import WITHIN
from visualize import configurations, curves


class Section:
    """One table with its runs, as a part of the page (templates/table.html, figure3.html). See `html.page`.

    entries: its rows, see `comparison.entries`.  seeds: runs that each should have.  added: see `html.page`.
    """

    def __init__(self, table, stored, small, which, verdicts, seeds, ranks_of=comparison.no_ranks, added=""):
        self.table, self.small, self.verdicts = table, small, verdicts
        self.seeds = seeds or (1 if small else table.seeds)
        limit = seeds or (None if small else table.seeds)  # the text reports count as many

        def counting(experiment):
            return [result for result in stored(experiment) if limit is None or result["seed"] < limit]

        def ranks_counting(experiment):
            seeds = {result["seed"] for result in counting(experiment)}
            return {seed: arrays for seed, arrays in ranks_of(experiment).items() if seed in seeds}

        self.entries = comparison.entries(table, counting, small, which, ranks_counting)
        self.ours = "mini" if small else "made up" if is_rehearsal(self.entries) else "ours"
        self.command = f"bash reproduce/{table.name}.sh" + " --mini" * small + (f" --seeds {seeds}" if seeds else "")
        self.command += added

    def own(self):
        """The rows that are not other people's work."""
        return [entry for entry in self.entries if entry.experiment]

    def lacking(self):
        """How many rows lack runs."""
        return sum(entry.runs() < self.seeds for entry in self.own())

    def counts(self):
        """Runs done, cells within a point and the orderings: ["5 of 10", "3 of 8", "1 holds, 2 undecided"]."""
        done = {entry.experiment: min(entry.runs(), self.seeds) for entry in self.own()}
        near = [v.outcome == WITHIN for e in self.entries for v in e.verdicts.values() if v.outcome != "not run"]
        claims = orderings.claims(self.table, self.entries, self.small)
        ran = [claim for claim in claims if claim.ordering.outcome not in ("not run", "no mini form")]
        within = [] if self.small else [f"{sum(near)} of {len(near)}"]
        return [f"{sum(done.values())} of {len(done) * self.seeds}", *within, orderings.counted(ran)]

    def claims(self):
        """Sentences: the paper's orderings of its rows, and whether they hold for ours."""
        return [claim.sentence() for claim in orderings.claims(self.table, self.entries, self.small)]

    def verdict(self):
        """A sentence: the verdict on the whole table; "" where nothing has run, in the mini form, and of Figure 3."""
        verdict = None if self.small else comparison.table_verdict(self.table, self.entries)
        ran = verdict and verdict.outcome != "not run"
        return sentence(self.table.label, verdict) if ran else ""

    def effects(self):
        """Sentences: what each reading of a detail changes; [] of a table of the paper's."""
        return effects.sentences(self.table, self.entries)

    def grid(self):
        """(benchmarks, configurations, {(benchmark, configuration): row}) of Figure 3."""
        places = {tuple(entry.row.rpartition(" ")[::2]): entry for entry in self.own()}
        return (*(list(dict.fromkeys(names)) for names in zip(*places)), places)

    def figure3_claims(self):
        """{benchmark: sentences}: what the paper says of Figure 3, and whether it holds there."""
        return {name: figure3.sentences(runs, self.small) for name, runs in figure3.by_seed(self.entries).items()}

    def drawing(self):
        """(title, plot) of every run as a dot, in box plots for Figure 3; the plot is an <svg>, or "" without runs."""
        if self.table.name == "figure3":
            panels = configurations.panels([entry.as_dict() for entry in self.entries])
            draw, shown = functools.partial(configurations.boxes, panels), " as box plots"
        else:
            draw = functools.partial(curves.dots, self.panels(), self.table.name == "table5")
            shown = ", one dot per run"
            shown += " beside the published number" if self.table.has_published and not self.small else ""
        title = f"{self.table.label}: Recall@1 of each run{shown}"
        any_run = any(entry.ours for entry in self.entries)
        return title, svg.inline(draw, f"{self.table.name}-plot", title) if any_run else ""

    def panels(self):
        """What `curves.dots` draws: a panel a benchmark with the first column of each row, of Table 5 every column."""
        panels = {}
        for columns, shown in comparison.parts(self.entries, self.small):
            rows = []
            for row in shown:
                for column in row.columns if self.table.name == "table5" else columns[:1]:
                    values = row.ours[column].values if column in row.ours else []
                    label = f"{row.row} {column}" if self.table.name == "table5" else row.row
                    rows.append((label, values, None if self.small else row.published.get(column)))
            panels[comparison.benchmark_of(columns[0])] = rows
        return panels


def differs(row, column):
    """Whether our number is more than the tolerance away from the published one."""
    if column not in row.ours or column not in row.published:
        return False
    return abs(row.ours[column].mean - row.published[column].mean) > comparison.TOLERANCE
