"""The parts of the documents that are generated, between <!-- NAME --> and <!-- end of NAME -->."""

import re

from gluon_cgd.files.grid import as_markdown
from gluon_cgd.files.whole import write_text
from gluon_cgd.machine.facts import PROJECT
from reproduce.documents import attestation, beyond, findings, ledger, summary
from reproduce.report import power


def backbone_table():
    """A row for each backbone: its source and what a whole CGD on it costs, measured on the network itself."""
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


def regenerated(text, parts):
    """`text` with every one of `parts`, {name: function that returns its text}, made anew where it occurs."""
    for name, make in parts.items():
        start, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
        if start in text and end not in text:
            raise ValueError(f"a document has {start} without {end}: put it where the part ends")
        marked = re.compile(rf"({start}\n).*?({end})", re.DOTALL)
        if marked.search(text):
            part = make()
            text = marked.sub(lambda match, part=part: match[1] + part + "\n" + match[2], text)
    return text


def write(documents, parts, folder=PROJECT):
    """Make `parts` of the `documents` in `folder` anew; returns the names of the documents that changed."""
    changed = []
    for name in documents:
        before = (folder / name).read_text(encoding="utf-8")
        after = regenerated(before, parts)
        if after != before:
            write_text(folder / name, after)
            changed.append(name)
    return changed


PARTS = {
    "backbones": backbone_table,
    "beyond": beyond.as_markdown_text,
    "claims": summary.claims,
    "costs": summary.costs,
    "counted": summary.counted,
    "digest": summary.digest,
    "figure3 claims": summary.figure3,
    "ledger": ledger.as_markdown,
    "origins": summary.origins,
    "photographs": summary.photographs,
    "power": power.as_markdown,
    "report": findings.section,
    "reproductions": attestation.reproductions,
    "status": summary.status,
    "tables": summary.tables,
}
DOCUMENTS = (
    "README.md",
    "REPRODUCE.md",
    "docs/backbones.md",
)  # docs/speed.md and docs/deletion.md belong to `python -m benchmarks --write`
