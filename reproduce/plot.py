"""The picture of a table: bars, published and ours."""

import numpy as np

from visualize.configurations import draw


def plot(table, rows, small, file):
    """Recall@1 of each row, published and ours, or untrained and mini: two datasets never share an axis."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if table.name == "figure3":
        draw(rows, file)
        return
    benchmarks = list(dict.fromkeys(column.rpartition(" ")[0] for row in rows for column in row["columns"]))
    panels = [[row for row in rows if row["columns"][0].startswith(f"{name} R" if name else "")] for name in benchmarks]
    width = 2.2 + 1.1 * max(map(len, panels))
    figure = Figure(figsize=(width, 0.6 + 2.8 * len(panels)), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, name, panel in zip(figure.subplots(len(panels), squeeze=False)[:, 0], benchmarks, panels):
        bars(axes, panel, small)
        axes.set_title(f"Table {table.name[-1]} {name}" + " on the embedded benchmark" * small, fontsize=10)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncol=2, frameon=False)
    figure.savefig(file, dpi=150, format="png")


def bars(axes, rows, small):
    """The bars of `rows`, which are of one dataset, by their first column."""
    published, our = ("published", "published", "0.6"), ("ours", "ours", "tab:blue")
    pair = (("untrained", "untrained", "0.8"), ("ours", "mini: glyphs", "tab:blue")) if small else (published, our)
    for i, (source, name, colour) in enumerate(pair):
        cells = [(row[source] or {}).get(row["columns"][0]) for row in rows]
        heights = [cell["mean"] if cell else 0 for cell in cells]
        known = all(cell and cell["std"] is not None for cell in cells)
        spreads = [cell["std"] for cell in cells] if known else None
        places = np.arange(len(rows)) + 0.4 * i - 0.2
        bar = axes.bar(places, heights, 0.38, color=colour, label=name, yerr=spreads, capsize=3)
        axes.bar_label(bar, [f"{cell['mean']:.1f}" if cell else "not run" for cell in cells], fontsize=8, padding=2)
    axes.set_xticks(range(len(rows)), [row["row"] for row in rows])
    if max(len(row["row"]) for row in rows) > 8:
        axes.tick_params("x", rotation=30)
    axes.set_ylabel("Recall@1 (%)")
    axes.set_ylim(0, 110)
