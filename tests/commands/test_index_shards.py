"""`python -m gluon_cgd index --shards`, as a person types it: processes here, jobs on Slurm, kills and failures."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from gluon_cgd.__main__ import main
from gluon_cgd.datasets import glyphs
from gluon_cgd.experiment import Experiment
from gluon_cgd.files.lock import locked
from tests.cluster import needs_slurm
from tests.models.test_opened import published
from tests.shards.conftest import same

ROOT = Path(__file__).resolve().parents[2]
EXPERIMENT = Experiment(dataset="glyphs", backbone="cifar_resnet10", pretrained=False, input_size=16, dim=8)
PICTURES = 180  # three batches


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A folder with 180 photos, a model, and the index whole that one process makes."""
    folder = tmp_path_factory.mktemp("shop")
    for number in range(PICTURES):
        file = folder / "photos" / str(number % 5) / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(glyphs.picture(number % 90, number // 90)).save(file)
    model = published(folder, EXPERIMENT)
    arguments = ["index", "--images", str(folder / "photos"), "--checkpoint", model]
    assert main([*arguments, "--ctx", "cpu", "--out", str(folder / "whole")]) == 0
    return folder, arguments


def run(capsys, *arguments, status=0):
    """What a command that ends with `status` prints: (stdout, stderr)."""
    assert main([str(argument) for argument in arguments]) == status
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return captured.out, captured.err


@pytest.mark.slow
def test_a_shard_that_fails_is_named_and_is_run_alone(shop, tmp_path, capsys):
    folder, (*_, images, flag, model) = shop
    photos, out = shutil.copytree(images, tmp_path / "photos"), tmp_path / "idx"
    bad = photos / "1" / "101.png"
    good = bad.read_bytes()
    bad.write_bytes(good[:40])
    arguments = ["index", "--images", photos, flag, model, "--out", out, "--shards", 3]
    _, err = run(capsys, *arguments, "--ctx", "cpu", status=2)
    assert "1 of 3 shards failed; the same command tries them again, and index --out" in err
    assert f"  - shard 1: {bad} " in err
    assert not out.exists()
    _, err = run(capsys, *arguments[:-1], 2, status=2)
    assert "was begun with --shards 3: say the same as before, or delete" in err
    _, err = run(capsys, *arguments[:3], "--pretrained", "small_resnet", *arguments[5:], status=2)
    assert "was begun with another model (checkpoint " in err
    _, err = run(capsys, "index", "--out", out, "--join", status=2)
    assert "1 of 3 shards are not done, the first is shard 1" in err
    bad.write_bytes(good)
    said, _ = run(capsys, "index", "--out", out, "--shard", 1, "--ctx", "cpu")
    assert said == "shard 1: 64 of 64 pictures are embedded; all shards are done: --join joins them\n"
    with locked(tmp_path / "idx.shards"):
        _, err = run(capsys, "index", "--out", out, "--join", status=2)
    assert "another process is indexing in shards, or joining them, in" in err
    said, _ = run(capsys, "index", "--out", out, "--join")
    assert said == f"180 pictures of {photos} from 3 shards\n"
    assert not (tmp_path / "idx.shards").exists()
    _, err = run(capsys, *arguments, status=2)
    assert "is an index already, and --shards makes a new one: leave --shards out to embed what is new" in err
    said, _ = run(capsys, *arguments[:-2], "--ctx", "cpu")
    assert ": 0 added, 0 changed, 180 as before" in said


@pytest.mark.slow
def test_a_command_that_is_killed_takes_its_processes_along_and_goes_on_to_the_same_bytes(shop, tmp_path, capsys):
    folder, arguments = shop
    rng, out = random.Random(0), tmp_path / "idx"
    command = [*arguments, "--out", str(out), "--shards", "3", "--ctx", "cpu"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for kill in range(3):
        process = subprocess.Popen(
            [sys.executable, "-m", "gluon_cgd", *command], env=environment, stderr=subprocess.DEVNULL
        )
        end = time.time() + 60
        while len(list(tmp_path.glob("idx.shards/0*.json"))) < kill and process.poll() is None and time.time() < end:
            time.sleep(0.02)
        time.sleep(rng.random() * 2)
        process.send_signal(signal.SIGKILL)
        process.wait()
    for _ in range(100):  # the processes of the shards end with it: their locks are free
        if main(command) == 0:
            break
        time.sleep(0.1)
    same(out, folder / "whole")
    assert "180 pictures of" in capsys.readouterr().out


@pytest.mark.slow
def test_exported_models_are_taken_and_what_changed_is_told(shop, tmp_path, capsys, exported):
    folder, (_, _, images, *_) = shop
    photos, model = shutil.copytree(images, tmp_path / "photos"), exported / "model.onnx"
    arguments = ["index", "--images", photos, "--model", model, "--ctx", "cpu"]
    run(capsys, *arguments, "--out", tmp_path / "whole")
    run(capsys, "index", "--out", tmp_path / "whole", "--whiten")
    begin = [*arguments, "--out", tmp_path / "idx", "--shards", 2, "--whiten"]
    hidden = photos / "0" / "0.png"
    hidden.rename(tmp_path / "0.png")
    hidden.symlink_to(tmp_path / "none.png")  # stops the shard in the middle
    _, err = run(capsys, *begin, status=2)
    assert f"shard 1: {hidden} cannot be read" in err
    hidden.unlink()
    (tmp_path / "0.png").rename(hidden)
    Image.fromarray(glyphs.picture(95, 0)).save(photos / "new.png")
    said, _ = run(capsys, *begin)
    assert "180 pictures of" in said
    assert "pictures have changed: 1 added (the first is " in said
    assert f"new.png): index --images {photos} --out {tmp_path / 'idx'} --prune brings" in said
    assert "whitened along " in said
    same(tmp_path / "idx", tmp_path / "whole")


@pytest.mark.slow
@needs_slurm
def test_shards_are_jobs_on_slurm_and_give_the_same_bytes(shop, tmp_path, capsys, in_cluster):
    folder, arguments = shop
    out = tmp_path / "idx"
    slurm = ["--backend", "slurm", "--slurm", "time_minutes=30", "cpus_per_job=1"]
    said, err = run(capsys, *arguments, "--out", out, "--shards", 3, *slurm)
    assert "180 pictures of" in said
    assert ": 3 shards, logs in " in err
    assert ": 3 of 3 shards done, 0 failed, 0 running, 0 waiting" in err
    same(out, folder / "whole")


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--shard", "1"], "is not being made in shards"),
        (["--join"], "is not being made in shards"),
        (["--images", ".", "--shards", "0"], "--shards 0 must be at least 1"),
        (["--images", ".", "--shards", "2", "--backend", "slurm", "--slurm", "x=1"], "--slurm x=1 is not KEY=VALUE"),
        (["--images", "empty", "--shards", "2"], "holds no pictures"),
        (["--images", "none.txt", "--shards", "2"], "none.txt does not exist"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(tmp_path, monkeypatch, capsys, words, reason):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    _, err = run(capsys, "index", "--out", "idx", *words, status=2)
    assert reason in err.strip().splitlines()[-1]
    assert not (tmp_path / "idx").exists()


def test_a_folder_of_somebody_else_is_not_taken(tmp_path, capsys):
    (tmp_path / "idx.shards").mkdir()
    (tmp_path / "idx.shards" / "mine.txt").write_text("mine")
    _, err = run(capsys, "index", "--out", tmp_path / "idx", "--images", tmp_path, "--shards", 2, status=2)
    assert "idx.shards holds other files ('mine.txt' among them): move it away" in err
