import re
import shutil
import subprocess
from pathlib import Path

import mxnet
import numpy as np
import pytest

from gluon_cgd.doctor import elf
from tests import shared_objects

LIBMXNET = Path(mxnet.__file__).parent / "libmxnet.so"


def test_what_a_library_needs_and_where_it_looks_is_read_from_its_file(tmp_path):
    file = shared_objects.write(tmp_path / "liba.so", ["libb.so.1", "libc.so.6"], "$ORIGIN/../b/lib:${ORIGIN}:/opt/lib")
    names, folders = elf.dynamic(file)
    assert names == ["libb.so.1", "libc.so.6"]
    assert folders == [tmp_path.parent / "b" / "lib", tmp_path, Path("/opt/lib")]
    assert elf.dynamic(shared_objects.write(tmp_path / "alone.so")) == ([], [])


def test_a_name_may_be_long(tmp_path):
    name = "lib" + 300 * "long" + ".so.1"
    assert elf.dynamic(shared_objects.write(tmp_path / "a.so", ["libb.so", name]))[0] == ["libb.so", name]


@pytest.mark.skipif(not shutil.which("readelf"), reason="readelf is not installed")
def test_of_real_libraries_it_reads_what_readelf_prints():
    files = [LIBMXNET, *LIBMXNET.parent.glob("lib*.so.*"), *Path(np.__file__).parent.rglob("*.so")]
    assert len(files) > 5
    for file in files:
        printed = subprocess.run(["readelf", "-d", str(file)], capture_output=True, text=True, check=True).stdout
        names, folders = elf.dynamic(file)
        assert names == re.findall(r"\(NEEDED\).*\[(.*)\]", printed)
        paths = re.findall(r"\((?:RPATH|RUNPATH)\).*\[(.*)\]", printed)
        assert len(folders) == len([part for path in paths for part in path.split(":") if part])


def test_what_is_no_whole_shared_object_is_refused(tmp_path):
    whole = shared_objects.write(tmp_path / "whole.so", ["libb.so.1"]).read_bytes()
    for content in (b"", b"#!/bin/sh\n", whole[:40], whole[:100], whole[:180], b"\x7fELF\1\1" + whole[6:], whole[:-40]):
        (tmp_path / "bad.so").write_bytes(content)
        with pytest.raises(ValueError, match=r"bad.so is not a whole shared object: install its package again"):
            elf.dynamic(tmp_path / "bad.so")


def test_what_nobody_has_is_named_with_the_file_that_needs_it(tmp_path):
    file = shared_objects.write(tmp_path / "liba.so", ["libbeside.so.1", "libnowhere.so.1", "libc.so.6"], "$ORIGIN")
    shared_objects.write(tmp_path / "libbeside.so.1", ["libgone.so.2", "libc.so.6", "liba.so"])
    assert elf.missing(file) == {"libnowhere.so.1": "liba.so", "libgone.so.2": "libbeside.so.1"}
    assert elf.missing(file, ["libnowhere.so.1"]) == {"libgone.so.2": "libbeside.so.1"}
    assert elf.missing(file, ["libnowhere.so.1", "libbeside.so.1"]) == {}
    elsewhere = shared_objects.write(tmp_path / "libd.so", ["libbeside.so.1"])  # which does not say where to look
    assert elf.missing(elsewhere) == {"libbeside.so.1": "libd.so"}
