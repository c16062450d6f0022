"""What was measured, as files in results/ and as tables that `python -m benchmarks --write` puts into DOCUMENTS."""

import functools
import json
import os
import statistics
from pathlib import Path

import numpy as np

from gluon_cgd.doctor import hardware
from gluon_cgd.files.grid import as_markdown
from gluon_cgd.files.whole import write_json
from gluon_cgd.machine import facts

RESULTS = Path(__file__).resolve().parent / "results"
DOCUMENTS = ("docs/deletion.md", "docs/speed.md")
SETTINGS = ("OPENBLAS_CORETYPE",)  # variables that decide the speed of both sides


def origin():
    """{"machine", "commit", "settings"} of what is measured now; the processor's name with what it has for matrices.

    The files that results are written to do not change the commit. settings: the variables in SETTINGS that are set.
    """
    units = ", ".join(name for name, there in hardware.units().items() if there)
    return {
        "machine": facts.machine("cpu") + f" ({units})" * bool(units),
        "commit": facts.commit(("benchmarks/results", *DOCUMENTS)),
        "settings": {name: os.environ[name] for name in SETTINGS if os.environ.get(name)},
    }


def heading(results):
    """Where `results` were measured, and of which commit: "AMD EPYC, 2 cores (AVX2), at 01234567"."""
    commit, settings = results["commit"], results.get("settings", {})  # earlier versions did not record them
    place = ", ".join([results["machine"], *(f"{name}={value}" for name, value in settings.items())])
    return f"{place}, at {commit[:8] + '+' * commit.endswith('+') if commit else 'no commit'}"


def record(name, results):
    """Keep `results` as results/NAME.json."""
    RESULTS.mkdir(exist_ok=True)
    write_json(RESULTS / f"{name}.json", results)


def recorded(name):
    """What was recorded as NAME, or None."""
    file = RESULTS / f"{name}.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None


def of(name):
    """A decorator: a table of the results that it is called with, by default of those that were recorded as `name`."""

    def decorated(table):
        @functools.wraps(table)
        def called(results=None):
            results = results or recorded(name)
            return table(results) if results else "Not measured yet."

        return called

    return decorated


@of("speed")
def speed(machines):
    """A table of the comparisons for each of `machines`, {machine: results}."""
    return "\n\n".join(map(comparisons, machines.values()))


def comparisons(results):
    """The table of the comparisons on one machine."""
    rows = []
    for row in results["rows"]:
        low, middle, high = min(row["ratios"]), statistics.median(row["ratios"]), max(row["ratios"])
        reached, wanted = f"{middle:.2f} ({low:.2f}-{high:.2f})", "-"
        if row["at_least"]:
            wanted = f"{row['at_least']:.2f}: {'yes' if middle >= row['at_least'] else 'no'}"
        if row["at_most_more"] is not None:
            reached = f"{row['more']:+.2f} s"
            wanted = f"at most {row['at_most_more']:+.1f} s: {'yes' if row['more'] <= row['at_most_more'] else 'no'}"
        scale = 1e-9 if row["unit"] == "GFLOP/s" else 1
        rates = [f"{figures(row[side] * scale)} {row['unit']}" for side in ("ours", "other")]
        same = ", same numbers" if row.get("same_numbers") else ""
        rows.append([row["work"], rates[0], row["against"] + same, rates[1], reached, wanted])
    head = ["ours", "rate", "against", "rate", "ratio of the rates", "aimed at"]
    return f"{heading(results)}; {results['network']}:\n\n{as_markdown([head, *rows])}"


def figures(value):
    """Three significant figures, and all digits of what is 100 or more."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


@of("growth")
def growth(results):
    """The table of how time and memory grow."""
    rows = []
    for work in results["growth"]:
        (first, last), letter = (work["sizes"][0], work["sizes"][-1]), work["letter"]
        times = f"{figures(work['seconds'][0])} to {figures(work['seconds'][-1])} s"
        memory = " to ".join(f"{figures(work['bytes'][i] / 1e6)}" for i in (0, -1)) + " MB"
        rows.append(
            [work["work"], f"{first:,} to {last:,}", times, f"{letter}<sup>{work['exponent']:.2f}</sup>", memory]
        )
    table = as_markdown([("work", "sizes", "time", "grows as", "memory beyond what was there"), *rows])
    return f"{heading(results)}:\n\n{table}"


@of("growth")
def memory(results):
    """The table of what a training step takes."""
    rows = [
        [str(step["batch"]), step["how"], figures(step["seconds"]), f"{step['bytes'] / 1e9:.1f}"]
        for step in results["memory"]
    ]
    return as_markdown([("batch", "learned from", "seconds a step", "memory, GB"), *rows])


@of("precision")
def precision(results):
    """The table of how far the recall of an exported model is from MXNet's: mean, its standard error, and range."""
    models = results["models"]
    rows = []
    for name in list(models[0]["recall"])[1:]:
        cells = []
        for k in models[0]["recall"][name]:
            changes = [model["recall"][name][k] - model["recall"]["MXNet"][k] for model in models]
            mean = f"{statistics.mean(changes):+.2f}"
            if len(changes) > 1:
                mean += f" ± {statistics.stdev(changes) / len(changes) ** 0.5:.2f}"
            cells.append(f"{mean} ({min(changes):+.2f} to {max(changes):+.2f})")
        rows.append([name, *cells])
    head = [f"{len(models)} trained models, against MXNet", *models[0]["recall"]["MXNet"]]
    return f"{heading(results)}:\n\n{as_markdown([head, *rows])}"


@of("deletion")
def deletion(parts):
    """The table of how the cosine falls when positions are taken out of a picture, a dataset after the other."""
    rows = []
    for part in parts:
        what = f"{part['dataset']}, {part['backbone']}, {part['pairs']} pairs"
        for order, values in part["orders"].items():
            quarter = np.interp(0.25, part["shares"], values["cosines"])
            mean, error = values["area"]
            more, its_error, share = values["above_ours"]
            apart = f"{more:+.3f} ± {its_error:.3f}, in {100 * share:.0f} % of the pairs" if its_error else "-"
            numbers = [f"{values['cosines'][0]:.3f}", f"{quarter:.3f}", f"{mean:.3f} ± {error:.3f}"]
            rows.append([what, order, *numbers, apart])
            what = ""
    head = ["pairs", "taken out first", "cosine", "a quarter out", "mean on the way", "above our heatmap's"]
    return as_markdown([head, *rows])


@of("little_memory")
def little_memory(results):
    """The table of the engines on the disk."""
    rows = []
    for row in results:
        times = [f"{1e3 * row[f'one_{k}']:.3g} ({1e3 * row[f'first_{k}']:.3g})" for k in (10, 100)]
        many = [figures(1e3 * row[f"hundred_{k}"]) for k in (10, 100)]
        memory = [f"{row[f'{name}_memory'] / 1e9:.2g}" for name in ("build", "search")]
        what = f"{row['pictures']:,} x {row['dim']:,} {row['store']}, {row['of']}"
        built = [what, row["kind"], f"{row['build_seconds']:,.0f}"]
        recalls = [f"{row[f'recall_{k}']:.3f}" for k in (10, 100)]
        exactly = f"{1e3 * row['exact_hundred']:,.0f}"
        changed = f"{row['changed_in']:.2g}" if "changed_in" in row else "-"
        load = f"{row['load']:.1f}"  # processes that want a core, in the last minute
        rows.append([*built, *memory, *recalls, *times, *many, exactly, changed, load, row["machine"]])
    head = ["vectors", "kind", "built in, s", "resident, building, GB", "searching, GB", "recall@10", "recall@100"]
    head += [
        "1 query, k = 10, ms",
        "k = 100",
        "100 queries, k = 10, ms",
        "k = 100",
        "exactly, k = 100",
        "1,000 added and removed, s",
        "load",
        "measured on",
    ]
    return as_markdown([head, *rows])


@of("little_memory")
def smaller(results):
    """The table of what smaller stores and fewer numbers cost."""
    rows = [row for row in results if row.get("costs")]
    names = list(dict.fromkeys(name for row in rows for name in row["costs"]))
    table = [
        [f"{row['pictures']:,} x {row['dim']:,}, {row['of']}"]
        + [f"{row['costs'][name]:.3f}" if name in row["costs"] else "-" for name in names]
        for row in rows
    ]
    return as_markdown([["the 10 nearest that stay", *names], *table])


PARTS = {
    "deletion": deletion,
    "growth": growth,
    "little_memory": little_memory,
    "memory": memory,
    "precision": precision,
    "smaller": smaller,
    "speed": speed,
}
