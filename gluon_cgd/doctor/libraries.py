"""The shared libraries that MXNet needs: whether this system and the packages of CUDA have them, as `ldd` says."""

import os
import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

from gluon_cgd.doctor.findings import info, note, ok, wrong
from gluon_cgd.machine import facts, prepare


def lines(build):
    """The lines of the system's libraries and of those of CUDA. build: of MXNet, "cpu" or "cuda"."""
    place = site()
    if not place:
        return []
    there = [name for name in prepare.CUDA_LIBRARIES if (place / "nvidia" / name).is_file()]
    absent = [Path(name).name for name in prepare.CUDA_LIBRARIES if name not in there]
    first = _of_system(place, build, absent)
    if build == "cpu":
        return [first, info("CUDA libraries", "not needed by the CPU build")]
    if absent:
        count = f"{len(there)} of {len(prepare.CUDA_LIBRARIES)}"
        says = f"{count} are there; {', '.join(absent)} missing from {place / 'nvidia'}"
        return [first, wrong("CUDA libraries", says, facts.install("requirements.txt"))]
    return [first, ok("CUDA libraries", f"{', '.join(Path(name).name for name in there)} in {place / 'nvidia'}")]


def _of_system(place, build, apart):
    """The line of what MXNet in the folder `place` needs of the system; the libraries `apart` have another line."""
    if not shutil.which("ldd"):
        says = "ldd is not installed, so the libraries that MXNet needs of this system were not checked"
        return note("libraries", says, "install ldd (Debian and Ubuntu: libc-bin) to check them")
    users = {name: user for name, user in lacking(place, build).items() if name not in apart}
    if not users:
        return ok("libraries", f"this {os.uname().sysname} has all that MXNet's libmxnet.so needs")
    names = ", ".join(f"{name} (for {user})" for name, user in sorted(users.items()))
    debian = "install them; on a bare Debian or Ubuntu: apt-get install libgomp1 libquadmath0 zlib1g"
    return wrong("libraries", f"this system lacks {names}, which MXNet needs", debian)


def site():
    """The folder that MXNet is installed in, or None."""
    spec = find_spec("mxnet")
    return Path(spec.origin).parents[1] if spec and spec.origin else None


def lacking(place, build):
    """{library: the file that needs it} of what MXNet in the folder `place` needs and will not find.

    The driver's libcuda is not counted. A library of a CUDA build may need those in its own package, and those before
    it in the list by which `prepare` loads them.
    """
    loaded, absent = {prepare.DRIVER}, {}
    if build == "cuda":
        for file in (place / "nvidia" / name for name in prepare.CUDA_LIBRARIES):
            if file.is_file():
                absent.update(missing(file, loaded))
                loaded.add(file.name)
        for file in sorted((place / "nvidia/cudnn/lib").glob("*.so*")):  # cuDNN loads these itself when it is used
            absent.update(missing(file, loaded))
    return {**missing(place / "mxnet" / "libmxnet.so", loaded), **absent}


def missing(file, loaded=()):
    """{library: the file that needs it} of what `file` needs, itself or through others, and the system does not find.

    loaded: names of the libraries that are loaded before `file`; what these need is not counted.
    """
    needs = {str(file): linked(file)}
    absent = [name for name, path in needs[str(file)].items() if not path and name not in loaded]
    if absent:
        needs.update({path: linked(path) for path in needs[str(file)].values() if path})
    users = {}
    for name in absent:
        paths = [path for path in needs if needs[path].get(name) == ""]
        # Of these the one with the fewest libraries needs it itself; the others miss it through that one
        users[name] = Path(min(paths, key=lambda path: len(needs[path]))).name
    return {name: user for name, user in users.items() if user not in loaded}


def linked(file):
    """{library: its path, "" if it is not found} of all libraries that `file` needs, itself or through others.

    Raises ValueError for a file that `ldd` cannot read.
    """
    done = subprocess.run(["ldd", str(file)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(f"{file} is not a whole shared object: install its package again")
    return dict(re.findall(r"^\t(\S+) => (?:not found|(.*) \(0x\w+\))$", done.stdout, re.M))
