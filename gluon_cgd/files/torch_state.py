"""Files of PyTorch's parameters in its first format (`torch.save` before 1.6), read without PyTorch.

Such a file is five pickles and then the numbers. Pickles can run any program, so nothing is unpickled here: a small
machine knows the few instructions that tables of tensors need, and calls nothing. Sizes, offsets and strides are
compared with the file before an array is made; arrays are views of the file's bytes and take no memory.
"""

import math
import struct
from typing import Any, Dict, List, NamedTuple, Tuple

import numpy as np

LIMIT = 1 << 28  # bytes of a file; EfficientNet-Lite2's has 24 MB
MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
AXES, TEXT, PICKLES = 8, 1024, 1 << 22  # of a tensor; bytes of a name, and of all pickles; ours have 120 kB
DTYPES = {"Float": "<f4", "Double": "<f8", "Half": "<f2", "Long": "<i8", "Int": "<i4", "Short": "<i2", "Byte": "u1"}
TABLE, REBUILD = "collections OrderedDict", "torch._utils _rebuild_tensor_v2"
STORAGES = {f"torch {kind}Storage": np.dtype(dtype) for kind, dtype in DTYPES.items()}


class WrongState(ValueError):
    """A file is not a whole table of tensors; the message says why, and leaves the file's name to the caller."""


class Name(str):
    """A class or function that a pickle names; it is not looked up, and only those of STORAGES and two more pass."""


class Storage(NamedTuple):
    """`count` numbers of one type, which follow the pickles under `key`."""

    dtype: np.dtype
    key: str
    count: int


class Tensor(NamedTuple):
    """A view of a storage: its first number, its shape, and how far apart its numbers are along each axis."""

    storage: Storage
    offset: int
    shape: Tuple[int, ...]
    strides: Tuple[int, ...]


def read_state(data: bytes) -> Dict[str, np.ndarray]:
    """{name: array} of the state dict in `data`, the bytes of a file; the arrays cannot be written to.

    Raises WrongState for everything else.
    """
    pickles = _Pickles(data)
    try:
        if pickles.load() != MAGIC or pickles.load() != PROTOCOL:
            raise WrongState("it does not begin as a file of torch.save")
        system = pickles.load()
        if not isinstance(system, dict) or system.get("little_endian") is not True:
            raise WrongState("its numbers are not little-endian")
        state, keys = pickles.load(), pickles.load()
    except (IndexError, KeyError) as error:  # of the machine's stack and memory
        raise WrongState(f"a pickle in it is broken near byte {pickles.at:,}") from error
    if not isinstance(state, dict) or not state or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise WrongState("it is not a table of tensors")
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys) or len(set(keys)) < len(keys):
        raise WrongState("its list of storages is broken")
    buffers = _buffers(data, pickles.at, keys, pickles.storages)
    return {name: _array(name, tensor, buffers) for name, tensor in state.items()}


def _buffers(data, at, keys, storages):
    """{key: its part of the bytes `data`} of all `storages`, which begin at `at`, each after its count."""
    if set(keys) != set(storages):
        raise WrongState("its tensors and its list name different storages")
    buffers = {}
    for key in keys:
        storage, begin = storages[key], at + 8
        at = begin + storage.count * storage.dtype.itemsize
        if at > len(data):
            raise WrongState(f"it is cut off: storage {key!r} claims {storage.count:,} numbers")
        if int.from_bytes(data[begin - 8 : begin], "little") != storage.count:
            raise WrongState(f"storage {key!r} has another size than its tensors say")
        buffers[key] = memoryview(data)[begin:at]
    if at != len(data):
        raise WrongState("more follows its end")
    return buffers


def _array(name, tensor, buffers):
    storage, offset, shape, strides = tensor
    values, item = math.prod(shape), storage.dtype.itemsize
    last = offset + sum((side - 1) * stride for side, stride in zip(shape, strides))
    if values and last >= storage.count or values > storage.count or offset > storage.count:
        raise WrongState(f"tensor {name!r} reaches beyond its storage")
    steps = [stride * item for stride in strides]
    return np.ndarray(shape, storage.dtype, buffers[storage.key], offset * item, steps)


class _Pickles:
    """The pickles at the beginning of `data`, one after the other: `load` returns what the next one holds."""

    def __init__(self, data: bytes):
        self.data, self.at = data, 0
        self.storages: Dict[str, Storage] = {}  # those that the tensors name

    def take(self, length):
        self.at += length
        if self.at > min(len(self.data), PICKLES):
            raise WrongState("it is cut off" if self.at > len(self.data) else "its pickles are too long")
        return self.data[self.at - length : self.at]

    def number(self, form):
        return struct.unpack(f"<{form}", self.take(struct.calcsize(f"<{form}")))[0]

    def load(self) -> Any:
        """What the next pickle holds. Raises IndexError or KeyError where its stack or memory has not what it names."""
        stack: List[Any] = []
        marks: List[int] = []
        memory: Dict[int, Any] = {}
        while True:
            code = self.take(1)
            if code == b".":
                return stack.pop()
            if code in NUMBERS:
                stack.append(self.number(NUMBERS[code]))
            elif code in VALUES:
                stack.append(VALUES[code])
            elif code in PUTS:
                memory[self.number(PUTS[code])] = stack[-1]
            elif code in GETS:
                stack.append(memory[self.number(GETS[code])])
            elif code in TUPLES:
                stack[-TUPLES[code] :] = [tuple(stack[-TUPLES[code] :])]
            elif code == b"(":
                marks.append(len(stack))
            elif code == b"t":
                begin = marks.pop()
                stack[begin:] = [tuple(stack[begin:])]
            elif code in EXTENDS:
                kind, size = EXTENDS[code]
                begin = len(stack) - size if size else marks.pop()
                stack[begin:], values = [], stack[begin:]
                _extend(stack[-1], values, kind)
            else:
                self.special(code, stack)

    def special(self, code, stack):
        """Carry out the instruction `code`, one of those that are not the same in all pickles."""
        if code == b"\x80":
            if self.number("B") != 2:
                raise WrongState("its pickles have another protocol")
        elif code == b"X":
            stack.append(self.text(self.number("I")))
        elif code == b"\x8a":
            stack.append(int.from_bytes(self.take(self.number("B")), "little", signed=True))
        elif code in (b"}", b"]"):
            stack.append({} if code == b"}" else [])
        elif code == b"c":
            stack.append(_allowed(self.line(), self.line()))
        elif code == b"Q":
            stack.append(self.storage(stack.pop()))
        elif code == b"R":
            stack[-2:] = [_made(stack[-2], stack[-1])]
        elif code == b"b":  # the versions of a table's modules
            if not isinstance(stack.pop(), dict) or not isinstance(stack[-1], dict):
                raise WrongState("it sets the attributes of an object")
        else:
            raise WrongState(f"it holds the instruction {code!r}, which tables of tensors do not need")

    def text(self, length):
        if length > TEXT:
            raise WrongState(f"a text in it has {length:,} bytes")
        try:
            return self.take(length).decode("utf-8")
        except UnicodeDecodeError as error:
            raise WrongState("a text in it is not UTF-8") from error

    def line(self):
        end = self.data.find(b"\n", self.at, self.at + TEXT)
        if end < 0:
            raise WrongState("a name in it has no end")
        return self.text(end + 1 - self.at)[:-1]

    def storage(self, saved):
        if (
            not isinstance(saved, tuple)
            or len(saved) not in (5, 6)
            or saved[0] != "storage"
            or saved[5:] not in ((), (None,))
        ):
            raise WrongState("it names something outside that is no storage")
        _, kind, key, _, count = saved[:5]
        if not isinstance(kind, Name) or kind not in STORAGES or not isinstance(key, str) or not _is_size(count):
            raise WrongState("a storage in it is broken")
        storage = Storage(STORAGES[kind], key, count)
        if self.storages.setdefault(key, storage) != storage:
            raise WrongState(f"it has two storages {key!r}")
        return storage


# Instructions of pickle's protocol 2 that push a number or a value, or keep and fetch one
NUMBERS = {b"J": "i", b"K": "B", b"M": "H"}
VALUES = {b"N": None, b"\x88": True, b"\x89": False, b")": ()}
PUTS, GETS = {b"q": "B", b"r": "I"}, {b"h": "B", b"j": "I"}
TUPLES = {b"\x85": 1, b"\x86": 2, b"\x87": 3}
EXTENDS = {b"a": (list, 1), b"e": (list, 0), b"s": (dict, 2), b"u": (dict, 0)}  # by how many values; 0: to the mark


def _allowed(module, name):
    asked = Name(f"{module} {name}")
    if asked not in (TABLE, REBUILD, *STORAGES):
        raise WrongState(f"it asks for {module[:80]}.{name[:80]}, which is no table, tensor or storage")
    return asked


def _made(name, arguments):
    """What calling `name` with `arguments` stands for: an empty table, or a Tensor."""
    if not isinstance(name, Name) or not isinstance(arguments, tuple):
        raise WrongState("it calls something that is no table or tensor")
    if name == TABLE and not arguments:
        return {}
    if name != REBUILD or len(arguments) not in (6, 7) or not isinstance(arguments[0], Storage):
        raise WrongState("it makes a table or a tensor in another way")
    storage, offset, shape, strides = arguments[:4]
    sizes = (shape, strides)
    fit = all(isinstance(part, tuple) and all(map(_is_size, part)) for part in sizes)
    if not fit or not _is_size(offset) or len(shape) != len(strides) or len(shape) > AXES:
        raise WrongState("the shape of a tensor in it is broken")
    return Tensor(storage, offset, shape, strides)


def _extend(target, values, kind):
    """Append `values` to the list `target`, or set them, names and values in turn, in the table `target`."""
    if type(target) is not kind:
        raise WrongState(f"it puts something into what is no {'list' if kind is list else 'table'}")
    if kind is list:
        target.extend(values)
        return
    names = values[::2]
    if len(values) % 2 or not all(type(name) is str for name in names) or len({*names}) < len(names):
        raise WrongState("the names of a table in it are broken")
    if not target.keys().isdisjoint(names):
        raise WrongState("it has two tensors of one name")
    target.update(zip(names, values[1::2]))


def _is_size(value):
    return type(value) is int and 0 <= value <= LIMIT
