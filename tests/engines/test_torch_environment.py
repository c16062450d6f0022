"""The environment of the PyTorch engine: found, made once, and a sentence for everything that can go wrong."""

import logging
import os
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from gluon_cgd.engines import environment
from gluon_cgd.machine import facts

PYTHON = """#!/bin/bash
# A Python whose venvs are copies of itself, and which writes down what it is asked
echo "$@" >> {log}
case "$*" in
    "-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
    *"pip install"*) sleep {seconds}; {pip} ;;
esac
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder to make .venv-torch in, by a stand-in for Python; call it to say what pip does. It returns the log."""

    def machine(pip="true", seconds=0):
        python, log = tmp_path / "python3.11", tmp_path / "log"
        python.write_text(PYTHON.format(log=log, pip=pip, seconds=seconds))
        python.chmod(0o755)
        log.write_text("")
        return log

    requirements = tmp_path / "requirements-torch.txt"
    requirements.write_text(environment.REQUIREMENTS.read_text())
    monkeypatch.delenv(environment.NAMED, raising=False)
    monkeypatch.setattr(environment, "REQUIREMENTS", requirements)
    monkeypatch.setattr(environment, "VENV", tmp_path / ".venv-torch")
    monkeypatch.setattr(environment, "base_interpreter", lambda: str(tmp_path / "python3.11"))
    machine.requirements = requirements
    return machine


def test_it_is_made_once_and_again_when_the_requirements_change(project, caplog):
    caplog.set_level(logging.INFO)
    log = project()
    assert environment.found() is None
    python = environment.interpreter()
    assert python == environment.VENV / "bin" / "python" == environment.found()
    assert f"-r {project.requirements}" in log.read_text()
    assert sum("once: some minutes" in line for line in caplog.messages) == 1
    log = project()
    assert environment.interpreter() == python
    assert not log.read_text()
    project.requirements.write_text("torch==9.9.9\n")
    assert environment.found() is None
    assert environment.interpreter() == python
    assert "pip install" in log.read_text()


def test_of_two_first_starts_the_second_waits_and_makes_nothing(project, caplog):
    caplog.set_level(logging.INFO)
    log, made = project(seconds=0.3), []
    starts = [threading.Thread(target=lambda: made.append(environment.interpreter())) for _ in range(2)]
    for start in starts:
        start.start()
    for start in starts:
        start.join()
    assert made == [environment.VENV / "bin" / "python"] * 2
    assert log.read_text().count("pip install") == 1
    assert any("waiting for it" in line for line in caplog.messages)


@pytest.mark.parametrize(
    ("pip", "told"),
    [
        ("echo 'ERROR: [Errno 28] No space left on device' >&2; exit 1", "the disk is full.*3 GB more.*set TMPDIR"),
        ("echo 'NewConnectionError(...): Failed' >&2; exit 1", "the package index does not answer.*check the network"),
        (
            "echo 'ERROR: No matching distribution found for torch' >&2; exit 1",
            "No match.* torch.*lacks it.*PIP_INDEX_URL",
        ),
        ("echo 'ERROR: what nobody has seen' >&2; exit 1", "what nobody has seen.*needs a package index.*1 GB"),
        ("exit 3", "it says nothing.*needs a package index"),
    ],
)
def test_what_pip_cannot_install_is_a_sentence_and_is_tried_again(project, pip, told):
    project(pip)
    with pytest.raises(ValueError, match=f"could not be made \\({told}") as error:
        environment.interpreter()
    assert len(str(error.value).splitlines()) == 1
    assert environment.found() is None
    project()
    assert environment.interpreter() == environment.found()


def test_too_little_disk_is_told_before_anything_is_made(project, monkeypatch):
    log = project()
    monkeypatch.setattr(environment.shutil, "disk_usage", lambda folder: SimpleNamespace(free=int(0.3e9)))
    with pytest.raises(ValueError, match="^0.3 GB are free for .*, and it takes 1 GB of disk, or 5 GB .*: free some"):
        environment.interpreter()
    assert not log.read_text()


def test_a_folder_that_cannot_be_written_is_told(project, monkeypatch):
    project()

    def refused(*arguments):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(environment, "waiting", refused)
    with pytest.raises(ValueError, match=r"cannot be made \(Permission denied\): let the owner .*GLUON_CGD_TORCH"):
        environment.interpreter()


def test_a_machine_without_a_python_for_it_is_told_which_one_to_install(monkeypatch, tmp_path):
    (tmp_path / "dirname").symlink_to("/usr/bin/dirname")
    (tmp_path / "bash").symlink_to("/bin/bash")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("PYENV_ROOT", raising=False)
    with pytest.raises(ValueError, match=r"^PyTorch 2\.13\.0 runs on Python 3\.10 to 3\.13, and this machine has none"):
        environment.base_interpreter()


def test_an_installed_package_says_where_its_requirements_are(project, monkeypatch, tmp_path):
    project()
    monkeypatch.setattr(facts, "SETUP", tmp_path / "none")
    with pytest.raises(ValueError, match="requirements-torch.txt into a new one, and name its python in GLUON_CGD_TO"):
        environment.interpreter()


def test_an_environment_of_ones_own_can_be_named(project, monkeypatch, tmp_path):
    project()
    monkeypatch.setenv(environment.NAMED, str(tmp_path / "python3.11"))
    assert environment.interpreter() == environment.found() == tmp_path / "python3.11"
    monkeypatch.setenv(environment.NAMED, str(tmp_path / "none"))
    with pytest.raises(ValueError, match="GLUON_CGD_TORCH is .*none, which is no program"):
        environment.interpreter()


def test_a_process_in_it_sees_this_project_and_no_package_of_another_environment(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/somewhere/with/numpy")
    monkeypatch.setenv("PYTHONHOME", "/nowhere")
    monkeypatch.setenv("VIRTUAL_ENV", "/mxnet")
    own = environment.variables()
    assert {name: value for name, value in own.items() if name.startswith("PYTHON")} == {
        "PYTHONPATH": str(facts.PACKAGES),
        "PYTHONNOUSERSITE": "1",
    }
    assert "VIRTUAL_ENV" not in own
    assert own["PATH"] == os.environ["PATH"]


def test_a_broken_pytorch_is_a_sentence(project, tmp_path):
    project()
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/bash\necho 'Traceback ...' >&2; echo 'ImportError: no libgomp' >&2; exit 1\n")
    broken.chmod(0o755)
    with pytest.raises(
        ValueError, match=r"cannot be used in .*broken \(ImportError: no libgomp\): delete .*made again"
    ):
        environment.devices(broken)
    with pytest.raises(ValueError, match="cannot be used in"):
        environment.devices(tmp_path / "none")


@pytest.mark.slow
@pytest.mark.skipif(environment.found() is None, reason="there is no .venv-torch: .ci/run makes it")
def test_it_has_what_is_pinned_and_no_mxnet():
    pins = dict(
        line.partition("#")[0].strip().split("==")
        for line in Path(environment.REQUIREMENTS).read_text().splitlines()
        if "==" in line.partition("#")[0]
    )
    told = environment.devices(environment.found())
    assert told["versions"]["torch"].partition("+")[0] == pins["torch"] == "2.13.0"
    assert told["versions"]["numpy"] == pins["numpy"]
    code = "import sys; from importlib.util import find_spec; sys.exit(any(map(find_spec, ('mxnet', 'gluoncv'))))"
    python = str(environment.found())
    assert not subprocess.run([python, "-c", code], env=environment.variables(), check=False).returncode


def test_a_relative_name_is_of_the_folder_where_it_was_typed(tmp_path, monkeypatch):
    python = tmp_path / "there" / "python"
    python.parent.mkdir()
    python.symlink_to("/bin/true")
    monkeypatch.chdir(tmp_path)
    for typed in ("there/python", "./there/python", "../" + tmp_path.name + "/there/python"):
        monkeypatch.setenv(environment.NAMED, typed)
        assert environment.found() == python  # not what the link leads to
    monkeypatch.chdir(python.parent)
    monkeypatch.setenv(environment.NAMED, "./python")
    assert environment.found() == python


@pytest.mark.parametrize(("installed", "expected"), [(False, "of the folder"), (True, "of the interpreter")])
def test_an_installed_package_does_not_bring_the_packages_beside_it(tmp_path, monkeypatch, installed, expected):
    """Beside an installed package lies MXNet's NumPy; beside a checkout lies nothing but the project."""
    (tmp_path / "numpy.py").write_text("beside = 'of the folder'\n")
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "__init__.py").write_text("")
    script = "import json, sys, numpy\nprint(getattr(numpy, 'beside', 'of the interpreter'), json.loads(sys.argv[1]))\n"
    (tmp_path / "pack" / "script.py").write_text(script)
    setup = tmp_path / "env.sh"
    if not installed:
        setup.write_text("")
    monkeypatch.setattr(facts, "PACKAGES", tmp_path)
    monkeypatch.setattr(facts, "SETUP", setup)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    started = environment.module(Path(sys.executable), "pack.script", {"a": 1})
    done = subprocess.run(**started, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"{expected} {{'a': 1}}"
