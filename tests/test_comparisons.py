import importlib
import json
import os
import subprocess
import sys

import numpy as np
import pytest

import benchmarks.__main__
from benchmarks import comparisons, growth, inputs, pictures, precision, table
from benchmarks.__main__ import main, measured, result, together
from benchmarks.turns import Process
from gluon_cgd import datasets
from gluon_cgd.datasets import Record
from gluon_cgd.doctor import hardware
from gluon_cgd.machine import facts

ORIGIN = {"machine": "a machine", "commit": "0123456789"}


def turn(seconds, units=10, answer=None):
    return {"seconds": seconds, "units": units, "answer": answer, "memory": 5}


def row(**wanted):
    return comparisons.Row("ours", "theirs", "ours a", ("peers b", "peers c"), "img/s", **wanted)


def test_the_ratio_is_to_the_fastest_other_of_the_same_round():
    turns = {"ours a": [turn(1), turn(2)], "peers b": [turn(2), turn(2)], "peers c": [turn(4), turn(1)]}
    values = result(row(at_least=1.5), turns)
    assert values["ratios"] == [2, 0.5]
    assert values["ours"] == 7.5
    assert values["other"] == 6.25  # of c, the faster by its median


def test_a_table_says_whether_what_we_want_is_reached():
    results = {**ORIGIN, "network": "a network"}
    rows = [
        {"work": "a", "against": "b", "unit": "img/s", "ours": 1234, "other": 0.5, "ratios": [1, 2, 3], "more": 0.25}
    ]
    rows[0].update(at_least=2.5, at_most_more=None)
    rows.append({**rows[0], "unit": "GFLOP/s", "ours": 5e9, "at_least": None, "at_most_more": 0.3})
    text = table.comparisons({**results, "rows": rows})
    assert table.comparisons({**results, "commit": None, "rows": rows}).startswith(
        "a machine, at no commit; a network:"
    )
    assert "a machine, at 01234567; a network:" in text
    assert "| a | 1,234 img/s | b | 0.5 img/s | 2.00 (1.00-3.00) | 2.50: no |" in text
    assert "| a | 5 GFLOP/s | b | 5e-10 GFLOP/s | +0.25 s | at most +0.3 s: yes |" in text


SCRIPT = """
import sys
sys.path.insert(0, {folder!r})
from turns import serve
serve({{"sums": lambda: ((lambda: print("noise") or 3), 7), "breaks": lambda: 1 / 0}})
"""


@pytest.fixture
def started(tmp_path):
    """A function of a task of a small script."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(folder=str(growth.HERE)))
    return lambda task: Process(sys.executable, script, task.partition(" ")[2], {"BENCHMARK_WARM": "1"})


@pytest.mark.parametrize("together", [True, False])
def test_two_processes_take_turns(started, together):
    one = comparisons.Row("ours", "theirs", "script sums", ("script sums",), "sums/s", 0.5)
    values = measured(comparisons.Group("group", (), (one,), together=together), started, rounds=3)[0]
    assert values["ratios"] == [1, 1, 1]  # of one task with itself
    assert values["same_numbers"]
    assert values["memory"][0] > 1e6


def test_sides_that_come_to_other_numbers_do_not_do_the_same_work():
    turns = {"ours a": [turn(1, answer=[0.5])], "peers b": [turn(1, answer=[0.6])], "peers c": [turn(2, answer=[0.5])]}
    with pytest.raises(ValueError, match=r"ours a computed \[0.5\], but peers b \[0.6\]: they do not do the same work"):
        result(row(), turns)


def test_a_side_that_cannot_work_is_named(started):
    with pytest.raises(RuntimeError, match="script.py breaks ended with status 1"):
        started("script breaks")


def test_every_task_of_ours_is_there(monkeypatch):
    monkeypatch.syspath_prepend(str(growth.HERE))  # as of a script that is started by its name
    ours = importlib.import_module("ours")
    tasks = {task for group in comparisons.GROUPS for row in group.rows for task in (row.ours, *row.others)}
    assert {task.partition(" ")[2] for task in tasks if task.startswith("ours")} <= set(ours.TASKS)
    assert {name for group in comparisons.GROUPS for name in group.needs} <= set(inputs.MAKERS)


def test_pictures_are_drawn_once_and_have_the_detail_of_photographs(tmp_path, monkeypatch):
    monkeypatch.setattr(inputs, "PICTURES", 3)
    inputs.make(("pictures",), tmp_path, None)
    files = sorted((tmp_path / "pictures").iterdir())
    assert len(files) == inputs.PICTURES
    assert 20_000 < files[0].stat().st_size < 200_000
    before = files[0].stat().st_mtime_ns
    inputs.make(("pictures",), tmp_path, None)
    assert files[0].stat().st_mtime_ns == before


def test_growth_is_the_slope_of_the_logarithms():
    assert growth.exponent((1, 2, 4, 8), (3, 12, 48, 192)) == pytest.approx(2)
    values = growth.measure("recall", 400, 16, ".")
    assert values["seconds"] > 0
    assert values["bytes"] >= 0


def test_what_is_recorded_is_what_the_page_shows(tmp_path, monkeypatch):
    monkeypatch.setattr(table, "RESULTS", tmp_path / "results")
    assert table.speed() == table.growth() == table.memory() == "Not measured yet."
    one = {"work": "w", "letter": "N", "sizes": [1, 2], "seconds": [1, 4], "bytes": [1e6, 2e6], "exponent": 2.0}
    step = {"batch": 8, "how": "whole", "seconds": 1.5, "bytes": 2e9}
    table.record("growth", {**ORIGIN, "growth": [one], "memory": [step]})
    assert json.loads((tmp_path / "results" / "growth.json").read_text())["growth"] == [one]
    assert table.growth().startswith("a machine, at 01234567:\n\n| work | sizes |")
    assert "| w | 1 to 2 | 1 to 4 s | N<sup>2.00</sup> | 1 to 2 MB |" in table.growth()
    assert "| 8 | whole | 1.5 | 2.0 |" in table.memory()


def test_precision_is_the_change_of_recall_against_mxnet(monkeypatch, tmp_path):
    monkeypatch.setattr(table, "RESULTS", tmp_path)
    assert table.precision() == "Not measured yet."
    models = [{"recall": {"MXNet": {"R@1": 50.0}, "other": {"R@1": value}}} for value in (50.5, 49.0)]
    assert "| other | -0.25 ± 0.75 (-1.00 to +0.50) |" in table.precision({**ORIGIN, "models": models})
    assert "| other | +0.50 (+0.50 to +0.50) |" in table.precision({**ORIGIN, "models": models[:1]})


def test_a_trained_run_is_measured_in_float32_and_in_8_bits(exported, tmp_path, monkeypatch, small_split):
    pytest.importorskip("sympy")
    monkeypatch.setattr(datasets, "load", lambda *arguments: small_split)
    monkeypatch.setenv("GLUON_CGD_CACHE", str(tmp_path))
    values = precision.measured(exported / "run", None, tmp_path)
    names = ["MXNet", *(f"{name}, {words}" for words in ("float32", "8 bits") for name in ("onnxruntime", "openvino"))]
    assert list(values["recall"]) == names
    assert values["recall"]["onnxruntime, float32"] == values["recall"]["MXNet"]


def test_what_is_recorded_does_not_change_the_commit_and_other_changes_do(tmp_path, monkeypatch):
    def git(*words):
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        return subprocess.run(["git", "-C", tmp_path, *who, *words], check=True, capture_output=True, text=True).stdout

    monkeypatch.setattr(facts, "PACKAGES", tmp_path.resolve())
    monkeypatch.setattr(table, "RESULTS", tmp_path / "benchmarks" / "results")
    (tmp_path / "benchmarks" / "results").mkdir(parents=True)
    (tmp_path / "docs").mkdir()
    for file in ("benchmarks/results/speed.json", "docs/speed.md", "code.py"):
        (tmp_path / file).write_text("before")
    git("init")
    git("add", ".")
    git("commit", "-m", "all")
    commit = git("rev-parse", "HEAD").strip()
    table.record("speed", {})
    (tmp_path / "docs" / "speed.md").write_text("a table")
    assert table.origin()["commit"] == commit
    assert facts.commit() == commit + "+"
    (tmp_path / "code.py").write_text("after")
    assert table.origin()["commit"] == commit + "+"


def test_what_sets_the_speed_of_both_sides_is_recorded_and_told(monkeypatch):
    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
    assert table.origin()["settings"] == {}
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    assert table.origin()["settings"] == {"OPENBLAS_CORETYPE": "Haswell"}
    assert table.heading({**ORIGIN, "settings": {"OPENBLAS_CORETYPE": "Haswell"}}) == (
        "a machine, OPENBLAS_CORETYPE=Haswell, at 01234567"
    )


@pytest.mark.parametrize("word", ["--help", "--write"])
def test_help_and_write_install_nothing(word, tmp_path):
    for place, text in (("env.sh", ""), ("benchmarks/run.sh", (growth.HERE / "run.sh").read_text())):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).write_text(text)
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text('#!/bin/sh\necho "$@"\n')
    python.chmod(0o755)
    path = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
    command = ["bash", tmp_path / "benchmarks" / "run.sh", word]
    done = subprocess.run(command, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=True)
    assert done.stdout == f"-m benchmarks {word}\n"


@pytest.mark.parametrize("classes", [3, 24])
def test_batches_are_of_as_many_classes_as_there_are(classes, monkeypatch):
    taken = []
    monkeypatch.setattr(pictures, "plain", lambda record, side: np.zeros((side, side, 3), np.uint8))
    monkeypatch.setattr(pictures.images, "augment", lambda pictures, indices, *_: taken.append(indices))
    records = [Record(str(number), number % classes) for number in range(2 * classes)]
    assert min(pictures.batches(records, 9, 8, np.zeros((len(records), 9, 9, 3), np.uint8))) > 0
    assert {len(indices) for indices in taken} == {pictures.BATCH}
    assert len({index % classes for index in taken[0]}) == min(classes, 22)  # the last ones are cut off


def test_groups_that_are_measured_later_join_those_of_one_machine_and_commit():
    new, old = ({"machine": "m", "commit": "c", "rows": [{"group": name}]} for name in ("import", "embed"))
    assert [row["group"] for row in together(new, old)["rows"]] == ["embed", "import"]
    assert together(new, {**old, "commit": "another"}) == together(new, None) == new
    assert together(new, {**old, "settings": {"OPENBLAS_CORETYPE": "Haswell"}}) == new


def test_every_machine_keeps_a_table_of_its_own_and_the_newest_comes_first(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(table, "RESULTS", tmp_path)
    older = {"machine": "another", "commit": "9876543210", "network": "a network", "rows": []}
    table.record("speed", {"another": older})
    row = {"work": "w", "against": "a", "unit": "s", "ours": 1, "other": 1, "ratios": [1], "more": 0}
    row.update(at_least=None, at_most_more=None)
    monkeypatch.setattr(table, "origin", lambda: dict(ORIGIN))
    monkeypatch.setattr(benchmarks.__main__, "measured", lambda *arguments: [row])
    monkeypatch.setattr(inputs, "make", lambda *arguments: None)
    for only in ("import", "train 32"):
        assert main(["--peers", "python", "--only", only, "--folder", str(tmp_path), "--record"]) == 0
        assert capsys.readouterr().out.startswith("a machine, at 01234567; ")
    values = table.recorded("speed")
    assert list(values) == ["a machine", "another"]
    assert [one["group"] for one in values["a machine"]["rows"]] == ["train 32", "import"]
    assert [line for line in table.speed().splitlines() if ", at " in line] == [
        f"a machine, at 01234567; {values['a machine']['network']}:",
        "another, at 98765432; a network:",
    ]


def test_each_side_has_the_threads_that_it_takes_by_default_and_the_machines_kernels(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(benchmarks.__main__, "Process", lambda *arguments: seen.append(arguments[-1]))
    monkeypatch.setattr(benchmarks.__main__, "measured", lambda group, start, rounds: start("peers import") or [])
    assert main(["--peers", "python", "--only", "import", "--folder", str(tmp_path)]) == 0
    assert "OMP_NUM_THREADS" not in seen[0]
    assert seen[0]["OPENBLAS_CORETYPE"] == "Haswell"


def test_a_machine_is_named_with_what_it_has_for_matrices(monkeypatch):
    for units, ending in (({"AVX2": True, "AVX-512": True, "AMX": False}, " cores (AVX2, AVX-512)"), ({}, " cores")):
        monkeypatch.setattr(hardware, "units", lambda units=units: units)
        assert table.origin()["machine"].endswith(ending)


def test_rounds_are_at_least_one(capsys):
    assert main(["--peers", "python", "--rounds", "0"]) == 2
    assert "--rounds 0 must be at least 1" in capsys.readouterr().err
