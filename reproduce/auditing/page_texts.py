"""What the page of all tables should say, text by text, and the values that its plots should show."""

from collections import Counter

from reproduce.auditing import blocks, cells, claims, curves, effects, figure3, regime
from reproduce.auditing.declared import DECLARED
from reproduce.auditing.page_words import as_python, counted, plain, runs_done, told_difference
from reproduce.auditing.samples import entries, parts, shown


class Page:
    """What the page should say. A page without --seeds counts all runs in the mini form, else those of the paper."""

    def __init__(self, tables, evidence, small, revision):
        self.tables, self.evidence, self.small, self.revision = tables, evidence, small, revision
        self.entries = {table.name: entries(table, evidence, small, None if small else table.seeds) for table in tables}
        self.verdicts = {
            table.name: {} if small else cells.of_table(table, self.entries[table.name]) for table in tables
        }

    def seeds(self, table):
        """The runs that each row should have."""
        return 1 if self.small else table.seeds

    def command(self, table):
        """What trains a table."""
        return f"bash reproduce/{table.name}.sh{' --mini' if self.small else ''}"

    def own(self, table):
        """The entries that are experiments."""
        return [entry for entry in self.entries[table.name] if entry.row.experiment]

    def experiments(self):
        """{key: (names, wanted)} of all experiments, in the order of the rows."""
        found = {}
        for table in self.tables:
            for entry in self.own(table):
                names, wanted = found.get(entry.row.key, ((), 0))
                names = (*names, f"{table.label} {entry.row.name}")
                found[entry.row.key] = (names, max(wanted, self.seeds(table)))
        return found

    def texts(self):
        """Every text, in order."""
        title = f"CGD regenerated{', on the embedded benchmark' if self.small else ''}"
        yield from (title, title)
        yield from self.facts()
        yield from self.contents()
        for table in self.tables:
            yield from self.section(table)
        yield "The runs behind the numbers"
        known = {key: about for key, about in self.experiments().items() if key in self.evidence}
        for key, (names, wanted) in known.items():
            yield from self.runs(key, names, wanted)
        if not known:
            yield "There are no runs yet."

    def facts(self):
        """How many runs there are, and where they were made."""
        found = self.experiments()
        runs = [run for key in found if key in self.evidence for run in self.evidence[key].runs]
        wanted = sum(count for _, count in found.values())
        done = sum(
            min(len(self.evidence[key].runs), count) for key, (_, count) in found.items() if key in self.evidence
        )
        more = f", and {len(runs) - done:,} more" if len(runs) > done else ""
        hours = sum(run.get("seconds", 0) for run in runs) / 3600
        yield from ("Runs", f"{done:,} of {wanted:,} done{more}; {hours:.1f} hours of training")
        yield from ("What counts", "the last evaluation of each run, whatever its recall")
        made = Counter(trained_by(run) for run in runs)
        if set(made) - {"MXNet"}:
            yield "Trained by"
            yield "; ".join(f"{value} ({counted(count, 'run')})" for value, count in sorted(made.items()))
        for name, field in (("On", "device"), ("Machines", "machine"), ("With", "versions"), ("Commits", "commit")):
            counts = Counter(plain(run[field]) for run in runs if run.get(field))
            if counts:
                yield name
                yield "; ".join(f"{value} ({counted(count, 'run')})" for value, count in sorted(counts.items()))

    def contents(self):
        """The table of contents."""
        yield "runs done"
        if not self.small:
            yield "shown within 1 point"
        yield "orderings"
        for table in self.tables:
            yield f"{table.label}. {table.title}"
            own, seeds = self.own(table), self.seeds(table)
            done = {entry.row.key: min(entry.count(), seeds) for entry in own}
            verdicts = [one.outcome for one in self.verdicts[table.name].values() if one.outcome != "not run"]
            ran = [claim for claim in self.claims(table) if claim.outcome not in (claims.NOT_RUN, claims.NO_MINI)]
            counts = Counter(claim.word() for claim in ran)
            plural = {"holds": "hold", "does not hold": "do not hold"}
            told = ", ".join(f"{n} {plural.get(word, word) if n > 1 else word}" for word, n in counts.items())
            within = [] if self.small else [f"{verdicts.count(cells.WITHIN)} of {len(verdicts)}"]
            counts = [f"{sum(done.values())} of {len(done) * seeds}", *within, told]
            yield from ("-" if not count or count.endswith(" 0") else count for count in counts)
        yield "The runs behind the numbers"

    def claims(self, table):
        """The orderings of a table, one family."""
        return claims.of_table(table, self.entries[table.name], self.small)

    def section(self, table):
        """A table or Figure 3."""
        found, own, seeds = self.entries[table.name], self.own(table), self.seeds(table)
        yield f"{table.label}. {table.title}"
        lacking = sum(entry.count() < seeds for entry in own)
        if lacking:
            yield f"Runs are missing in {lacking} of {len(own)} rows: {self.command(table)}"
        if table.name == "figure3":
            yield from self.figure3(table)
        else:
            for columns, some in parts(found, self.small):
                yield from self.table(table, columns, some)
        marks = blocks.doubtful(found)
        if marks:
            yield from ("To be read with care:", *marks)
        if table.name != "figure3":
            own_claims, verdicts = self.claims(table), self.verdicts[table.name]
            whole = None if self.small else cells.whole(table, found, verdicts, own_claims)
            yield from (whole.sentence,) if whole and whole.outcome != "not run" else ()
            told = [claim.sentence() for claim in own_claims]
            yield from ("The paper's orderings, in our numbers:", *told) if told else ()
            told = effects.sentences(table, found)
            yield from ("What each row changes:", *told) if told else ()
        title = self.plot_title(table)
        yield title if any(entry.ours for entry in found) else "There are no runs yet to draw."

    def plot_title(self, table):
        """What is below a plot."""
        if table.name == "figure3":
            return f"{table.label}: Recall@1 of each run as box plots"
        beside = " beside the published number" if table.has_published and not self.small else ""
        return f"{table.label}: Recall@1 of each run, one dot per run{beside}"

    def table(self, table, columns, some):
        """The cells of one table."""
        benchmark = columns[0].rpartition(" ")[0]
        if benchmark:
            yield benchmark
        yield from (column.rpartition(" ")[2] for column in columns)
        seeds = self.seeds(table)
        for entry in some:
            yield entry.row.name
            if table.has_published:
                yield from ("published", *(shown(entry.row.published.get(column)) for column in columns))
            if entry.ours:
                yield f"{'mini' if self.small else 'ours'}, {runs_done(entry.count(), seeds)}"
                for column in columns:
                    yield from self.number(table, entry, column)
                if self.small:
                    yield from ("untrained", *(shown(entry.untrained.get(column)) for column in columns))
                elif table.has_published:
                    yield "difference"
                    yield from (told_difference(entry, column) for column in columns)
            elif entry.row.experiment:
                yield "mini" if self.small else "ours"
                yield f"not run: {self.command(table)}"

    def number(self, table, entry, column):
        """Our number, and the values behind it."""
        if column not in entry.ours:
            yield "-" if entry.ours else "not run"
            return
        verdict = self.verdicts[table.name].get((entry.row.name, column))
        yield shown(entry.ours[column]) + (f" {verdict.sentence()}" if verdict else "")
        values = ", ".join(f"{value:.2f}" for value in entry.ours[column].values)
        yield f"#runs-{entry.row.key.rpartition('-')[2]} runs: {values}"

    def figure3(self, table):
        """Figure 3 in numbers, and its claims."""
        places = {tuple(entry.row.name.rpartition(" ")[::2]): entry for entry in self.own(table)}
        benchmarks, names = (list(dict.fromkeys(part)) for part in zip(*places))
        yield from ("Recall@1: median (lowest-highest run)", *benchmarks)
        for name in names:
            yield name
            for benchmark in benchmarks:
                yield from self.number(table, places[benchmark, name], "R@1")
        for benchmark, values in figure3.panels(self.entries[table.name]).items():
            yield from (f"{benchmark}:", *figure3.sentences(values, self.small))

    def runs(self, key, names, wanted):
        """The runs of one experiment."""
        recorded = self.evidence[key]
        experiment, runs = recorded.experiment, recorded.runs
        yield ", ".join(names)
        defaults = DECLARED["defaults"]
        changes = [f"{n}={as_python(experiment[n])}" for n in defaults if experiment.get(n, defaults[n]) != defaults[n]]
        told = f"{', '.join(changes)}; all else by default." if changes else "all by default."
        done = runs_done(len(runs), wanted)
        yield f"{experiment['dataset']}, {experiment['backbone']}: {done}. Experiment: {told}"
        ks = list(dict.fromkeys(k for run in runs for k in run["last"]))
        branches = list(dict.fromkeys(n for run in runs for n in run.get("branches", {}).get("last", {})))
        yield from ("Seed", "last evaluation", "best evaluation", *(["branches"] if branches else []))
        yield from ("best at", "iterations", "minutes", "device", *ks, *ks, *branches)
        for run in runs:
            yield str(run["seed"])
            values = [100 * run[stage][k] for stage in ("last", "best") for k in ks]
            values += [100 * run["branches"]["last"][name]["R@1"] for name in branches]
            yield from (f"{value:.2f}" for value in values)
            minutes = f"{run['seconds'] / 60:.1f}" if "seconds" in run else "-"
            yield from map(str, (run.get("best_iteration", "-"), run.get("iterations", "-"), minutes))
            yield str(run.get("device", "-"))
        for run in runs:
            for text in regime.findings(experiment, run).values():
                yield f"Seed {run['seed']}: {text[0].upper()}{text[1:]}."
        yield "Where they come from"
        yield from ("Seed", "commit", "versions", "machine", "data", "ImageNet weights", "parameters", "folder")
        for run in runs:
            yield str(run["seed"])
            yield from (plain(run.get(field)) for field in ("commit", "versions", "machine", "data"))
            yield (run["weights"] or "none") if "weights" in run else "-"
            yield plain(run.get("parameters_sha256"))
            engine = run.get("engine")
            store = f"{engine['name']}-{engine['precision']}/" if engine else ""
            yield f"{store}{key}/r{run.get('revision', self.revision)}-seed{run['seed']}"

    def plots(self):
        """(title, panels, median) of each plot in order; of a curve the panels are those of its runs."""
        for table in self.tables:
            found = self.entries[table.name]
            if not any(entry.ours for entry in found):
                continue
            yield self.plot_title(table), "boxes" if table.name == "figure3" else "dots", self.values(table)
        for key, (names, _) in self.experiments().items():
            runs = (
                [run for run in self.evidence[key].runs if len(run.get("history") or ()) > 2]
                if key in self.evidence
                else []
            )
            if runs:
                title = f"{names[0]}: Recall@1 on the test set over the iterations, {counted(len(runs), 'run')}"
                yield title, "curves", [curves.curve(run) for run in runs]

    def values(self, table):
        """The values of a plot, panel by panel and row by row."""
        if table.name == "figure3":
            panels = figure3.panels(self.entries["figure3"]).values()
            return [[list(runs.values()) for runs in values.values()] for values in panels]
        found = []
        for columns, some in parts(self.entries[table.name], self.small):
            chosen = [(e, c) for e in some for c in (e.row.columns if table.name == "table5" else columns[:1])]
            found.append([e.ours[c].values if c in e.ours else () for e, c in chosen])
        return found


def trained_by(run):
    """What trained a run, as the page names it: "MXNet", or "PyTorch in tf32"."""
    return f"PyTorch in {run['engine']['precision']}" if run.get("engine") else "MXNet"
