"""Archives that are damaged, hostile or unpacked already: one sentence, or exactly the files that they hold."""

import bz2
import gzip
import io
import logging
import lzma
import os
import resource
import stat
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib
from types import SimpleNamespace

import pytest

from gluon_cgd.fetch import archives
from gluon_cgd.fetch.archives import is_unpacked, unpack

FILES = {"birds/a.jpg": b"a" * 3000, "birds/b/c.jpg": bytes(range(256)) * 20, "list.txt": b"a\nb\n"}
PACKED = {".tar": bytes, ".tgz": gzip.compress, ".tar.bz2": bz2.compress, ".tar.xz": lzma.compress}


def tar(*members):
    """A tar archive, as bytes, of (name, content, fields of its header) each."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content, fields in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for field, value in fields.items():
                setattr(info, field, value)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def zipped(files, method=zipfile.ZIP_DEFLATED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def packed(suffix, files=FILES):
    if suffix == ".zip":
        return zipped(files)
    return PACKED[suffix](tar(*((name, content, {}) for name, content in files.items())))


def there(folder):
    """{path: content} of what is below `folder`."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def unpacked(tmp_path, data, name="a"):
    (tmp_path / name).write_bytes(data)
    unpack(tmp_path / name, tmp_path / "out")
    return there(tmp_path / "out")


@pytest.mark.parametrize("suffix", [".zip", *PACKED])
def test_every_kind_is_unpacked_whatever_its_name(tmp_path, suffix):
    assert unpacked(tmp_path, packed(suffix)) == FILES


def test_a_tar_whose_last_file_is_a_zip_is_a_tar(tmp_path):
    inner = {"weights.zip": zipped({"a": b"inside"})}
    assert unpacked(tmp_path, packed(".tar", inner)) == inner


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
@pytest.mark.parametrize("position", range(0, 200, 19))
def test_a_damaged_byte_in_a_zip_is_a_sentence(tmp_path, method, position):
    data = bytearray(zipped({"a.jpg": bytes(range(256)) * 2}, method))
    data[position] ^= 0xFF
    refused_or_right(tmp_path, bytes(data), {"a.jpg": bytes(range(256)) * 2})


@pytest.mark.parametrize("suffix", [".tgz", ".tar.bz2", ".tar.xz"])
@pytest.mark.parametrize("part", [0.02, 0.3, 0.6, 0.97])
def test_a_damaged_byte_in_a_compressed_tar_is_a_sentence(tmp_path, suffix, part):
    data = bytearray(packed(suffix))
    data[int(part * len(data))] ^= 0x10
    refused_or_right(tmp_path, bytes(data), FILES)


def refused_or_right(tmp_path, data, files):
    """Either a sentence and nothing, or exactly `files`."""
    try:
        assert unpacked(tmp_path, data) == files
        return
    except (ValueError, OSError) as error:
        message = str(error)
    assert message.startswith(f"{tmp_path / 'a'} ")
    assert ": " in message
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("error", [zlib.error, lzma.LZMAError, struct.error, OverflowError, IndexError, MemoryError])
def test_whatever_a_decoder_raises_is_a_sentence(tmp_path, monkeypatch, error):
    def fails(*_):
        raise error("odd")

    monkeypatch.setattr(zipfile.ZipExtFile, "read", fails)
    with pytest.raises(ValueError, match=rf"a cannot be unpacked \({error.__name__}: odd\): get it again"):
        unpacked(tmp_path, packed(".zip"))
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("suffix", PACKED)
@pytest.mark.parametrize("block", [1, 3], ids=["damaged", "more damaged"])
def test_a_damaged_header_is_not_taken_for_the_end(tmp_path, suffix, block):
    """The files before it would be all that is unpacked."""
    data = bytearray(tar(*((name, content, {}) for name, content in FILES.items())))
    second = data.index(b"birds/b/c.jpg")
    data[second : second + block] = b"X" * block
    with pytest.raises(ValueError, match="bad checksum after 3,584 bytes"):
        unpacked(tmp_path, PACKED[suffix](bytes(data)))


def test_an_empty_header_amid_a_tar_is_not_taken_for_the_end(tmp_path):
    data = bytearray(tar(*((name, content, {}) for name, content in FILES.items())))
    second = data.index(b"birds/b/c.jpg")
    data[second : second + 512] = bytes(512)
    with pytest.raises(ValueError, match="there are data after its end"):
        unpacked(tmp_path, bytes(data))


def test_what_a_publisher_left_after_the_end_of_a_tar_is_no_damage(tmp_path):
    data = tar(*((name, content, {}) for name, content in FILES.items()))
    end = data.rindex(b"a\nb\n") + 512 + 1024
    (tmp_path / "a").write_bytes(gzip.compress(data[:end] + b"left" * 100))
    with pytest.raises(ValueError, match="there are data after its end"):
        unpack(tmp_path / "a", tmp_path / "out")
    unpack(tmp_path / "a", tmp_path / "out", tmp_path / "note", "its checksum")
    assert there(tmp_path / "out") == FILES


def test_a_tar_that_is_cut_between_two_files_is_not_whole(tmp_path):
    data = tar(*((name, content, {}) for name, content in FILES.items()))
    with pytest.raises(ValueError, match="empty header"):
        unpacked(tmp_path, data[: data.index(b"list.txt")])


@pytest.mark.parametrize("suffix", [".tgz", ".tar.bz2", ".tar.xz"])
def test_the_checksum_at_the_end_of_a_compressed_tar_is_compared(tmp_path, suffix):
    """tarfile reads no further than the end of the tar within."""
    data = packed(suffix)
    end = {".tgz": data[:-8] + b"\0" * 8, ".tar.bz2": data[:-4] + b"\0" * 4, ".tar.xz": data[:-20] + b"\0" * 20}
    with pytest.raises(ValueError, match="cannot be unpacked"):
        unpacked(tmp_path, end[suffix])


def declared(size):
    """A tar whose one member declares `size` bytes."""
    data = bytearray(tar(("a.jpg", b"x", {})))
    field = (
        size if isinstance(size, bytes) else (b"\x80" if size >= 0 else b"\xff") + size.to_bytes(11, "big", signed=True)
    )
    data[124:136] = field
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    return bytes(data)


def lying_header(kind, size):
    """A tar with a header of `kind` that claims to be followed by `size` bytes that describe the next member."""
    data = bytearray(declared(size))
    data[156:157] = kind
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    return bytes(data)


ENDLESS = "1" * (1 << 20)


@pytest.mark.parametrize(
    "data",
    [
        declared(-512),
        declared(1 << 60),
        declared((1 << 87) - 1),
        declared(b"777777777777"),
        declared(b"zzzzzzzzzzzz"),
        declared(-(1 << 40)),
        lying_header(tarfile.XHDTYPE, -512),
        lying_header(tarfile.XHDTYPE, 1 << 40),
        lying_header(tarfile.GNUTYPE_LONGNAME, 1 << 40),
        lying_header(tarfile.XGLTYPE, 1 << 62),
        gzip.compress(lying_header(tarfile.XHDTYPE, 1 << 27)[:512] + bytes(1 << 27)),
        tar(("a.jpg", b"x", {"pax_headers": {"comment": ENDLESS}})),
        tar(("a.jpg", b"x", {"pax_headers": {"size": "9" * 40}})),
        tar(("a.jpg", b"x", {"pax_headers": {"size": "-5"}})),
        tar(("a.jpg", b"x", {"pax_headers": {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}})),
        tar(("a.jpg", b"x", {"pax_headers": {"GNU.sparse.map": "0,1," * 9, "GNU.sparse.size": str(1 << 60)}})),
        tar(("a.jpg", b"x", {"pax_headers": {"GNU.sparse.map": "x"}})),
    ],
    ids=range(17),
)
def test_sizes_that_lie_are_a_sentence_at_once(tmp_path, data):
    with pytest.raises(ValueError, match=r"/a (cannot be unpacked|holds|would unpack)"):
        unpacked(tmp_path, data)
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("suffix", [".tgz", ".tar.xz", ".zip"])
def test_what_hardly_holds_anything_may_not_become_gigabytes(tmp_path, suffix):
    with pytest.raises(ValueError, match=r"would unpack to .*no archive of pictures does"):
        unpacked(tmp_path, packed(suffix, {f"{number}.jpg": bytes(1_000_000) for number in range(8)}))


@pytest.mark.parametrize("suffix", [".tgz", ".zip"])
def test_more_files_than_any_dataset_has_are_a_sentence(tmp_path, monkeypatch, suffix):
    monkeypatch.setitem(archives.members.__globals__, "MOST", 2)
    with pytest.raises(ValueError, match="more than 2 files"):
        unpacked(tmp_path, packed(suffix))


@pytest.mark.parametrize("suffix", [".tgz", ".tar.xz"])
def test_thousands_of_empty_files_in_a_small_archive_are_a_sentence(tmp_path, suffix):
    """Millions would take hours, and all names that the disk has."""
    header = tar(("a", b"", {}))[:512]
    data = PACKED[suffix](header * 3000)
    (tmp_path / "a").write_bytes(data)
    listed = []
    with pytest.raises(ValueError, match="holds more than 1,.* files, no dataset of its size does"):
        listed.extend(archives.members(tmp_path / "a"))


def changed_directory(data, field, value):
    """The zip `data` with other bytes at `field` of the first entry of its list."""
    place = data.index(b"PK\x01\x02") + field
    return data[:place] + value + data[place + len(value) :]


ONE = zipped({"a.jpg": bytes(range(256))}, zipfile.ZIP_STORED)
TWO = zipped({"a.jpg": bytes(range(256)), "b.jpg": b"b" * 300}, zipfile.ZIP_STORED)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (changed_directory(ONE, 8, b"\1\0"), "encrypted"),
        (changed_directory(ONE, 10, b"\x63\0"), "NotImplementedError"),
        (changed_directory(ONE, 24, b"\1\0\0\0"), "cannot be unpacked"),
        (changed_directory(ONE, 24, b"\xff\xff\0\0"), "holds less of 'a.jpg' than it declares"),
        (changed_directory(ONE, 20, b"\xff\xff\xff\xff"), "overlaps what follows"),
        (changed_directory(ONE, 42, b"\xff\xff\xff\x7f"), "cannot be unpacked"),
        (changed_directory(TWO, 20, b"\x2c\1\0\0"), "overlap"),
        (ONE[:-12] + b"\5\0\5\0" + ONE[-8:], "cannot be unpacked"),
        (ONE[:-22], "cannot be unpacked"),
        (b"PK\3\4", "it is cut off before its list of members"),
        (b"PK\5\6" + bytes(18), "holds no files"),
        (b"", "cannot be unpacked"),
        (bytes(10240), "holds no files|cannot be unpacked"),
    ],
    ids=range(13),
)
def test_a_zip_whose_list_lies_is_a_sentence(tmp_path, data, message):
    with pytest.raises(ValueError, match=message):
        unpacked(tmp_path, data)
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("suffix", [".tar", ".zip"])
@pytest.mark.parametrize(
    "name",
    ["a" * 300, "/".join(["a" * 200] * 30), "/".join("a" * 60), "C:/a.jpg", "c:a.jpg", "..\\a.jpg", "a/..", "."],
    ids=range(8),
)
def test_names_that_no_folder_can_or_should_have_are_a_sentence(tmp_path, suffix, name):
    with pytest.raises(ValueError, match=r"/a (holds|cannot be unpacked)"):
        unpacked(tmp_path, packed(suffix, {"good.jpg": b"g", name: b"x"}))
    assert not list((tmp_path / "out").iterdir())
    assert sorted(os.listdir(tmp_path)) == ["a", "out"]


def test_a_name_with_a_zero_byte_is_a_sentence(tmp_path):
    with pytest.raises(ValueError, match=r"no usable name"):
        unpacked(tmp_path, zipped({"a_b.jpg": b"x"}).replace(b"a_b", b"a\0b"))
    with pytest.raises(ValueError, match=r"no usable name"):
        unpacked(tmp_path, tar(("a", b"x", {"pax_headers": {"path": "a\0b.jpg"}})))


@pytest.mark.parametrize("suffix", [".tar", ".zip"])
@pytest.mark.parametrize("names", [("a", "a"), ("a", "./a"), ("a", "a/b"), ("a/b", "a"), ("a/b", "a//b")])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_files_of_one_name_are_a_sentence(tmp_path, suffix, names):
    if suffix == ".tar":
        data = tar(*((name, b"x", {}) for name in names))
    else:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for name in names:
                archive.writestr(name, b"x")
        data = buffer.getvalue()
    with pytest.raises(ValueError, match="twice, as a file and as a folder"):
        unpacked(tmp_path, data)


def test_names_in_other_letters_and_in_capitals_are_kept(tmp_path):
    files = {"Straße/Ä.jpg": b"1", "a.jpg": b"2", "A.jpg": b"3", "with space\n.jpg": b"4"}
    assert unpacked(tmp_path, packed(".tgz", files)) == files


def test_a_name_in_bytes_that_are_no_text_is_kept(tmp_path):
    note = tmp_path / "note"
    (tmp_path / "a").write_bytes(tar(("caf_.jpg", b"x", {})).replace(b"caf_", b"caf\xe9").replace(b"013", b"013", 1))
    data = bytearray((tmp_path / "a").read_bytes())
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    (tmp_path / "a").write_bytes(bytes(data))
    unpack(tmp_path / "a", tmp_path / "out", note, "sum")
    assert os.listdir(os.fsencode(tmp_path / "out")) == [b"caf\xe9.jpg"]
    assert is_unpacked(note, "sum", tmp_path / "out")


# What is there already


@pytest.mark.parametrize("suffix", [".tgz", ".zip"])
def test_what_is_unpacked_already_is_left_as_it_is(tmp_path, suffix):
    unpacked(tmp_path, packed(suffix))
    before = os.stat(tmp_path / "out/birds/a.jpg").st_ino
    (tmp_path / "out/birds/b/c.jpg").unlink()
    assert unpacked(tmp_path, packed(suffix)) == FILES
    assert os.stat(tmp_path / "out/birds/a.jpg").st_ino == before


@pytest.mark.parametrize("cut", [b"", b"a" * 100, b"a" * 100 + bytes(2900), bytes(3000), b"a" * 3000 + bytes(500)])
def test_a_file_that_an_interrupted_copy_left_is_completed(tmp_path, cut, caplog):
    unpacked(tmp_path, packed(".tgz"))
    (tmp_path / "out/birds/a.jpg").write_bytes(cut)
    assert unpacked(tmp_path, packed(".tgz")) == FILES
    assert "birds/a.jpg was cut off or changed after it was unpacked: it is put there again" in caplog.text


def test_another_file_in_its_place_is_left_alone(tmp_path):
    unpacked(tmp_path, packed(".tgz"))
    (tmp_path / "out/birds/a.jpg").write_bytes(b"mine")
    (tmp_path / "out/list.txt").unlink()
    with pytest.raises(ValueError, match="birds/a.jpg is there already and is another file: move it away"):
        unpacked(tmp_path, packed(".tgz"))
    assert (tmp_path / "out/birds/a.jpg").read_bytes() == b"mine"
    assert not (tmp_path / "out/list.txt").exists()
    assert sorted(os.listdir(tmp_path / "out")) == ["birds"]


def test_what_a_note_says_was_unpacked_is_restored(tmp_path, caplog):
    note, archive = tmp_path / "note", tmp_path / "a"
    archive.write_bytes(packed(".tgz"))
    assert not is_unpacked(note, "sum", tmp_path / "out")
    unpack(archive, tmp_path / "out", note, "sum")
    assert is_unpacked(note, "sum", tmp_path / "out")
    assert not is_unpacked(note, "another", tmp_path / "out")
    (tmp_path / "out/birds/a.jpg").write_bytes(b"b" * 3000)
    assert not is_unpacked(note, "sum", tmp_path / "out")
    unpack(archive, tmp_path / "out", note, "sum")
    assert there(tmp_path / "out") == FILES
    assert "birds/a.jpg was cut off or changed" in caplog.text


@pytest.mark.parametrize("damage", ["", "{}", "[]", '{"checksum": "sum"}', '{"checksum": "sum", "files": [1]}'])
@pytest.mark.parametrize("more", ["", '{"checksum": "sum", "files": {"a": 3}}', "[" * 100_000])
def test_a_damaged_note_says_nothing(tmp_path, damage, more):
    (tmp_path / "note").write_text(more or damage)
    assert not is_unpacked(tmp_path / "note", "sum", tmp_path)


@pytest.mark.parametrize("place", ["birds", "birds/b", "birds/a.jpg"])
def test_nothing_is_written_through_a_link(tmp_path, place):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out/birds").mkdir(parents=True)
    (tmp_path / "out/list.txt").write_bytes(FILES["list.txt"])
    if place == "birds":
        (tmp_path / "out/birds").rmdir()
    (tmp_path / "out" / place).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match=f"{place} is there already and is a link"):
        unpacked(tmp_path, packed(".tgz"))
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_file_in_place_of_a_folder_is_a_sentence(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/birds").write_bytes(b"mine")
    with pytest.raises(ValueError, match="birds is there already and is a link or no folder: move it away"):
        unpacked(tmp_path, packed(".tgz"))
    assert there(tmp_path / "out") == {"birds": b"mine"}


def test_the_temporary_folder_of_a_killed_process_goes_and_that_of_a_living_one_stays(tmp_path):
    out = tmp_path / "out"
    program = f"""
import os, signal, sys
from gluon_cgd.fetch import archives
archives.members = lambda *_: (print("here", flush=True), sys.stdin.read())
archives.unpack("a", {str(out)!r})
"""
    process = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"here\n"
    assert unpacked(tmp_path, packed(".tgz"))
    (living,) = out.glob(".unpacking-*")
    process.kill()
    process.communicate()
    assert living.is_dir()
    assert unpacked(tmp_path, packed(".tgz"))
    assert not list(out.glob(".unpacking-*"))


def test_a_temporary_folder_in_use_stays_where_only_files_have_locks(tmp_path, monkeypatch):
    """On NFS a process of another machine gets the lock of a folder that somebody here has."""
    lock = archives.portalocker.lock

    def of_files(descriptor, flags):
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            lock(descriptor, flags)

    monkeypatch.setattr(archives.portalocker, "lock", of_files)
    with archives.temporary_folder(tmp_path) as living:
        archives.delete_abandoned(tmp_path)
        assert living.is_dir()
        assert list(tmp_path.iterdir()) == [living]
    assert not list(tmp_path.iterdir())


def test_a_temporary_folder_that_another_process_deletes_as_it_is_made_is_made_again(tmp_path, monkeypatch):
    make, made = archives.tempfile.mkdtemp, []

    def taken(**where):
        made.append(make(**where))
        if len(made) == 1:
            archives.delete_abandoned(tmp_path)
        return made[-1]

    monkeypatch.setattr(archives.tempfile, "mkdtemp", taken)
    with archives.temporary_folder(tmp_path) as living:
        assert str(living) == made[1]
        assert list(tmp_path.iterdir()) == [living]


def test_a_full_disk_is_named_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda _: SimpleNamespace(free=10))
    with pytest.raises(OSError, match=r"out has no room for the .* GB of birds/a.jpg"):
        unpacked(tmp_path, packed(".tgz"))
    assert not list((tmp_path / "out").iterdir())


def test_a_disk_that_is_full_amid_a_file_is_named_and_leaves_nothing(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    (tmp_path / "a").write_bytes(packed(".tgz"))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))  # bytes of a file
    try:
        with pytest.raises(OSError, match="File too large: '.*/out/birds/a.jpg'"):
            unpack(tmp_path / "a", tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list((tmp_path / "out").iterdir())


def test_a_folder_that_may_not_be_written_is_named(tmp_path, monkeypatch):
    def refused(**_):
        raise PermissionError(13, "Permission denied", str(tmp_path / "out/.unpacking-12345678"))

    monkeypatch.setattr(archives.tempfile, "mkdtemp", refused)
    with pytest.raises(PermissionError, match="/out'$"):
        unpacked(tmp_path, packed(".tgz"))


def test_no_warning_is_given_without_a_reason(tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    unpacked(tmp_path, packed(".zip"))
    unpacked(tmp_path, packed(".zip"))
    assert not caplog.records


@pytest.mark.parametrize("kind", ["pipe", "folder", "nothing"])
def test_what_is_no_file_is_no_archive(tmp_path, kind):
    if kind == "pipe":
        os.mkfifo(tmp_path / "a")
    elif kind == "folder":
        (tmp_path / "a").mkdir()
    with pytest.raises((ValueError, OSError), match="/a"):
        unpack(tmp_path / "a", tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())
