"""A matplotlib figure as a piece of a web page: small, in the page's own font and colours, always the same."""

import io
import re
import warnings

from markupsafe import Markup

from gluon_cgd.files.figures import LINES

# Colours that have a light and a dark form in the page
VARIABLES = {
    "#000000": "ink",
    "#e5e5e5": "grid",  # "0.9"
    "#e6e6e6": "grid",
    "#bfbfbf": "single",  # "0.75" of visualize/configurations.py
    "#1f77b4": "line0",
    **{colour: f"line{number}" for number, colour in enumerate(LINES)},
}
SETTINGS = {"svg.fonttype": "none", "text.parse_math": False}
HEAD = Markup(
    '<svg viewBox="{0:g} {1:g} {2:g} {3:g}" role="img" aria-labelledby="{name}-title" width="{width:.0f}" '
    'height="{height:.0f}"><title id="{name}-title">{title}</title>'
)


def inline(draw, name, title):
    """The markup of the Figure that `draw()` returns, as an <svg> to put into a page.

    draw: called here, so that its texts are taken as they are: a $ does not begin a formula.
    name: begins the title's id and salts the others, so that no two plots of a page share one.
    title: what it shows, for those who do not see it.
    Colours become the page's variables: var(--ink), var(--grid), var(--single), var(--line0), ...
    """
    import matplotlib

    with matplotlib.rc_context({**SETTINGS, "svg.hashsalt": name}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # the browser has it
        figure, buffer = draw(), io.StringIO()
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # it has its layout now, for which it must not count what is clipped
        for artist in figure.findobj():
            artist.set_clip_on(False)
        for patch in (figure.patch, *(axes.patch for axes in figure.axes)):
            patch.set_visible(False)
        figure.savefig(buffer, format="svg")
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", buffer.getvalue(), flags=re.DOTALL)
    whole, drawing = text[text.index("<svg") :].split(">", 1)
    box = [float(number) for number in re.search('viewBox="(.*?)"', whole)[1].split()]
    pixels = {side: number * 4 / 3 for side, number in zip(("width", "height"), box[2:])}
    drawing = re.sub(r">\s+<", "><", re.sub("<[^>]*>", tidy, drawing))
    while "<g></g>" in drawing or "<defs></defs>" in drawing:
        drawing = re.sub("<g></g>|<defs></defs>", "", drawing)
    return HEAD.format(*box, name=name, title=title, **pixels) + Markup(drawing.strip())


def tidy(match):
    """A tag with two decimals, the page's font and its colours, and without an id that nothing refers to."""
    tag = re.sub(r"\s+", " ", match[0]).replace("xlink:href", "href")
    tag = re.sub('^<g id="[^"]*"', "<g", re.sub(r' transform="rotate\(-0 [^"]*"', "", tag))
    tag = re.sub(r"-?\d+\.\d{3,}", lambda number: f"{float(number[0]):.2f}".rstrip("0").rstrip("."), tag)
    tag = re.sub(r'font: (?:\w+ )*?([\d.]+)px [^;"]*', r"font-size: \1px", tag)
    return re.sub("#[0-9a-f]{6}", lambda colour: f"var(--{VARIABLES[colour[0]]})", tag)
