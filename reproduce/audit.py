"""Recomputes every generated number and sentence of the documents from the recorded runs, without the project's code.

    python reproduce/audit.py                      the recorded runs, README.md, REPRODUCE.md and docs/
    python reproduce/audit.py --page FILE          and the page that `python -m reproduce --html` wrote of them

It needs NumPy and SciPy. What it knows of the paper and of the experiments was typed a second time, see
reproduce/auditing/declared.py; the tests behind the verdicts are implemented a second time, see
reproduce/auditing/inference.py. Each difference is one sentence with its file and line: what is printed there, and what
it should be.

It notices a change of one part: a digit in a document, a recall or a rank, a seed, a run that was dropped or copied, a
word of a verdict. It cannot notice a forger who trains nothing, invents ranks for all seeds of all rows and makes every
hash, recall and document anew from them. Only training again shows that: see `--attest` in REPRODUCE.md. Sentences that
were written by hand, outside of the marks <!-- NAME -->, are not checked.

Exit status: 0 no difference, 1 differences, 2 could not run.
"""

import argparse
import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if __package__ in (None, ""):  # started by its name: the folder of this file is not one to import from
    sys.path[0] = str(ROOT)

from reproduce.auditing import (  # noqa: E402  # noqa: E402
    beyond,
    blocks,
    compare,
    declared,
    evidence,
    integrity,
    page,
    photographs,
    plain,
    power,
    report,
    speed,
)
from reproduce.auditing.evidence import Finding  # noqa: E402
from reproduce.auditing.samples import entries  # noqa: E402


def main(arguments=None):
    """Audit the project; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python reproduce/audit.py", description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=ROOT, metavar="DIR", help="the project (default: this one)")
    parser.add_argument("--page", type=Path, metavar="FILE", help="a page of the recorded runs, to be audited too")
    parser.add_argument("--fast", action="store_true", help="leave out the part 'power', simulated in some seconds")
    options = parser.parse_args(arguments)
    try:
        findings = list(audit(options.root, options.page, options.fast))
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"audit: cannot run: {error!r}", file=sys.stderr)
        return 2
    for finding in findings:
        print(finding._replace(file=relative(finding.file, options.root)))
    count = f"{len(findings)} difference{'s' * (len(findings) != 1)}"
    print(f"audit: {count if findings else 'no difference'}")
    return 1 if findings else 0


def relative(file, root):
    """The name of `file` in the project."""
    path = Path(file)
    return str(path.relative_to(root)) if path.is_absolute() and root in path.parents else str(file)


def audit(root, html=None, fast=False):
    """Findings of the project in the folder `root`. Raises OSError or ValueError where it cannot run.

    html: a page of the recorded runs that `python -m reproduce --html` wrote, or None.  fast: without simulations.
    """
    results, tables = root / "reproduce" / "results", declared.tables()
    if not results.is_dir():
        raise ValueError(f"{results} is no folder: name the project with --root")
    source = (root / "gluon_cgd" / "experiment.py").read_text(encoding="utf-8")
    revision = int(re.search(r"^REVISION = (\d+)", source, re.MULTILINE)[1])
    runs, findings = evidence.read(results)
    yield from findings
    small = [table._replace(paper=[]) for table in declared.small_tables(tables)]
    yield from integrity.check(runs, [*tables, declared.report(), *small], revision)
    try:
        attested = plain.attestations(results / "reproductions")
    except ValueError as error:
        attested = []
        file, _, text = str(error).partition(": ")
        yield Finding(file, 1, text)
    for name, parts in documents(root, tables, runs, attested, revision, fast).items():
        file = root / name
        if not file.is_file():
            yield Finding(str(file), 1, "the document is missing")
            continue
        yield from compare.document(str(file), file.read_text(encoding="utf-8"), parts)
    if html:
        yield from page.check(str(html), html.read_text(encoding="utf-8"), tables, runs, revision)


def documents(root, tables, runs, attested, revision, fast):
    """{document: {part: [line, ...]}}: all generated parts as they should be."""
    steps = root / "reproduce" / "results" / "steps.json"
    measured = json.loads(steps.read_text(encoding="utf-8")) if steps.is_file() else {}
    ledger = (root / "reproduce" / "documents" / "ledger.md").read_text(encoding="utf-8")
    on_photographs = declared.small_tables(tables)
    mini, paper = blocks.Mini(tables, runs), {table.name: entries(table, runs, False) for table in tables}
    return {
        "README.md": {"counted": blocks.counted(mini)},
        "REPRODUCE.md": {
            "beyond": beyond.part(tables, runs),
            "report": report.part(runs),
            "power": (lambda lines: lines) if fast else power.part(),
            "status": blocks.status(mini, paper),
            "digest": blocks.digest(mini),
            "claims": blocks.claim_table(mini),
            "figure3 claims": blocks.figure3_claims(mini),
            "tables": blocks.tables(mini, paper),
            "costs": plain.costs(tables, runs, measured),
            "origins": plain.origins([*tables, declared.report()], runs, on_photographs),
            "photographs": photographs.section(on_photographs, runs),
            "reproductions": plain.reproductions(tables, runs, attested, revision, on_photographs),
            "ledger": plain.ledger(ledger),
        },
        "docs/backbones.md": {"backbones": plain.backbones()},
        "docs/speed.md": speed.parts(root / "benchmarks" / "results"),
    }


if __name__ == "__main__":
    sys.exit(main())
