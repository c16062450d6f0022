"""Twenty kill -9, at moments of a fixed seed: the same command then ends as if it had never been disturbed."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gluon_cgd.datasets import glyphs
from gluon_cgd.retrieval import collection

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
KILLS = 5  # of each of the four commands


def start(arguments, folder):
    """`python -m gluon_cgd ARGUMENTS` as a process whose cache is in `folder`."""
    environment = dict(os.environ, PYTHONPATH=str(ROOT), GLUON_CGD_CACHE=str(folder / "cache"), GLUON_CGD_ENTERED="1")
    command = [sys.executable, "-m", "gluon_cgd", *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(arguments, folder):
    """Run a command to its end; returns (what it printed, seconds)."""
    began = time.monotonic()
    process = start(arguments, folder)
    said = process.communicate(timeout=180)[0]
    assert process.returncode == 0, said
    assert "Traceback" not in said
    return said, time.monotonic() - began


def kill_often(arguments, folder, seconds, seed):
    """Start a command KILLS times and kill it after a part of its `seconds`; returns how many times it still ran."""
    moments, killed = random.Random(seed), 0
    for _ in range(KILLS):
        process = start(arguments, folder)
        time.sleep(seconds * moments.uniform(0.2, 0.8))
        process.kill()
        process.communicate()
        killed += process.returncode == -signal.SIGKILL
    return killed


def temporaries(folder):
    """What looks like an unfinished file or folder."""
    return sorted(
        str(file) for file in folder.rglob("*") if file.suffix in (".part", ".count") or "unpack" in file.name
    )


@pytest.fixture
def photos(tmp_path):
    """6 classes of 20 pictures, larger than they are used."""
    for label in range(6):
        for index in range(20):
            file = tmp_path / "photos" / f"class {label}" / f"{index}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(glyphs.picture(label, index)).resize((300, 300)).save(file)
    return tmp_path / "photos"


def test_training(photos, tmp_path):
    def train(out):
        flags = "--backbone cifar_resnet10 --no-pretrained --input-size 16 --dim 8 --passes 60 --batch-classes 3"
        return ["train", "--dataset", photos, *flags.split(), "--batch-images=4", "--checkpoint-every=3", "--out", out]

    _, seconds = finish(train(tmp_path / "whole"), tmp_path / "1")
    assert kill_often(train(tmp_path / "run"), tmp_path / "2", seconds, 0) >= 1
    finish(train(tmp_path / "run"), tmp_path / "2")
    whole, run = (json.loads((tmp_path / name / "result.json").read_text()) for name in ("whole", "run"))
    for name in ("parameters_sha256", "history", "files", "last", "best"):
        assert run[name] == whole[name], name
    for name in ("last.params", "best.params", "ranks.npz"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert {file.name for file in (tmp_path / "run").iterdir()} == {
        file.name for file in (tmp_path / "whole").iterdir()
    }


def test_preparing(photos, tmp_path):
    prepare = ["data", photos, "--prepare", "--input-size", "224"]
    _, seconds = finish(prepare, tmp_path / "1")
    assert kill_often(prepare, tmp_path / "2", seconds, 1) >= 1
    finish(prepare, tmp_path / "2")

    def pictures(folder):
        files = sorted(folder.glob("cache/pictures/*.uint8"))
        return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}

    assert pictures(tmp_path / "2") == pictures(tmp_path / "1")
    assert len(pictures(tmp_path / "1")) == 2


def test_indexing(exported, photos, tmp_path):
    def index(out):
        return ["index", "--model", exported / "model.onnx", "--images", photos, "--out", out]

    def answers(folder):
        snapshot = collection.read(folder)
        return {snapshot.path(row): snapshot.vectors[row].tobytes() for row in np.flatnonzero(snapshot.live)}

    _, seconds = finish(index(tmp_path / "whole"), tmp_path)
    assert kill_often(index(tmp_path / "idx"), tmp_path, seconds, 2) >= 1
    finish(index(tmp_path / "idx"), tmp_path)
    assert answers(tmp_path / "idx") == answers(tmp_path / "whole")
    assert len(answers(tmp_path / "idx")) == 120


def test_exporting(exported, tmp_path):
    def export(file):
        return ["export", "--checkpoint", exported / "run", "--onnx", file]

    _, seconds = finish(export(tmp_path / "whole.onnx"), tmp_path)
    assert kill_often(export(tmp_path / "model.onnx"), tmp_path, seconds, 3) >= 1
    for file in tmp_path.glob(".model.onnx.*.part"):
        os.utime(file, (0, 0))  # an orphan is deleted when it is a minute old
    finish(export(tmp_path / "model.onnx"), tmp_path)
    assert (tmp_path / "model.onnx").read_bytes() == (tmp_path / "whole.onnx").read_bytes()
    assert temporaries(tmp_path) == []
