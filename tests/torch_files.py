"""Files of PyTorch's first format, written without PyTorch."""

import collections
import io
import pickle
import struct

from gluon_cgd.files.torch_state import MAGIC, PROTOCOL

SYSTEM = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}


class FloatStorage:
    """Stands for torch.FloatStorage."""


class LongStorage:
    """Stands for torch.LongStorage."""


FloatStorage.__module__ = LongStorage.__module__ = "torch"
KINDS = {"<f4": FloatStorage, "<i8": LongStorage}


class Tensor:
    """Stands for a tensor: pickled as PyTorch does it."""

    def __init__(self, key, kind, count, offset, shape, strides):
        self.storage, self.rest = ("storage", KINDS[kind], key, "cpu", count, None), (offset, shape, strides)

    def __reduce__(self):
        return REBUILD, (Storage(self.storage), *self.rest, False, collections.OrderedDict())


class Storage:
    """Pickled by its persistent id."""

    def __init__(self, saved):
        self.saved = saved


class REBUILD:
    """Stands for torch._utils._rebuild_tensor_v2."""


REBUILD.__module__, REBUILD.__qualname__, REBUILD.__name__ = "torch._utils", "_rebuild_tensor_v2", "_rebuild_tensor_v2"


class Pickler(pickle._Pickler):
    """Python's own, which names what only stands for PyTorch without looking it up."""

    def persistent_id(self, value):
        return value.saved if isinstance(value, Storage) else None

    def save_global(self, value, name=None):
        self.write(b"c" + f"{value.__module__}\n{value.__name__}\n".encode())
        self.memoize(value)

    dispatch = {**pickle._Pickler.dispatch, type: save_global}


def pickled(value):
    written = io.BytesIO()
    Pickler(written, 2).dump(value)
    return written.getvalue()


def saved(state, storages, keys=None, system=SYSTEM, begin=(MAGIC, PROTOCOL)):
    """The bytes of a file: `state`, a table of Tensors, and {key: array} of its storages."""
    pickles = [*begin, system, state, sorted(storages) if keys is None else keys]
    numbers = [struct.pack("<q", len(array)) + array.tobytes() for _, array in sorted(storages.items())]
    return b"".join([*map(pickled, pickles), *numbers])
