"""The lines of Python and its packages: what is right, and each thing that can be wrong."""

import re
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from gluon_cgd.doctor import interpreter
from gluon_cgd.doctor.interpreter import Tried
from gluon_cgd.machine import facts, prepare

ROOT = facts.PROJECT
NONE = Tried(error="ModuleNotFoundError: No module named 'it'")
PINNED = dict.fromkeys(interpreter.PACKAGES.values(), "1.0")
PINNED.update(numpy=np.__version__, mxnet="1.9.1")


def tried(**changed):
    """What `probe` returns where all is well, but for what is `changed`."""
    return {**{name: Tried("1.0") for name in ("gluon_cgd", *interpreter.PACKAGES)}, "gpus": Tried("0"), **changed}


def only(lines, state):
    """The one of `lines`, whose state is `state`."""
    (line,) = lines
    assert line.state == state, line
    return line


@pytest.fixture
def no_module(monkeypatch):
    """No package can be found in this Python."""
    monkeypatch.setattr(interpreter, "find_spec", lambda name: None)


@pytest.mark.parametrize("version", [(3, 8, 0), (3, 12, 9)])
def test_every_python_that_mxnet_runs_on_is_right(version, monkeypatch):
    monkeypatch.setattr(interpreter, "sys", SimpleNamespace(version_info=version))
    assert only(interpreter.python(), "ok").says == ".".join(map(str, version))


@pytest.mark.parametrize("version", [(3, 7, 16), (3, 13, 0)])
def test_another_python_is_wrong(version, monkeypatch):
    monkeypatch.setattr(interpreter, "sys", SimpleNamespace(version_info=version))
    line = only(interpreter.python(), "wrong")
    assert "but MXNet 1.9.1 runs on 3.8 to 3.12" in line.says
    assert "PYTHON=/path/to/python3.11" in line.remedy


def test_numpy_must_be_of_the_series_that_mxnet_needs(no_module):
    assert only(interpreter.numpy(tried(), PINNED), "ok").says.startswith(np.__version__)
    line = only(interpreter.numpy(tried(), dict(PINNED, numpy="2.1.3")), "wrong")
    assert "NumPy 2.1.3 is installed" in line.says
    assert "pip install --no-deps numpy==1.2" in line.remedy
    line = only(interpreter.numpy(tried(numpy=NONE), {}), "wrong")
    assert line.says == f"not installed in {sys.executable}: numpy"
    assert "env.sh" in line.remedy
    without_record = tried(numpy=Tried(np.__version__))
    assert only(interpreter.numpy(without_record, {}), "ok").says.startswith(np.__version__)


def test_a_package_that_cannot_be_imported_is_wrong_with_the_reason():
    broken = Tried(error="ImportError: libquadmath.so.0: cannot open shared object file")
    for line in (
        only(interpreter.numpy(tried(numpy=broken), PINNED), "wrong"),
        only(interpreter.others(tried(PIL=broken), PINNED), "wrong"),
        only(interpreter.gluoncv(tried(gluoncv2=broken), PINNED), "wrong"),
        only(interpreter.opencv(tried(cv2=broken), PINNED), "wrong"),
        only(interpreter.mxnet(tried(mxnet=broken), PINNED), "wrong"),
    ):
        assert "libquadmath.so.0: cannot open" in line.says
        assert "-m pip install --no-deps -r" in line.remedy


def test_one_build_of_mxnet_is_right():
    assert only(interpreter.mxnet(tried(), PINNED), "ok").says == "mxnet 1.9.1, the CPU build"
    cuda = {"mxnet-cu112": "1.9.1"}
    assert only(interpreter.mxnet(tried(), cuda), "ok").says == "mxnet-cu112 1.9.1, the CUDA build"
    assert interpreter.build(cuda) == "cuda"
    assert interpreter.build(PINNED) == interpreter.build({}) == "cpu"


def test_two_builds_of_mxnet_another_version_and_none_are_wrong():
    both = only(interpreter.mxnet(tried(), dict(PINNED, **{"mxnet-cu112": "1.9.1"})), "wrong")
    assert "mxnet 1.9.1 and mxnet-cu112 1.9.1 are both installed" in both.says
    assert "pip uninstall -y mxnet mxnet-cu112, then " in both.remedy
    assert both.remedy.endswith("requirements.txt")
    old = only(interpreter.mxnet(tried(), {"mxnet": "1.6.0"}), "wrong")
    assert old.says == "mxnet 1.6.0 is installed, but the project needs 1.9.1"
    assert old.remedy.endswith("requirements-cpu.txt")
    none = only(interpreter.mxnet(tried(mxnet=NONE), {}), "wrong")
    assert "requirements-cpu.txt, or requirements.txt for a GPU" in none.remedy


def test_what_the_project_says_of_a_cuda_build_without_a_driver_is_told(tmp_path, monkeypatch):
    (tmp_path / "nvidia").mkdir()
    (tmp_path / "mxnet_cu112-1.9.1.dist-info").mkdir()
    monkeypatch.setattr(prepare, "DRIVER", "libnodriver.so.1")
    with pytest.raises(ImportError) as refused:
        prepare.load_cuda_libraries(tmp_path)
    state = tried(gluon_cgd=Tried(error=f"ImportError: {refused.value}"), mxnet=NONE)
    line = only(interpreter.mxnet(state, {"mxnet-cu112": "1.9.1"}), "wrong")
    assert "the CUDA build of MXNet is installed, but libnodriver.so.1 cannot be loaded" in line.says
    assert re.match("install the NVIDIA driver and run .*requirements.txt, or .*requirements-cpu.txt", line.remedy)


def test_both_libraries_of_backbones_are_needed(monkeypatch):
    assert only(interpreter.gluoncv(tried(), PINNED), "ok").says == "gluoncv 1.0, gluoncv2 1.0"
    without_mxnet = only(interpreter.gluoncv(tried(mxnet=NONE, gluoncv=NONE, gluoncv2=NONE), PINNED), "note")
    assert without_mxnet.remedy == "fix MXNet first"
    monkeypatch.setattr(interpreter, "find_spec", lambda name: None)
    line = only(interpreter.gluoncv(tried(gluoncv2=NONE), {"gluoncv": "1.0"}), "wrong")
    assert line.says.endswith(": gluoncv2")


def test_two_packages_of_opencv_in_one_folder_are_wrong(no_module):
    assert only(interpreter.opencv(tried(), PINNED), "ok").says == "opencv-python-headless 1.0"
    assert only(interpreter.opencv(tried(), {"opencv-contrib-python": "4.5"}), "ok").says == "opencv-contrib-python 4.5"
    both = only(interpreter.opencv(tried(), dict(PINNED, **{"opencv-python": "4.8"})), "wrong")
    assert "opencv-python-headless 1.0 and opencv-python 4.8 are both installed" in both.says
    assert "pip uninstall -y opencv-python-headless opencv-python, then " in both.remedy
    assert only(interpreter.opencv(tried(cv2=NONE), {}), "wrong").says.endswith(": opencv-python-headless")


def test_the_other_packages_are_one_line_or_those_that_are_not_installed(no_module):
    assert "scipy 1.0, matplotlib 1.0" in only(interpreter.others(tried(), PINNED), "ok").says
    line = only(interpreter.others(tried(tqdm=NONE, PIL=NONE), PINNED), "wrong")
    assert line.says == f"not installed in {sys.executable}: pillow, tqdm"


def test_every_package_that_the_environment_is_checked_for_is_tried():
    modules = re.search(r'for m in "(.*)"\.split', (ROOT / "env.sh").read_text()).group(1).split()
    assert set(modules) <= {name.split(".")[0] for name in interpreter.PACKAGES}
    pins = (ROOT / "constraints.txt").read_text() + (ROOT / "requirements-cpu.txt").read_text()
    for package in interpreter.PACKAGES.values():
        assert f"\n{package}==" in pins


@pytest.mark.slow
def test_packages_are_tried_in_another_process_that_may_end(tmp_path, monkeypatch):
    (tmp_path / "good.py").write_text("print('hello', end=''); __version__ = '1.2'")
    (tmp_path / "raises.py").write_text("raise OSError('libx.so:\\n cannot be opened')")
    (tmp_path / "ends.py").write_text("import os; os._exit(9)")
    (tmp_path / "hangs.py").write_text("import time; time.sleep(60)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    results = interpreter.probe(["good", "raises", "absent", "ends", "good"])
    assert results["good"] == Tried("1.2")
    assert results["raises"].error == "OSError: libx.so: cannot be opened"
    assert results["absent"].error == "ModuleNotFoundError: No module named 'absent'"
    assert results["ends"].error == "its import ends Python with status 9"
    assert results["gpus"].error == "not tried after ends"
    monkeypatch.setattr(interpreter, "LIMIT", 2)
    assert interpreter.probe(["good", "hangs"])["hangs"].error == "its import takes longer than 2 seconds"


def test_what_is_installed_is_listed_under_one_spelling():
    versions = interpreter.distributions()
    assert versions["numpy"] == np.__version__
    assert "opencv-python-headless" in versions
    assert interpreter.builds(versions)


def test_of_two_versions_the_one_that_python_imports_counts_and_a_broken_one_hides_nothing(tmp_path, monkeypatch):
    texts = {"1.0": b"Name: Own.Thing\nVersion: 1.0\n", "2.0": b"Name: own-thing\nVersion: 2.0\n"}
    texts["3.0"] = b"Name: another\nVersion: 3.0\nAuthor: M\xfcller\n"
    for version, text in texts.items():
        folder = tmp_path / version / f"thing-{version}.dist-info"
        folder.mkdir(parents=True)
        (folder / "METADATA").write_bytes(text)
    monkeypatch.setattr(sys, "path", [*(str(tmp_path / version) for version in texts), *sys.path])
    versions = interpreter.distributions()
    assert (versions["own-thing"], versions["numpy"]) == ("1.0", np.__version__)
    assert "another" not in versions


BOTH_BUILDS = {"cuda": {"mxnet-cu112": "1.9.1"}, "cpu": {"mxnet": "1.9.1"}}


def test_what_mxnet_itself_sees_of_the_gpus_is_told_of_the_cuda_build():
    assert interpreter.seen_by_mxnet(tried(), BOTH_BUILDS["cpu"]) == []
    assert interpreter.seen_by_mxnet(tried(mxnet=NONE), BOTH_BUILDS["cuda"]) == []
    assert only(interpreter.seen_by_mxnet(tried(gpus=Tried("2")), BOTH_BUILDS["cuda"]), "ok").says.startswith("2; ")
    assert "finds no GPU: training" in only(interpreter.seen_by_mxnet(tried(), BOTH_BUILDS["cuda"]), "note").says
    failed = tried(gpus=Tried(error="CUDA: insufficient driver"))
    assert "(CUDA: insufficient driver)" in only(interpreter.seen_by_mxnet(failed, BOTH_BUILDS["cuda"]), "note").says


def test_extras_are_information(monkeypatch):
    monkeypatch.setattr(interpreter, "find_spec", lambda module: module == "onnx")
    line = only(interpreter.extras({"onnx": "1.18.0"}), "info")
    assert line.says.startswith("onnx 1.18.0 installed; scikit-learn (t-SNE), submitit (training on Slurm), ")
    monkeypatch.setattr(interpreter, "find_spec", lambda module: True)
    assert "missing" not in interpreter.extras({})[0].says
