"""Names of classes that a reader takes for one."""

import unicodedata

import pytest

from gluon_cgd import datasets
from gluon_cgd.datasets import folders, labels

NFC, NFD = "café", unicodedata.normalize("NFD", "café")


def source_of(kind, root, names, images=4):
    """A folder or a list with `images` pictures of each of the classes `names`."""
    lines = ["path,label"]
    for place, name in enumerate(names):
        folder = root / (name if kind == "folder" else str(place))
        folder.mkdir()
        for number in range(images):
            (folder / f"{number}.jpg").write_bytes(b"x")
            lines.append(f"{place}/{number}.jpg,{name}")
    if kind == "folder":
        return str(root)
    (root / "list.csv").write_text("\n".join(lines), encoding="utf-8")
    return str(root / "list.csv")


@pytest.mark.parametrize("kind", ["folder", "list"])
def test_blanks_around_a_name_make_no_class(tmp_path, kind, caplog):
    source = source_of(kind, tmp_path, ["Golf", "Golf ", "Polo\u00a0", "Up"])
    assert folders.class_names(source) == ["Golf", "Polo", "Up"]
    split = datasets.load(source, split="images", held_out=0.5)
    assert [sum(record.label == label for part in split[:2] for record in part) for label in range(3)] == [8, 4, 4]
    assert "'Golf' and 'Golf ' are one class, Golf" in caplog.text


@pytest.mark.parametrize("kind", ["folder", "list"])
@pytest.mark.parametrize(
    ("one", "other", "difference"),
    [
        ("Golf", "golf", "case"),
        ("STRASSE", "straße", "case"),
        (NFC, NFD, "the form of their characters"),
        ("Golf", "Ｇｏｌｆ", "their blanks or special characters"),
        ("Golf GTI", "Golf  GTI", "their blanks"),
        ("Golf GTI", "Golf\u00a0GTI", "their blanks"),
        ("Golf", "Go\u200blf", "their blanks or special characters"),
        (NFC, NFD.upper(), "case"),
    ],
)
def test_names_that_look_alike_are_refused_with_both_and_the_remedy(tmp_path, kind, one, other, difference):
    source = source_of(kind, tmp_path, [one, other, "Polo", "Up"])
    with pytest.raises(ValueError, match="rename one if they are two classes, else merge them") as error:
        datasets.load(source)
    assert ascii(one) in str(error.value)
    assert ascii(other) in str(error.value)
    assert f"which differ only in {difference}" in str(error.value)


def test_names_in_two_parts_that_look_alike_are_refused(tmp_path):
    for place in ("train/Golf", "train/Polo", "test/golf"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "1.jpg").write_bytes(b"x")
    with pytest.raises(ValueError, match="the classes 'Golf' and 'golf', which differ only in case"):
        datasets.load(str(tmp_path))


def test_a_name_of_blanks_is_refused(tmp_path):
    with pytest.raises(ValueError, match="has a class whose name is ' ': give it a name"):
        datasets.load(source_of("folder", tmp_path, [" ", "a", "b", "c"]))


def test_names_are_shown_in_one_form_and_numbered_as_they_are_written():
    assert labels.numbered([NFD, "cafz", "Z", "a"], "photos")[0] == ["Z", "a", NFC, "cafz"]
    assert labels.numbered(["1", "2", "1.0", "e", "é"], "photos")[0] == ["1", "1.0", "2", "e", "é"]
