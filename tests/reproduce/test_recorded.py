"""Recorded runs, which the documents are generated from."""

import json
import os

import numpy as np
import pytest

from gluon_cgd.experiment import Experiment
from gluon_cgd.files.arrays import write_compressed
from gluon_cgd.runs import ranks
from reproduce import recorded, seal, selection, store
from reproduce.documents import record
from reproduce.report import comparison
from reproduce.tables import TABLES
from tests.reproduce.test_reproduce import run_of

TABLE1 = (TABLES["table1"],)


def test_runs_are_recorded_once_and_read_as_the_store_gives_them(tmp_path):
    runs, folder = tmp_path / "runs", tmp_path / "results"
    folder.mkdir()
    rank, both = (selection.experiment_of(row, True) for row in TABLES["table1"].rows)
    run_of(runs, rank, 0, 0.123456789)
    run_of(runs, rank, 2, 0.25)
    run_of(runs, TABLES["table1"].rows[1].experiment, 0, 0.9)
    assert recorded.read(rank, folder) == []
    assert len(record.record(runs, TABLE1, folder)) == 2  # mini and real ones
    assert record.record(runs, TABLE1, folder) == []
    found = recorded.read(rank, folder)
    assert [(run["seed"], run["last"]["R@1"]) for run in found] == [(0, 0.123457), (2, 0.25)]
    assert found[0]["experiment"] == rank.to_dict()
    run_of(runs, rank, 1, 0.5)
    assert record.record(runs, TABLE1, folder) == [f"{rank.key()}.json"]
    assert [run["seed"] for run in recorded.read(rank, folder)] == [0, 1, 2]
    (entry, _) = comparison.entries(TABLES["table1"], lambda e: recorded.read(e, folder), True, "last")
    assert entry.ours["R@1"].runs == 3
    assert recorded.read(both, folder) == []


def test_what_was_recorded_elsewhere_stays(tmp_path):
    folder = tmp_path / "results"
    folder.mkdir()
    rank = selection.experiment_of(TABLES["table1"].rows[0], True)
    run_of(tmp_path / "mine", rank, 0, 0.1)
    run_of(tmp_path / "yours", rank, 1, 0.2)
    for runs in ("mine", "yours"):
        record.record(tmp_path / runs, TABLE1, folder)
    assert [run["last"]["R@1"] for run in recorded.read(rank, folder)] == [0.1, 0.2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[:100], "cannot be read"),
        (lambda text: text.replace('"margin": 0.1', '"margin": 0.5'), "is of another experiment than its name says"),
        (lambda text: json.dumps({"runs": []}), "cannot be read"),
        (lambda text: text.replace('"seed": 0', '"seed": "0"'), "cannot be read, it has 'seed' under 'runs' '0'"),
        (lambda text: text.replace('"R@1": 0.1', '"R@1": [1]'), "cannot be read, it has a recall under 'last' under"),
        (lambda text: '{"experiment": 7, "runs": []}', "cannot be read, it has 'experiment' 7, which must be a table"),
    ],
)
def test_a_broken_or_foreign_file_is_refused(tmp_path, change, message):
    folder = tmp_path / "results"
    folder.mkdir()
    rank = selection.experiment_of(TABLES["table1"].rows[0], True)
    run_of(tmp_path / "runs", rank, 0, 0.1)
    record.record(tmp_path / "runs", TABLE1, folder)
    file = recorded.file_of(rank, folder)
    file.write_text(change(file.read_text()))
    with pytest.raises(ValueError, match=message):
        recorded.read(rank, folder)


@pytest.mark.parametrize("part", ["seed", "recall", "untrained", "data", "another experiment's run", "seal"])
def test_a_recorded_run_that_was_changed_afterwards_is_refused(tmp_path, part):
    folder = tmp_path / "results"
    folder.mkdir()
    rank, both = (selection.experiment_of(row, True) for row in TABLES["table1"].rows)
    run_of(tmp_path / "runs", rank, 0, 0.1)
    run_of(tmp_path / "runs", rank, 1, 0.2)
    run_of(tmp_path / "runs", both, 0, 0.3)
    record.record(tmp_path / "runs", TABLE1, folder)
    assert [run["seed"] for run in recorded.read(rank, folder)] == [0, 1]
    file = recorded.file_of(rank, folder)
    values = json.loads(file.read_text())
    run, other = values["runs"]
    if part == "seed":
        run["seed"], other["seed"] = other["seed"], run["seed"]
    elif part == "another experiment's run":
        values["runs"][0] = json.loads(recorded.file_of(both, folder).read_text())["runs"][0]
    else:
        {"recall": run["last"], "untrained": run["untrained"], "data": run, "seal": run}[part].update(
            {"data": "x"} if part == "data" else {"seal": "0" * 64} if part == "seal" else {"R@1": 0.1001}
        )
    file.write_text(json.dumps(values))
    with pytest.raises(ValueError, match="the run with seed [01] is not what was recorded .its seal is another.: take"):
        recorded.read(rank, folder)


def experiments(name):
    """The experiments of the rows of a table, in the mini form."""
    return [selection.experiment_of(row, True) for row in TABLES[name].rows]


RANK = experiments("table1")[0]  # two branches


def finished_run(runs, seed, shift=0, is_last_best=False, pictures=2000, experiment=RANK, mean=-1.9):
    """Put a finished run with ranks into the store, without training; returns its arrays.

    mean: of the logarithms of the ranks after training.
    """
    rng = np.random.default_rng(seed)
    hard = rng.normal(size=pictures)  # R@1 of 25 % before training, and of 85 % after it, as a pretrained network has
    names = [ranks.name_of(stage, branch) for stage in ("untrained", "last", "best") for branch in ("", "SPoC", "MAC")]
    arrays, recalls = {}, {}
    for name in names:
        middle, spread = (1.6, 2.4) if name.startswith("untrained") else (mean, 2)
        logarithms = middle + spread * (0.8 * hard + 0.6 * rng.normal(size=pictures))
        arrays[name] = ranks.stored(np.clip(np.ceil(np.exp(logarithms)), 1, pictures - 20) + shift)
        if is_last_best and name.startswith("best"):
            arrays[name] = arrays[name.replace("best", "last")]
        recalls[name] = {f"R@{k}": float((arrays[name] <= k).mean()) for k in (1, 2, 4, 8)}
    run_of(runs, experiment, seed, 0.5)
    folder = store.folder(runs, experiment, seed)
    result = json.loads((folder / "result.json").read_text())
    for stage in ("untrained", "last", "best"):
        result[stage] = recalls[stage]
        result["branches"][stage] = {branch: recalls[f"{stage}/{branch}"] for branch in ("SPoC", "MAC")}
    arrays["classes"] = np.arange(pictures, dtype=np.uint16) // 20
    result["files"] = ranks.write(folder, arrays, is_last_best)
    (folder / "result.json").write_text(json.dumps(result))
    return arrays


def test_ranks_are_recorded_with_their_runs_and_read_again(tmp_path):
    kept = {"untrained", "last", "best", "last/SPoC", "last/MAC", "classes"}
    arrays = {seed: finished_run(tmp_path / "runs", seed, is_last_best=seed == 1) for seed in (0, 1)}
    files = [f"{RANK.key()}.ranks.npz", f"{RANK.key()}.json"]
    assert record.record(tmp_path / "runs", TABLE1, tmp_path) == files
    found = recorded.read_ranks(RANK, tmp_path)
    assert {seed: set(names) for seed, names in found.items()} == {0: kept, 1: kept - {"best"}}
    for seed, names in found.items():
        for name, array in names.items():
            assert array.tolist() == arrays[seed][name].tolist()
    with np.load(tmp_path / files[0]) as plain:
        assert set(plain.files) == {
            "classes",
            *(f"seed{seed}/{name}" for seed in found for name in found[seed] if name != "classes"),
        }
    runs = recorded.read(RANK, tmp_path)
    assert runs[0][seal.RANKS] == {name: seal.sha256(arrays[0][name]) for name in kept - {"classes"}}
    before = (tmp_path / files[0]).read_bytes()
    assert record.record(tmp_path / "runs", TABLE1, tmp_path) == []
    assert len(before) < 2 * 6000
    # A run more, and one that was trained again: the others keep theirs
    finished_run(tmp_path / "more", 2)
    finished_run(tmp_path / "more", 0, shift=1)
    assert record.record(tmp_path / "more", TABLE1, tmp_path) == files
    again = recorded.read_ranks(RANK, tmp_path)
    assert sorted(again) == [0, 1, 2]
    assert again[0]["last"].tolist() == (arrays[0]["last"] + 1).tolist()
    assert again[1]["last"].tolist() == arrays[1]["last"].tolist()
    # and it is the same file that would have come of all at once
    os.replace(store.folder(tmp_path / "runs", RANK, 1), store.folder(tmp_path / "more", RANK, 1))
    os.replace(tmp_path / files[0], tmp_path / "one by one")
    (tmp_path / files[1]).unlink()
    record.record(tmp_path / "more", TABLE1, tmp_path)
    assert (tmp_path / files[0]).read_bytes() == (tmp_path / "one by one").read_bytes()


def test_runs_of_different_test_pictures_are_not_recorded_together(tmp_path):
    finished_run(tmp_path / "runs", 0, pictures=60)
    record.record(tmp_path / "runs", TABLE1, tmp_path)
    finished_run(tmp_path / "others", 1, pictures=80)
    with pytest.raises(ValueError, match="ranks.npz would be of runs that were tested on different pictures"):
        record.record(tmp_path / "others", TABLE1, tmp_path)
    assert sorted(recorded.read_ranks(RANK, tmp_path)) == [0]
    assert len(recorded.read(RANK, tmp_path)) == 1


def test_ranks_that_were_deleted_after_they_were_recorded_stay_recorded(tmp_path, caplog):
    arrays = finished_run(tmp_path / "runs", 0)
    record.record(tmp_path / "runs", TABLE1, tmp_path)
    (store.folder(tmp_path / "runs", RANK, 0) / "ranks.npz").unlink()
    assert record.record(tmp_path / "runs", TABLE1, tmp_path) == []
    assert "ranks.npz is not there any more" in caplog.text
    assert recorded.read_ranks(RANK, tmp_path)[0]["last"].tolist() == arrays["last"].tolist()


def test_a_run_of_an_earlier_version_is_recorded_without_ranks_and_takes_those_of_another_away(tmp_path):
    finished_run(tmp_path / "runs", 0)
    record.record(tmp_path / "runs", TABLE1, tmp_path)
    run_of(tmp_path / "old", RANK, 0, 0.5)
    assert len(record.record(tmp_path / "old", TABLE1, tmp_path)) == 2
    assert recorded.read_ranks(RANK, tmp_path) == {}
    assert recorded.read(RANK, tmp_path)[0]["last"] == {"R@1": 0.5}


def test_a_run_is_not_recorded_with_ranks_that_it_was_not_counted_from(tmp_path):
    arrays = finished_run(tmp_path / "runs", 0)
    folder = store.folder(tmp_path / "runs", RANK, 0)
    ranks.write(folder, {**arrays, "last": arrays["last"] + np.uint16(1)}, False)
    with pytest.raises(ValueError, match="ranks.npz has ranks last whose R@1 is .*: the run is to be trained again"):
        record.record(tmp_path / "runs", TABLE1, tmp_path)
    (folder / "ranks.npz").write_bytes(b"\0" * 90)
    with pytest.raises(ValueError, match="ranks.npz cannot be read"):
        record.record(tmp_path / "runs", TABLE1, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["runs"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a["seed0/last"].__setitem__(5, a["seed0/last"][5] + 1), "seed 0, is not what was recorded"),
        (lambda a: a.pop("seed0/best"), "seed 0, is not what was recorded"),
        (lambda a: [a.pop(name) for name in list(a) if name.startswith("seed0")], "seed 0, is not what was recorded"),
        (lambda a: a.update({"seed7/last": a["seed0/last"]}), "seed 7, is of no recorded run"),
        (lambda a: a.update({"last": a["seed0/last"]}), "has 'last', which is no name that belongs there"),
        (lambda a: a.update({"seed/last": a["seed0/last"]}), "has 'seed/last', which is no name"),
        (lambda a: a.update({name: a[name.replace("0", "1")] for name in a if "0" in name}), "seed 0, is not what"),
    ],
)
def test_recorded_ranks_that_were_changed_are_refused(tmp_path, change, message):
    for seed in (0, 1):
        finished_run(tmp_path / "runs", seed, pictures=60)
    record.record(tmp_path / "runs", TABLE1, tmp_path)
    file = recorded.ranks_of(RANK, tmp_path)
    with np.load(file) as stored:
        arrays = dict(stored)
    change(arrays)
    write_compressed(file, arrays)
    with pytest.raises(ValueError, match=f"ranks.npz.* {message}.*: take it from the repository again"):
        recorded.read_ranks(RANK, tmp_path)


def test_all_recorded_ranks_agree_with_the_recorded_recalls():
    files = sorted(recorded.FOLDER.glob("*.ranks.npz"))
    for file in files:
        json_file = file.with_name(file.name.replace(".ranks.npz", ".json"))
        experiment = Experiment.from_dict(json.loads(json_file.read_text())["experiment"])
        assert recorded.read_ranks(experiment)
