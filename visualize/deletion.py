"""Draws how the cosine of a pair falls when parts of one picture are taken out, see benchmarks/deletion.py."""

from gluon_cgd.files.figures import DASHES, LINES, empty, plain


def curves(parts):
    """The Figure of the recorded `parts`, one panel for each dataset, one line for each order of taking out."""
    figure = empty(4.2 * len(parts), 3.6)
    for axes, part in zip(figure.subplots(1, len(parts), squeeze=False)[0], parts):
        shares = [100 * share for share in part["shares"]]
        for number, (order, values) in enumerate(part["orders"].items()):
            style = dict(color=LINES[number], linestyle=DASHES[number % len(DASHES)], marker="o", markersize=3)
            axes.plot(shares, values["cosines"], label=order, **style)
        plain(axes, "positions of the query that are taken out (%)", "cosine with the result")
        axes.set_title(f"{part['dataset']}, {part['backbone']}: mean of {part['pairs']} pairs", fontsize=9, loc="left")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncol=4, frameon=False, fontsize=8)
    return figure
