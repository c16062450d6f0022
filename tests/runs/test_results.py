import copy
import json
from pathlib import Path

import pytest

from gluon_cgd.experiment import Experiment
from gluon_cgd.files.whole import digest
from gluon_cgd.runs import collapse, results, schema
from gluon_cgd.runs.results import read_result

RECALL = {"R@1": 0.5}
RESULT = dict(experiment=Experiment().to_dict(), seed=0, classes=4, untrained=RECALL, last=RECALL, best=RECALL)
EVALUATION = {"iteration": 0, "recall": RECALL, "branches": {"SPoC": RECALL}}


def test_a_result_is_read_as_it_was_written(tmp_path):
    for more in ({}, {"files": {"last.params": "0"}, "branches": {"last": {"SPoC": RECALL}, "best": {}}}):
        (tmp_path / "result.json").write_text(json.dumps({**RESULT, **more}))
        assert read_result(tmp_path / "result.json") == {**RESULT, **more}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": 0}, "has 0 classes: delete it"),
        ({"classes": "4"}, "has '4' classes: delete it"),
        ({"last": {"R@1": 1.5}}, "has a recall under 'last' that is not between 0 and 1: delete it"),
        ({"best": None}, "is not the result of a run: delete it"),
        ({"branches": {"best": {"MAC": {"R@1": "0.5"}}}}, "has a recall under 'best' that is not between 0 and 1"),
        ({"branches": []}, "is not the result of a run"),
        ({"files": ["last.params"]}, "is not the result of a run"),
        ({"experiment": "glyphs"}, "is not the result of a run"),
        ({"classes": 10**9}, "has 1000000000 classes, and 10,000,000 are the most: delete it"),
        ({"classes": True}, "has True classes"),
        ({"seed": -1}, "has 'seed' -1, which must be a whole number from 0 to 2,147,483,647: delete it"),
        ({"seed": 0.5}, "has 'seed' 0.5, which must be a whole number"),
        ({"seed": None}, "has 'seed' None"),
        ({"experiment": {"dim": 10**9}}, r"has an experiment that cannot be \(dim 1000000000 must be from 1 to 65536"),
        (
            {"experiment": {"passes": "many"}},
            r"has an experiment that cannot be \(passes 'many' must be a finite number",
        ),
        ({"experiment": {"colour": 1}}, r"has an experiment that cannot be \(unknown experiment field 'colour'"),
        ({"last": {"R@1": float("nan")}}, "has a recall under 'last' that is not between 0 and 1"),
        ({"last": {"R@1": True}}, "has a recall under 'last' that is not between 0 and 1"),
        ({"last": {"R@0": 0.5}}, "has 'R@0' under 'last', which is no name that belongs there"),
        ({"last": {"recall": 0.5}}, "has 'recall' under 'last', which is no name that belongs there"),
        ({"last": {"R@1\n": 0.5}}, "has .* under 'last', which is no name that belongs there"),
        ({"last": {"R@2": 0.5}}, "has recalls under 'last' without R@1"),
        ({"last": {}}, "has no R@1 under 'last'"),
        ({"best": {}}, "has no R@1 under 'best'"),
        ({"branches": {"last": {"SPoC": {}}}}, "has no R@1 under 'last'"),
        ({"history": [{**EVALUATION, "recall": {}}]}, "has no R@1 under 'recall' under 'history'"),
        ({"history": [{**EVALUATION, "branches": {"SPoC": {}}}]}, "has no R@1 under 'branches' under 'history'"),
        ({"history": [{**EVALUATION, "spread": {}}]}, "has no 'same' under 'spread' under 'history'"),
        (
            {"history": [{**EVALUATION, "spread": {"same": 7, "other": 0}}]},
            "has 'same' under 'spread' under 'history' 7",
        ),
        (
            {"history": [{**EVALUATION, "losses": {"ranking": "x"}}]},
            "has 'losses' under 'history' 'x', which must be a",
        ),
        ({"training": [1]}, "has 'training' .*, which must be a table"),
        ({"branches": {"last": {"SPoC": 0.5}}}, "has 'last' 0.5, which must be a table"),
        ({"branches": {"last": 7}}, "has 'last' 7, which must be a table"),
        ({"branches": {"last": {"a" * 300: {}}}}, "has 'aaa.* under 'last', which is no name that belongs there"),
        ({"history": 5}, "has 'history' 5, which must be a list"),
        ({"history": {"iteration": 0}}, "has 'history' .*, which must be a list"),
        ({"history": [5]}, "has 'history' 5, which must be a table"),
        ({"history": [{"iteration": 0}]}, "has no 'recall' under 'history'"),
        ({"history": [{"recall": RECALL}]}, "has no 'iteration' under 'history'"),
        (
            {"history": [{**EVALUATION, "iteration": "0"}]},
            "has 'iteration' under 'history' '0', which must be a whole number",
        ),
        (
            {"history": [{**EVALUATION, "recall": [0.5]}]},
            r"has 'recall' under 'history' \[0.5\], which must be a table",
        ),
        ({"history": [EVALUATION, {**EVALUATION, "branches": {}}]}, "has evaluations under 'history' that differ in"),
        ({"history": [EVALUATION, {**EVALUATION, "recall": {**RECALL, "R@2": 1}}]}, "has evaluations under"),
        ({"seconds": -1}, "has 'seconds' -1, which must be a number from 0"),
        ({"seconds": float("nan")}, "has 'seconds' nan"),
        ({"seconds": "1"}, "has 'seconds' '1'"),
        ({"seconds": 10**400}, "has 'seconds' a?1?000000"),
        ({"iterations": 0}, "has 'iterations' 0"),
        ({"iterations": 1e3}, "has 'iterations' 1000.0"),
        ({"best_iteration": None}, "has 'best_iteration' None"),
        ({"files": {"last.params": 0}}, "has 'files' 0, which must be a text"),
        ({"versions": ["3.11"]}, r"has 'versions' \['3.11'\], which must be a table"),
        ({"versions": {"python": 3}}, "has 'versions' 3, which must be a text"),
        ({"machine": {"name": "x"}}, "has 'machine' {'name': 'x'}, which must be a text"),
        ({"commit": 7}, "has 'commit' 7, which must be a text"),
        ({"commit": "a" * 5000}, "has 'commit' 'a.*, which must be a text of at most 4,096 characters"),
        ({"data": []}, r"has 'data' \[\], which must be a text"),
        ({"weights": 1}, "has 'weights' 1, which must be a text"),
        ({"parts": 0}, "has 'parts' 0"),
        ({"threads": "2"}, "has 'threads' '2'"),
        ({"revision": "2"}, "has 'revision' '2'"),
        ({"device": 0}, "has 'device' 0"),
        ({"parameters_sha256": 0}, "has 'parameters_sha256' 0"),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, dict) else "",
)
def test_a_broken_result_is_refused_with_what_is_wrong(tmp_path, change, message):
    (tmp_path / "result.json").write_text(json.dumps({**RESULT, **change}))
    with pytest.raises(ValueError, match=f"result.json {message}") as refusal:
        read_result(tmp_path / "result.json")
    assert len(str(refusal.value)) < 600


@pytest.mark.parametrize(
    "text", [b"", b"{", b"\0" * 100, b"\xff{}", b"[" * 100_000, b'{"seed": ' + b"9" * 5000 + b"}", b"\0" * 4096]
)
def test_a_result_that_is_no_json_is_damaged(tmp_path, text):
    (tmp_path / "result.json").write_bytes(text)
    with pytest.raises(ValueError, match="result.json .*: (the run is to be trained again|delete it to train again)"):
        read_result(tmp_path / "result.json")


def test_every_recorded_run_and_every_result_of_an_earlier_version_obeys_the_schema():
    files = [f for f in (Path(__file__).parents[2] / "reproduce/results").glob("*.json") if f.name.count("-") > 3]
    assert len(files) > 20
    for file in files:
        recorded = json.loads(file.read_text())
        for run in recorded["runs"]:
            assert schema.RESULT({"experiment": recorded["experiment"], **run}, "") is None, file


def places(value, path=()):
    """The paths of all values in `value`, a JSON structure."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    yield from ([path] if path else [])
    for key, part in parts:
        yield from places(part, (*path, key))


WRONG = (None, True, -1, 0.5, 10**400, float("nan"), "", "x", "<b>", [], [1], {}, {"a": 1}, {"R@1": "x"}, [[]], 1e308)


@pytest.mark.parametrize("wrong", WRONG, ids=lambda value: repr(value)[:12])
def test_whatever_stands_in_one_place_of_a_result_is_refused_or_can_be_shown(wrong):
    """Every reader uses these values as they are: so what is accepted can be used."""
    from gluon_cgd.cards.text import shown
    from reproduce.page import details
    from visualize import curves

    measured = dict(spread={"same": 0.5, "other": None}, losses={"ranking": 0.2})
    whole = {
        **RESULT,
        "history": [EVALUATION, {**EVALUATION, **measured, "iteration": 9}],
        "seconds": 1.5,
        "files": {"a": "0"},
    }
    whole.update(branches={which: {"SPoC": RECALL} for which in schema.STAGES}, versions={"python": "3.11.7"})
    whole.update(
        iterations=9, best_iteration=9, threads=1, parts=1, machine="m", device="cpu(0)", data="d", weights=None
    )
    for path in places(whole):
        changed = copy.deepcopy(whole)
        place = changed
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = wrong
        if not isinstance(changed["experiment"], dict) or schema.RESULT(changed, ""):
            continue
        experiment = Experiment.from_dict(changed["experiment"])
        runs = details.Runs(experiment, ("row",), (changed,), 1, "last")
        assert runs.outcome(changed)
        curves.curves([changed])
        assert all(isinstance(finding, str) for finding in collapse.findings(changed))
        assert all(isinstance(shown(value), str) for value in experiment.changes().values())


def test_what_is_damaged_in_a_finished_run_is_told_and_counts_as_not_done(tmp_path):
    for name in results.BESIDE:
        (tmp_path / name).write_bytes(name.encode())
    files = {name: digest(tmp_path / name) for name in results.BESIDE}
    run = {key: RESULT[key] for key in ("experiment", "seed")}
    (tmp_path / "result.json").write_text(json.dumps({**RESULT, "files": files}))
    told = []
    assert results.finished(tmp_path, run, told.append)["files"] == files
    assert not told
    (tmp_path / "best.params").write_bytes(b"\0" * 11)
    assert results.finished(tmp_path, run, told.append) is None
    assert "best.params is not the file that the run left (its sha256 is another): the run is to be" in told.pop()
    (tmp_path / "best.params").unlink()
    assert results.finished(tmp_path, run, told.append) is None
    assert "best.params is not there any more" in told.pop()
    assert results.finished(tmp_path, run, told.append, missing=False)
    (tmp_path / "ranks.npz").write_bytes(b"")
    assert results.finished(tmp_path, run, told.append, missing=False) is None
    assert "ranks.npz is not the file that the run left" in told.pop()
    (tmp_path / "result.json").write_bytes(b"\0" * 50)
    assert results.finished(tmp_path, run, told.append) is None
    assert "result.json is not JSON" in told.pop()
    (tmp_path / "result.json").write_text(json.dumps({**RESULT, "seed": 1}))
    with pytest.raises(ValueError, match="is of another run"):
        results.finished(tmp_path, run, told.append)


def test_a_run_of_an_earlier_version_has_no_ranks_and_is_done(tmp_path):
    for name in results.PARAMETERS:
        (tmp_path / name).write_bytes(b"")
    files = {name: digest(tmp_path / name) for name in results.PARAMETERS}
    (tmp_path / "result.json").write_text(json.dumps({**RESULT, "files": files}))
    assert results.finished(tmp_path, {key: RESULT[key] for key in ("experiment", "seed")}, pytest.fail)


def test_the_folder_of_the_pictures_may_be_written_in_another_way(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to("photos")

    def run(dataset):
        return {"experiment": Experiment(dataset=dataset).to_dict(), "seed": 0, "data": "a"}

    for written in ("photos/", "./photos", str(tmp_path / "photos"), "link"):
        results.same_run("f", run("photos"), run(written))
    for other in ("photos2", "glyphs"):
        with pytest.raises(ValueError, match=f"is of another run \\(dataset 'photos' there, '{other}' asked for"):
            results.same_run("f", run("photos"), run(other))
