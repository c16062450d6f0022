"""The tables of docs/speed.md, recomputed from benchmarks/results/."""

import json
import math
import statistics

from reproduce.auditing.samples import markdown


def parts(folder):
    """{name: [line, ...]} of the marked parts of docs/speed.md."""
    values = {name: read(folder / f"{name}.json") for name in ("speed", "growth", "precision", "little_memory")}
    return {
        "speed": speed(values["speed"]),
        "growth": growth(values["growth"]),
        "memory": memory(values["growth"]),
        "precision": precision(values["precision"]),
        "little_memory": little_memory(values["little_memory"]),
        "smaller": smaller(values["little_memory"]),
    }


def read(file):
    """What the JSON `file` holds, None if it is not there."""
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None


def measured(table):
    """A decorator: a table is a sentence until it has been measured."""
    return lambda values: table(values) if values else ["Not measured yet."]


def where(values):
    """The machine and commit of a measurement."""
    commit = values["commit"] or ""
    at = commit[:8] + ("+" if commit.endswith("+") else "") if commit else "no commit"
    return f"{values['machine']}, at {at}"


def digits(value):
    """Three significant digits, and all before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


@measured
def speed(machines):
    """How fast: a table a machine."""
    lines = []
    for values in machines.values():
        grid = [("ours", "rate", "against", "rate", "ratio of the rates", "aimed at")]
        for row in values["rows"]:
            middle = statistics.median(row["ratios"])
            ratio, aim = f"{middle:.2f} ({min(row['ratios']):.2f}-{max(row['ratios']):.2f})", "-"
            if row["at_least"]:
                aim = f"{row['at_least']:.2f}: {'yes' if middle >= row['at_least'] else 'no'}"
            if row["at_most_more"] is not None:
                ratio = f"{row['more']:+.2f} s"
                aim = f"at most {row['at_most_more']:+.1f} s: {'yes' if row['more'] <= row['at_most_more'] else 'no'}"
            scale = 1e-9 if row["unit"] == "GFLOP/s" else 1
            ours, other = (f"{digits(row[side] * scale)} {row['unit']}" for side in ("ours", "other"))
            against = row["against"] + (", same numbers" if row.get("same_numbers") else "")
            grid.append((row["work"], ours, against, other, ratio, aim))
        lines += [*[""] * bool(lines), f"{where(values)}; {values['network']}:", "", *markdown(grid)]
    return lines


@measured
def growth(values):
    """How time and memory grow."""
    grid = [("work", "sizes", "time", "grows as", "memory beyond what was there")]
    for work in values["growth"]:
        ends = [f"{work['sizes'][at]:,}" for at in (0, -1)]
        times = [digits(work["seconds"][at]) for at in (0, -1)]
        sizes = [digits(work["bytes"][at] / 1e6) for at in (0, -1)]
        power = f"{work['letter']}<sup>{work['exponent']:.2f}</sup>"
        grid.append((work["work"], " to ".join(ends), " to ".join(times) + " s", power, " to ".join(sizes) + " MB"))
    return [f"{where(values)}:", "", *markdown(grid)]


@measured
def memory(values):
    """What a training step takes."""
    grid = [("batch", "learned from", "seconds a step", "memory, GB")]
    for step in values["memory"]:
        grid.append((step["batch"], step["how"], digits(step["seconds"]), f"{step['bytes'] / 1e9:.1f}"))
    return markdown(grid)


@measured
def precision(values):
    """How far the recall of an exported model is from MXNet's."""
    models = values["models"]
    head = (f"{len(models)} trained models, against MXNet", *models[0]["recall"]["MXNet"])
    grid = [head]
    for name in list(models[0]["recall"])[1:]:
        cells = []
        for k in head[1:]:
            changes = [model["recall"][name][k] - model["recall"]["MXNet"][k] for model in models]
            error = statistics.stdev(changes) / math.sqrt(len(changes)) if len(changes) > 1 else None
            spread = "" if error is None else f" ± {error:.2f}"
            cells.append(f"{statistics.mean(changes):+.2f}{spread} ({min(changes):+.2f} to {max(changes):+.2f})")
        grid.append((name, *cells))
    return [f"{where(values)}:", "", *markdown(grid)]


@measured
def little_memory(values):
    """How the kinds on the disk search."""
    counts = ("recall@10", "recall@100", "1 query, k = 10, ms", "k = 100", "100 queries, k = 10, ms", "k = 100")
    grid = [("vectors", "kind", "built in, s", "resident, building, GB", "searching, GB", *counts)]
    grid[0] += ("exactly, k = 100", "1,000 added and removed, s", "load", "measured on")
    for row in values:
        gigabytes = (f"{row[name] / 1e9:.2g}" for name in ("build_memory", "search_memory"))
        alone = (f"{1e3 * row[f'one_{k}']:.3g} ({1e3 * row[f'first_{k}']:.3g})" for k in (10, 100))
        together = (digits(1e3 * row[f"hundred_{k}"]) for k in (10, 100))
        line = (vectors(row, f" {row['store']}"), row["kind"], f"{row['build_seconds']:,.0f}", *gigabytes)
        line += (f"{row['recall_10']:.3f}", f"{row['recall_100']:.3f}", *alone, *together)
        line += (f"{1e3 * row['exact_hundred']:,.0f}", f"{row['changed_in']:.2g}" if "changed_in" in row else "-")
        grid.append((*line, f"{row['load']:.1f}", row["machine"]))
    return markdown(grid)


@measured
def smaller(values):
    """How many neighbours smaller stores and fewer numbers keep."""
    found = {vectors(row): row["costs"] for row in values if row.get("costs")}
    names = list(dict.fromkeys(name for costs in found.values() for name in costs))
    grid = [("the 10 nearest that stay", *names)]
    for of, costs in found.items():
        grid.append((of, *(f"{costs[name]:.3f}" if name in costs else "-" for name in names)))
    return markdown(grid)


def vectors(row, store=""):
    """What was searched."""
    return f"{row['pictures']:,} x {row['dim']:,}{store}, {row['of']}"
