"""The wheel: what is in it, and that it works where it is installed."""

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

import gluon_cgd

ROOT = Path(__file__).resolve().parents[1]


def test_the_extras_have_the_versions_of_the_requirements_files():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8").partition("[project.optional-dependencies]")[2]
    extras = {
        line.replace("'", '"') for line in re.findall(r'"([^"]+==[^"]+)"', text.partition("[project.scripts]")[0])
    }
    files = [(ROOT / f"requirements-{name}.txt").read_text(encoding="utf-8") for name in ("extra", "test")]
    pinned = {re.sub(r"\s+#.*", "", line) for file in files for line in file.splitlines()}
    assert extras
    assert extras <= pinned


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of this project, built as pip builds it."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run(command, check=True)
    return next(folder.glob("*.whl"))


@pytest.mark.slow
def test_the_wheel_holds_every_file_of_the_packages(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    files = [file for name in ("gluon_cgd", "reproduce", "visualize") for file in (ROOT / name).rglob("*.*")]
    expected = {str(file.relative_to(ROOT)) for file in files if file.suffix not in (".pyc", ".sh")}
    assert {"reproduce/page/templates/page.css", "gluon_cgd/runs/results.py"} <= expected <= names
    assert not [name for name in names if name.endswith((".pyc", ".sh"))]
    (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
    text = zipfile.ZipFile(wheel).read(metadata).decode()
    assert f"\nVersion: {gluon_cgd.__version__}\n" in text
    assert "\nLicense-Expression: Apache-2.0\n" in text


@pytest.mark.slow
def test_the_installed_package_works_outside_of_the_project(wheel, tmp_path):
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    python, command = (str(tmp_path / "venv" / "bin" / name) for name in ("python", "gluon-cgd"))
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", str(wheel)], check=True)
    site = next((tmp_path / "venv").glob("lib/python*/site-packages"))
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}

    def run(*arguments):
        done = subprocess.run(arguments, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert str(ROOT) not in done.stdout.replace(str(Path(np.__file__).parents[1]), "")
        assert "env.sh" not in done.stdout + done.stderr
        return done

    alone = run(command, "train", "--help")  # before MXNet is there
    files = re.findall(r"-r ([^`\s]+)", alone.stderr)
    assert (alone.returncode, len(files)) == (2, 1)
    assert Path(files[0]).is_file()
    (site / "others.pth").write_text(str(Path(np.__file__).parents[1]) + "\n")  # MXNet and all else that is here
    assert run(command, "train", "--help").stdout.startswith("usage: ")
    doctor = run(command, "doctor")
    assert doctor.returncode == 0, doctor.stdout
    assert doctor.stdout.splitlines()[-1].startswith("ready")
    assert run(python, "-c", "import gluon_cgd; print(gluon_cgd.__file__)").stdout.startswith(str(site))
    assert run(python, "-m", "reproduce", "--json").stdout.startswith("[")
