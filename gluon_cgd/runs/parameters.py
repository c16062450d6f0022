"""The parameters that a training run leaves behind: written, and known again by their hash."""

import errno
import hashlib
import os

import mxnet as mx
from mxnet import gluon

from gluon_cgd.datasets.records import PathLike
from gluon_cgd.files.parameters import WrongParameters, check_parameters
from gluon_cgd.files.whole import digest, replacing


def parameters_hash(net: gluon.Block) -> str:
    """SHA-256 of the names and bytes of all parameters: equal for two networks that compute the same."""
    return _hash({name: value.list_data()[0] for name, value in net._collect_params_with_prefix().items()})


def hash_of_file(file: PathLike) -> str:
    """The `parameters_hash` of the network whose parameters are in `file`, "" if the file cannot be read."""
    try:
        check_parameters(file)
        return _hash(mx.nd.load(str(file)))
    except (mx.MXNetError, MemoryError, ValueError):
        return ""


def _hash(values):
    digest = hashlib.sha256()
    for name, value in sorted(values.items(), key=lambda item: item[0]):
        digest.update(name.encode())
        digest.update(value.asnumpy().tobytes())
    return digest.hexdigest()


def save_parameters(net: gluon.Block, file: PathLike) -> str:
    """As Gluon's `save_parameters`, but `file` appears only when it is whole, with the first device's values.

    Gluon's own takes the mean over devices, which for three equal values can differ from them in the last bit.
    Returns the file's SHA-256. Raises OSError if the disk is full.
    """
    values = {name: p.list_data()[0].copyto(mx.cpu()) for name, p in net._collect_params_with_prefix().items()}
    with replacing(file) as temporary:
        try:
            mx.nd.save(temporary, values)
            check_parameters(temporary)  # MXNet does not notice if the last bytes find no room
        except (mx.MXNetError, WrongParameters) as error:  # MXNet quotes C++
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file)) from error
        return digest(temporary)
