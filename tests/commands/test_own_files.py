"""Commands typed in a folder whose files have the names of the project's own modules."""

import os
import subprocess
import sys

import pytest
from PIL import Image

from gluon_cgd.machine import facts

SMALL = ["--backbone", "cifar_resnet10", "--no-pretrained", "--input-size", "16", "--dim", "8", "--passes", "1"]


@pytest.fixture
def typed(tmp_path):
    """A function that runs Python in a folder with a visualize.py, a reproduce.py and a benchmarks.py of the user's."""
    for name in ("visualize", "reproduce", "benchmarks"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a file of the user was imported')\n")

    def run(*arguments):
        command = [sys.executable, *map(str, arguments)]
        environment = dict(os.environ, PYTHONPATH=str(facts.PROJECT))
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.mark.slow
def test_commands_work_beside_files_of_the_projects_names(typed, glyph_folder, tmp_path):
    first, second = sorted(glyph_folder.glob("0/*.png"))[:2]
    trained = typed("-m", "gluon_cgd", "train", "--dataset", "pictures", "--out", "run", *SMALL)
    assert "Written: run/card.md, run/card.png" in trained
    (tmp_path / "run/card.md").unlink()
    assert typed("-m", "gluon_cgd", "card", "--checkpoint", "run") == "Written: run/card.md, run/card.png\n"
    typed("-m", "gluon_cgd", "index", "--images", "pictures", "--checkpoint", "run", "--out", "index")
    typed("-m", "gluon_cgd", "search", "index", first, "--figure", "results.png", "--heatmaps")
    typed(facts.PROJECT / "visualize" / "similarity.py", first, second, "--checkpoint", "run")
    for picture in ("run/card.png", "results.png", "similarity.png"):
        with Image.open(tmp_path / picture) as drawn:
            assert drawn.width > 500


def test_files_of_the_names_of_libraries_are_not_taken_for_them(tmp_path):
    for name in ("numpy", "random", "PIL/__init__", "cv2", "logging", "tqdm", "json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a file of the user was imported')\n")
    environment = dict(os.environ, PYTHONPATH=str(facts.PROJECT))
    command = [sys.executable, "-m", "gluon_cgd", "search", "index", "picture.jpg"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert "index is not an index" in done.stderr
    assert done.returncode == 2
