"""The whole report, above all where little works: without NumPy, with another one, without an environment."""

import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import gluon_cgd
from gluon_cgd.__main__ import main, parser
from gluon_cgd.doctor import findings, interpreter
from gluon_cgd.doctor import report as doctor
from gluon_cgd.doctor.findings import wrong
from gluon_cgd.machine import facts, prepare, process

ROOT = facts.PROJECT
SET = ("PYTHONPATH", "VIRTUAL_ENV", "CONDA_PREFIX", "OMP_NUM_THREADS", "OMP_WAIT_POLICY")
ORDINARY = {key: value for key, value in os.environ.items() if key not in SET}


@pytest.fixture
def project(tmp_path):
    """A copy of the project that has no environment yet."""
    folder = tmp_path / "project"
    shutil.copytree(ROOT / "gluon_cgd", folder / "gluon_cgd", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "env.sh", folder)
    return folder


@pytest.fixture
def bare(tmp_path):
    """The interpreter of an environment without a single package."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "bare")], check=True)
    return tmp_path / "bare" / "bin" / "python"


def run_doctor(python, project, *options, **variables):
    """(exit status, stdout, stderr) of `python -m gluon_cgd doctor`."""
    command = [str(python), "-m", "gluon_cgd", "doctor", *options]
    environment = dict(ORDINARY, GLUON_CGD_CACHE=str(project / "cache"), **variables)
    run = subprocess.run(command, cwd=str(project), capture_output=True, text=True, check=False, env=environment)
    assert "Traceback" not in run.stderr + run.stdout
    return run.returncode, run.stdout, run.stderr


def stand_in(folder, python):
    """Make `folder` an environment that was set up to the end, and whose Python is `python`."""
    (folder / "bin").mkdir(parents=True)
    (folder / "bin/python").write_text(f'#!/bin/sh\nexec {python} "$@"\n')
    (folder / "bin/python").chmod(0o755)
    (folder / "installed").write_text("")
    return folder


def test_a_python_without_packages_gets_its_report(bare, project):
    status, out, _ = run_doctor(bare, project)
    assert status == 2
    lines = {line[7:].split("  ")[0]: line for line in out.splitlines()}
    for name in ("environment", "NumPy", "MXNet", "GluonCV", "OpenCV", "packages"):
        assert lines[name].startswith("WRONG  ")
    environment = lines["environment"]
    assert f"{bare} has no NumPy" in environment
    assert f"{project / '.venv'}, does not exist yet: `source {project / 'env.sh'}` makes it with " in environment
    for name in ("Python", "threads", "cache"):
        assert lines[name].startswith("ok ")
    assert "not checked, because packages are missing or broken" in lines["datasets, weights, fonts"]
    assert out.splitlines()[-1].startswith("not ready, fix first: environment, NumPy, MXNet")
    assert not (project / ".venv").exists()  # it changes nothing


def test_where_the_environment_cannot_be_made_the_report_says_why(bare, project):
    status, out, _ = run_doctor(bare, project, "--json", PYTHON="/nonexistent/python")
    assert status == 2
    report = json.loads(out)
    assert report["ready"] is False
    assert report["python"] == str(bare)
    line = report["lines"][0]
    assert line["says"].endswith("does not exist yet and cannot be made")
    rule = (
        "PYTHON is /nonexistent/python, which cannot be started as a Python, but MXNet 1.9.1 runs on Python 3.8 to 3.12"
    )
    assert line["remedy"] == f"{rule}: name another one, or unset PYTHON."


def test_another_numpy_gets_its_report(bare, project):
    packages = next(bare.parents[1].glob("lib/python*/site-packages"))
    for name, version in (("numpy", "2.1.3"), ("mxnet", "1.9.1"), ("gluoncv", "0.10.5")):
        (packages / name).mkdir()
        (packages / name / "__init__.py").write_text(f"__version__ = '{version}'")
        (packages / f"{name}-{version}.dist-info").mkdir()
        (packages / f"{name}-{version}.dist-info/METADATA").write_text(f"Name: {name}\nVersion: {version}\n")
    status, out, _ = run_doctor(bare, project, VIRTUAL_ENV=str(bare.parents[1]))
    assert status == 2
    environment, _, numpy, mxnet, *_ = out.splitlines()
    assert "NumPy 2.1.3 is installed" in environment
    assert f"fix it as the lines below say, or leave it (deactivate), and `source {project / 'env.sh'}`" in environment
    assert "needs NumPy 1.2" in numpy
    assert "-m pip install --no-deps numpy==1.2" in numpy
    assert mxnet.startswith("ok     MXNet")


@pytest.mark.slow
def test_a_bare_python_goes_on_in_the_projects_environment_where_that_is(bare, project):
    stand_in(project / ".venv", sys.executable)
    status, out, err = run_doctor(bare, project)
    assert err.startswith(f"gluon_cgd: {bare} has no NumPy; going on with {project / '.venv/bin/python'}")
    assert status == 0, out
    first = f"ok environment {sys.executable}, used in place of {bare}, which cannot train"
    assert " ".join(out.split()).startswith(first)
    assert out.endswith("ready: everything that training needs is there\n")


@pytest.fixture
def well(monkeypatch):
    """The probe says that every package works, without trying it."""
    names = ("gluon_cgd", *interpreter.PACKAGES)
    monkeypatch.setattr(interpreter, "probe", lambda: {name: interpreter.Tried("1.0") for name in (*names, "gpus")})
    monkeypatch.delenv(process.ENTERED, raising=False)


def test_the_report_has_every_line_and_the_same_for_programs(well, capsys, tmp_path):
    assert main(["doctor", "--data", str(tmp_path)]) == 0
    text = capsys.readouterr().out.splitlines()
    assert main(["doctor", "--json", "--data", str(tmp_path)]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["ready"] is True
    names = [line["name"] for line in report["lines"]]
    for name in ("environment", "Python", "NumPy", "MXNet", "GluonCV", "OpenCV", "packages", "libraries"):
        assert name in names
    for name in ("CUDA libraries", "threads", "waiting threads", "processor", "GPU driver", "memory", "cache", "disk"):
        assert name in names
    for name in ("cub200", "sop", "weights resnet50", "weights bn_inception", "fonts", "extras", "Slurm"):
        assert name in names
    assert len(text) == len(names) + 1
    for line, name in zip(text, names):
        assert line[7:].startswith(name)
    assert str(tmp_path / "cub200") in next(line for line in text if line[7:].startswith("cub200 "))


@pytest.mark.slow
def test_one_wrong_line_is_exit_status_2(well, capsys, monkeypatch, tmp_path):
    assert main(["doctor", "--data", str(tmp_path / "nowhere")]) == 2
    assert capsys.readouterr().out.splitlines()[-1] == "not ready, fix first: datasets"
    monkeypatch.setattr(interpreter, "opencv", lambda tried, versions: [wrong("OpenCV", "two", "remove one")])
    assert main(["doctor"]) == 2
    out = capsys.readouterr().out
    assert "WRONG  OpenCV                    two: remove one\n" in out
    assert "note   datasets, weights, fonts  not checked" in out


def test_a_line_that_fails_does_not_hide_the_others(well, capsys, monkeypatch):
    def fails(*arguments):
        raise AttributeError("of a broken package")

    monkeypatch.setattr(interpreter, "opencv", fails)
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "could not be checked (AttributeError: of a broken package): fix what is WRONG" in out
    assert "fonts" in out


def test_a_python_that_is_too_old_gets_two_lines(monkeypatch):
    old = SimpleNamespace(version_info=(3, 7, 16), executable="/usr/bin/python3.7", prefix="/usr")
    monkeypatch.setattr(doctor, "sys", old)
    monkeypatch.setattr(interpreter, "sys", old)
    (line,) = doctor.examine(None, {})
    assert line.says == "3.7.16, but MXNet 1.9.1 runs on 3.8 to 3.12"


def test_what_follows_from_numpy_has_no_other_remedy():
    lines = [
        wrong("NumPy", "2.1.3 cannot be imported", "install it"),
        wrong("packages", "scipy cannot be imported", "no"),
    ]
    absent = wrong("GluonCV", "not installed", "install it")
    after = doctor.follow_numpy([*lines, absent])
    assert [line.remedy for line in after] == [
        "install it",
        "fix NumPy first, and start the doctor again",
        "install it",
    ]
    assert doctor.follow_numpy([lines[1], absent]) == [lines[1], absent]


def test_what_stands_in_the_way_is_said_up_to_the_remedy(monkeypatch):
    assert doctor.obstacle() == ""
    sentence = "MXNet is here, but libcuda.so.1 cannot be loaded (libcuda.so.1: not found): install the driver"
    assert doctor.cause(sentence) == "MXNet is here, but libcuda.so.1 cannot be loaded"

    def broken():
        raise AttributeError("module 'numpy' has no attribute '__version__'")

    monkeypatch.setattr(prepare, "make_ready", broken)
    assert doctor.obstacle() == "module 'numpy' has no attribute '__version__'"


def test_commands_go_on_in_an_active_environment_with_mxnet_or_in_the_projects_own(tmp_path, monkeypatch):
    own = stand_in(tmp_path / "own", sys.executable)
    monkeypatch.setattr(doctor, "VENV", own)
    for variable in ("VIRTUAL_ENV", "CONDA_PREFIX", process.ENTERED):
        monkeypatch.delenv(variable, raising=False)
    assert doctor.elsewhere() == own / "bin" / "python"
    monkeypatch.setenv("CONDA_PREFIX", str(stand_in(tmp_path / "active", sys.executable)))
    assert doctor.elsewhere() == tmp_path / "active/bin/python"
    monkeypatch.setenv("VIRTUAL_ENV", str(stand_in(tmp_path / "without", "false")))
    assert doctor.elsewhere() == own / "bin" / "python"
    monkeypatch.setenv("VIRTUAL_ENV", sys.prefix)  # which this already is
    assert doctor.elsewhere() is None
    monkeypatch.delenv("VIRTUAL_ENV")
    monkeypatch.delenv("CONDA_PREFIX")
    monkeypatch.setenv(process.ENTERED, "1")
    assert doctor.elsewhere() is None
    monkeypatch.delenv(process.ENTERED)
    (own / "installed").unlink()  # half made
    assert doctor.elsewhere() is None
    (own / "installed").write_text("")
    (own / "bin/python").unlink()
    assert doctor.elsewhere() is None


def test_the_environment_is_told_in_every_state(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "ask_setup", lambda: "/usr/bin/python3.11")
    monkeypatch.setattr(doctor, "VENV", tmp_path / "venv")

    def line(problem="it has no NumPy: do something", **typed):
        (result,) = doctor.environment(problem, typed)
        assert result.state == ("wrong" if problem else "ok")
        return result

    assert line("").says == sys.executable
    assert line("", GLUON_CGD_ENTERED="1").says == sys.executable
    typed = line("", GLUON_CGD_ENTERED="/usr/bin/python3, which cannot train (it has no NumPy)")
    assert "used in place of /usr/bin/python3, which cannot train (it has no NumPy)" in typed.says
    assert "does not exist yet" in line().says
    assert "makes it with /usr/bin/python3.11; this needs a package index and 0.7 GB of disk" in line().remedy
    (tmp_path / "venv").mkdir()
    assert "is incomplete" in line().says
    assert "deactivate" in line(VIRTUAL_ENV=sys.prefix).remedy
    monkeypatch.setattr(doctor, "VENV", Path(sys.prefix))
    assert line(VIRTUAL_ENV=sys.prefix).remedy.startswith(f"delete it, rm -r {sys.prefix}, and `source ")


def test_the_doctor_is_asked_only_by_its_name(monkeypatch):
    for typed in (
        ["-m", "doctor", "--json"],
        ["/usr/bin/pytest", "doctor"],
    ):
        monkeypatch.setattr(sys, "argv", typed)
        importlib.reload(gluon_cgd)
    assert parser().parse_args(["doctor", "--json"]).json
    with pytest.raises(SystemExit):
        main(["doctor", "--unknown"])
    assert findings.MARKS["wrong"] == "WRONG"
