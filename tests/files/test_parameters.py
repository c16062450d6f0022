"""Damaged and hostile .params files are noticed before MXNet makes room for what they claim."""

import json
import os
import struct

import mxnet as mx
import numpy as np
import pytest

from gluon_cgd.fetch.timm import from_timm
from gluon_cgd.files import parameters
from gluon_cgd.files.parameters import WrongParameters, check_parameters

VALUES = {"conv.weight": (2, 3, 1, 1), "bn.gamma": (4,), "fc.weight": (3, 2)}


@pytest.fixture
def whole(tmp_path):
    file = tmp_path / "whole.params"
    mx.nd.save(str(file), {name: mx.nd.arange(np.prod(shape)).reshape(shape) for name, shape in VALUES.items()})
    return file.read_bytes()


def array(shape, values=b"", magic=parameters.VERSION_2, flag=0, device=(1, 0), stype=0, axes=None):
    """An array as MXNet writes it."""
    kind = struct.pack("<i", stype) if magic == parameters.VERSION_2 else b""
    width = "I" if magic is None else "q"
    start = b"" if magic is None else struct.pack("<I", magic) + kind
    sizes = struct.pack("<I", len(shape) if axes is None else axes) + struct.pack(f"<{len(shape)}{width}", *shape)
    return start + sizes + struct.pack("<iii", *device, flag) + values


def listed(arrays, names=None, count=None):
    """A list of arrays as MXNet writes it."""
    names = [b"a%d" % number for number in range(len(arrays))] if names is None else names
    text = b"".join(struct.pack("<Q", len(name)) + name for name in names)
    start = struct.pack("<QQQ", parameters.LIST, 0, len(arrays) if count is None else count)
    return start + b"".join(arrays) + struct.pack("<Q", len(names)) + text


GOOD = {
    "today's": array((2, 3), bytes(24)),
    "of version 1": array((2, 3), bytes(24), magic=parameters.VERSION_1),
    "the oldest": array((2, 3), bytes(24), magic=None),
    "float16": array((5,), bytes(10), flag=2),
    "of a GPU": array((1,), bytes(4), device=(2, 7)),
}


@pytest.mark.parametrize("kind", GOOD)
def test_what_mxnet_writes_and_wrote_is_accepted(tmp_path, kind):
    file = tmp_path / "a.params"
    file.write_bytes(listed([GOOD[kind]]))
    check_parameters(file)
    assert list(mx.nd.load(str(file))) == ["a0"]


def test_numpy_writes_the_bytes_that_mxnet_writes_and_reads_them(tmp_path):
    values = {"a.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 4), "b": np.ones(3, np.float16)}
    values.update(c=np.array([[-1]], np.int64), d=np.array([255], np.uint8))
    parameters.write_values(tmp_path / "ours", values)
    mx.nd.save(str(tmp_path / "theirs"), {k: mx.nd.array(v, dtype=v.dtype) for k, v in values.items()})
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()
    found = parameters.read_values(tmp_path / "ours")
    assert list(found) == list(values)
    for name, value in values.items():
        np.testing.assert_array_equal(found[name], value)
        assert found[name].dtype == value.dtype


BAD = {
    "nothing": (b"", "cut off"),
    "a page": (b"<html>404 not found</html>", "begins otherwise"),
    "2**62 arrays": (listed([], count=2**62), "claims 4,611,686,018,427,387,904 arrays"),
    "a shape of terabytes": (listed([array((2**40,), bytes(8))]), "claims 1099511627776 values of type 0"),
    "a shape whose size overflows": (listed([array((2**32, 2**32))]), "claims 4294967296 x 4294967296 values"),
    "a negative size": (listed([array((-1, 4), bytes(16))]), "claims"),
    "an empty array": (listed([array((0, 4))]), "claims 0 x 4 values"),
    "4 billion axes": (listed([array((), axes=2**32 - 1)]), "an array has 4,294,967,295 axes"),
    "no axes": (listed([array(())]), "an array has 0 axes"),
    "4 billion axes, the oldest": (listed([struct.pack("<I", 2**31)]), "an array has 2,147,483,648 axes"),
    "a sparse array": (listed([array((2,), bytes(8), stype=1)]), "sparse"),
    "an unknown type": (listed([array((2,), bytes(8), flag=99)]), "values of type 99"),
    "an unknown device": (listed([array((2,), bytes(8), device=(9, 0))]), "on device 9 number 0"),
    "without names": (listed([array((2,), bytes(8))], names=[]), "1 arrays have 0 names"),
    "more names": (listed([array((2,), bytes(8))], names=[b"a", b"b"]), "1 arrays have 2 names"),
    "one name twice": (listed([array((1,), bytes(4))] * 2, names=[b"a", b"a"]), "two arrays have one name"),
    "a name that is no text": (listed([array((1,), bytes(4))], names=[b"\xff\xfe"]), "not text"),
    "an endless name": (listed([array((1,), bytes(4))])[:-10] + struct.pack("<Q", 2**60), "a name has|cut off"),
    "more behind it": (listed([array((1,), bytes(4))]) + b"\0", "more follows its end"),
    "of NumPy's semantics": (listed([array((2,), bytes(8), magic=0xF993FACA)]), "axes"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_a_file_cannot_hold_is_refused(tmp_path, kind):
    content, message = BAD[kind]
    (tmp_path / "a.params").write_bytes(content)
    with pytest.raises(WrongParameters, match=message):
        check_parameters(tmp_path / "a.params")


def test_a_file_cut_anywhere_is_refused(tmp_path, whole):
    file = tmp_path / "a.params"
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        with pytest.raises(WrongParameters):
            check_parameters(file)
    file.write_bytes(whole)
    check_parameters(file)


def test_a_damaged_file_that_is_accepted_is_one_that_mxnet_reads(tmp_path, whole):
    rng, file, accepted = np.random.default_rng(0), tmp_path / "a.params", 0
    for _ in range(400):
        data = bytearray(whole)
        for place in rng.integers(0, len(data), rng.integers(1, 4)):
            data[place] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, data[place] ^ 1 << rng.integers(8)])
        file.write_bytes(bytes(data))
        try:
            check_parameters(file)
        except WrongParameters:
            continue
        accepted += 1
        assert len(mx.nd.load(str(file))) == len(VALUES)
    assert accepted > 50  # their values, or letters of their names, are others


def safetensors(header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(shape, begin, end, kind="F32"):
    return {"dtype": kind, "shape": shape, "data_offsets": [begin, end]}


TENSORS = {
    "a header of exabytes": safetensors(b"{}", length=2**63),
    "a header longer than the file": safetensors(b"{}", length=1000),
    "a shape of terabytes": safetensors({"a": tensor([2**40], 0, 8)}, bytes(8)),
    "a shape whose size overflows": safetensors({"a": tensor([2**33, 2**33], 0, 0)}),
    "an end before the beginning": safetensors({"a": tensor([2], 8, 0)}, bytes(8)),
    "data of two at one place": safetensors({"a": tensor([2], 0, 8), "b": tensor([2], 0, 8)}, bytes(8)),
    "data that are not there": safetensors({"a": tensor([2], 0, 8)}),
    "deep brackets": safetensors(b'{"a":' + b"[" * 50_000),
    "a shape of words": safetensors({"a": tensor(["x"], 0, 4)}, bytes(4)),
    "a negative shape": safetensors({"a": tensor([-2], 0, 8)}, bytes(8)),
    "a type that NumPy lacks": safetensors({"a": tensor([4], 0, 4, "F8_E4M3")}, bytes(4)),
    "bfloat16": safetensors({"a": tensor([2], 0, 4, "BF16")}, bytes(4)),
    "an empty array of an endless shape": safetensors({"a": tensor([0, 2**62, 2**62], 0, 0)}),
    "no tensors": safetensors({}),
    "nothing": b"",
}


@pytest.mark.parametrize("kind", TENSORS)
def test_hostile_safetensors_are_a_sentence(tmp_path, kind):
    (tmp_path / "a.safetensors").write_bytes(TENSORS[kind])
    with pytest.raises(
        ValueError, match="a.safetensors (is not a whole safetensors file|holds no tensors).*: download"
    ):
        from_timm(tmp_path / "a.safetensors")


def test_whole_safetensors_are_read(tmp_path):
    values = np.arange(6, dtype=np.float32)
    (tmp_path / "a.safetensors").write_bytes(safetensors({"fc.weight": tensor([2, 3], 0, 24)}, values.tobytes()))
    np.testing.assert_array_equal(from_timm(tmp_path / "a.safetensors")["fc.weight"], values.reshape(2, 3))


def test_only_regular_files_are_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.params")
    with pytest.raises(ValueError, match="is a named pipe"):
        check_parameters(tmp_path / "pipe.params")
