"""Lists of pictures as spreadsheets and scripts on any system write them."""

import codecs

import pytest

from gluon_cgd import datasets
from gluon_cgd.__main__ import main
from gluon_cgd.datasets import layouts
from tests import miniatures

ROWS = [("photos/a/1.jpg", "Müller"), ("photos/a/2.jpg", "Müller"), ("photos/b/1.jpg", "b"), ("photos/b/2.jpg", "b")]


@pytest.fixture
def root(tmp_path):
    for path, _ in ROWS:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(b"x")
    return tmp_path


def text(separator=",", header=("path", "label", "split"), end="\n"):
    lines = [separator.join(header)]
    lines += [separator.join((*row, ("train", "test")[number % 2])) for number, row in enumerate(ROWS)]
    return end.join(lines) + end


def expected(root):
    records = [(str(root / path), int(label == "b")) for path, label in ROWS]
    return records[::2], records[1::2]


def read(file):
    split = datasets.load(str(file))
    return tuple([(record.path, record.label) for record in part] for part in split[:2])


WRITTEN = {
    "plain": ("list.csv", text().encode()),
    "capitals": ("LIST.CSV", text(header=("Path", "LABEL", " Split ")).encode()),
    "tabs": ("list.tsv", text("\t").encode()),
    "tabs in capitals": ("list.TSV", text("\t").encode()),
    "semicolons": ("list.csv", text(";").encode()),
    "a mark": ("list.csv", text().encode("utf-8-sig")),
    "a mark and semicolons": ("list.csv", text(";").encode("utf-8-sig")),
    "ends of Windows": ("list.csv", text(end="\r\n").encode()),
    "ends of old Macs": ("list.csv", text(end="\r").encode()),
    "utf-16": ("list.csv", text().encode("utf-16")),
    "utf-16 of Excel": ("list.csv", codecs.BOM_UTF16_LE + text("\t", end="\r\n").encode("utf-16-le")),
    "utf-16, big end first": ("list.csv", codecs.BOM_UTF16_BE + text().encode("utf-16-be")),
    "utf-16 without a mark": ("list.csv", text().encode("utf-16-le")),
    "utf-16, big end first, without a mark": ("list.csv", text().encode("utf-16-be")),
    "utf-32": ("list.csv", text().encode("utf-32")),
    "a line for Excel": ("list.csv", b"sep=;\r\n" + text(";").encode()),
    "backslashes": ("list.csv", text().replace("/", "\\").encode()),
    "blanks after commas": ("list.csv", text().replace(",", ", ").encode()),
    "quotes": ("list.csv", text().replace("photos/a/1.jpg", '"photos/a/1.jpg"').encode()),
}


@pytest.mark.parametrize("title", WRITTEN)
def test_a_list_is_read_however_it_was_written(root, title):
    name, data = WRITTEN[title]
    (root / name).write_bytes(data)
    assert read(root / name) == expected(root)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (text().encode("latin-1"), "is not a CSV file in UTF-8"),
        (
            text().replace("photos/a/1", r"C:\photos\1").encode(),
            r"line 2 names .* on a disk of a Windows machine: write it",
        ),
        (text().replace("photos/a/1", "D:/photos/1").encode(), r"line 2 names .* on a disk of a Windows machine"),
        (text().replace("photos/a/1", r"\\server\photos\1").encode(), "on a disk of a Windows machine"),
        (text().replace("photos/a/1", r"..\photos\1").encode(), "line 2 names .* not inside .*: write its whole path"),
        (
            text().replace("photos/a/2", "photos/a/1").encode(),
            r"photos/a/1\.jpg is listed twice: mend the list",
        ),
        (text().replace("photos/a/1", r"\photos\1").encode(), "line 2 names .* which is not inside"),
        (text("|").encode(), r"starts with 'path\|label\|split': its header must be path,label"),
        (text(header=("path", "label", "part")).encode(), "starts with 'path,label,part': its header must be"),
        (text(";", header=("path", "label", "part")).encode(), "starts with 'path,label,part': its header must be"),
        (text(header=("path", "label", "Label")).encode(), "its header must be"),
        (b"sep=;\n" + text(";").replace("b/1.jpg;b;", "b/1.jpg;b;x;").encode(), "list.csv line 5 has another number"),
        (text().replace("Müller", " ").encode(), "line 2 has no path or no label"),
        (text().replace("test", "exam").encode(), "line 3 has split 'exam': it must be one of gallery, queries"),
        (b"\0" + text().encode(), "list.csv"),
        (b"PK\3\4" + bytes(100), "list.csv is not text .it holds zero bytes, .*: save it as CSV in UTF-8"),
        (text().replace("a/1", "a/\0").encode(), "list.csv is not text"),
        (b"x" * 100000, "list.csv starts with 'x{200}': its header"),
        (text().encode("utf-16")[:-1], "list.csv is not a CSV file in UTF-8"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_cause(root, data, message):
    (root / "list.csv").write_bytes(data)
    with pytest.raises(ValueError, match=message):
        datasets.load(str(root / "list.csv"))


@pytest.mark.parametrize("there", ["photos/Mu\u0308ller/1.jpg", "photos/M\u00fcller/1.JPG", "photos/M\u00dcLLER/1.jpg"])
def test_a_picture_that_is_there_in_another_case_or_form_of_unicode_is_named(root, there):
    (root / there).parent.mkdir(parents=True)
    (root / there).write_bytes(b"x")
    (root / "list.csv").write_text(text().replace("photos/a/1.jpg", "photos/M\u00fcller/1.jpg"), encoding="utf-8")
    with pytest.raises(FileNotFoundError) as refused:
        datasets.load(str(root / "list.csv"))
    assert f"(there is {ascii(str(root / there))}, in another case or another form of Unicode" in str(refused.value)
    (root / there).unlink()
    with pytest.raises(FileNotFoundError) as refused:
        datasets.load(str(root / "list.csv"))
    assert "there is" not in str(refused.value)


def test_a_picture_whose_name_has_a_backslash_is_found(root):
    (root / "odd\\name.jpg").write_bytes(b"x")
    (root / "list.csv").write_text(text().replace("photos/a/1.jpg", "odd\\name.jpg"), encoding="utf-8")
    assert read(root / "list.csv")[0][0] == (str(root / "odd\\name.jpg"), 0)


@pytest.mark.parametrize("odd", ["photos//a//", "photos/./a/./", "/photos/a//./"])
def test_an_absolute_path_is_found_however_its_slashes_are_written(root, odd):
    written = text().replace("photos/a/", f"{root}/{odd}").replace("photos/b", f"{root}/photos/b")
    (root / "list.csv").write_text(written, encoding="utf-8")
    assert read(root / "list.csv") == expected(root)


def test_an_absolute_path_leads_through_a_link_as_the_system_reads_it(root):
    (root / "elsewhere").mkdir()
    (root / "elsewhere/link").symlink_to(root / "photos/a")
    (root / "list.csv").write_text(text().replace("photos/a/", f"{root}/elsewhere/link/../a/"), encoding="utf-8")
    assert read(root / "list.csv")[0][0] == (f"{root}/elsewhere/link/../a/1.jpg", 0)


def rewritten(file, change):
    file.write_bytes(change(file.read_text(encoding="utf-8")))


CHANGES = {
    "a mark": lambda text: text.encode("utf-8-sig"),
    "utf-16": lambda text: text.encode("utf-16"),
    "ends of Windows": lambda text: text.replace("\n", "\r\n").encode(),
    "backslashes": lambda text: text.replace("/", "\\").encode(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_lists_of_the_benchmarks_are_read_after_a_windows_program_has_saved_them(tmp_path, change):
    for name, make, folder in (
        ("cub200", miniatures.cub200, "CUB_200_2011"),
        ("sop", miniatures.sop, "Stanford_Online_Products"),
    ):
        root = make(tmp_path / name)
        before = getattr(layouts, name)(root)
        for file in (root / folder).glob("*.txt"):
            rewritten(file, CHANGES[change])
        assert getattr(layouts, name)(root) == before


def test_a_list_in_capitals_goes_through_the_command(root, capsys):
    (root / "LIST.CSV").write_bytes(text(";").encode("utf-16"))
    assert main(["data", str(root / "LIST.CSV")]) == 0
    assert "2 training pictures of 2 classes and 2 test pictures of 2 classes" in capsys.readouterr().out
