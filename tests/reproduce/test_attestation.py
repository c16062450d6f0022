"""Runs that somebody else made: written as one file, checked, and listed beside ours."""

import json
from pathlib import Path

import pytest

from reproduce import recorded, seal, selection, store
from reproduce.command import main
from reproduce.documents import attestation, record
from reproduce.tables import TABLES
from tests.reproduce.test_recorded import finished_run
from tests.reproduce.test_reproduce import run_of

TABLE1 = (TABLES["table1"],)
RANK, BOTH = (selection.experiment_of(row, True) for row in TABLES["table1"].rows)


def add(runs, experiment, seed, recall, **others):
    """A finished run with an origin."""
    run_of(runs, experiment, seed, recall)
    file = store.folder(runs, experiment, seed) / "result.json"
    about = dict(revision=store.REVISION, machine="A | B, 4 cores", versions={"python": "3.9.1"}, commit="f" * 40)
    about["parameters_sha256"] = f"{seed}{round(1e6 * recall)}".rjust(64, "0")
    file.write_text(json.dumps({**json.loads(file.read_text()), **about, **others}))


@pytest.fixture
def places(tmp_path, monkeypatch):
    """(our recorded runs of Table 1, the runs of somebody else): seeds 0 and 1 of ours, 0 to 2 of theirs."""
    folder, theirs = tmp_path / "results", tmp_path / "theirs"
    folder.mkdir()
    monkeypatch.setattr(recorded, "FOLDER", folder)
    monkeypatch.setattr(recorded.read, "__defaults__", (folder,))
    monkeypatch.setattr(attestation, "FOLDER", folder / "reproductions")
    for seed in range(2):
        add(tmp_path / "ours", RANK, seed, 0.1)
        add(tmp_path / "ours", BOTH, seed, 0.5, machine="ours")
    record.record(tmp_path / "ours", TABLE1, folder)
    for seed in range(3):
        add(theirs, RANK, seed, 0.1)
        add(theirs, BOTH, seed, 0.52 if seed else 0.5)
    return folder, theirs


def attested(theirs, capsys, *more):
    """The file that `--attest` writes of the runs in `theirs`."""
    assert main(["--attest", "--by", "E. Noether", "--runs", str(theirs), *more]) == 0
    return Path(capsys.readouterr().out.split("Written: ")[1].strip())


def rehashed(values):
    """`values` with the SHA-256 that belongs to them."""
    return {**values, "sha256": attestation.sha256(values)}


def test_runs_of_others_are_listed_beside_ours_and_not_mixed_with_them(places, capsys):
    folder, theirs = places
    assert attestation.reproductions() == attestation.EMPTY
    before = {file.name: file.read_bytes() for file in folder.glob("*.json")}
    for seed in range(2):  # Rank's runs would be copies of ours
        file = store.folder(theirs, RANK, seed) / "result.json"
        file.write_text(file.read_text().replace("4 cores", "8 cores"))
    file = attested(theirs, capsys)
    assert main(["--record", "--from", str(file)]) == 0
    assert {file.name: file.read_bytes() for file in folder.glob("*.json")} == before
    assert [run["last"]["R@1"] for run in recorded.read(BOTH)] == [0.5, 0.5]
    lines = attestation.reproductions().splitlines()
    assert len([line for line in lines if "Table 1, mini form" in line]) == 1
    # Of four runs with seeds of ours, Rank's two and one of Both are equal; Both's mean is 51.33, ours 50
    assert (
        "| E. Noether | Table 1, mini form | 6 | 3 of 4 | +0.0 to +1.3 | A \\| B, 8 cores; A \\| B, 4 cores |"
        in lines[2]
    )
    assert "| 3.9.1 | ffffffffff |" in lines[2]
    capsys.readouterr()
    assert main(["--record", "--from", str(file)]) == 0
    assert capsys.readouterr().out == "recorded: nothing new\n"


def test_a_file_says_who_wrote_it_with_what_and_holds_the_runs_as_recorded(places, capsys):
    _, theirs = places
    values = json.loads(attested(theirs, capsys, "table1").read_text())
    assert (values["by"], values["revision"]) == ("E. Noether", store.REVISION)
    assert values["machine"].endswith("cores")
    assert set(values["experiments"]) == {RANK.key(), BOTH.key()}
    runs = values["experiments"][BOTH.key()]["runs"]
    assert [run["seed"] for run in runs] == [0, 1, 2]
    assert all(run["seal"] == seal.seal(BOTH.key(), run) for run in runs)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v["experiments"][BOTH.key()]["runs"][0].update(seed=7), "was changed after it was written"),
        (lambda v: v.update(by="somebody else"), "was changed after it was written"),
        (lambda v: v.update(attestation=2), "is no attestation, it has 'attestation' 2, which must be"),
        (lambda v: v.pop("experiments"), "is no attestation, it has no 'experiments'"),
        (lambda v: v.update(rehashed({**v, "revision": 1})), "is of revision 1 of the training code, and ours is"),
    ],
)
def test_a_file_that_was_changed_or_cannot_be_compared_is_refused(places, capsys, change, message):
    file = attested(places[1], capsys)
    values = json.loads(file.read_text())
    change(values)
    file.write_text(json.dumps(values))
    assert main(["--record", "--from", str(file)]) == 2
    assert message in capsys.readouterr().err
    assert attestation.kept() == []


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("copy", "that are copies of ours: send runs of your own"),
        ("seal", "seed 0, that was changed (its seal is another): ask for the file again"),
        ("no seal", "seed 0, that was changed (its seal is another): ask for the file again"),
        ("twice", "has two runs of"),
        ("foreign", "which is not that of a row of a table: leave it out"),
        ("wrong name", "which is not that of a row of a table: leave it out"),
        ("old run", "that is of another revision than the file says: leave it out"),
    ],
)
def test_runs_that_are_not_what_the_file_says_are_refused_even_with_a_new_hash(places, capsys, kind, message):
    folder, theirs = places
    file = attested(theirs, capsys)
    values = json.loads(file.read_text())
    parts = {BOTH.key(): values["experiments"].pop(BOTH.key())}
    run = parts[BOTH.key()]["runs"][0]
    if kind == "copy":
        parts[RANK.key()] = json.loads(recorded.file_of(RANK, folder).read_text())
    elif kind == "seal":
        run["last"]["R@1"] = 0.9
    elif kind == "no seal":
        del run["seal"]
    elif kind == "twice":
        parts[BOTH.key()]["runs"].append(run)
    elif kind == "old run":
        parts[BOTH.key()]["runs"][0] = seal.sealed(BOTH.key(), {**run, "revision": 1})
    else:
        own = parts.pop(BOTH.key())
        changed = {**own["experiment"], **({"margin": 0.2} if kind == "foreign" else {})}
        parts["x"] = {"experiment": changed, "runs": [seal.sealed("x", one) for one in own["runs"]]}
    file.write_text(json.dumps(rehashed({**values, "experiments": parts})))
    assert main(["--record", "--from", str(file)]) == 2
    assert message in capsys.readouterr().err


def test_a_kept_file_of_an_earlier_revision_is_listed_but_not_compared(places, capsys):
    file = attested(places[1], capsys)
    values = json.loads(file.read_text())
    del values["experiments"][RANK.key()]
    attestation.FOLDER.mkdir()
    (attestation.FOLDER / "old.json").write_text(json.dumps(rehashed({**values, "revision": 1, "by": "<b>A|B</b>"})))
    assert r"| \<b\>A\|B\</b\> | of revision 1 | 3 | - | - |" in attestation.reproductions().splitlines()[2]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--attest"], "does not exist: name the folder that holds the runs to attest"),
        (["--from", "x.json"], "--from x.json works only with --record: add --record"),
        (["table1", "--record", "--from", "x.json"], "--record --from keeps the whole file: leave the tables out"),
        (["--attest", "--record"], "--record and --attest are different things to do: choose one"),
        (["--record", "--by", "me"], "--by me has no effect on --record: leave it out"),
        (["--record", "--from", "none.json"], "none.json"),
    ],
)
def test_flags_that_do_not_go_together_are_refused(flags, message, tmp_path, capsys):
    runs = [] if "--from" in flags else ["--runs", str(tmp_path / "none")]
    if flags == ["--record", "--by", "me"] or flags == ["--attest", "--record"]:
        run_of(tmp_path / "none", RANK, 0, 0.1)
    assert main([*flags, *runs]) == 2
    assert message in capsys.readouterr().err


def test_there_must_be_a_finished_run_of_the_tables(tmp_path, capsys):
    run_of(tmp_path, RANK, 0, 0.1)
    assert main(["table4", "--attest", "--runs", str(tmp_path)]) == 2
    assert "holds no finished run of table4: train one first, or name another folder" in capsys.readouterr().err


def test_attested_runs_have_the_hashes_of_the_ranks_that_recording_keeps(places, capsys):
    folder, theirs = places
    finished_run(theirs, 3)
    values = json.loads(attested(theirs, capsys).read_text())
    record.record(theirs, TABLE1, folder)
    (run,) = (run for run in recorded.read(RANK) if run["seed"] == 3)
    assert set(run["ranks_sha256"]) == {"untrained", "last", "best", "last/SPoC", "last/MAC"}
    (other,) = (run for run in values["experiments"][RANK.key()]["runs"] if run["seed"] == 3)
    assert other["ranks_sha256"] == run["ranks_sha256"]
    assert other["seal"] == run["seal"]
