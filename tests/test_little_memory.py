"""`python -m benchmarks.little_memory`, as it is typed, and its table."""

import json
import subprocess
import sys
from importlib.util import find_spec

import pytest

from benchmarks import augmented, little_memory, table
from gluon_cgd.machine.facts import PROJECT


@pytest.mark.slow
@pytest.mark.skipif(find_spec("faiss") is None, reason="faiss-cpu is not installed")
def test_a_collection_is_made_built_searched_and_told(tmp_path):
    command = [sys.executable, "-m", "benchmarks.little_memory", "--pictures", "3000", "--dim", "64"]
    command += ["--folder", str(tmp_path), "--kind", "disksq", "--store", "float16", "--costs"]
    told = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    last = told.stdout.strip().splitlines()[-1]
    values = dict(part.split(" ", 1) for part in last[len("change: ") :].split(", ") if part.count(" ") == 1)
    assert float(values["recall_10"]) > 0.8
    assert float(values["changed_recall"]) > 0.8
    assert float(values["changed_in"]) > 0
    assert 0 < float(values["one_10"]) < 10
    assert float(values["search_memory"].replace(",", "")) < 2e9


def test_the_table_has_a_row_for_each_that_was_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(table, "RESULTS", tmp_path)
    assert table.little_memory() == "Not measured yet."
    names = ("build_seconds", "build_memory", "search_memory", "exact_hundred")
    numbers = {f"{name}_{k}": 0.0025 for name in ("one", "first", "hundred", "recall") for k in (10, 100)}
    row = dict(
        pictures=1000,
        dim=8,
        load=8.0,
        store="int8",
        of="clusters",
        kind="disksq",
        machine="m",
        costs={"int8": 0.97},
        **dict.fromkeys(names, 2e9),
        **numbers,
    )
    (tmp_path / "little_memory.json").write_text(json.dumps([row]))
    assert "| 1,000 x 8 int8, clusters | disksq | 2,000,000,000 | 2 | 2 | 0.003 |" in table.little_memory()
    assert "| 2.5 (2.5) |" in table.little_memory()
    assert "| 1,000 x 8, clusters | 0.970 |" in table.smaller()


@pytest.mark.slow
def test_each_row_is_another_picture_and_always_the_same(tmp_path):
    pictures = [augmented.augmented(augmented.LETTERS, row, 32) for row in (0, 1, 0)]
    assert pictures[0].shape == (32, 32, 3)
    assert (pictures[0] == pictures[2]).all()
    assert (pictures[0] != pictures[1]).any()


def test_flags_without_effect_are_refused(capsys):
    assert little_memory.main(["--images", "p", "--dim", "8"]) == 2
    assert "the vectors of --images have their own" in capsys.readouterr().err
    assert little_memory.main(["--input-size", "8"]) == 2
    assert "name them with --images" in capsys.readouterr().err
