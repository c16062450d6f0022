"""Figure 3: box plots of the twelve configurations. python visualize/configurations.py runs/reports/figure3.json"""

if __name__ == "__main__":  # started by its name: go on as a module of the project
    import sys
    from pathlib import Path

    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from gluon_cgd.machine import process

    sys.exit(process.run_module("visualize.configurations", __file__))


import argparse
import json
import sys
from pathlib import Path

from gluon_cgd.files import figures

SINGLE, COMBINED = "0.75", "tab:blue"


def panels(entries):
    """{benchmark: {configuration: [recall in % of each run]}} of the rows of a figure3 report."""
    found = {}
    for entry in entries:
        benchmark, _, configuration = entry["row"].rpartition(" ")
        values = ((entry["ours"] or {}).get("R@1") or {}).get("values")
        if values:
            found.setdefault(benchmark, {})[configuration] = values
    return found


def read(report):
    """The rows of a figure3 report. Raises ValueError for a file that is something else."""
    try:
        entries = json.loads(Path(report).read_text(encoding="utf-8"))
        values = [value for results in panels(entries).values() for runs in results.values() for value in runs]
        if not all(isinstance(value, (int, float)) and 0 <= value <= 100 for value in values):
            raise ValueError("a recall is not between 0 and 100 %")
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError("it is not a report that bash reproduce/figure3.sh wrote") from error
    return entries


def boxes(entries):
    """The Figure of the rows of a figure3 report, a panel a benchmark. Raises ValueError if none ran."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    found = panels(entries)
    if not found:
        raise ValueError("no run of figure3 is there to draw: bash reproduce/figure3.sh --mini makes some")
    columns = min(2, len(found))
    rows = -(-len(found) // columns)
    figure = Figure(figsize=(5.4 * columns, 3.1 * rows + 0.4), layout="constrained")
    FigureCanvasAgg(figure)
    for number, (benchmark, results) in enumerate(found.items(), 1):
        axes = figure.add_subplot(rows, columns, number)
        drawn = axes.boxplot(list(results.values()), patch_artist=True, widths=0.6, medianprops={"color": "black"})
        for box, configuration in zip(drawn["boxes"], results):
            box.set_facecolor(SINGLE if len(configuration) == 1 else COMBINED)
        for place, (configuration, values) in enumerate(results.items(), 1):  # every run: a box of three says little
            colour = SINGLE if len(configuration) == 1 else COMBINED
            axes.plot([place] * len(values), values, "o", markerfacecolor=colour, markeredgecolor="black", markersize=4)
        axes.set_xticks(range(1, len(results) + 1), list(results), fontsize=8)
        axes.set_ylabel("Recall@1 (%)")
        runs = {len(values) for values in results.values()}
        counted = str(runs.pop()) if len(runs) == 1 else f"{min(runs)} to {max(runs)}"
        axes.set_title(f"{benchmark} ({counted} run{'s' * (counted != '1')} each)", fontsize=10)
        axes.grid(axis="y", color="0.9")
        axes.set_axisbelow(True)
    from matplotlib.patches import Patch

    legend = [Patch(facecolor=SINGLE, edgecolor="black", label="one descriptor")]
    legend.append(Patch(facecolor=COMBINED, edgecolor="black", label="combined"))
    figure.legend(handles=legend, loc="outside lower center", ncol=2, frameon=False)
    return figure


def draw(entries, file):
    """Draw the rows of a figure3 report into `file` (.png, .pdf, .svg). Raises ValueError if none ran."""
    figures.save(boxes(entries), file)


def main(arguments=None):
    """Draw a report that `bash reproduce/figure3.sh` wrote; returns the exit status."""
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("report", help="runs/reports/figure3.json or figure3-mini.json")
    p.add_argument("--out", help="the picture: .png, .pdf or .svg (default: beside the report, .png)")
    options = p.parse_args(arguments)
    try:
        out = Path(options.out or Path(options.report).with_suffix(".png"))
        figures.check("--out", out)
        draw(read(options.report), out)
    except (OSError, ValueError) as error:
        print(f"{options.report!r} cannot be drawn: {error}", file=sys.stderr)
        return 2
    print(out)
    return 0
