import pytest

from benchmarks import table
from gluon_cgd.machine.facts import PROJECT
from reproduce.command import main
from reproduce.documents import generated

SIMULATED = {"power": generated.PARTS["power"]}  # takes seconds
OTHERS = {name: part for name, part in generated.PARTS.items() if name not in SIMULATED}
DOCUMENTS = [(name, OTHERS, "python -m reproduce --write") for name in generated.DOCUMENTS]
DOCUMENTS += [(name, table.PARTS, "python -m benchmarks --write") for name in table.DOCUMENTS]


WITH_SLOW = [*DOCUMENTS, pytest.param("REPRODUCE.md", SIMULATED, DOCUMENTS[0][2], marks=pytest.mark.slow)]


@pytest.mark.parametrize(("name", "parts", "remedy"), WITH_SLOW)
def test_the_generated_parts_are_what_would_be_generated_now(name, parts, remedy):
    text = (PROJECT / name).read_text(encoding="utf-8")
    assert any(f"<!-- {part} -->" in text for part in parts)
    assert generated.regenerated(text, parts) == text, remedy


def test_the_command_leaves_documents_that_are_up_to_date_as_they_are(monkeypatch, capsys):
    monkeypatch.setattr(generated, "PARTS", {name: generated.PARTS[name] for name in ("ledger", "status")})
    assert main(["--write"]) == 0
    assert capsys.readouterr().out == "changed: nothing\n"


def test_every_part_is_in_exactly_one_document():
    text = "".join((PROJECT / name).read_text(encoding="utf-8") for name, _, _ in DOCUMENTS)
    for part in (*generated.PARTS, *table.PARTS):
        assert text.count(f"<!-- {part} -->") == 1, part


def test_only_what_is_between_the_marks_changes(tmp_path):
    parts = {"a": lambda: "new", "b": lambda: "other"}
    file = tmp_path / "README.md"
    for between in ("", "old\n", "old\n\nlines\n"):
        file.write_text(f"before\n<!-- a -->\n{between}<!-- end of a -->\nafter\n")
        assert generated.write(["README.md"], parts, tmp_path) == ["README.md"]
        assert file.read_text() == "before\n<!-- a -->\nnew\n<!-- end of a -->\nafter\n"
    assert generated.write(["README.md"], parts, tmp_path) == []


def test_a_part_without_an_end_is_refused(tmp_path):
    with pytest.raises(ValueError, match="<!-- a --> without <!-- end of a -->: put it where the part ends"):
        generated.regenerated("<!-- a -->\ntext\n", {"a": lambda: "new"})
