"""The plots of the page: every dot and every point of a curve, at the value that its axis says."""

import re

TICK = re.compile(r'<use href="[^"]*" x="([-\d.]+)" y="([-\d.]+)"[^>]*/></g></g><g><text ([^>]*)>([^<]*)</text>')
DOTS = {
    "dots": re.compile(r'<use href="[^"]*" x="([-\d.]+)" y="([-\d.]+)" style="fill: var\(--line0\); fill-opacity'),
    "boxes": re.compile(
        r'<use href="[^"]*" x="([-\d.]+)" y="([-\d.]+)" style="fill: var\(--(?:single|line0)\); stroke: var\(--ink\)"'
    ),
}
LINE = re.compile(r'<path d="M ([-\d. L]+?) ?" style="fill: none;[^"]*stroke: var\(--line\d\)[^"]*"/>')
EXACT = 0.02  # of a pixel: the page has two decimals


def differences(markup, title, kind, values):
    """Sentences: where a plot is not of `values`. kind: "dots", "boxes" (panels of rows of values) or "curves"."""
    printed = re.search("<title[^>]*>(.*?)</title>", markup)
    if not printed or printed[1] != title:
        yield f"the plot is called {printed and printed[1]!r}, and should be {title!r}"
        return
    name = title.partition(":")[0]
    if kind == "curves":
        yield from curves(name, markup, values)
        return
    along = "x" if kind == "dots" else "y"
    for number, (panel, rows) in enumerate(zip(panels(markup, kind), values)):
        axis = scale(panel, along)
        if axis is None:
            yield f"the plot of {name} has no axis to read"
            continue
        places = [float(found[1 if along == "x" else 2]) for found in DOTS[kind].finditer(panel)]
        right = [value for row in rows for value in row]
        if len(places) != len(right):
            yield f"the plot of {name}, panel {number + 1} has {len(places)} dots, and should have {len(right)}"
        for place, value in zip(places, right):
            if abs(axis[0] + axis[1] * value - place) > EXACT:
                shown = (place - axis[0]) / axis[1]
                yield f"the plot of {name} has a dot at {shown:.2f}, and it should be at {value:.2f}"


def panels(markup, kind):
    """The markup of each pair of axes: it begins with its ticks, and its dots follow."""
    pieces, last = [0], None
    for found in sorted([*TICK.finditer(markup), *DOTS[kind].finditer(markup)], key=lambda one: one.start()):
        is_dot = found.re is not TICK
        if last and not is_dot:
            pieces.append(found.start())
        last = is_dot
    return [markup[start:end] for start, end in zip(pieces, [*pieces[1:], len(markup)])]


def scale(markup, along):
    """(start, pixels of a unit) of an axis, by its ticks with numbers; None if there are not two."""
    anchor = "middle" if along == "x" else "end"
    ticks = []
    for found in TICK.finditer(markup):
        text = found[4].replace("\N{MINUS SIGN}", "-").replace(",", "")
        if f"text-anchor: {anchor}" in found[3] and re.fullmatch(r"-?\d+(\.\d+)?", text):
            ticks.append((float(text), float(found[1 if along == "x" else 2])))
    if len(ticks) < 2 or ticks[0][0] == ticks[-1][0]:
        return None
    (low, start), (high, end) = ticks[0], ticks[-1]
    unit = (end - start) / (high - low)
    if any(abs(start + unit * (value - low) - place) > 2 * EXACT for value, place in ticks):
        return None
    return start - unit * low, unit


def curves(name, markup, values):
    """As `differences`, for lines of [(iteration, recall), ...]."""
    axes = scale(markup, "x"), scale(markup, "y")
    lines = [[tuple(map(float, point.split())) for point in found[1].split(" L ")] for found in LINE.finditer(markup)][
        : len(values)
    ]
    if None in axes or len(lines) < len(values):
        yield f"the plot of {name} has {len(lines)} curves that can be read, and should have {len(values)}"
        return
    for number, (line, points) in enumerate(zip(lines, values)):
        if len(line) != len(points):
            yield f"curve {number + 1} of {name} has {len(line)} points, and should have {len(points)}"
        for place, point in zip(line, points):
            right = [start + unit * value for (start, unit), value in zip(axes, point)]
            if max(abs(a - b) for a, b in zip(place, right)) > EXACT:
                at, value = ((spot - start) / unit for spot, (start, unit) in zip(place, axes))
                told = f"({at:.0f}, {value:.2f}), and should go through ({point[0]}, {point[1]:.2f})"
                yield f"curve {number + 1} of {name} goes through {told}"
