"""A matplotlib figure as a piece of a web page: small, in the page's own font and colours, always the same."""

import io
import re
import warnings
from xml.etree import ElementTree

from gluon_cgd.files.figures import LINES

SVG, XLINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"
# Colours that have a light and a dark form in the page
VARIABLES = {
    "#000000": "ink",
    "#e5e5e5": "grid",  # "0.9"
    "#e6e6e6": "grid",
    "#bfbfbf": "single",  # "0.75" of visualize/configurations.py
    "#1f77b4": "line0",
    **{colour: f"line{number}" for number, colour in enumerate(LINES)},
}
SETTINGS = {"svg.fonttype": "none", "svg.hashsalt": "gluon_cgd", "text.parse_math": False}


def inline(draw, name, title):
    """The markup of the Figure that `draw()` returns, as an <svg> to put into a page.

    draw: called here, so that its texts are taken as they are: a $ does not begin a formula.
    name: begins its ids, so that no two plots of a page share one.  title: what it shows, for those who do not see it.
    Colours become the page's variables: var(--ink), var(--grid), var(--single), var(--line0), ...
    """
    import matplotlib

    with matplotlib.rc_context(SETTINGS), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # the browser has it
        figure, buffer = draw(), io.BytesIO()
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # it has its layout now, for which it must not count what is clipped
        for artist in figure.findobj():
            artist.set_clip_on(False)
        for patch in (figure.patch, *(axes.patch for axes in figure.axes)):
            patch.set_visible(False)
        figure.savefig(buffer, format="svg")
    root = ElementTree.fromstring(buffer.getvalue())
    left, top, width, height = (float(number) for number in root.get("viewBox").split())
    root.attrib = {
        "viewBox": f"{left:g} {top:g} {width:g} {height:g}",
        "role": "img",
        "aria-labelledby": f"{name}-title",
    }
    root.attrib.update(width=f"{width * 4 / 3:.0f}", height=f"{height * 4 / 3:.0f}")  # points in pixels
    shrink(root, name)
    told = ElementTree.Element("title", id=f"{name}-title")
    told.text = title
    root.insert(0, told)
    return ElementTree.tostring(root, encoding="unicode")


def shrink(root, name):
    """Take from the tree `root` what a page does not need, in place; what is referred to gets an id of `name`."""
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{SVG}metadata", f"{SVG}style"):
                parent.remove(child)
    referred = [node.attrib.pop(f"{XLINK}href")[1:] if f"{XLINK}href" in node.attrib else None for node in root.iter()]
    names = {old: f"{name}-{number}" for number, old in enumerate(dict.fromkeys(filter(None, referred)))}
    for node, target in zip(list(root.iter()), referred):
        node.tag = node.tag.replace(SVG, "")  # HTML has no name spaces
        if node is root:
            continue
        if target:
            node.set("href", f"#{names[target]}")
        if "id" in node.attrib:
            own = names.get(node.attrib.pop("id"))
            if own:
                node.set("id", own)
        node.attrib = {key: tidy(key, value) for key, value in node.attrib.items() if "rotate(-0 " not in value}
        node.text, node.tail = (text if text and text.strip() else None for text in (node.text, node.tail))
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in ("defs", "g") and not len(child):
                parent.remove(child)


def tidy(attribute, value):
    """The value of an attribute with two decimals, the page's font and its colours."""
    if attribute != "style":
        value = re.sub(r"-?\d+\.\d+", lambda found: f"{float(found[0]):.2f}".rstrip("0").rstrip("."), value)
        return re.sub(r"\s+", " ", value).strip()
    value = re.sub(r"font: (?:\w+ )*?([\d.]+)px [^;]*", r"font-size: \1px", value)
    return re.sub(r"#[0-9a-f]{6}", lambda found: f"var(--{VARIABLES[found[0]]})", value)
