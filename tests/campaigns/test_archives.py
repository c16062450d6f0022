"""3,000 damaged archives, from fixed seeds: each gives a sentence and nothing, or exactly the files that it holds."""

import bz2
import gzip
import io
import lzma
import os
import signal
import tarfile
import zipfile
from functools import partial

import numpy as np
import pytest

from gluon_cgd.fetch.archives import unpack

pytestmark = pytest.mark.slow

ARCHIVES = 600  # of each kind
SECONDS = 120  # an archive that takes longer hangs; a busy machine may take some
PACKED = {
    "zip": bytes,
    "tar": bytes,
    "tgz": partial(gzip.compress, mtime=0),
    "tar.xz": lzma.compress,
    "tar.bz2": bz2.compress,
}
NUMBERS = (0, 1, 2, 0x7F, 0xFF, 0x100, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 40, (1 << 63) - 1)
NAMES = (
    "../x",
    "/etc/x",
    "a/../../x",
    "..",
    ".",
    "",
    "C:/x",
    "a\\..\\..\\x",
    "a" * 99,
    "x\0y",
    "list.txt",
    "birds",
    "é",
)
TYPES = b"01234567SLKxgXDMNV\0\xff "


def files(rng):
    """{name: content}: text that packs well, and noise that does not."""
    made = {"list.txt": b"a line\n" * int(rng.integers(1, 100)), "empty.txt": b""}
    for number in range(int(rng.integers(1, 4))):
        made[f"birds/{number}/picture {number}.jpg"] = rng.bytes(int(rng.integers(1, 3000)))
    return made


def made_tar(contents, rng):
    buffer = io.BytesIO()
    form = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)[rng.integers(3)]
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for name, content in contents.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(content), 1.5 if form == tarfile.PAX_FORMAT else 1
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def made_zip(contents, rng):
    buffer = io.BytesIO()
    methods = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in contents.items():
            day = (int(rng.integers(1980, 2100)), *(int(number) for number in rng.integers(1, 13, 5)))
            archive.writestr(zipfile.ZipInfo(name, day), content, methods[rng.integers(4)])
    return buffer.getvalue()


# Kinds of damage: functions of the bytes and a generator


def flipped(data, rng):
    data = bytearray(data)
    for _ in range(int(rng.integers(1, 9))):
        data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
    return bytes(data)


def cut(data, rng):
    place = int(rng.integers(len(data)))
    return (data[:place], data[place:], data[:place] + data[place + int(rng.integers(1, 600)) :])[rng.integers(3)]


def inserted(data, rng):
    place, length = int(rng.integers(len(data) + 1)), int(rng.integers(1, 1100))
    start = int(rng.integers(len(data)))
    more = (bytes(length), rng.bytes(length), data[start : start + length], data)[rng.integers(4)]
    return data[:place] + more + data[place:]


def blanked(data, rng):
    start = int(rng.integers(len(data)))
    length = min(int(rng.integers(1, 1500)), len(data) - start)
    return data[:start] + bytes(length) + data[start + length :]


def lying_tar(data, rng):
    """One field of one header says something else, and the header's checksum is right."""
    data = bytearray(data)
    starts = [place for place in range(0, len(data) - 511, 512) if data[place + 257 : place + 262] == b"ustar"]
    start = starts[rng.integers(len(starts))]
    field = rng.integers(4)
    if field == 0:
        name = NAMES[rng.integers(len(NAMES))].encode()
        data[start : start + 100] = name.ljust(100, b"\0")
    elif field == 1:
        number = int(NUMBERS[rng.integers(len(NUMBERS))]) * int(rng.choice([1, 1, -1]))
        data[start + 124 : start + 136] = (b"\x80" if number >= 0 else b"\xff") + number.to_bytes(
            11, "big", signed=True
        )
    elif field == 2:
        place = int(rng.integers(len(TYPES)))
        data[start + 156 : start + 157] = TYPES[place : place + 1]
    else:
        place = start + int(rng.integers(512))
        data[place : place + 12] = rng.bytes(12)[: start + 512 - place]
    data[start + 148 : start + 156] = b" " * 8
    data[start + 148 : start + 156] = b"%06o\0 " % (sum(data[start : start + 512]) & 0o777777)
    return bytes(data)


def lying_zip(data, rng):
    """One field of one of its headers says something else."""
    data = bytearray(data)
    signature, fields = (
        (b"PK\1\2", {6: 2, 8: 2, 10: 2, 16: 4, 20: 4, 24: 4, 28: 2, 30: 2, 32: 2, 34: 2, 38: 4, 42: 4}),
        (b"PK\3\4", {6: 2, 8: 2, 14: 4, 18: 4, 22: 4, 26: 2, 28: 2}),
        (b"PK\5\6", {4: 2, 6: 2, 8: 2, 10: 2, 12: 4, 16: 4, 20: 2}),
    )[rng.integers(3)]
    starts = [place for place in range(len(data)) if data.startswith(signature, place)]
    start = starts[rng.integers(len(starts))]
    place, size = list(fields.items())[rng.integers(len(fields))]
    number = int(NUMBERS[rng.integers(len(NUMBERS))]) & ((1 << 8 * size) - 1)
    data[start + place : start + place + size] = number.to_bytes(size, "little")
    return bytes(data)


def damaged(kind, seed):
    """(archive as bytes, the files that it must give if it gives any, or None where the damage cannot be seen)."""
    rng = np.random.default_rng([seed, *kind.encode()])
    contents = files(rng)
    damage = (flipped, cut, inserted, blanked, None)[seed % 5]
    if kind == "zip":
        data = made_zip(contents, rng)
        return (damage or lying_zip)(data, rng), contents
    data = made_tar(contents, rng)
    if damage is None or kind == "tar":  # a tar has no checksum of its files; a lie may be a tar of its own
        return PACKED[kind]((damage or lying_tar)(data, rng)), None
    return damage(PACKED[kind](data), rng), contents


def there(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if not path.is_dir()}


@pytest.fixture
def hangs():
    """A function that starts to count the seconds of an archive, anew at each call."""

    def hang(*_):
        raise RuntimeError(f"this archive takes more than {SECONDS} seconds")

    before = signal.signal(signal.SIGALRM, hang)
    yield lambda: signal.alarm(SECONDS)
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("kind", PACKED)
def test_a_damaged_archive_gives_a_sentence_or_the_right_files(tmp_path, kind, hangs):
    archive, outside = tmp_path / f"a.{kind}", tmp_path / "outside"
    outside.mkdir()
    (outside / "mine.txt").write_bytes(b"mine")
    counts = {"sentence": 0, "files": 0}
    for seed in range(ARCHIVES):
        hangs()
        data, right = damaged(kind, seed)
        archive.write_bytes(data)
        folder = outside / "in"
        try:
            unpack(archive, folder)
            message = None
        except (ValueError, OSError) as error:  # any other exception ends the test: a user would see a traceback
            message = str(error)
        found = there(folder)
        what = f"{kind}, seed {seed}: {message or sorted(found)}"
        if message:
            counts["sentence"] += 1
            assert not list(folder.iterdir()), what
            assert message.startswith((str(archive), str(folder))), what
            assert ": " in message, what
            assert message.isprintable(), what
        else:
            counts["files"] += 1
            assert right is None or found == right, what
            assert found, what
        assert sorted(os.listdir(tmp_path)) == [archive.name, "outside"], what
        assert sorted(os.listdir(outside)) == ["in", "mine.txt"], what
        assert not [name for name in os.listdir(folder) if name.startswith(".")], what
        for path in sorted(folder.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
    assert (outside / "mine.txt").read_bytes() == b"mine"
    assert counts["sentence"] > ARCHIVES / 3, counts
    assert counts["files"] > ARCHIVES / 50, counts


def test_the_damage_is_the_same_each_time():
    assert damaged("zip", 4) == damaged("zip", 4)
    assert damaged("tgz", 4) != damaged("tgz", 9)
