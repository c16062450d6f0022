import json
import logging
import os
import random
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import mxnet as mx
import numpy as np
import pytest
from PIL import Image

from gluon_cgd import learner, model, train
from gluon_cgd.datasets import glyphs, images
from gluon_cgd.datasets.cache import cached
from gluon_cgd.datasets.records import Record, Split
from gluon_cgd.engines.gluon import GluonEngine
from gluon_cgd.experiment import ARCHITECTURES, CONFIGURATIONS, LOSSES, Experiment
from gluon_cgd.files.whole import digest
from gluon_cgd.models.opened import load_trained
from gluon_cgd.recall import Embeddings, recall_of
from gluon_cgd.recall import ranks as ranks_of
from gluon_cgd.runs import ranks, results
from gluon_cgd.runs.parameters import parameters_hash
from gluon_cgd.train import fit


@pytest.fixture
def whole(small_experiment, small_split, tmp_path):
    """(result, folder) of an undisturbed run."""
    return fit(small_experiment, small_split, tmp_path / "whole"), tmp_path / "whole"


def test_the_speed_in_the_log_counts_the_wait_for_the_device(caplog):
    run = object.__new__(train.Run)
    run.engine = SimpleNamespace(mean=lambda steps: time.sleep(0.2) or np.zeros(2))
    run.experiment, run.iteration, run.labels, run.pending = Experiment(), 50, range(8054), [None]
    run.rate, run.out, run.watch = 1e-4, Path("out"), SimpleNamespace(note=lambda *_: None)
    with caplog.at_level("INFO"):
        run.report(1, time.time(), SimpleNamespace(note=lambda text: None))
    assert 0 < float(re.search(r"Speed: ([0-9.]+)", caplog.text)[1]) <= 128 / 0.2


@pytest.mark.parametrize(("descriptors", "ranked"), [("SM", 3), ("S", 1)])  # the branch of one is the whole
def test_the_engine_ranks_the_whole_and_its_branches(
    descriptors, ranked, small_experiment, small_split, tmp_path, monkeypatch
):
    counted = []

    def count(*embeddings):
        counted.append(embeddings)
        return ranks_of(*embeddings)

    monkeypatch.setattr(GluonEngine, "ranks", staticmethod(count))
    experiment = replace(small_experiment, descriptors=descriptors)
    result = fit(experiment, small_split, tmp_path / "run")
    assert len(counted) == ranked * (experiment.evaluations + 1)
    if descriptors == "S":
        assert result["branches"]["last"]["SPoC"] == result["last"]


def test_a_run_leaves_its_log_parameters_and_result(whole, small_experiment):
    result, folder = whole
    assert sorted(f.name for f in folder.iterdir()) == [
        "best.params",
        "last.params",
        "lock",
        "ranks.npz",
        "result.json",
        "train.log",
    ]
    assert result == json.loads((folder / "result.json").read_text())
    assert result["iterations"] == 12
    assert [entry["iteration"] for entry in result["history"]] == [0, 4, 8, 12]
    assert result["untrained"] == result["history"][0]["recall"]
    assert result["last"] == result["history"][-1]["recall"]
    assert result["best"]["R@1"] == max(entry["recall"]["R@1"] for entry in result["history"][1:])
    log = (folder / "train.log").read_text()
    assert "Epoch[2] Batch [12]\tSpeed: " in log
    assert "[Iteration 8] validation: R@1=" in log
    assert "no Recall@K can be above" not in log


def test_the_log_states_the_ceiling_of_recall_where_there_is_one(small_experiment, small_split, tmp_path):
    lonely = small_split.query[0]
    split = small_split._replace(query=[lonely, *small_split.query[8:]])  # the only one of its class
    experiment = replace(small_experiment, passes=0.5, evaluations=1)
    result = fit(experiment, split, tmp_path / "run")
    told = "no Recall@K can be above 96.00 %: 1 of 25 test pictures have no other picture of their class to be found"
    assert told in (tmp_path / "run/train.log").read_text()
    assert max(result["last"].values()) <= 0.96


def test_a_finished_run_is_not_trained_again(whole, small_experiment, small_split, monkeypatch):
    result, folder = whole
    monkeypatch.setattr(train.Run, "go", None)
    assert fit(small_experiment, small_split, folder) == result


def test_equal_seeds_give_equal_bits_and_others_do_not(whole, small_experiment, small_split, tmp_path):
    again = fit(small_experiment, small_split, tmp_path / "again")
    other = fit(small_experiment, small_split, tmp_path / "other", seed=1)
    assert again["parameters_sha256"] == whole[0]["parameters_sha256"] != other["parameters_sha256"]
    assert again["history"] == whole[0]["history"]


def test_every_recall_of_a_run_can_be_counted_from_its_ranks(whole):
    result, folder = whole
    assert result["history"][-1]["iteration"] != result["best_iteration"]  # of this seed
    arrays = ranks.read(folder / "ranks.npz")
    stages, branches = ("untrained", "last", "best"), ("", "SPoC", "MAC")
    named = [ranks.name_of(stage, branch) for stage in stages for branch in branches]
    assert sorted(arrays) == sorted(["classes", *named])
    assert arrays["classes"].tolist() == [0] * 8 + [1] * 8 + [2] * 8 + [3] * 8
    for stage in stages:
        for branch, recall in {"": result[stage], **result["branches"][stage]}.items():
            array = arrays[ranks.name_of(stage, branch)]
            assert (array.dtype, array.shape, array.min()) == (np.uint16, (32,), 1)
            assert {f"R@{k}": (array <= k).mean() for k in (1, 2, 4, 8)} == recall
    assert ranks.disagreement(arrays, result) is None


def test_ranks_are_of_the_queries_where_there_is_a_gallery(small_experiment, small_split, tmp_path):
    """And where the best evaluation is the last one, it has none of its own."""
    queries, gallery = small_split.query[::4], small_split.query[1::4]
    experiment = replace(small_experiment, dataset="inshop", passes=0.5, evaluations=1, descriptors="S")
    result = fit(experiment, small_split._replace(query=queries, gallery=gallery[2:]), tmp_path / "run")
    arrays = ranks.read(tmp_path / "run/ranks.npz")
    assert set(arrays) == {"untrained", "untrained/SPoC", "last", "last/SPoC", "classes"}
    assert arrays["last"].tolist()[:2] == [65535, 65535]  # their class is not in the gallery
    assert 1 <= arrays["last"][2:].min() <= arrays["last"][2:].max() <= 7
    assert ranks.disagreement(arrays, result) is None
    assert ranks.of(arrays, "best") is arrays["last"]


@pytest.mark.parametrize("at", [3, 4, 11])
def test_an_interrupted_run_goes_on_to_the_same_bits(at, whole, small_experiment, small_split, tmp_path, monkeypatch):
    step = train.Run.step

    def interrupted(run, *arguments):
        if run.iteration == at:
            raise KeyboardInterrupt
        return step(run, *arguments)

    monkeypatch.setattr(train.Run, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit(small_experiment, small_split, tmp_path / "run", checkpoint_every=2)
    monkeypatch.setattr(train.Run, "step", step)
    result = fit(small_experiment, small_split, tmp_path / "run", checkpoint_every=2)
    assert "resumed at iteration" in (tmp_path / "run" / "train.log").read_text()
    assert {k: v for k, v in result.items() if k != "seconds"} == {k: v for k, v in whole[0].items() if k != "seconds"}
    for name in results.BESIDE:
        assert (tmp_path / "run" / name).read_bytes() == (whole[1] / name).read_bytes()


@pytest.mark.slow
def test_a_process_killed_at_random_moments_goes_on_to_the_same_bits(tmp_path):
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    code = (
        "import sys; from gluon_cgd import __main__; from gluon_cgd.datasets import glyphs; "
        "glyphs.TRAIN_IMAGES, glyphs.TEST_IMAGES = 8, 2; sys.exit(__main__.main(sys.argv[1:]))"
    )
    flags = (
        f"train --dataset glyphs --data {tmp_path} --backbone cifar_resnet10 --no-pretrained --input-size 16 --dim 8 "
        "--passes 12 --batch-classes 8 --evaluations 3 --checkpoint-every 5 --out"
    ).split()

    def start(out):
        environment = dict(os.environ, PYTHONPATH=root)
        return subprocess.Popen([sys.executable, "-c", code, *flags, out], env=environment, stderr=subprocess.PIPE)

    def finish(process):
        said = process.communicate(timeout=120)[1]
        assert process.returncode == 0, said.decode()

    finish(start(str(tmp_path / "whole")))
    seconds = json.loads((tmp_path / "whole" / "result.json").read_text())["seconds"]
    moments, killed = random.Random(0), 0
    for _ in range(4):
        (tmp_path / "run" / "lock").unlink(missing_ok=True)
        process = start(str(tmp_path / "run"))
        while process.poll() is None and not (tmp_path / "run" / "lock").exists():  # from here on it trains
            time.sleep(0.01)
        time.sleep(moments.uniform(0.1, 0.6) * seconds)
        process.kill()
        process.communicate()
        killed += process.returncode == -signal.SIGKILL
    finish(start(str(tmp_path / "run")))
    assert killed
    expected, found = (json.loads((tmp_path / name / "result.json").read_text()) for name in ("whole", "run"))
    assert found["parameters_sha256"] == expected["parameters_sha256"]
    assert found["history"] == expected["history"]
    for name in results.BESIDE:
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_another_users_finished_run_is_done_and_its_folder_stays_as_it_is(
    whole, small_experiment, small_split, other_user
):
    result, folder = whole
    (folder / "checkpoint.npz").write_bytes(b"left by a process that was killed between the last two steps")
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    with other_user(folder, Path(small_split.train[0].path).parent):
        assert fit(small_experiment, small_split, folder) == result
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    assert fit(small_experiment, small_split, folder) == result
    assert not (folder / "checkpoint.npz").exists()


@pytest.mark.parametrize("name", [*results.BESIDE, "result.json"])
def test_a_file_of_a_finished_run_that_is_damaged_is_noticed_and_mended(
    name, whole, small_experiment, small_split, monkeypatch, caplog
):
    """tests/campaigns/test_power_cuts.py trains to the end."""
    result, folder = whole
    assert result["files"] == {name: digest(folder / name) for name in results.BESIDE}
    (folder / name).write_bytes(b"\0" * (folder / name).stat().st_size)
    monkeypatch.setattr(train.Run, "go", lambda run, every: {"trained": run.iteration})
    assert fit(small_experiment, small_split, folder) == {"trained": 0}
    assert f"{name} is not" in caplog.text


@pytest.mark.parametrize("name", ["checkpoint.npz", "best.params"])
def test_a_file_of_a_run_half_done_that_is_damaged_is_noticed(
    name, small_experiment, small_split, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(train.Run, "finish", lambda run: None)
    fit(small_experiment, small_split, tmp_path)
    data = (tmp_path / name).read_bytes()
    monkeypatch.setattr(train.Run, "go", lambda run, every: run.iteration)
    assert fit(small_experiment, small_split, tmp_path) == 12  # the last checkpoint holds the end
    for broken in (data[: len(data) // 2], b"", data[:-100] + b"\0" * 100):
        (tmp_path / name).write_bytes(broken)
        assert fit(small_experiment, small_split, tmp_path) == 0
        assert re.search(f"{name} .*: training starts again", caplog.text)
        caplog.clear()


def test_a_checkpoint_that_would_run_code_is_refused(small_experiment, small_split, tmp_path):
    np.savez(tmp_path / "checkpoint.npz", meta=np.array([{"pickled": "object"}], dtype=object))
    with pytest.raises(ValueError, match="cannot be read"):
        fit(small_experiment, small_split, tmp_path)


def test_a_checkpoint_or_result_of_another_run_is_refused_with_the_difference(
    whole, small_experiment, small_split, tmp_path, monkeypatch
):
    with pytest.raises(ValueError, match=r"result.json is of another run \(margin 0.1 there, 0.2 asked for\)"):
        fit(replace(small_experiment, margin=0.2), small_split, whole[1])
    with pytest.raises(ValueError, match=r"\(seed 0 there, 1 asked for\)"):
        fit(small_experiment, small_split, whole[1], seed=1)
    monkeypatch.setattr(train.Run, "finish", lambda run: None)
    fit(small_experiment, small_split, tmp_path / "half", checkpoint_every=5)
    with pytest.raises(
        ValueError, match=r"checkpoint.npz is of another run \(descriptors 'SM' there, 'SG' asked for\)"
    ):
        fit(replace(small_experiment, descriptors="SG"), small_split, tmp_path / "half")
    with pytest.raises(ValueError, match=r"is of another run \(data "):
        fit(small_experiment, small_split._replace(train=small_split.train[1:]), tmp_path / "half")


def test_two_processes_cannot_train_one_run(small_experiment, small_split, tmp_path):
    import portalocker

    with portalocker.Lock(str(tmp_path / "lock"), flags=portalocker.LockFlags.EXCLUSIVE), pytest.raises(
        ValueError, match="another process"
    ):
        fit(small_experiment, small_split, tmp_path)


def test_training_learns(small_experiment, small_split, tmp_path):
    seen = small_split._replace(query=small_split.train)
    result = fit(replace(small_experiment, passes=40, decay_at=(0.8,)), seen, tmp_path)
    lines = (tmp_path / "train.log").read_text().splitlines()
    losses = [float(line.split("classification=")[1].split()[0]) for line in lines if "classification=" in line]
    assert losses[-1] < 0.7 * losses[0]
    assert result["last"]["R@1"] > result["untrained"]["R@1"] + 0.2


def test_the_ranking_loss_alone_leaves_the_classifier_as_it_was(small_experiment, small_split, tmp_path):
    fit(replace(small_experiment, classification=False, weight_decay=0.1), small_split, tmp_path)
    net, _ = load_trained(tmp_path)
    mx.random.seed(0)
    fresh = model.from_experiment(small_experiment, 6)
    for layer in (0, 1):
        for trained, untrained in zip(*(n.classifier[layer].collect_params().values() for n in (net, fresh))):
            if "running" not in trained.name:
                np.testing.assert_array_equal(trained.data().asnumpy(), untrained.data().asnumpy())
    assert (net.reductions[0].weight.data().asnumpy() != fresh.reductions[0].weight.data().asnumpy()).any()
    assert "classification=" not in (tmp_path / "train.log").read_text()


def test_frozen_batch_norms_stay_as_they_are(small_experiment, small_split, tmp_path):
    fit(replace(small_experiment, frozen_batch_norm=True), small_split, tmp_path)
    net, _ = load_trained(tmp_path)
    norms = [p.data().asnumpy() for name, p in net.backbone.collect_params().items() if "batchnorm" in name]
    assert norms
    assert all((array == array.flat[0]).all() and array.flat[0] in (0, 1) for array in norms)


def test_a_run_that_diverges_stops_in_a_sentence(small_experiment, small_split, tmp_path, monkeypatch):
    step = train.Run.step
    monkeypatch.setattr(train.Run, "step", lambda run, *arguments: step(run, *arguments) * float("nan"))
    with pytest.raises(ValueError, match="the loss is NaN or infinite at iteration 3 .* lower the learning rate"):
        fit(small_experiment, small_split, tmp_path)


def test_nan_parameters_are_noticed_where_the_loss_hides_them(small_experiment, small_split, tmp_path):
    with pytest.raises(ValueError, match="the run has diverged, lower the learning rate"):
        fit(replace(small_experiment, classification=False, learning_rate=1e30, decay_at=()), small_split, tmp_path)


def test_the_learning_rate_steps_down_at_its_fractions(small_experiment, small_split, tmp_path, monkeypatch):
    monkeypatch.setattr(train.Run, "log_every", 1)
    fit(replace(small_experiment, decay_at=(0.5, 0.75)), small_split, tmp_path)
    rates = [
        float(line.rsplit("lr=", 1)[1]) for line in (tmp_path / "train.log").read_text().splitlines() if "lr=" in line
    ]
    np.testing.assert_allclose(rates, [1e-3] * 6 + [1e-4] * 3 + [1e-5] * 3)


def test_too_few_classes_for_the_batch_are_refused(small_experiment, small_split, tmp_path):
    with pytest.raises(ValueError, match="batch of 32 classes cannot be drawn from 6"):
        fit(replace(small_experiment, batch_classes=32), small_split, tmp_path)


def test_a_trained_model_is_read_back_whole_or_refused(whole, small_split):
    result, folder = whole
    net, experiment = load_trained(folder)
    assert experiment.to_dict() == result["experiment"]
    assert parameters_hash(net) == result["parameters_sha256"]
    data = (folder / "last.params").read_bytes()
    (folder / "last.params").write_bytes(data[:100])
    with pytest.raises(ValueError, match="last.params is not the file that the run left"):
        load_trained(folder)
    stored = dict(result, files={"last.params": digest(folder / "last.params")})
    (folder / "result.json").write_text(json.dumps(stored))
    with pytest.raises(ValueError, match="last.params cannot be read as a cgd_sm_cifar_resnet10_8"):
        load_trained(folder)
    with pytest.raises(FileNotFoundError, match="no finished run"):
        load_trained(folder / "nowhere")
    for text in ("[]", "{}", '{"experiment": 1}', "", "{"):
        (folder / "result.json").write_text(text)
        with pytest.raises(ValueError, match="result.json"):
            load_trained(folder)


def test_the_log_goes_to_the_runs_own_folder_alone(whole, small_experiment, small_split, tmp_path):
    before = (whole[1] / "train.log").read_text()
    fit(small_experiment, small_split, tmp_path / "other")
    assert (whole[1] / "train.log").read_text() == before
    assert not [h for h in logging.getLogger("gluon_cgd").handlers if isinstance(h, logging.FileHandler)]


@pytest.fixture(scope="module")
def known_letters(tmp_path_factory):
    """8 classes of 6 glyphs, to learn and to be found again: enough to tell learning from not learning."""
    folder, records = tmp_path_factory.mktemp("letters"), []
    for label in range(8):
        for index in range(6):
            file = folder / f"{label}-{index}.png"
            Image.fromarray(glyphs.picture(label, index)).save(file)
            records.append(Record(str(file), label))
    return Split(records, records)


@pytest.mark.parametrize(
    "change",
    [
        {"descriptors": "SM"},
        *(
            pytest.param({"descriptors": letters}, marks=pytest.mark.slow)
            for letters in CONFIGURATIONS
            if letters != "SM"
        ),
        *(pytest.param({"architecture": name}, marks=pytest.mark.slow) for name in ARCHITECTURES[1:]),
        pytest.param({"combine": "sum"}, marks=pytest.mark.slow),
        *(pytest.param({"loss": name}, marks=pytest.mark.slow) for name in LOSSES[1:]),
    ],
    ids=lambda change: "-".join(change.values()),
)
def test_every_configuration_architecture_sum_and_loss_learns(change, small_experiment, known_letters, tmp_path):
    schedule = dict(passes=80, batch_classes=8, batch_images=4, learning_rate=3e-3, decay_at=(0.7,), evaluations=1)
    experiment = replace(small_experiment, input_size=16, dim=24, **schedule, **change)
    result = fit(experiment, known_letters, tmp_path)
    assert result["untrained"]["R@1"] < 0.3
    assert result["last"]["R@1"] > 0.6


@pytest.mark.slow
def test_the_recall_of_each_branch_is_kept_beside_the_combined_one(whole, small_experiment, small_split, tmp_path):
    result, folder = whole  # SM
    net, experiment = load_trained(folder)
    pictures = cached(small_split.query, experiment.input_size)
    labels = [record.label for record in small_split.query]
    for output, name in enumerate(("SPoC", "MAC")):
        found = Embeddings(net(images.normalise(pictures, mx.cpu()))[2][output].asnumpy(), labels)
        assert result["branches"]["last"][name] == recall_of((1, 2, 4, 8), found)
    assert result["history"][-1]["branches"] == result["branches"]["last"]
    single = fit(replace(small_experiment, descriptors="G"), small_split, tmp_path / "G")
    assert single["branches"]["last"] == {"GeM": single["last"]}
    for change in (dict(architecture="B"), dict(combine="sum")):
        result = fit(replace(small_experiment, **change), small_split, tmp_path / next(iter(change)))
        assert result["branches"]["last"] == {}


def test_architecture_a_has_a_ranking_loss_a_branch_and_the_others_one():
    branches = ["first", "second"]
    assert learner.ranked(Experiment(architecture="A"), "combined", branches) == branches
    for architecture in ("CGD", "B"):
        assert learner.ranked(Experiment(architecture=architecture), "combined", branches) == ["combined"]
