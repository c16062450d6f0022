"""Power cuts by simulation: each file that a run leaves, cut off or zeroed, one by one; the same command mends it.

The result is then that of an undisturbed run, to the bit.
"""

import contextlib
import json
import os
import re
import shutil

import pytest

from gluon_cgd import train
from gluon_cgd.experiment import Experiment
from gluon_cgd.files.whole import digest
from gluon_cgd.models.opened import load_trained
from gluon_cgd.runs.log import losses
from gluon_cgd.train import fit

pytestmark = pytest.mark.slow
NETWORK = dict(dataset="glyphs", backbone="cifar_resnet10", pretrained=False, input_size=16, descriptors="SM", dim=8)
SCHEDULE = dict(learning_rate=1e-3, passes=2, batch_classes=4, batch_images=2, evaluations=3)
EXPERIMENT = Experiment(**NETWORK, **SCHEDULE)  # 12 iterations


def damages(data):
    """`data` as a power cut or a failing disk may leave it: cut off, or zeros instead of what was written."""
    half = len(data) // 2
    return {
        "half": data[:half],
        "empty": b"",
        "zeroed tail": data[:-4096] + b"\0" * min(4096, len(data)),
        "zeroed middle": data[:half] + b"\0" * min(512, half) + data[half + 512 :],
        "zeros": b"\0" * len(data),
    }


DAMAGES = tuple(damages(b""))


@pytest.fixture(scope="module")
def whole(small_split, tmp_path_factory):
    """(result, folder) of an undisturbed run."""
    folder = tmp_path_factory.mktemp("whole")
    return fit(EXPERIMENT, small_split, folder / "run", cache=folder / "cache"), folder / "run"


@pytest.fixture
def stopped(small_split, tmp_path, monkeypatch):
    """The folder of a run that was killed after its second evaluation, at iteration 8 of 12."""

    def killed(run, *arguments):
        if run.iteration == 9:
            raise KeyboardInterrupt
        return step(run, *arguments)

    step = train.Run.step
    monkeypatch.setattr(train.Run, "step", killed)
    with pytest.raises(KeyboardInterrupt):
        fit(EXPERIMENT, small_split, tmp_path / "stopped", checkpoint_every=2)
    monkeypatch.setattr(train.Run, "step", step)
    return tmp_path / "stopped"


def same_as(result, whole, folder):
    """Whether `result`, left in `folder`, is that of the undisturbed run `whole`, to the bit."""
    expected, expected_folder = whole
    assert result["history"] == expected["history"]
    assert result["parameters_sha256"] == expected["parameters_sha256"]
    assert result["files"] == expected["files"] == {name: digest(folder / name) for name in expected["files"]}
    assert result == json.loads((folder / "result.json").read_text())
    left = {file.name for file in expected_folder.iterdir()}
    assert {file.name for file in folder.iterdir()} == left


@pytest.mark.parametrize("name", ["checkpoint.npz", "best.params"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_file_that_is_damaged_before_a_run_goes_on_is_noticed_and_mended(
    name, damage, stopped, whole, small_split, caplog
):
    file = stopped / name
    file.write_bytes(damages(file.read_bytes())[damage])
    result = fit(EXPERIMENT, small_split, stopped)
    assert re.search(f"{name} .*: training starts again", caplog.text)
    same_as(result, whole, stopped)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_log_that_is_damaged_before_a_run_goes_on_has_all_losses_in_the_end(damage, stopped, whole, small_split):
    log = stopped / "train.log"
    log.write_bytes(damages(log.read_bytes())[damage])
    same_as(fit(EXPERIMENT, small_split, stopped), whole, stopped)
    assert losses(log) == losses(whole[1] / "train.log")


@pytest.mark.parametrize("name", ["last.params", "best.params", "ranks.npz", "result.json"])
@pytest.mark.parametrize("damage", [*DAMAGES, "gone"])
def test_a_file_that_is_damaged_after_a_run_is_noticed_and_mended(name, damage, whole, small_split, tmp_path, caplog):
    folder = tmp_path / "damaged"
    shutil.copytree(whole[1], folder)
    if damage == "gone":
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(damages((folder / name).read_bytes())[damage])
    result = fit(EXPERIMENT, small_split, folder)
    assert f"{name} is" in caplog.text or (name, damage) == ("result.json", "gone")
    same_as(result, whole, folder)


def test_a_damaged_run_of_an_earlier_version_without_digests_is_noticed(whole, small_split, caplog):
    result, folder = whole
    (folder / "result.json").write_text(json.dumps({name: result[name] for name in result if name != "files"}))
    assert "files" not in fit(EXPERIMENT, small_split, folder)
    (folder / "last.params").write_bytes(damages((folder / "last.params").read_bytes())["zeroed middle"])
    with pytest.raises(ValueError, match="last.params does not hold the parameters that the run ended with"):
        load_trained(folder)
    assert fit(EXPERIMENT, small_split, folder)["files"] == result["files"]
    assert "last.params does not hold the parameters that the run ended with" in caplog.text


def test_best_parameters_that_are_damaged_during_a_run_are_never_on_record(whole, small_split, tmp_path, monkeypatch):
    finish, out = train.Run.finish, tmp_path / "run"

    def damage_and_finish(run):
        file = out / "best.params"
        file.write_bytes(b"\0" * file.stat().st_size)
        return finish(run)

    with monkeypatch.context() as patch:
        patch.setattr(train.Run, "finish", damage_and_finish)
        with pytest.raises(ValueError, match="best.params is not the file that this run wrote: the same command"):
            fit(EXPERIMENT, small_split, out)
    assert not (out / "result.json").exists()
    same_as(fit(EXPERIMENT, small_split, out), whole, out)


@pytest.mark.parametrize(
    "at", ["best.params.new", "checkpoint.npz", "best.params", "last.params", "ranks.npz", "result.json"]
)
@pytest.mark.parametrize("time", [1, 2, 3])
def test_a_run_that_is_killed_around_any_of_its_files_goes_on_to_the_same_bits(
    at, time, whole, small_split, tmp_path, monkeypatch
):
    rename, left = os.replace, [time]

    def kill(before, after):
        rename(before, after)
        left[0] -= os.path.basename(after) == at
        if left[0] == 0:
            left[0] = -1
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
        patch.setattr(os, "replace", kill)
        fit(EXPERIMENT, small_split, tmp_path / "run")
    same_as(fit(EXPERIMENT, small_split, tmp_path / "run"), whole, tmp_path / "run")
