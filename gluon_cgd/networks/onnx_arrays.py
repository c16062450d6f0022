"""ONNX operators that take arrays apart, join them or give them another shape, as MXNet's; see `onnx_operators`."""

import mxnet as mx
import numpy as np

F = mx.sym


def concatenated(reader, node, *parts):
    """Concat of arrays none of which is constant."""
    if not all(isinstance(part, F.Symbol) for part in parts):
        node.refuse("with a constant part")
    return F.concat(*parts, dim=node.get("axis"), name=node.name)


def split(reader, node, x, sizes=None):
    """Split."""
    axis = node.get("axis", 0) % len(reader.shape(x))
    sizes, whole = node.get("split") if sizes is None else sizes.tolist(), reader.shape(x)[axis]
    count = len(node.outputs)
    sizes = sizes or [min(-(-whole // count), whole - part * -(-whole // count)) for part in range(count)]
    if axis == 0:
        node.refuse("along the pictures of a batch")
    ends = np.cumsum(sizes).tolist()
    places = zip([0, *ends], ends, node.outputs)
    return tuple(F.slice_axis(x, axis=axis, begin=begin, end=end, name=name) for begin, end, name in places)


def sliced(reader, node, x, starts=None, ends=None, axes=None, steps=None):
    """Slice, by attributes in opset 1 and by inputs since opset 10."""
    given = dict(starts=starts, ends=ends, axes=axes, steps=steps)
    given = {name: node.get(name) if value is None else value.tolist() for name, value in given.items()}
    shape = reader.shape(x)
    bounds = [(None, None, None)] * len(shape)
    axes = given["axes"] or range(len(given["starts"]))
    for axis, start, end, step in zip(axes, given["starts"], given["ends"], given["steps"] or [1] * len(shape)):
        size = shape[axis]
        first, last, _ = slice(start, end, step).indices(size)
        if step < 1 or (axis % len(shape) == 0 and (first, last, step) != (0, size, 1)):
            node.refuse("backwards, or along the pictures of a batch")
        bounds[axis] = (None, None, None) if (first, last, step) == (0, size, 1) else (first, last, step)
    begin, end, step = zip(*bounds)
    return F.slice(x, begin=begin, end=end, step=[one or 1 for one in step], name=node.name)


def transposed(reader, node, x):
    """Transpose that leaves the pictures of a batch where they are."""
    axes = node.get("perm") or list(reversed(range(len(reader.shape(x)))))
    if axes[0] != 0:
        node.refuse("that moves the pictures of a batch")
    return F.transpose(x, axes=tuple(axes), name=node.name)


def reshaped(reader, node, x, shape):
    """Reshape."""
    before = reader.shape(x)
    sizes = [before[place] if size == 0 and not node.get("allowzero", 0) else size for place, size in enumerate(shape)]
    return to_shape(reader, node, x, sizes)


def to_shape(reader, node, x, sizes):
    """x, of one picture, in another shape; joined or split channels are written so that they fit maps of all sizes."""
    before = reader.shape(x)
    try:
        after = np.empty(before, np.uint8).reshape([int(size) for size in sizes]).shape
    except ValueError:
        reader.does_not_fit(f"{node.name} makes {tuple(sizes)} of {before}")
    if after[:1] != before[:1]:
        node.refuse("that mixes the pictures of a batch")
    code = (0, *after[1:])
    if after[1:] == (int(np.prod(before[1:])),):
        code = (0, -1)
    elif len(after) == len(before) + 1 and after[3:] == before[2:]:
        code = (0, -4, *after[1:3], -2)
    elif len(after) == len(before) - 1 and after[2:] == before[3:]:
        code = (0, -3, -2)
    return F.reshape(x, shape=code, name=node.name)


def flattened(reader, node, x):
    """Flatten of all but the pictures of a batch."""
    if node.get("axis", 1) != 1:
        node.refuse("at another axis than 1")
    return F.Flatten(x, name=node.name)


def squeezed(reader, node, x, axes=None):
    """Squeeze."""
    shape = reader.shape(x)
    axes = node.get("axes") if axes is None else axes.tolist()
    gone = [axis % len(shape) for axis in axes] if axes else [a for a, size in enumerate(shape) if a and size == 1]
    return to_shape(reader, node, x, [size for axis, size in enumerate(shape) if axis not in gone])


def unsqueezed(reader, node, x, axes=None):
    """Unsqueeze."""
    axes = node.get("axes") if axes is None else axes.tolist()
    sizes = list(reader.shape(x))
    for axis in sorted(axis % (len(sizes) + len(axes)) for axis in axes):
        sizes.insert(axis, 1)
    return to_shape(reader, node, x, sizes)


def padded(reader, node, x, pads=None, value=None, axes=None):
    """Pad of maps with a constant."""
    pads = node.get("pads") if pads is None else pads.tolist()
    begin, end = np.split(np.array(pads), 2)
    if node.get("mode", b"constant") != b"constant" or axes is not None or len(begin) != 4 or begin[:2].any():
        node.refuse("of other than a map's sides, by a constant")
    widths = tuple(int(size) for pair in zip(begin, end) for size in pair)
    value = node.get("value", 0.0) if value is None else value
    return F.Pad(x, mode="constant", pad_width=widths, constant_value=float(value), name=node.name)


def cast(reader, node, x):
    """Cast from one float to another: all of them are float32 here."""
    if node.get("to") not in (1, 10, 11):
        node.refuse("to a type that is no float")
    return x


def same(reader, node, x, *_):
    """Identity, and Dropout as it is in use."""
    return x


def shape_of(reader, node, x):
    """Shape, of one picture."""
    return np.array(reader.shape(x), np.int64)[node.get("start", 0) : node.get("end")]
