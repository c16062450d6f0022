"""The bytes of an ONNX file (protocol buffers), walked before any runtime reads them."""

import numpy as np

LIMIT = (1 << 31) - 1  # bytes: the largest that protocol buffers allow
FIELDS = 2_000_000  # that are walked; the export of cifar_resnet10 has two thousand
# Messages by their fields' numbers in onnx.proto, as far as tensors are inside of them
MESSAGES = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
NAME, EXTERNAL_DATA, DATA_LOCATION = 8, 13, 14  # fields of a tensor
TYPE, FLOATS, RAW = 2, 4, 9  # others, and the TYPE of float32
FLOAT = 1
VARINT, LENGTH = 0, 2  # how a field is written; 1 and 5 have 8 and 4 bytes
FIXED = {1: 8, 5: 4}


class HoldsNaN(ValueError):
    """A tensor of an ONNX file is NaN."""


def check_inside(data, file):
    """Raise ValueError if `data`, from `file`, is no ONNX model, or has a tensor that is in another file or NaN.

    A runtime would open whatever path such a tensor names and take its bytes for weights. A ReLU can make 0 of NaN, so
    that the embeddings do not show it.
    """
    waiting, graphs, fields = [("model", memoryview(data))], 0, 0
    while waiting:
        kind, message = waiting.pop()
        graphs += kind == "graph"
        name, outside, numbers_are, numbers = "", False, 0, []
        for number, value in _fields(message):
            fields += 1
            if fields > FIELDS:
                raise ValueError("too many fields")
            inner = MESSAGES[kind].get(number)
            if inner:
                waiting.append((inner, _bytes(value)))
            elif kind == "tensor" and number == NAME:
                name = bytes(_bytes(value)[:80]).decode(errors="replace")
            elif kind == "tensor" and number == TYPE:
                numbers_are = value
            elif kind == "tensor" and number in (FLOATS, RAW):
                numbers.append(_bytes(value))
            elif kind == "tensor":
                outside = outside or number == EXTERNAL_DATA or number == DATA_LOCATION and value != 0
        if outside:
            raise ValueError(
                f"{file} keeps its tensor {name!r} in another file, which could be any file here: it is not run; "
                "export the model again, into one file"
            )
        if numbers_are == FLOAT and any(map(_has_nan, numbers)):
            raise HoldsNaN(
                f"{file} holds NaN in its tensor {name!r}: the training diverged, or the file is damaged; export "
                "another checkpoint"
            )
    if not graphs:
        raise ValueError("no graph")


def _has_nan(numbers):
    """Whether a float32 in the bytes `numbers` is NaN; infinity can be a bound."""
    return bool(np.isnan(np.frombuffer(numbers[: len(numbers) // 4 * 4], "<f4")).any())


def _bytes(value):
    if isinstance(value, int):
        raise ValueError("a number in place of a message")
    return value


def _fields(message):
    """Yield (number, value) of each field: an int, or a memoryview. Raises ValueError where they end too early."""
    place, end = 0, len(message)
    while place < end:
        key, place = _varint(message, place)
        if key >> 32:  # some runtimes would leave out the upper bits, and see another field
            raise ValueError("a field with too large a number")
        number, written = key >> 3, key & 7
        if written == VARINT:
            value, place = _varint(message, place)
            yield number, value
            continue
        if written == LENGTH:
            length, place = _varint(message, place)
        elif written in FIXED:
            length = FIXED[written]
        else:
            raise ValueError(f"field {number} of an unknown kind")
        if length > end - place:
            raise ValueError("cut off")
        yield number, message[place : place + length]
        place += length


def _varint(message, place):
    """(the number that begins at `place`, the place behind it): 7 bits a byte, the lowest first."""
    value = shift = 0
    while place < len(message) and shift < 70:
        byte = message[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
        shift += 7
    raise ValueError("cut off")
