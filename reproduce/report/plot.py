"""The picture of a table, bars, published and ours; and that of contraction and escape, the curve of one run."""

import numpy as np

from gluon_cgd.experiment import Experiment
from gluon_cgd.files import figures
from gluon_cgd.runs import collapse, regime
from reproduce.report.comparison import benchmark_of
from reproduce.report.data import as_data
from reproduce.verdicts.care import is_rehearsal
from visualize.configurations import boxes, captions
from visualize.configurations import panels as panels_of

PICTURES = {"small": "on half of CARS196", "mini": "on the embedded benchmark"}  # of the forms that are not the paper's


def plot(table, rows, small, file):
    """Recall@1 of each row, published and ours, or untrained and mini: two datasets never share an axis."""
    if table.name == "figure3":
        entries = as_data(table, rows, small)
        figures.save(boxes(panels_of(entries), captions(entries)), file)
        return
    panels = {}  # {benchmark: [(row, its first column), ...]}
    for row in rows:
        others = [] if small else [column for column in row.columns if column.endswith("R@1")]
        for column in row.own_columns()[:1] if row.experiment else others:
            panels.setdefault(benchmark_of(column), []).append((row, column))
    figure = figures.empty(2.2 + 1.1 * max(map(len, panels.values())), 0.6 + 2.8 * len(panels))
    for axes, (benchmark, panel) in zip(figure.subplots(len(panels), squeeze=False)[:, 0], panels.items()):
        rehearsal = is_rehearsal(rows)
        bars(axes, panel, "made up" if rehearsal else small and table.reduced)
        where = "REHEARSAL: made up, no result" if rehearsal else PICTURES[table.reduced] if small else benchmark
        axes.set_title(f"{table.label} {where}", fontsize=10)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncol=2, frameon=False)
    figures.save(figure, file)


def bars(axes, panel, reduced):
    """The bars of `panel`, [(row, column), ...] of one dataset.

    reduced: "mini", "small", or "made up" in a rehearsal; False for the paper's form.
    """
    published, our = ("published", "published", "0.6"), ("ours", "ours", "tab:blue")
    pair = (published, our)
    if reduced or not any(row.published for row, _ in panel):
        ours = {"mini": "mini: glyphs", "small": "small: photographs", "made up": "made up"}.get(reduced, "ours")
        pair = (("untrained", "untrained", "0.8"), ("ours", ours, "tab:blue"))
    for i, (source, name, colour) in enumerate(pair):
        cells = [getattr(row, source).get(column) for row, column in panel]
        heights = [cell.mean if cell else 0 for cell in cells]
        known = all(cell and cell.std is not None for cell in cells)
        spreads = [cell.std for cell in cells] if known else None
        places = np.arange(len(panel)) + 0.4 * i - 0.2
        bar = axes.bar(places, heights, 0.38, color=colour, label=name, yerr=spreads, capsize=3)
        axes.bar_label(bar, [f"{cell.mean:.1f}" if cell else "not run" for cell in cells], fontsize=8, padding=2)
    names = [row.row for row, _ in panel]
    axes.set_xticks(range(len(panel)), names)
    if max(map(len, names)) > 8:
        axes.tick_params("x", rotation=30)
    axes.set_ylabel("Recall@1 (%)")
    axes.set_ylim(0, 110)


def escape(result):
    """The Figure of a run's mean ranking loss over the iterations, with the margin, half of it, and the first decay.

    Raises ValueError for a run without a curve.
    """
    found, experiment = regime.of(result), Experiment.from_dict(result["experiment"])
    if not found:
        raise ValueError("the run has no curve of its ranking loss: it is of an earlier version, train it again")
    figure = figures.empty(6, 2.7)
    axes, point = figure.subplots(), collapse.at_one_point(experiment)
    axes.plot(result["curve"]["iteration"], result["curve"]["ranking"], color=figures.OURS, label="mean ranking loss")
    axes.axhline(point, color="black", linewidth=1, label=f"{regime.place(experiment)[4:]}, {point:.3g}")
    axes.axhline(
        found["left_below"], color="black", linewidth=1, linestyle="--", label=f"left: below {found['left_below']:.3g}"
    )
    if found["first_decay"]:
        axes.axvline(found["first_decay"], color=figures.PUBLISHED, linestyle=":", label="first decay of the rate")
    if found["left_at"]:
        mean = result["curve"]["ranking"][result["curve"]["iteration"].index(found["left_at"])]
        axes.plot(found["left_at"], mean, "o", color=figures.OURS, markersize=6)
    axes.set_ylim(bottom=0)
    figures.plain(axes, "iteration", "ranking loss")
    figure.legend(loc="outside right upper", frameon=False, fontsize=8)
    return figure
