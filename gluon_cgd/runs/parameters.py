"""The parameters that a training run leaves behind: written, and known again by their hash."""

import hashlib
from typing import Any, Dict, Mapping

import numpy as np

from gluon_cgd.datasets.records import PathLike
from gluon_cgd.files.parameters import check_parameters, read_values, write_values
from gluon_cgd.files.whole import digest, replacing


def values_of(net: Any) -> Dict[str, np.ndarray]:
    """{name by structure: value} of the parameters of the Gluon network `net`, on its first device.

    Gluon's own `save_parameters` takes the mean over devices, which for three equal values can differ from them in the
    last bit.
    """
    return {name: value.list_data()[0].asnumpy() for name, value in net._collect_params_with_prefix().items()}


def parameters_hash(net: Any) -> str:
    """SHA-256 of the names and bytes of all parameters: equal for two networks that compute the same."""
    return hash_of(values_of(net))


def hash_of_file(file: PathLike) -> str:
    """The `parameters_hash` of the network whose parameters are in `file`, "" if the file cannot be read."""
    try:
        return hash_of(read_values(file))
    except (MemoryError, ValueError):
        return ""


def hash_of(values: Mapping[str, np.ndarray]) -> str:
    """The `parameters_hash` of the network with these parameters."""
    digest = hashlib.sha256()
    for name, value in sorted(values.items(), key=lambda item: item[0]):
        digest.update(name.encode())
        digest.update(value.tobytes())
    return digest.hexdigest()


def save_parameters(net: Any, file: PathLike) -> str:
    """Write the parameters of the Gluon network `net` to `file`, which appears only when it is whole.

    Returns the file's SHA-256. Raises OSError if the disk is full.
    """
    return write_parameters(values_of(net), file)


def write_parameters(values: Mapping[str, np.ndarray], file: PathLike) -> str:
    """As `save_parameters`, of the parameters `values`."""
    with replacing(file) as temporary:
        write_values(temporary, values)
        check_parameters(temporary)
        return digest(temporary)
