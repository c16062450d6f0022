"""Training by PyTorch beside training by MXNet: the same run, killed or not. It needs the PyTorch environment."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import mxnet as mx
import numpy as np
import pytest

from gluon_cgd.__main__ import main
from gluon_cgd.datasets import images
from gluon_cgd.engines import environment, gluon, process, training_file
from gluon_cgd.engines.material import Material, identity
from gluon_cgd.evaluate import embedded
from gluon_cgd.experiment import Experiment
from gluon_cgd.models.opened import load_trained
from gluon_cgd.recall import recall_of
from gluon_cgd.runs import ranks, results
from gluon_cgd.runs.log import losses
from gluon_cgd.runs.parameters import hash_of_file, parameters_hash
from gluon_cgd.sampler import Crops, draw_changes
from gluon_cgd.train import Run, fit

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not environment.found(), reason="the environment of the PyTorch engine is not made"),
]
ROOT = Path(__file__).resolve().parents[2]
CHANGED = {"erasing": 0.5, "colour_jitter": 0.4}
RUN = {"engine": {"name": "pytorch", "precision": "float32"}}


def in_torch(name, *arguments):
    """Run a check of torch_checks.py in the PyTorch environment."""
    command = [str(environment.interpreter()), str(Path(__file__).with_name("torch_checks.py")), name]
    done = subprocess.run(
        [*command, *map(str, arguments)], env=environment.variables(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def often(small_experiment):
    """The small experiment with an evaluation, and so a line of losses, at each of its 12 steps."""
    return replace(small_experiment, evaluations=12)


def by_pytorch(experiment, split, out, **where):
    return fit(experiment, split, out, ctx="cpu", engine="pytorch", deterministic=True, **where)


def written(experiment, split, file):
    run = {**identity(experiment, split, 0, None), **RUN}
    process.write(file, Material(experiment, split), run, None)
    return file


@pytest.mark.parametrize("name", ["adam", "fused", "imports", "remedies", "unrecorded"])
def test_in_the_environment_of_pytorch(name):
    in_torch(name)


def test_ranks_counted_by_pytorch_are_those_of_numpy():
    in_torch("ranks", "cpu")


def test_a_step_that_cannot_be_recorded_is_told_to_the_parent(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert json.loads(in_torch("told")) == {"unrecorded": "operation not permitted when stream is capturing"}


def test_crops_and_flips_on_the_device_are_those_of_the_cpu_to_the_byte(tmp_path):
    in_torch("crops", tmp_path / "crops.npz")
    arrays = np.load(tmp_path / "crops.npz")
    crops = Crops(arrays["tops"], arrays["lefts"], arrays["flips"])
    expected = images.cropped(arrays["pictures"], arrays["indices"], crops, 16)
    np.testing.assert_array_equal(arrays["found"], expected)


def test_changed_pictures_are_those_of_mxnet_to_the_byte(tmp_path):
    both = {"both": dict(erasing=0.5, colour_jitter=0.4), "most": dict(erasing=1.0, colour_jitter=1.0)}
    options = {"jitter": dict(colour_jitter=0.3), "erasing": dict(erasing=0.7), "neither": {}, **both}
    in_torch("changes", tmp_path / "changes.npz", json.dumps(options))
    arrays = np.load(tmp_path / "changes.npz")
    for name, values in options.items():
        drawn = draw_changes(np.random.default_rng(1), 50, Experiment(input_size=32, **values))
        expected = images.cropped(arrays["pictures"], np.arange(50) % 20, drawn, 32)
        np.testing.assert_array_equal(arrays[name], expected, err_msg=name)


@pytest.mark.parametrize("name", ["streamed", "precision", "repeats"])
def test_of_a_training_file(name, small_experiment, small_split, tmp_path):
    in_torch(name, written(small_experiment, small_split, tmp_path / training_file.NAME))


@pytest.mark.parametrize(
    "change", [{}, {"loss": "margin", "architecture": "A"}, {"classification": False}, CHANGED], ids=str
)
def test_both_engines_take_the_same_steps(change, often, small_split, tmp_path):
    experiment = replace(often, **change)
    mxnet = fit(experiment, small_split, tmp_path / "mxnet")
    pytorch = by_pytorch(experiment, small_split, tmp_path / "pytorch")
    expected, found = (losses(tmp_path / name / "train.log") for name in ("mxnet", "pytorch"))
    assert list(found) == list(expected) == list(range(1, 13))
    for step in range(1, 4):  # then rounding decides which pictures are the hardest
        assert found[step].keys() == expected[step].keys()
        np.testing.assert_allclose(list(found[step].values()), list(expected[step].values()), atol=1.5e-4)  # 4 digits
    assert abs(pytorch["last"]["R@1"] - mxnet["last"]["R@1"]) <= 2 / 32
    assert pytorch["untrained"] == mxnet["untrained"]
    same = ("experiment", "seed", "data", "revision", "classes", "iterations", "parts")
    assert {name: pytorch[name] for name in same} == {name: mxnet[name] for name in same}
    assert "engine" not in mxnet
    engine = pytorch["engine"]
    assert (engine["name"], engine["precision"], engine["deterministic"]) == ("pytorch", "float32", True)
    assert set(engine["versions"]) == {"python", "torch", "numpy"}


def test_several_devices_are_replicas_whose_losses_are_of_the_whole_batch(small_experiment, small_split, tmp_path):
    constant = replace(small_experiment, decay_at=(), learning_rate=1e-5)  # each part has 4 pictures: rounding grows
    file = written(constant, small_split, tmp_path / training_file.NAME)
    in_torch("several", file, tmp_path / "found.npz")
    found = dict(np.load(tmp_path / "found.npz"))
    run = {**identity(constant, small_split, 0, None), "weights": None}
    (tmp_path / "mxnet").mkdir()
    two = Run(
        constant,
        small_split,
        tmp_path / "mxnet",
        run,
        lambda *asked: gluon.started(*asked, ctx=[mx.cpu(0), mx.cpu(1)]),
        Material(constant, small_split),
    )
    expected = []
    for indices, batch in two.batches():
        expected.append(two.engine.numbers(two.step(batch, two.labels[indices])))
        two.iteration += 1
        if two.iteration == 4:
            break
    np.testing.assert_allclose(found.pop("losses"), expected, rtol=1e-3)
    state = two.engine.state()
    assert found.pop("deterministic") == 1  # MXNet repeats its bits in any case
    assert set(found) == set(state)
    for name in state:
        if name.startswith("devices:"):
            np.testing.assert_allclose(found[name], state[name], atol=1e-3, err_msg=name)


@pytest.fixture(scope="module")
def trained(small_split, tmp_path_factory):
    """(result, folder) of a run by PyTorch."""
    asked = dict(dataset="glyphs", backbone="cifar_resnet10", pretrained=False, input_size=16, descriptors="SM", dim=8)
    short = dict(passes=2, batch_classes=4, batch_images=2, evaluations=3, learning_rate=1e-3)
    folder = tmp_path_factory.mktemp("pytorch")
    return by_pytorch(Experiment(**asked, **short), small_split, folder / "run", cache=folder / "cache"), folder / "run"


def test_it_leaves_what_every_run_leaves_and_mxnet_opens_it(trained, small_split, small_experiment):
    result, folder = trained
    assert sorted(file.name for file in folder.iterdir()) == sorted(
        [*results.BESIDE, "lock", "result.json", "train.log"]
    )
    assert result == json.loads((folder / "result.json").read_text())
    assert results.damaged(folder, result) == []
    assert hash_of_file(folder / "last.params") == result["parameters_sha256"]
    net, experiment = load_trained(folder)
    assert parameters_hash(net) == result["parameters_sha256"]
    assert experiment == small_experiment
    assert ranks.disagreement(ranks.read(folder / "ranks.npz"), result) is None
    pictures = Material(experiment, small_split).pictures()[1]
    found = recall_of((1, 2, 4, 8), embedded(net, small_split, pictures, None, mx.cpu()))
    for name, value in found.items():
        assert abs(value - result["last"][name]) <= 1 / 32
    assert main(["export", "--checkpoint", str(folder), "--onnx", str(folder.parent / "model.onnx")]) == 0
    log = (folder / "train.log").read_text()
    assert "12 iterations of 8 pictures on cpu(0) (PyTorch, float32)" in log
    assert log.count("[Iteration 12] validation: R@1=") == 1  # the parent shows it, and does not write it again
    assert by_pytorch(small_experiment, small_split, folder) == result  # a finished run is not trained again


def command(out, pictures, passes):
    flags = "--backbone cifar_resnet10 --no-pretrained --input-size 16 --dim 8 --batch-classes 4 --batch-images 4"
    engine = "--engine pytorch --deterministic --ctx cpu --checkpoint-every 3 --evaluations 4"
    asked = f"train --dataset {pictures} {flags} {engine} --passes {passes} --split images --out {out}".split()
    return [sys.executable, "-m", "gluon_cgd", *asked]


def start(out, pictures, tmp_path, passes=120):
    variables = dict(os.environ, PYTHONPATH=str(ROOT), GLUON_CGD_CACHE=str(tmp_path / "cache"), GLUON_CGD_ENTERED="1")
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command(out, pictures, passes), env=variables, stdout=pipe, stderr=subprocess.STDOUT, text=True
    )


def child_of(process):
    """The process in which PyTorch trains, None if there is none yet."""
    for place in Path("/proc").glob("[0-9]*"):
        try:
            words = (place / "cmdline").read_bytes().split(b"\0")
            parent = int((place / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            continue
        if parent == process.pid and any(b"gluon_cgd.engines.trainer" in word for word in words):
            return int(place.name)
    return None


def finish(process):
    said = process.communicate(timeout=240)[0]
    assert process.returncode == 0, said
    assert "Traceback" not in said
    return said


def equal(run, whole):
    results_of = [json.loads((folder / "result.json").read_text()) for folder in (run, whole)]
    for name in ("parameters_sha256", "history", "files", "last", "best", "curve"):
        assert results_of[0][name] == results_of[1][name], name
    for name in results.BESIDE:
        assert (run / name).read_bytes() == (whole / name).read_bytes()
    assert {file.name for file in run.iterdir()} == {file.name for file in whole.iterdir()}


def has_ended(pid):
    """Whether the process ends within seconds (a zombie has ended)."""
    for _ in range(100):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.1)
    return False


def test_kill_9_at_ten_random_moments_of_parent_or_child_leads_to_the_same_bits(glyph_folder, tmp_path):
    finish(start(tmp_path / "whole", glyph_folder, tmp_path))
    seconds = json.loads((tmp_path / "whole/result.json").read_text())["seconds"]
    moments, killed = random.Random(0), 0
    for number in range(10):
        log = tmp_path / "run" / "train.log"
        before = log.stat().st_size if log.exists() else 0
        process = start(tmp_path / "run", glyph_folder, tmp_path)
        while process.poll() is None and not (log.exists() and log.stat().st_size > before):  # it begins to train
            time.sleep(0.02)
        time.sleep(moments.uniform(0, 0.1) * seconds)
        child = child_of(process)
        if number % 2 and child:
            os.kill(child, signal.SIGKILL)
            said = process.communicate(timeout=60)[0]
            if process.returncode:  # it was not the last moment
                assert process.returncode == 2
                assert "the PyTorch process was killed" in said
                assert "Traceback" not in said
                killed += 1
        else:
            process.kill()
            process.communicate()
            killed += process.returncode == -signal.SIGKILL
            assert child is None or has_ended(child)
    finish(start(tmp_path / "run", glyph_folder, tmp_path))
    assert killed >= 8
    assert "resumed at iteration" in (tmp_path / "run/train.log").read_text()
    equal(tmp_path / "run", tmp_path / "whole")


def test_ctrl_c_ends_both_processes_in_a_sentence_and_the_run_goes_on(glyph_folder, tmp_path):
    process = start(tmp_path / "run", glyph_folder, tmp_path, passes=2000)
    while process.poll() is None and not (tmp_path / "run/checkpoint.npz").exists():
        time.sleep(0.05)
    child = child_of(process)
    assert child
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 130, said
    assert "interrupted: the same command goes on from the last checkpoint" in said
    assert "Traceback" not in said
    assert has_ended(child)
    assert not (tmp_path / "run" / training_file.NAME).exists()
