"""The parts of the documents that are generated, between <!-- NAME --> and <!-- end of NAME -->."""

import re
from pathlib import Path

from gluon_cgd.files.grid import as_markdown
from gluon_cgd.files.whole import write_text
from reproduce.documents import ledger, summary

PROJECT = Path(__file__).resolve().parents[2]


def backbone_table():
    """What can be put under CGD's head, and what the whole then costs, measured on the network itself."""
    from gluon_cgd import backbones, model
    from reproduce.training.complexity import counts

    head = ("backbone", "library: network", "ImageNet top-1", "channels", "map at 224", "parameters", "multiply-adds")
    lines = [head]
    for name, recipe in backbones.BACKBONES.items():
        backbone = backbones.build(name)
        channels, height, width = backbone.map_shape(224)
        parameters, products = counts(model.CGD(backbone, "SM", 1536, classes=98))
        source = f"{recipe.publisher}: `{recipe.model}`" if recipe.model else "none"
        top1 = f"{recipe.top1:.2f}" if recipe.top1 else "-"
        cost = (f"{parameters / 1e6:.2f} M", f"{products / 1e9:.2f} G")
        lines.append((f"`{name}`", source, top1, f"{channels:,}", f"{height} x {width}", *cost))
    return as_markdown(lines)


def measured(name):
    """A part that a benchmark recorded: a function that makes it."""

    def make():
        from benchmarks import table

        return getattr(table, name)()

    return make


def generated(text):
    """`text` with every generated part made anew."""
    for name, make in PARTS.items():
        if f"<!-- {name} -->" in text and f"<!-- end of {name} -->" not in text:
            raise ValueError(
                f"a document has <!-- {name} --> without <!-- end of {name} -->: put it where the part ends"
            )
        marked = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end of {name} -->)", re.DOTALL)
        if marked.search(text):
            part = make()
            text = marked.sub(lambda found, part=part: found[1] + part + "\n" + found[2], text)
    return text


def write(folder=PROJECT):
    """Make the generated parts of the documents in `folder` anew; returns the names of those that changed."""
    changed = []
    for name in DOCUMENTS:
        file = Path(folder) / name
        text = file.read_text(encoding="utf-8")
        fresh = generated(text)
        if fresh != text:
            write_text(file, fresh)
            changed.append(name)
    return changed


PARTS = {
    "backbones": backbone_table,
    "claims": summary.claims,
    "costs": summary.costs,
    "digest": summary.digest,
    "figure3 claims": summary.figure3,
    "growth": measured("growth"),
    "ledger": ledger.as_markdown,
    "memory": measured("memory"),
    "origins": summary.origins,
    "precision": measured("precision"),
    "speed": measured("speed"),
    "status": summary.status,
    "tables": summary.tables,
}
DOCUMENTS = ("README.md", "REPRODUCE.md")
