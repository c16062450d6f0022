"""Figure 3: box plots of the twelve configurations. python visualize/configurations.py runs/reports/figure3.json"""

if __name__ == "__main__":  # started by its path: go on as a module of the project
    import _signal  # `signal` takes longer to import than all that comes before

    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)  # until the program runs, Ctrl-C ends it without a traceback
    import sys
    from pathlib import Path

    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from gluon_cgd.machine import process

    sys.exit(process.run_module("visualize.configurations", __file__))


from pathlib import Path
from textwrap import fill

from gluon_cgd.commands.options import main_of, name
from gluon_cgd.commands.output import say
from gluon_cgd.files import figures, regular
from gluon_cgd.machine.sentences import sentence
from gluon_cgd.runs import schema

SINGLE, COMBINED = "0.75", "tab:blue"
RUNS = schema.fields({}, {"values": schema.each(schema.number(0, 100), of=list)})  # recall in % of each run
ENTRY = schema.fields(
    {"row": schema.text, "ours": schema.optional(schema.each(schema.optional(RUNS)))},
    {"claims": schema.each(schema.fields({"sentence": schema.text}), of=list)},
)
REPORT = schema.each(ENTRY, of=list)


def panels(entries):
    """{benchmark: {configuration: [recall in % of each run]}} of the rows of a figure3 report."""
    recalls = {}
    for entry in entries:
        benchmark, _, configuration = entry["row"].rpartition(" ")
        values = ((entry["ours"] or {}).get("R@1") or {}).get("values")
        if values:
            recalls.setdefault(benchmark, {})[configuration] = values
    return recalls


def captions(entries):
    """{benchmark: [sentence, ...]}: what the paper claims of each panel, and whether it holds there."""
    found = {}
    for entry in entries:
        found.setdefault(entry["row"].rpartition(" ")[0], []).extend(one["sentence"] for one in entry.get("claims", ()))
    return found


def read(report):
    """The entries of the figure3 report in the file `report`. Raises ValueError if it is not one."""
    entries = regular.read_json(report)
    wrong = REPORT(entries, "contents")
    if wrong:
        raise ValueError(f"it is not a report that bash reproduce/figure3.sh wrote, it {wrong}")
    return entries


def boxes(recalls, claims=None):
    """The Figure of `recalls`, made by `panels`, one panel for each benchmark. Raises ValueError if there is no run.

    claims: the `captions` to print below the panels.
    """
    from matplotlib.patches import Patch

    if not recalls:
        raise ValueError("it has no run of figure3 to draw: bash reproduce/figure3.sh --mini makes some")
    columns = min(2, len(recalls))
    rows = -(-len(recalls) // columns)
    notes = {name: "\n".join(fill(text, 86) for text in (claims or {}).get(name, ())) for name in recalls}
    figure = figures.empty(5.4 * columns, (3.1 + 0.5 * any(notes.values())) * rows + 0.4)
    for number, (benchmark, results) in enumerate(recalls.items(), 1):
        axes = figure.add_subplot(rows, columns, number)
        colours = [SINGLE if len(configuration) == 1 else COMBINED for configuration in results]
        style = dict(patch_artist=True, widths=0.6, medianprops={"color": "black"})
        drawn = axes.boxplot(list(results.values()), **style)
        for place, (box, colour, values) in enumerate(zip(drawn["boxes"], colours, results.values()), 1):
            box.set_facecolor(colour)
            # Every run as a dot: a box of three runs says little
            axes.plot([place] * len(values), values, "o", markerfacecolor=colour, markeredgecolor="black", markersize=4)
        axes.set_xticks(range(1, len(results) + 1), list(results), fontsize=8)
        axes.set_ylabel("Recall@1 (%)")
        axes.set_xlabel(notes[benchmark], fontsize=7, loc="left", multialignment="left")
        runs = {len(values) for values in results.values()}
        number_of_runs = str(runs.pop()) if len(runs) == 1 else f"{min(runs)} to {max(runs)}"
        axes.set_title(f"{benchmark} ({number_of_runs} run{'s' * (number_of_runs != '1')} each)", fontsize=10)
        axes.grid(axis="y", color="0.9")
        axes.set_axisbelow(True)
    legend = [Patch(facecolor=SINGLE, edgecolor="black", label="one descriptor")]
    legend.append(Patch(facecolor=COMBINED, edgecolor="black", label="combined"))
    figure.legend(handles=legend, loc="outside lower center", ncol=2, frameon=False)
    return figure


def add_flags(p):
    """The flags of this script."""
    p.add_argument("report", type=name, help="runs/reports/figure3.json or figure3-mini.json")
    p.add_argument("--out", type=name, help="the picture: .png, .pdf or .svg (default: beside the report, .png)")


def run(options):
    """Draw the report."""
    try:
        out = Path(options.out or Path(options.report).with_suffix(".png"))
        figures.check("--out", out)
        entries = read(options.report)
        figures.save(boxes(panels(entries), captions(entries)), out)
    except FileNotFoundError as error:
        raise ValueError(f"{options.report!r} cannot be drawn: No such file: check its name") from error
    except (OSError, ValueError) as error:
        raise ValueError(f"{options.report!r} cannot be drawn: {sentence(error)}") from error
    say(out)


main = main_of(__doc__, add_flags, run)
