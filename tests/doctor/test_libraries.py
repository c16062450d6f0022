"""The libraries that MXNet needs, found and not found, on shared objects of the test's own and on the real ones."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import mxnet
import numpy as np
import pytest

from gluon_cgd.doctor import interpreter, libraries
from gluon_cgd.machine import facts, prepare
from tests import shared_objects

ROOT = facts.PROJECT
LIBMXNET = Path(mxnet.__file__).parent / "libmxnet.so"


def test_what_a_library_needs_is_found_where_the_file_says(tmp_path):
    file = shared_objects.write(
        tmp_path / "a" / "liba.so", ["libb.so.1", "libd.so", "libc.so.6"], "$ORIGIN/../b/lib:${ORIGIN}"
    )
    b = shared_objects.write(tmp_path / "b" / "lib" / "libb.so.1")
    d = shared_objects.write(tmp_path / "a" / "libd.so")
    paths = libraries.linked(file)
    assert set(paths) == {"libb.so.1", "libd.so", "libc.so.6"}
    assert os.path.samefile(paths["libb.so.1"], b)
    assert os.path.samefile(paths["libd.so"], d)
    assert os.path.isfile(paths["libc.so.6"])
    assert libraries.linked(shared_objects.write(tmp_path / "alone.so")) == {}


def test_a_name_may_be_long(tmp_path):
    name = "lib" + 300 * "long" + ".so.1"
    assert libraries.linked(shared_objects.write(tmp_path / "a.so", ["libb.so", name])) == {"libb.so": "", name: ""}


@pytest.mark.skipif(not shutil.which("readelf"), reason="readelf is not installed")
def test_of_real_libraries_all_that_readelf_prints_is_looked_for():
    files = [LIBMXNET, *LIBMXNET.parent.glob("lib*.so.*"), *Path(np.__file__).parent.rglob("*.so")]
    assert len(files) > 5
    for file in files:
        printed = subprocess.run(["readelf", "-d", str(file)], capture_output=True, text=True, check=True).stdout
        needed = {name for name in re.findall(r"\(NEEDED\).*\[(.*)\]", printed) if not name.startswith("ld-linux")}
        paths = libraries.linked(file)
        assert needed <= set(paths)
        assert all(map(os.path.isfile, paths.values()))


def test_what_is_no_whole_shared_object_is_refused(tmp_path):
    whole = shared_objects.write(tmp_path / "whole.so", ["libb.so.1"]).read_bytes()
    for content in (b"", b"#!/bin/sh\n", whole[:40], whole[:100], whole[:180], b"\x7fELF\1\1" + whole[6:], whole[:-40]):
        (tmp_path / "bad.so").write_bytes(content)
        with pytest.raises(ValueError, match=r"bad.so is not a whole shared object: install its package again"):
            libraries.linked(tmp_path / "bad.so")


def test_what_nobody_has_is_named_with_the_file_that_needs_it(tmp_path):
    file = shared_objects.write(tmp_path / "liba.so", ["libbeside.so.1", "libnowhere.so.1", "libc.so.6"], "$ORIGIN")
    shared_objects.write(tmp_path / "libbeside.so.1", ["libgone.so.2", "libc.so.6", "liba.so"])
    assert libraries.missing(file) == {"libnowhere.so.1": "liba.so", "libgone.so.2": "libbeside.so.1"}
    assert libraries.missing(file, ["libnowhere.so.1"]) == {"libgone.so.2": "libbeside.so.1"}
    assert libraries.missing(file, ["libnowhere.so.1", "libbeside.so.1"]) == {}
    elsewhere = shared_objects.write(tmp_path / "libd.so", ["libbeside.so.1"])  # which does not say where to look
    assert libraries.missing(elsewhere) == {"libbeside.so.1": "libd.so"}
    shared_objects.write(tmp_path / "liblater.so", ["libbeside.so.1", "libc.so.6"], "$ORIGIN")
    through = shared_objects.write(tmp_path / "libe.so", ["libbeside.so.1", "liblater.so"], "$ORIGIN")
    assert libraries.missing(through)["libgone.so.2"] == "libbeside.so.1"


@pytest.fixture
def cuda(tmp_path, monkeypatch):
    """A folder that holds a CUDA build of MXNet with all its libraries, of which each needs the one before."""
    before = ["libc.so.6"]
    for library in prepare.CUDA_LIBRARIES:
        shared_objects.write(tmp_path / "nvidia" / library, before)
        before = [Path(library).name]
    names = [Path(library).name for library in prepare.CUDA_LIBRARIES]
    shared_objects.write(tmp_path / "mxnet" / "libmxnet.so", ["libc.so.6", prepare.DRIVER, *names])
    monkeypatch.setattr(libraries, "site", lambda: tmp_path)
    return tmp_path


def test_of_a_whole_cuda_build_every_library_is_found_but_the_drivers(cuda):
    system, packages = libraries.lines("cuda")
    assert (system.state, packages.state) == ("ok", "ok")
    assert packages.says.startswith("libcudart.so.11.0, libnvToolsExt.so.1, ")


def test_a_cuda_library_that_is_not_there_is_named(cuda):
    for library in ("cudnn/lib/libcudnn.so.8", "nccl/lib/libnccl.so.2"):
        (cuda / "nvidia" / library).unlink()
    system, packages = libraries.lines("cuda")
    assert (system.state, packages.state) == ("ok", "wrong")
    assert packages.says.startswith("8 of 10 are there; libnccl.so.2, libcudnn.so.8 missing from ")
    assert packages.remedy.endswith("requirements.txt")


def test_a_library_that_the_list_lacks_is_found_out(cuda, monkeypatch):
    assert libraries.lacking(cuda, "cuda") == {}
    shortened = [name for name in prepare.CUDA_LIBRARIES if "curand" not in name]
    monkeypatch.setattr(prepare, "CUDA_LIBRARIES", shortened)
    assert libraries.lacking(cuda, "cuda") == {"libcurand.so.10": "libcusolver.so.11"}
    monkeypatch.setattr(prepare, "CUDA_LIBRARIES", shortened[::-1])  # loaded in an order that cannot be
    assert "libnccl.so.2" in libraries.lacking(cuda, "cuda")
    shared_objects.write(cuda / "nvidia/cudnn/lib/libcudnn_ops.so.8", ["libzlib.so.99"])
    monkeypatch.undo()
    assert libraries.lacking(cuda, "cuda") == {"libzlib.so.99": "libcudnn_ops.so.8"}


def test_a_library_that_the_system_lacks_is_named_with_who_needs_it(tmp_path, monkeypatch):
    monkeypatch.setattr(libraries, "site", lambda: tmp_path)
    shared_objects.write(tmp_path / "mxnet/libmxnet.so", ["libgfortran.so.3", "libc.so.6"], "${ORIGIN}")
    shared_objects.write(tmp_path / "mxnet/libgfortran.so.3", ["libquadmath.so.99"])
    system, packages = libraries.lines("cpu")
    assert system.state == "wrong"
    assert "libquadmath.so.99 (for libgfortran.so.3)" in system.says
    assert "apt-get install libgomp1 libquadmath0" in system.remedy
    assert (packages.state, packages.says) == ("info", "not needed by the CPU build")


def test_the_libraries_of_the_mxnet_installed_here_are_all_found():
    site = libraries.site()
    assert (site / "mxnet/__init__.py").is_file()
    assert libraries.lacking(site, interpreter.build(interpreter.distributions())) == {}
    assert libraries.lines("cpu")[0].state == "ok"


def test_without_ldd_a_note_says_that_nothing_was_checked(monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    system, packages = libraries.lines("cpu")
    assert (system.state, packages.state) == ("note", "info")
    assert "ldd is not installed" in system.says
    assert "libc-bin" in system.remedy


def test_without_mxnet_there_are_no_libraries_to_look_at(monkeypatch):
    monkeypatch.setattr(libraries, "find_spec", lambda name: None)
    assert libraries.site() is None
    assert libraries.lines("cpu") == []


@pytest.mark.slow
def test_the_cuda_build_needs_nothing_but_its_packages_and_the_driver(monkeypatch):
    """Installs requirements.txt for as long as the test runs: 2.1 GB to download, 4.2 GB of disk."""
    with tempfile.TemporaryDirectory() as folder:  # not tmp_path, of which pytest keeps the last three
        python = cuda_environment(Path(folder) / "venv")
        site = next(Path(folder).glob("venv/lib/python*/site-packages"))
        assert libraries.lacking(site, "cuda") == {}
        not_missed = []
        for library in prepare.CUDA_LIBRARIES:
            monkeypatch.setattr(prepare, "CUDA_LIBRARIES", [name for name in prepare.CUDA_LIBRARIES if name != library])
            not_missed += [Path(library).name] * (Path(library).name not in libraries.lacking(site, "cuda"))
            monkeypatch.undo()
        assert not_missed == ["libcublasLt.so.11"]  # which libcublas finds by itself
        if shutil.which("gcc") and shutil.which("nm"):
            code = "import gluon_cgd, mxnet; print(mxnet.__version__, mxnet.context.num_gpus())"
            driver = stand_in_driver(site / "mxnet/libmxnet.so", Path(folder) / "driver")
            environment = dict(os.environ, LD_LIBRARY_PATH=str(driver), PYTHONPATH=str(ROOT))
            command = [str(python), "-c", code]
            done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
            assert done.stdout.split() == ["1.9.1", "0"], done.stderr


def cuda_environment(venv):
    """Make a virtual environment with the CUDA build in the folder `venv`; return its interpreter."""
    if shutil.disk_usage(str(venv.parent)).free < 9e9:
        pytest.skip("needs 9 GB of disk")
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    command = [str(venv / "bin/python"), "-m", "pip", "install", "--quiet", "--no-cache-dir", "--no-deps"]
    done = subprocess.run([*command, "-r", str(ROOT / "requirements.txt")], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"the package index does not give it: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
    return venv / "bin/python"


def stand_in_driver(libmxnet, folder):
    """Compile a driver that says to all that `libmxnet` asks that there is no device; return the `folder` it is in."""
    listed = subprocess.run(["nm", "-D", "-u", str(libmxnet)], capture_output=True, text=True, check=True).stdout
    functions = sorted(set(re.findall(r" U (cu[A-Z]\w*)", listed)))  # those of the driver
    assert functions
    folder.mkdir()
    source = "".join(f"int {name}(void) {{ return 100; }}\n" for name in functions)
    command = ["gcc", "-shared", "-fPIC", "-x", "c", "-", "-o", str(folder / prepare.DRIVER)]
    subprocess.run(command, input=source, text=True, check=True)
    return folder
