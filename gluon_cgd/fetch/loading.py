"""ImageNet parameters, put from a file into a network: all of them or none."""

import logging
import os
import tempfile
from functools import lru_cache
from pathlib import Path

import mxnet as mx
import numpy as np

from gluon_cgd.fetch.timm import from_timm
from gluon_cgd.files import stand_in
from gluon_cgd.files.parameters import WrongParameters, check_parameters
from gluon_cgd.files.whole import digest

log = logging.getLogger(__name__)


def sha256_of(file):
    """The SHA-256 of a file of parameters, computed once in a process while the file stays as it is.

    That of a rehearsal's made-up parameters says so.
    """
    facts = os.stat(file)
    return _sha256(os.path.abspath(file), facts.st_size, facts.st_mtime_ns)


@lru_cache(maxsize=None)
def _sha256(file, size, mtime_ns):
    return stand_in.marked(digest(file), stand_in.is_parameters(file))


def load_weights(net, file, name, values=None):
    """Set every parameter of the network `net` from `file`, a .params of MXNet or a .safetensors of timm's ResNet-50.

    values: {name: array} that the file holds, if it is of another kind and was read already.
    Raises ValueError if one is missing, is left over, has another shape or is not finite: no network stays half random.
    """
    file = Path(file)
    if not file.is_file():
        raise ValueError(f"{file}, the file of {name}'s ImageNet parameters, does not exist")
    converted = from_timm(file) if file.suffix == ".safetensors" else values
    with tempfile.TemporaryDirectory() as folder:
        source = str(file)
        if converted:
            source = os.path.join(folder, "converted.params")
            mx.nd.save(source, {key: mx.nd.array(value) for key, value in converted.items()})
        try:
            check_parameters(source)
            net.load_parameters(source, cast_dtype=True)  # the shipped ones are float16
        except WrongParameters as error:
            reason = str(error).replace(source, file.name)
            raise ValueError(f"{file} is not a whole parameter file of {name} ({reason}): download it again") from error
        except (AssertionError, ValueError) as error:  # a parameter is missing, is left over or has another shape
            reason = str(error).replace(source, file.name)[:200]
            raise ValueError(f"{file} does not hold the parameters of {name}: {reason}; check --weights") from error
        except (OSError, RuntimeError, AttributeError) as error:  # MXNet's own is a RuntimeError; arrays without names
            raise ValueError(f"{file} is not a whole parameter file of {name}: download it again") from error
    parameters = net._collect_params_with_prefix()
    for key, parameter in parameters.items():
        if not np.isfinite(parameter.data().asnumpy()).all():
            raise ValueError(f"{file} does not hold the parameters of {name}: {key} is NaN or infinite")
    message = "%s starts from %s (sha256 %s): all of its %d parameters are set"
    log.info(message, name, file, sha256_of(file), len(parameters))
    if stand_in.is_parameters(file):
        log.warning("%s holds made-up parameters, for a rehearsal: they were never trained on ImageNet", file)
