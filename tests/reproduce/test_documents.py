import pytest

from reproduce.documents import generated


@pytest.mark.parametrize("name", generated.DOCUMENTS)
def test_the_generated_parts_are_what_would_be_generated_now(name):
    text = (generated.PROJECT / name).read_text(encoding="utf-8")
    assert any(f"<!-- {part} -->" in text for part in generated.PARTS)
    assert generated.generated(text) == text, "python -m reproduce --write"


def test_only_what_is_between_the_marks_changes(tmp_path, monkeypatch):
    monkeypatch.setattr(generated, "PARTS", {"a": lambda: "new", "b": lambda: "other"})
    monkeypatch.setattr(generated, "DOCUMENTS", ("README.md",))
    file = tmp_path / "README.md"
    for between in ("", "old\n", "old\n\nlines\n"):
        file.write_text(f"before\n<!-- a -->\n{between}<!-- end of a -->\nafter\n")
        assert generated.write(tmp_path) == ["README.md"]
        assert file.read_text() == "before\n<!-- a -->\nnew\n<!-- end of a -->\nafter\n"
    assert generated.write(tmp_path) == []
