"""Arrays in compressed files: equal arrays are equal bytes, and a damaged or hostile file is refused."""

import time
import zipfile

import numpy as np
import pytest

from gluon_cgd.files import arrays
from gluon_cgd.files.arrays import array_of, read_compressed, write_compressed

ARRAYS = {"last": np.arange(70_000, dtype=np.uint32), "last/SPoC": np.ones(5, np.uint16), "none": np.ones(0, np.uint16)}


def test_arrays_are_read_as_they_were_written_by_us_and_by_numpy(tmp_path):
    write_compressed(tmp_path / "a.npz", ARRAYS)
    with np.load(tmp_path / "a.npz") as loaded:
        for found in (read_compressed(tmp_path / "a.npz", "u"), dict(loaded)):
            assert list(found) == list(ARRAYS)
            for name, array in ARRAYS.items():
                assert found[name].dtype == array.dtype
                assert found[name].tolist() == array.tolist()


def test_equal_arrays_are_equal_bytes_at_any_time(tmp_path, monkeypatch):
    write_compressed(tmp_path / "a.npz", ARRAYS)
    monkeypatch.setattr(time, "time", lambda: 2e9)
    monkeypatch.setattr(time, "localtime", lambda *_: time.gmtime(2e9))
    write_compressed(tmp_path / "b.npz", {name: array.copy() for name, array in ARRAYS.items()})
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_whatever_is_damaged_is_refused_with_a_reason_or_read_to_the_same_values(tmp_path):
    file, rng = tmp_path / "a.npz", np.random.default_rng(0)
    arrays = {"last": rng.integers(1, 40, 300).astype(np.uint16), "best": rng.integers(1, 9, 300).astype(np.uint16)}
    write_compressed(file, arrays)
    whole, refused = file.read_bytes(), 0
    for attempt in range(400):
        data = bytearray(whole)
        if attempt % 2:
            data[rng.integers(len(data))] ^= 1 << rng.integers(8)
        else:
            del data[rng.integers(len(data)) :]
        file.write_bytes(data)
        try:
            found = read_compressed(file, "u")
        except ValueError:
            refused += 1
        else:  # a flipped bit in a date, or in what the archive says of permissions
            assert {name: array.tolist() for name, array in found.items()} == {
                name: array.tolist() for name, array in arrays.items()
            }
    assert refused > 300


def stored(file, **entries):
    with zipfile.ZipFile(file, "w", entries.pop("method", zipfile.ZIP_DEFLATED)) as members:
        for name, data in entries.items():
            members.writestr(name.replace("_", "."), data)


def test_hostile_files_are_refused(tmp_path):
    file = tmp_path / "a.npz"
    for change in (
        lambda: file.write_bytes(b""),
        lambda: np.savez(file, last=np.array([{"pickled": "object"}], dtype=object)),
        lambda: np.savez(file, last=np.ones(3)),  # no whole numbers
        lambda: stored(file, last_txt=b"text"),
        lambda: stored(file, last_npy=b"no array"),
        lambda: stored(file, last_npy=b"x" * 100, method=zipfile.ZIP_LZMA),
    ):
        change()
        with pytest.raises(ValueError, match="."):
            read_compressed(file, "u")
    with pytest.raises(FileNotFoundError):
        read_compressed(tmp_path / "none.npz", "u")


def test_no_file_makes_room_for_more_than_the_limit(tmp_path, monkeypatch):
    monkeypatch.setattr("gluon_cgd.files.arrays.LIMIT", 1000)
    write_compressed(tmp_path / "a.npz", {"last": np.zeros(2000, np.uint16)})
    with pytest.raises(ValueError, match="claims more than such a file holds"):
        read_compressed(tmp_path / "a.npz", "u")


def test_an_array_of_another_kind_is_refused():
    with pytest.raises(ValueError, match="magic"):
        array_of(b"x" * 40, "u")


@pytest.mark.parametrize("kind", ["stored", "compressed"])
def test_the_reason_does_not_quote_the_file(kind, tmp_path):
    file = tmp_path / "arrays.npz"
    write, read = getattr(arrays, f"write_{kind}"), getattr(arrays, f"read_{kind}")
    write(file, {"a": np.random.default_rng(0).random(10**4)})
    data = bytearray(file.read_bytes())
    data[26:28] = b"\xff\xff"  # the length of the first member's name
    file.write_bytes(data)
    with pytest.raises((ValueError, zipfile.BadZipFile), match="File name in directory") as found:
        read(file, "f")
    assert len(str(found.value)) <= 200
