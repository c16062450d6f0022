"""`python -m benchmarks.little_memory`, as it is typed, and its table."""

import json
import multiprocessing
import subprocess
import sys
from importlib.util import find_spec
from types import SimpleNamespace

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


def test_a_row_takes_the_place_of_one_that_was_measured_in_the_same_way_alone(tmp_path, monkeypatch):
    class Alone:
        """A step in this process."""

        def __init__(self, target, args):
            name, _, _, self.sender = args
            self.values = {"dim": args[1].dim, "kind": "disksq"} if name == "fill" else {}

        def start(self):
            self.sender.send(self.values)

        def join(self):
            pass

    context = SimpleNamespace(Pipe=multiprocessing.Pipe, Process=Alone)
    monkeypatch.setattr(little_memory.multiprocessing, "get_context", lambda kind: context)
    monkeypatch.setattr(table, "RESULTS", tmp_path)
    for dim, target in ((64, "0.95"), (32, "0.95"), (64, "0.9"), (64, "0.95")):
        assert little_memory.main(["--pictures", "400", "--dim", str(dim), "--recall", target, "--record"]) == 0
    kept = [(row["dim"], row["target"]) for row in table.recorded("little_memory")]
    assert kept == [(32, 0.95), (64, 0.9), (64, 0.95)]
