"""The audit finds nothing in this project, and every one of a hundred falsifications."""

import ast
import functools
import sys

import pytest

from reproduce import audit, recorded
from reproduce.page import html
from reproduce.tables import EVERYTHING
from tests.reproduce import falsifications

OF = {"numpy", "scipy", "reproduce"}  # of reproduce only what it has for itself
QUICK = (
    "documents: digit 0 of tables",
    "runs: two seeds are exchanged",
    "ranks: a rank",
    "documents: a mark is removed",
)


@pytest.fixture(scope="module")
def forgery(tmp_path_factory):
    """A copy of the project with at least six runs of each experiment, of which the audit finds nothing."""
    forgery = falsifications.Forgery(tmp_path_factory.mktemp("project"))
    forgery.with_runs()
    return forgery


@pytest.fixture(scope="module", autouse=True)
def quickly():
    """What the audit reads and recomputes of equal runs is computed once."""
    read, documents, known = audit.evidence.read, audit.documents, {}

    def read_once(folder):
        state = falsifications.sha256(b"".join(file.read_bytes() for file in sorted(folder.glob("*-*.*"))))
        return known.setdefault(state, None) or known.update({state: read(folder)}) or known[state]

    def documents_once(root, tables, runs, *more):
        texts = [(root / name).read_bytes() for name in ("reproduce/documents/ledger.md", "gluon_cgd/experiment.py")]
        place = (id(runs), *texts, *more[1:])
        return (
            known.setdefault(place, None) or known.update({place: documents(root, tables, runs, *more)}) or known[place]
        )

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(audit.evidence, "read", read_once)
        patched.setattr(audit, "documents", documents_once)
        yield


def found(forgery):
    """What the audit finds, as texts."""
    page = forgery.root / falsifications.PAGE
    return list(map(str, audit.audit(forgery.root, page if page.exists() else None, fast=True)))


def test_this_project_passes(capsys):
    assert audit.main(["--fast"]) == 0, capsys.readouterr().out
    assert capsys.readouterr().out == "audit: no difference\n"


def test_there_are_a_hundred_different_falsifications():
    names = [name for name, _ in falsifications.ALL]
    assert len(set(names)) == len(names) >= 100


@pytest.mark.parametrize("name", QUICK)
def test_a_falsification_is_caught(forgery, name):
    dict(falsifications.ALL)[name](forgery)
    try:
        assert forgery.before
        assert found(forgery)
    finally:
        forgery.undo()


@pytest.mark.slow
def test_a_hundred_of_a_hundred_falsifications_are_caught(forgery):
    results = functools.partial(recorded.read, folder=forgery.results)
    html.write(
        forgery.root / falsifications.PAGE,
        EVERYTHING,
        results,
        True,
        ranks_of=functools.partial(recorded.read_ranks, folder=forgery.results),
    )
    assert found(forgery) == []
    missed = []
    for name, plant in falsifications.ALL:
        plant(forgery)
        changed = {file: file.read_bytes() if file.exists() else None for file in forgery.before}
        assert changed != forgery.before, f"{name} changes nothing"
        if not found(forgery):
            missed.append(name)
        forgery.undo()
    (forgery.root / falsifications.PAGE).unlink()
    assert missed == []
    assert found(forgery) == []


def test_a_difference_is_a_sentence_with_its_place(forgery, capsys):
    forgery.lines("REPRODUCE.md", "claims", lambda lines: lines.__setitem__(2, lines[2].replace("93.1 /", "93.2 /")))
    try:
        line = forgery.text("REPRODUCE.md")[: forgery.part("REPRODUCE.md", "claims")[0]].count("\n") + 3
        assert audit.main(["--fast", "--root", str(forgery.root)]) == 1
        expected = f"REPRODUCE.md:{line}: Table 1: printed is '93.2 / 86.7', it should be '93.1 / 86.7'\n"
        assert capsys.readouterr().out == f"{expected}audit: 1 difference\n"
    finally:
        forgery.undo()


def test_what_cannot_be_audited_is_said_with_status_2(tmp_path, capsys):
    assert audit.main(["--root", str(tmp_path)]) == 2
    assert "results is no folder: name the project with --root" in capsys.readouterr().err


def test_it_imports_nothing_of_the_project():
    folder = falsifications.PROJECT / "reproduce"
    standard = getattr(sys, "stdlib_module_names", None)
    for file in [folder / "audit.py", *(folder / "auditing").glob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                top = name.partition(".")[0]
                assert top in OF or standard is None or top in standard, f"{file.name} imports {name}"
                assert top != "reproduce" or name.startswith("reproduce.auditing"), f"{file.name} imports {name}"
