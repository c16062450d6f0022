"""The one walker: links, circles, folders that cannot be read, what systems leave, and the line on what is left out."""

import os

import pytest

from gluon_cgd.datasets import folders, tree
from gluon_cgd.retrieval import sources


def files(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def walked(root, **how):
    """(paths in `root` of the pictures, what was left out)."""
    left_out = tree.LeftOut()
    return [os.path.relpath(path, root) for path in tree.walk(root, left_out, **how)], left_out


def unreadable(monkeypatch, *endings):
    """Folders whose paths end so cannot be listed; root, who runs tests, may list all."""
    scandir = os.scandir

    def refused(place):
        if str(place).endswith(endings):
            raise PermissionError(13, "Permission denied", str(place))
        return scandir(place)

    monkeypatch.setattr(os, "scandir", refused)


def test_the_order_is_that_of_names_with_a_folders_own_files_first(tmp_path):
    files(tmp_path, "b/2.jpg", "b/deep/1.PNG", "b/a.jpg", "a/z.jpeg", "top.gif", "B/1.tif", "b2/x.jpg")
    expected = ["top.gif", "B/1.tif", "a/z.jpeg", "b/2.jpg", "b/a.jpg", "b/deep/1.PNG", "b2/x.jpg"]
    assert walked(tmp_path)[0] == expected


FOREIGN = (".ipynb_checkpoints", ".DS_Store", "@eaDir", "@EADIR", "#recycle", "__MACOSX", "Thumbs.db", "$RECYCLE.BIN")
MORE_FOREIGN = (
    "System Volume Information",
    "lost+found",
    "FOUND.000",
    "@__qini",
    "_vti_cnf",
    "@Recycle",
    ".Trash-1000",
    "RECYCLER",
    "desktop.ini",
    "#snapshot",
)


@pytest.mark.parametrize("name", FOREIGN + MORE_FOREIGN)
def test_what_systems_and_programs_leave_is_no_class_and_no_result(tmp_path, name):
    files(tmp_path, "golf/1.jpg", "polo/1.jpg", f"{name}/1.jpg", f"golf/{name}/1.jpg", f"golf/{name}/deep/2.jpg")
    paths, left_out = walked(tmp_path)
    assert paths == ["golf/1.jpg", "polo/1.jpg"]
    assert left_out.foreign == {name: 2}
    assert folders.class_names(tmp_path) == ["golf", "polo"]
    assert [os.path.relpath(path, tmp_path) for path in sources.pictures_of(tmp_path)] == paths
    assert [os.path.relpath(path, tmp_path) for path in folders.pictures_in(tmp_path)] == paths
    assert f"left out: hidden or made by a system: {name} 2" in left_out.line()


def test_hidden_files_are_counted_and_a_folder_that_is_named_may_be_hidden(tmp_path):
    files(
        tmp_path,
        ".photos/._1.jpg",
        ".photos/._2.jpg",
        ".photos/1.jpg",
        ".photos/.a.jpg",
        ".photos/1.jpg:Zone.Identifier",
    )
    paths, left_out = walked(tmp_path / ".photos")
    assert paths == ["1.jpg"]
    assert left_out.foreign == {"._*": 2, ".a.jpg": 1, "1.jpg:Zone.Identifier": 1}


def test_links_to_folders_are_followed_and_circles_end(tmp_path):
    files(tmp_path, "photos/golf/1.jpg", "elsewhere/polo/1.jpg", "elsewhere/polo/deep/2.jpg")
    photos, polo = tmp_path / "photos", tmp_path / "elsewhere/polo"
    (photos / "a polo").symlink_to(polo)
    (polo / "itself").symlink_to(polo)
    (photos / "golf/loop").symlink_to("..")
    (photos / "outside").symlink_to(tmp_path)
    (photos / "round").symlink_to("round")
    (photos / "x").symlink_to("golf")
    with pytest.raises(
        OSError, match="round is a link that cannot be followed .*: mend or remove it, or say --skip-bad"
    ):
        walked(photos, flag="--skip-bad")
    paths, left_out = walked(photos, skip_bad=True)
    assert paths == ["golf/1.jpg", "a polo/1.jpg", "a polo/deep/2.jpg"]
    assert [os.path.relpath(path, photos) for path in left_out.around] == ["outside", "golf/loop", "a polo/itself"]
    assert left_out.again == [(str(photos / "x"), str(photos / "golf"))]
    assert left_out.broken == [str(photos / "round")]
    line = left_out.line()
    for part in (
        "3 links to a folder around them: ",
        "1 links to folders that are read already: ",
        "1 links to nothing: ",
    ):
        assert part in line


def test_a_link_between_two_folders_that_are_linked_is_walked_once(tmp_path):
    files(tmp_path, "photos/1.jpg", "a/1.jpg", "b/2.jpg")
    for place, to in (("photos/a", "a"), ("photos/b", "b"), ("a/b", "b"), ("b/a", "a")):
        (tmp_path / place).symlink_to(tmp_path / to)
    paths, left_out = walked(tmp_path / "photos")
    assert paths == ["1.jpg", "a/1.jpg", "b/2.jpg"]
    assert len(left_out.again) == 2


def test_a_folder_that_cannot_be_read_is_refused_or_counted(tmp_path, monkeypatch):
    files(tmp_path, "golf/1.jpg", "polo/1.jpg", "polo/deep/2.jpg")
    unreadable(monkeypatch, "/polo")
    with pytest.raises(
        PermissionError, match=r"polo is a folder that cannot be read \(Permission denied\): mend or remove"
    ):
        walked(tmp_path)
    paths, left_out = walked(tmp_path, skip_bad=True)
    assert paths == ["golf/1.jpg"]
    assert left_out.line() == f"left out: 1 folders that cannot be read: {tmp_path}/polo"


def test_a_folder_whose_files_cannot_be_reached_is_refused(tmp_path, monkeypatch):
    files(tmp_path, "golf/1.jpg", "polo/1.jpg")
    monkeypatch.setattr(os, "access", lambda place, mode: not str(place).endswith("/polo"))
    with pytest.raises(
        PermissionError, match=r"polo is a folder that cannot be read \(Permission denied\): mend or remove"
    ):
        walked(tmp_path)
    assert walked(tmp_path, skip_bad=True)[0] == ["golf/1.jpg"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_a_folder_without_permission_is_refused(tmp_path):
    files(tmp_path, "golf/1.jpg", "polo/1.jpg")
    (tmp_path / "polo").chmod(0)
    try:
        with pytest.raises(PermissionError, match="polo is a folder that cannot be read"):
            walked(tmp_path)
    finally:
        (tmp_path / "polo").chmod(0o700)


def test_the_line_counts_by_ending_and_says_what_reads_them(tmp_path):
    files(
        tmp_path,
        *(f"{i}.HEIC" for i in range(5)),
        "a.avif",
        "b.avif",
        "1.jpg",
        "a.txt",
        "b.txt",
        "c.TXT",
        "README",
        "r.nef",
    )
    files(tmp_path, ".photo.heic.icloud")
    _, left_out = walked(tmp_path)
    kinds = ".heic 5, .avif 2 (install pillow-heif to read them), .nef 1 (export them as JPEG to use them), "
    kinds += ".icloud 1 (pictures that are not downloaded from iCloud), .txt 3, without an ending 1"
    assert left_out.kinds() == kinds
    first = f"13 files are no pictures that can be read and are left out, the first is {tmp_path}/.photo.heic.icloud: "
    assert left_out.line() == first + kinds


def test_the_line_is_short_however_many_kinds_there_are(tmp_path):
    files(tmp_path, *(f"a.e{number}" for number in range(100)), *(f"{number}/.hid{number}" for number in range(100)))
    line = walked(tmp_path)[1].line()
    assert " and 80 other endings" in line
    assert " and 80 other names" in line
    assert len(line) < 700 + len(str(tmp_path))
    assert tree.LeftOut().line() == ""


def test_heic_and_avif_are_pictures_where_they_can_be_read(tmp_path, monkeypatch):
    files(tmp_path, "a.heic", "b.AVIF", "c.jpg")
    assert walked(tmp_path)[0] == ["c.jpg"]
    monkeypatch.setattr(tree, "installed", lambda name: name == "pillow_heif")
    assert walked(tmp_path)[0] == ["a.heic", "b.AVIF", "c.jpg"]
