"""The distinct runs behind the tables, and what they cost."""

import json
from dataclasses import replace

import numpy as np
import pytest

from gluon_cgd.experiment import Experiment
from gluon_cgd.runs import checkpoint
from reproduce import selection, store
from reproduce.command import EVERYTHING, main
from reproduce.tables import DETAILS, FIGURE3, TABLES, TEXT
from reproduce.training import costs as steps
from reproduce.training import plan
from tests.reproduce.test_reproduce import run_of


def test_equal_experiments_are_one_run(tmp_path):
    both = plan.wanted((TABLES["table1"], TABLES["table2"]), 3, False, tmp_path)
    assert len(both) == 3 * 5  # six rows, of which two are equal
    shared = [run.names for run in both if len(run.names) > 1]
    assert shared == [("table1 Both", "table2 None")] * 3


def test_the_paper_is_so_many_runs(tmp_path):
    every = plan.wanted(EVERYTHING, None, False, tmp_path)
    assert len(every) == len({(run.experiment, run.seed) for run in every})
    figure3 = plan.wanted((FIGURE3, TABLES["table5"]), None, False, tmp_path)
    assert len(figure3) == 480  # 12 configurations, 4 benchmarks, 10 runs; Table 5's are among them
    others = {run.experiment for run in every} - {run.experiment for run in figure3}
    ten = {row.experiment for row in TEXT.rows} & others  # a spread needs more runs than a mean
    assert len(every) == 480 + 10 * len(ten) + 5 * len(others - ten)
    assert len(ten) == 3
    assert not any(run.done or run.iteration for run in every)


def test_what_is_done_and_half_done_is_told(tmp_path, capsys):
    experiments = [selection.experiment_of(row, True) for row in TABLES["table1"].rows]
    run_of(tmp_path, experiments[0], 0, 0.5)
    half = store.folder(tmp_path, experiments[1], 0) / "checkpoint.npz"
    half.parent.mkdir(parents=True)
    np.savez(half, meta=np.array(json.dumps({"iteration": 200})))
    assert checkpoint.iteration(half) == 200
    assert [(run.done, run.iteration) for run in plan.wanted([TABLES["table1"]], 1, True, tmp_path)] == [
        (True, 0),
        (False, 200),
    ]
    half.write_bytes(half.read_bytes()[:50])  # cut off: it will be trained anew
    assert checkpoint.iteration(half) == 0
    assert main(["table1", "--mini", "--plan", "--seeds", "2", "--runs", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "together     4                4     1          0        3" in out


def test_hours_follow_from_measured_steps(tmp_path, monkeypatch):
    row = TABLES["table1"].rows[0]
    run = plan.Wanted(row.experiment, 0, ("table1 Rank",), False, 0)
    (tmp_path / "reports").mkdir()
    costs = {"a machine": {steps.network(row.experiment): {"train": 0.01, "embed": 0.001}}, "another": {}}
    (tmp_path / "reports" / "steps.json").write_text(json.dumps(costs))
    monkeypatch.setattr(steps, "MEASURED", tmp_path / "none.json")
    iterations = row.experiment.iterations(8054)
    seconds = iterations * 128 * 0.01 + 16 * 8131 * 0.001
    assert steps.seconds(run, costs["a machine"]["resnet50 at 224"]) == pytest.approx(seconds)
    more = dict(costs["a machine"]["resnet50 at 224"], query=1e-3, pair=1e-7, best=2, checkpoint=3)
    between = iterations * 128 * 0.01 / (100 * 128 * 0.01)  # a checkpoint every 100 steps, which take 128 seconds
    ranked = 2  # the whole and its branches, S and M
    more_seconds = seconds + 16 * ranked * (8131 * 1e-3 + 8131**2 * 1e-7) + 16 * 2 + 15 * 3 + between * 3
    assert steps.seconds(run, more) == pytest.approx(more_seconds)
    more["checkpoint"] = 30  # 600 seconds between two
    assert steps.seconds(run, more) - more_seconds == pytest.approx(
        15 * 27 + iterations * 128 * 0.01 / 20 - between * 3
    )
    half = run._replace(iteration=iterations // 2)
    assert steps.seconds(half, costs["a machine"]["resnet50 at 224"]) == pytest.approx(seconds / 2, rel=1e-3)
    told = steps.costs([run] * 10, tmp_path)
    assert told[0] == f"time on a machine: {10 * seconds / 3600:,.1f} hours, one run after the other"
    assert "disk: 2.8 GB of pictures" in told[-1]  # 8,054 of 252 x 252 and 8,131 of 224 x 224
    assert (
        "2.1 GB of parameters (up to 0.21 GB a run, three times as much while it trains)" in told[-1]
    )  # 26,858,658 of four bytes, twice
    other = run._replace(experiment=replace(row.experiment, backbone="bn_inception"))
    assert "not known, bn_inception at 224 not measured" in steps.costs([run, other], tmp_path)[0]
    assert steps.costs([], tmp_path) == ["nothing is missing"]


def test_pairs_that_are_compared():
    assert steps.compared("cars196") == 8131**2
    assert steps.compared("inshop") == 14218 * 12612
    assert steps.compared("glyphs_mini") == 2000**2
    assert steps.compared("sop_mini") == steps.pictures("sop_mini")[1] ** 2


def test_every_dataset_of_the_tables_has_counts():
    assert steps.pictures("glyphs") == (4000, 2000)
    assert steps.pictures("inshop") == (25882, 14218 + 12612)
    for table in EVERYTHING:
        for row in table.rows:
            assert not row.experiment or min(steps.pictures(row.experiment.dataset)) > 0


def test_steps_are_measured_once(tmp_path, monkeypatch, small_experiment):
    calls = []

    def one_model(experiment, batch_size, device):
        calls.append((experiment, batch_size, device))
        return {"step": 0.8, "picture": 0.02}

    monkeypatch.setattr(steps.efficiency, "one_model", one_model)
    for _ in range(2):
        own = steps.measure([small_experiment, replace(small_experiment, dim=16)], "cpu0", tmp_path)
    (times,) = own.values()
    assert list(own) == ["cifar_resnet10 at 16"]
    assert times["train"] > 0.1  # with the cutting of pictures
    assert times["embed"] == 0.02
    assert max(times["query"], times["pair"]) > 0
    assert min(times["best"], times["checkpoint"]) > 0
    assert [(batch, device) for _, batch, device in calls] == [(8, "cpu0")]
    assert list(steps.known(tmp_path).values())[-1] == own


def test_a_network_is_measured_by_the_same_experiment_each_time_in_batches_that_it_takes(tmp_path, monkeypatch):
    experiments = {selection.experiment_of(row, False) for row in DETAILS.rows}
    seen = []

    def one_model(experiment, batch_size, device):
        seen.append(steps.efficiency.with_batch(experiment, batch_size))
        return {"step": 0.8, "picture": 0.02}

    monkeypatch.setattr(steps.efficiency, "one_model", one_model)
    monkeypatch.setattr(steps.stopwatch, "of_an_evaluation", lambda *_: dict.fromkeys(steps.PARTS, 0))
    steps.measure(experiments, "cpu", tmp_path)
    assert seen[0].descriptors == min(experiments, key=Experiment.key).descriptors
    few = steps.efficiency.with_batch(replace(seen[0], batch_classes=4, batch_images=32), 32)
    assert (few.batch_classes, few.batch_images) == (2, 16)


def test_training_pictures_that_two_datasets_share_are_cached_once(tmp_path):
    rows = [row.experiment for row in (*TABLES["table7"].rows, *FIGURE3.rows) if row.experiment]
    sop, part = (
        next(one for one in rows if one.dataset == name and one.backbone == "resnet50") for name in ("sop", "sop_mini")
    )
    wanted = [plan.Wanted(experiment, 0, (), False, 0) for experiment in (sop, part)]

    def gigabytes(runs):
        return float(steps.disk(runs).split()[1])

    assert gigabytes(wanted) - gigabytes(wanted[:1]) < 1  # its test pictures alone


@pytest.mark.parametrize(
    "text", ["", "[]", '{"m": 7}', '{"m": {"net": {"train": "x", "embed": 1}}}', '{"m": {"net": {}}}']
)
def test_times_that_are_none_are_refused_in_a_sentence(text, tmp_path):
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports/steps.json").write_text(text)
    with pytest.raises(
        ValueError, match="steps.json (is not JSON .*: get it again|has .*: delete it to measure again)"
    ):
        steps.known(tmp_path)
