"""PyTorch's first format: read with its strides, and refused wherever it is anything but a table of tensors."""

import collections
import contextlib
import os
import pickle
import time

import numpy as np
import pytest
from torch_files import SYSTEM, Tensor, pickled, saved

from gluon_cgd.files import torch_state
from gluon_cgd.files.torch_state import MAGIC, PROTOCOL, WrongState, read_state


def whole():
    numbers = np.arange(12, dtype="<f4")
    state = collections.OrderedDict(
        rows=Tensor("1", "<f4", 12, 0, (3, 4), (4, 1)),
        columns=Tensor("1", "<f4", 12, 0, (4, 3), (1, 4)),
        part=Tensor("1", "<f4", 12, 5, (2, 2), (4, 2)),
        count=Tensor("2", "<i8", 1, 0, (), ()),
    )
    return state, {"1": numbers, "2": np.array([7], "<i8")}


def test_tensors_are_read_along_their_strides():
    state, storages = whole()
    state._metadata = collections.OrderedDict({"": {"version": 1}})  # as torch.nn.Module.state_dict has it
    found = read_state(saved(state, storages))
    assert list(found) == ["rows", "columns", "part", "count"]
    np.testing.assert_array_equal(found["rows"], np.arange(12).reshape(3, 4))
    np.testing.assert_array_equal(found["columns"], np.arange(12).reshape(3, 4).T)
    np.testing.assert_array_equal(found["part"], [[5, 7], [9, 11]])
    assert found["count"] == 7
    assert [array.dtype.str for array in found.values()] == ["<f4", "<f4", "<f4", "<i8"]


def test_the_file_can_be_cut_nowhere():
    whole_file = saved(*whole())
    for end in range(0, len(whole_file), 5):
        with pytest.raises(WrongState):
            read_state(whole_file[:end])
    with pytest.raises(WrongState, match="more follows its end"):
        read_state(whole_file + b"\0")


def test_a_changed_byte_is_read_or_refused_and_nothing_else():
    whole_file = bytearray(saved(*whole()))
    rng = np.random.default_rng(0)
    for place in range(0, len(whole_file), 5):
        changed = bytearray(whole_file)
        changed[place] = rng.integers(256)
        with contextlib.suppress(WrongState):
            read_state(bytes(changed))


BAD = {  # offset, shape, strides of a tensor in a storage of 12 numbers
    "beyond the end": (0, (13,), (1,)),
    "an offset beyond": (12, (1,), (1,)),
    "strides beyond": (0, (3, 4), (5, 1)),
    "the same numbers again and again": (0, (1 << 20, 1 << 20), (0, 0)),
    "before the beginning": (0, (3,), (-1,)),
    "a negative offset": (-1, (2,), (1,)),
    "a negative side": (0, (-3,), (1,)),
    "a stride too few": (0, (3, 4), (4,)),
    "a huge empty one": (1 << 60, (0, 1 << 62), (1, 1)),
    "too many axes": (0, (1,) * 40, (1,) * 40),
    "a text": (0, ("1",), (1,)),
    "a truth": (0, (True,), (1,)),
}


@pytest.mark.parametrize("place", BAD.values(), ids=BAD)
def test_a_tensor_that_does_not_lie_in_its_storage_is_refused_before_memory_is_touched(place):
    with pytest.raises(WrongState, match="reaches beyond its storage|shape of a tensor"):
        read_state(saved({"x": Tensor("1", "<f4", 12, *place)}, {"1": np.zeros(12, "<f4")}))


@pytest.mark.parametrize("count", [11, 13, 1 << 40, -1])
def test_a_storage_of_another_size_than_it_claims_is_refused(count):
    with pytest.raises(WrongState, match="storage"):
        read_state(saved({"x": Tensor("1", "<f4", count, 0, (1,), (1,))}, {"1": np.zeros(12, "<f4")}))


class Runs:
    """Runs a command when it is unpickled."""

    def __reduce__(self):
        return os.system, ("touch /tmp/executed-by-a-pickle",)


def global_of(module, name, rest):
    return b"\x80\x02c" + f"{module}\n{name}\n".encode() + rest


HOSTILE = {
    "a command": pickle.dumps(Runs(), 2),
    "another class": global_of("builtins", "eval", b"X\x01\0\0\x001\x85R."),
    "a class of ours": global_of("pathlib", "Path", b")R."),
    "an attribute": b"\x80\x02ccollections\nOrderedDict\n)R}X\x05\0\0\0itemsK\x01sbX\x01\0\0\0b.",
    "protocol 4": pickle.dumps({"a": 1}, 4),
    "a memo of 64 GB": b"\x80\x02}r\xff\xff\xff\xff.",
    "a text of 4 GB": b"\x80\x02X\xff\xff\xff\xff.",
    "a number of 2 GB": b"\x80\x02\x8b\xff\xff\xff\x7f.",
    "the memory's hole": b"\x80\x02h\x05.",
    "an empty stack": b"\x80\x02.",
    "no mark": b"\x80\x02t.",
    "a table in a list": b"\x80\x02](K\x01K\x02u.",
    "a list as a name": b"\x80\x02}]K\x01s.",
    "a list within itself": b"\x80\x02]q\0h\0a.",
    "one name twice": b"\x80\x02}(X\x01\0\0\0aK\x01X\x01\0\0\0aK\x02u.",
    "a call of a text": b"\x80\x02X\x01\0\0\0a)R.",
    "a new object": b"\x80\x02ccollections\nOrderedDict\n)\x81.",
    "an extension": b"\x80\x02\x82\x01.",
    "a persistent thing": b"\x80\x02X\x01\0\0\0aQ.",
    "text that is not UTF-8": b"\x80\x02X\x01\0\0\0\xff.",
}


@pytest.mark.parametrize("state", HOSTILE.values(), ids=HOSTILE)
def test_a_pickle_that_is_no_table_of_tensors_is_refused_at_once(state, tmp_path):
    begun = time.monotonic()
    with pytest.raises(WrongState):
        read_state(b"".join(map(pickled, (MAGIC, PROTOCOL, SYSTEM))) + state + pickled([]))
    assert time.monotonic() - begun < 1
    assert not os.path.exists("/tmp/executed-by-a-pickle")


def test_pickles_without_end_are_refused(monkeypatch):
    monkeypatch.setattr(torch_state, "PICKLES", 1000)
    with pytest.raises(WrongState, match="too long"):
        read_state(b"".join(map(pickled, (MAGIC, PROTOCOL, SYSTEM))) + b"\x80\x02" + b"]" * 2000 + b".")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (dict(begin=(MAGIC + 1, PROTOCOL)), "does not begin"),
        (dict(begin=(MAGIC, 1002)), "does not begin"),
        (dict(system={**SYSTEM, "little_endian": False}), "not little-endian"),
        (dict(keys=["1"]), "different storages"),
        (dict(keys=["1", "2", "3"]), "different storages"),
        (dict(keys=["1", "1", "2"]), "list of storages"),
        (dict(keys=[1, 2]), "list of storages"),
    ],
)
def test_what_surrounds_the_tensors_is_checked(change, told):
    with pytest.raises(WrongState, match=told):
        read_state(saved(*whole(), **change))


@pytest.mark.parametrize("state", [{}, {"a": 1}, [1], None])
def test_what_is_no_table_of_tensors_is_said_to_be_none(state):
    with pytest.raises(WrongState, match="not a table of tensors"):
        read_state(saved(state, {}))
