"""The part of the page that is one table or Figure 3: its numbers, orderings and plot."""

from html import escape

from reproduce import selection
from reproduce.page import svg
from reproduce.page.details import anchor, counted, wide
from reproduce.report import comparison, formats
from reproduce.verdicts import figure3, orderings
from visualize import configurations, curves


class Section:
    """One table with its runs, to be shown. For the arguments see `html.page`.

    entries: of its rows, see `report.entries`.  experiments: what is run for each, None for other people's work.
    seeds: runs that each should have.
    """

    def __init__(self, table, stored, small, which, verdicts, seeds):
        self.table, self.small, self.verdicts = table, small, verdicts
        self.seeds = seeds or (1 if small else table.seeds)
        limit = seeds or (None if small else table.seeds)  # the text reports count as many

        def counting(experiment):
            return [one for one in stored(experiment) if limit is None or one["seed"] < limit]

        self.experiments = [selection.experiment_of(row, small) for row in selection.rows_in(table, small)]
        self.entries = comparison.entries(table, counting, small, which)
        self.title = f"{table.name[:-1].capitalize()} {table.name[-1]}"
        self.ours = "mini" if small else "ours"
        self.command = f"bash reproduce/{table.name}.sh" + " --mini" * small + (f" --seeds {seeds}" if seeds else "")

    def own(self):
        """(entry, experiment) of each row that is not other people's work."""
        return [pair for pair in zip(self.entries, self.experiments) if pair[1]]

    def counts(self):
        """Runs done, wanted; cells within the tolerance, of all that ran; orderings that hold, of all that ran."""
        done = {experiment: min(entry.runs(), self.seeds) for entry, experiment in self.own()}
        pairs = [(e.published.get(name), cell) for e in self.entries for name, cell in e.ours.items()]
        near = [not differs(published, cell) for published, cell in pairs if published]
        found = [claim.found.outcome for claim in orderings.claims(self.table, self.entries)]
        ran = [outcome for outcome in found if outcome != "not run"]
        return sum(done.values()), len(done) * self.seeds, sum(near), len(near), ran.count("holds"), len(ran)

    def html(self):
        """The section: heading, numbers, how to run what is missing, orderings, plot."""
        lacking = sum(entry.runs() < self.seeds for entry, _ in self.own())
        note = f"Runs are missing in {lacking} of {len(self.own())} rows: <code>{escape(self.command)}</code>"
        parts = [self.grid(), *self.claims()] if self.table.name == "figure3" else [*self.tables(), self.orderings()]
        return "\n".join(
            [
                f'<section id="{self.table.name}"><h2>{escape(f"{self.title}. {self.table.title}")}</h2>',
                f"<p>{note}</p>" if lacking else "",
                *parts,
                self.plot(),
                '<p class="back"><a href="#top">to the top</a></p></section>',
            ]
        )

    def tables(self):
        """A table for each benchmark, a body for each row."""
        experiments = dict(zip(map(id, self.entries), self.experiments))
        for columns, shown in comparison.parts(self.entries, self.small):
            benchmark = columns[0].rpartition(" ")[0]
            heads = "".join(f'<th scope="col">{escape(column.rpartition(" ")[2])}</th>' for column in columns)
            bodies = "".join(self.body(row, experiments[id(row)], columns) for row in shown)
            caption = f"<caption>{escape(benchmark)}</caption>" * bool(benchmark)
            head = f"<thead><tr><td></td><td></td>{heads}</tr></thead>"
            yield wide(f'<table class="numbers">{caption}{head}{bodies}</table>', f"{self.title} {benchmark}".strip())

    def body(self, row, experiment, columns):
        """The lines of one row: published and, unless it is other people's work, ours and what to read it with."""
        published, our, untrained = row.published, row.ours, row.untrained
        lines = [("published", [f"<td>{formats.number(published.get(column))}</td>" for column in columns])]
        if experiment and not our:
            missing = f'<td class="none" colspan="{len(columns)}">not run: <code>{escape(self.command)}</code></td>'
            lines.append((self.ours, [missing]))
        elif experiment:
            done = row.runs()
            told = f"{done} of {self.seeds} runs" if done < self.seeds else counted(done, "run")
            cells = [self.cell(row, experiment, column) for column in columns]
            lines.append((f"{self.ours}, {told}", [f"<td>{cell}</td>" for cell in cells]))
            if self.small:
                lines.append(("untrained", [f"<td>{formats.number(untrained.get(column))}</td>" for column in columns]))
            else:
                apart = [difference(published.get(column), our.get(column)) for column in columns]
                lines.append(("difference", [f"<td>{cell}</td>" for cell in apart]))
        text = f'<tr><th scope="rowgroup" rowspan="{len(lines)}">{escape(row.row)}</th>'
        for number, (name, cells) in enumerate(lines):
            text += ('<tr class="ours">' if number == 1 else "<tr>") * (number > 0)
            text += f"<td>{name}</td>{''.join(cells)}</tr>"
        return f"<tbody>{text}</tbody>"

    def cell(self, row, experiment, column):
        """Our number with its verdict, leading to its runs."""
        our = row.ours.get(column)
        if our is None:
            return "-" if row.ours else "not run"
        values = ", ".join(f"{value:.2f}" for value in our.values)
        link = f'<a href="#{anchor(experiment)}" title="runs: {values}">{formats.number(our)}</a>'
        said = self.verdicts.get((self.table.name, row.row, column))
        return link + (f" <small>{escape(said)}</small>" if said else "")

    def orderings(self):
        """What the paper claims of its rows, and whether it holds for ours."""
        lines = [claim.sentence() for claim in orderings.claims(self.table, self.entries)]
        lines = "".join(f"<li>{escape(line)}</li>" for line in lines)
        return f"<p>The paper's orderings by R@1, in our numbers:</p><ul>{lines}</ul>" if lines else ""

    def grid(self):
        """Figure 3 in numbers: a line a configuration, a column a benchmark."""
        places = {tuple(entry.row.rpartition(" ")[::2]): (entry, experiment) for entry, experiment in self.own()}
        benchmarks, configured = (list(dict.fromkeys(names)) for names in zip(*places))
        lines = []
        for name in configured:
            pairs = [places.get((benchmark, name)) for benchmark in benchmarks]
            cells = "".join(f"<td>{self.cell(*pair, 'R@1') if pair else ''}</td>" for pair in pairs)
            lines.append(f'<tr><th scope="row">{escape(name)}</th>{cells}</tr>')
        heads = "".join(f'<th scope="col">{escape(benchmark)}</th>' for benchmark in benchmarks)
        caption = "<caption>Recall@1: median (lowest-highest run)</caption>"
        table = f"{caption}<thead><tr><td></td>{heads}</tr></thead><tbody>{''.join(lines)}</tbody>"
        return wide(f'<table class="numbers">{table}</table>', f"{self.title} in numbers")

    def claims(self):
        """What the paper says of Figure 3, and whether it holds on each benchmark."""
        for benchmark, results in figure3.panels(self.entries).items():
            lines = "".join(f"<li>{escape(line)}</li>" for line in figure3.claims(results))
            yield f"<p>{escape(benchmark)}:</p><ul>{lines}</ul>"

    def plot(self):
        """Every run as a dot: of Figure 3 in box plots, of a table beside the published number (mini: alone)."""
        beside = "" if self.small else " beside the published number"
        if not any(entry.ours for entry in self.entries):
            return "<p>No run is there yet to draw.</p>"
        if self.table.name == "figure3":
            told = f"{self.title}: Recall@1 of each run as box plots, a panel a benchmark"
            results = figure3.panels(self.entries)
            drawing = svg.inline(lambda: configurations.boxes(results), f"{self.table.name}-plot", told)
        else:
            told = f"{self.title}: Recall@1 of each run, a dot a run{beside}"
            drawing = svg.inline(
                lambda: curves.dots(self.panels(), self.table.name == "table5"), f"{self.table.name}-plot", told
            )
        return f"<figure>{wide(drawing, told)}<figcaption>{escape(told)}</figcaption></figure>"

    def panels(self):
        """What `curves.dots` draws: a panel a benchmark with the first column of each row, of Table 5 every column."""
        found = {}
        for columns, shown in comparison.parts(self.entries, self.small):
            rows = []
            for row in shown:
                names = row.columns if self.table.name == "table5" else columns[:1]
                for column in names:
                    values = row.ours[column].values if column in row.ours else []
                    label = f"{row.row} {column}" if self.table.name == "table5" else row.row
                    rows.append((label, values, None if self.small else row.published.get(column)))
            found[columns[0].rpartition(" ")[0]] = rows
        return found


def differs(published, our):
    """Whether our number is more than the tolerance away from the published one."""
    return abs(our.mean - published.mean) > comparison.TOLERANCE


def difference(published, our):
    """Ours less published, and a word where that is beyond the tolerance."""
    told = formats.difference(published, our)
    return f"<strong>{told} differs</strong>" if published and our and differs(published, our) else told
