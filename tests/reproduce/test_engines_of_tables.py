"""Tables by the PyTorch engine: what trains, where its runs are, which runs are averaged, and what the reports say."""

import copy
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from gluon_cgd.cluster.options import parse_options
from gluon_cgd.engines import choice, environment
from gluon_cgd.engines.choice import MXNET, Engine
from reproduce import averaging, parity, recorded, small, store
from reproduce.auditing import plain
from reproduce.command import main
from reproduce.documents import record
from reproduce.flags import engine_of, parser
from reproduce.page import html
from reproduce.report import trained_by
from reproduce.tables import TABLES, mini
from reproduce.training import backends, local, plan, slurm
from tests.reproduce.test_reproduce import run_of

FLOAT32, TF32, BF16 = (Engine("pytorch", precision) for precision in choice.PRECISIONS)
RANK, BOTH = (mini(row.experiment) for row in TABLES["table1"].rows)


@pytest.fixture(autouse=True)
def nothing_recorded(tmp_path, monkeypatch):
    """No experiment has parity recorded, and there is no GPU."""
    monkeypatch.setattr(parity, "FILE", tmp_path / "parity.json")
    monkeypatch.setattr(choice.gpus, "listed", lambda: None)


def trained(runs, experiment, seed, recall, engine=MXNET):
    """Leave the result of a run by `engine` in the store `runs`."""
    run_of(store.of_engine(runs, engine), experiment, seed, recall)
    if engine != MXNET:
        file = store.folder(store.of_engine(runs, engine), experiment, seed) / "result.json"
        made = dict(name=engine.name, precision=engine.precision, deterministic=engine.deterministic)
        result = {**json.loads(file.read_text()), "engine": made}
        file.write_text(json.dumps(result))


def report(runs, *flags):
    """What `table1 --mini --report` prints of two seeds."""
    return main(["table1", "--mini", "--report", "--seeds", "2", "--runs", str(runs), *flags])


def agreeing(runs, experiment, seeds=5, apart=0.004):
    """Leave runs by both engines in `runs` that differ by `apart`."""
    for seed in range(seeds):
        trained(runs, experiment, seed, 0.8)
        trained(runs, experiment, seed, 0.8 + apart, FLOAT32)


@pytest.mark.parametrize("engine", [FLOAT32, TF32, BF16])
def test_runs_of_each_engine_and_precision_have_a_folder_of_their_own(tmp_path, engine):
    trained(tmp_path, BOTH, 0, 0.5)
    trained(tmp_path, BOTH, 0, 0.7, engine)
    files = sorted(file.relative_to(tmp_path).parts[0] for file in tmp_path.glob("**/result.json"))
    assert files == sorted([BOTH.key(), f"pytorch-{engine.precision}"])
    assert [run["last"]["R@1"] for run in averaging.results(tmp_path, BOTH, 5)] == [0.5]
    assert [run["last"]["R@1"] for run in averaging.results(tmp_path, BOTH, 5, engine)] == [0.7]
    again = engine._replace(deterministic=True)  # repeats bits, and means the same
    assert store.of_engine(tmp_path, again) == store.of_engine(tmp_path, engine)
    assert len(averaging.every(tmp_path, BOTH, again)) == 1


def test_the_report_shows_runs_by_pytorch_as_such_and_says_what_is_left_out_and_why(tmp_path, capsys):
    for seed in range(2):
        trained(tmp_path, BOTH, seed, 0.5)
        trained(tmp_path, BOTH, seed, 0.7, TF32)
    trained(tmp_path, BOTH, 0, 0.6, FLOAT32)
    report(tmp_path)
    said = capsys.readouterr().out
    assert re.search(r"Both +published .*\n +mini +50\.0 ± 0\.0", said)
    assert "runs by PyTorch in tf32:" not in said
    assert "left out, runs of different precision are never averaged: runs by PyTorch in tf32 of Both (2)" in said
    assert "that both engines agree is not recorded for this experiment: runs by PyTorch in float32 of Both (1)" in said
    report(tmp_path, "--engine", "pytorch", "--precision", "tf32")
    said = capsys.readouterr().out
    assert re.search(r"Both +published .*\n +mini +70\.0 ± 0\.0", said)
    assert "runs by PyTorch in tf32: Both (2)" in said
    assert "left out, runs of different precision are never averaged: runs by MXNet of Both (2)" in said


def test_json_names_the_engine_only_where_it_is_not_mxnet(tmp_path, capsys):
    trained(tmp_path, BOTH, 0, 0.7, BF16)
    command = ["table1", "--mini", "--json", "--runs", str(tmp_path)]
    assert main(command) == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows[1]["ours"] is None
    assert "engines" not in rows[0]
    assert rows[1]["left_out"] == [["PyTorch in bf16", 1, "runs of different precision are never averaged"]]
    assert main([*command, "--engine", "pytorch", "--precision", "bf16"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows[1]["engines"] == {"PyTorch in bf16": 1}
    assert "left_out" not in rows[1]


def test_engines_are_averaged_only_where_parity_is_recorded_for_that_experiment(tmp_path, capsys):
    agreeing(tmp_path, BOTH)
    for experiment in (BOTH, RANK):
        trained(tmp_path, experiment, 5, 0.8)
        trained(tmp_path, experiment, 6, 0.9, FLOAT32)
    assert len(averaging.results(tmp_path, BOTH, 7)) == 6
    assert main(["table1", "--mini", "--parity", "--runs", str(tmp_path)]) == 0
    said = capsys.readouterr().out.splitlines()
    few = "has runs of both engines for 0 seeds, and 5 are needed: its runs by both engines are not averaged"
    assert sorted(said) == [f"{BOTH.key()}: recorded", f"not recorded: {RANK.key()} {few}"]
    mixed = averaging.results(tmp_path, BOTH, 7)
    assert [(run["seed"], choice.of(run)) for run in mixed] == [*((seed, MXNET) for seed in range(6)), (6, FLOAT32)]
    assert [run["seed"] for run in averaging.results(tmp_path, RANK, 7)] == [5]
    assert averaging.left_out(tmp_path, BOTH, 7, MXNET) == [(FLOAT32, 5, "another engine has runs with these seeds")]
    trained(tmp_path, BOTH, 7, 0.9, TF32)  # parity is of float32
    assert 7 not in [run["seed"] for run in averaging.results(tmp_path, BOTH, 8)]
    assert main(["table1", "--mini", "--parity", "--runs", str(tmp_path)]) == 0
    assert f"{BOTH.key()}: recorded before" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("seeds", "apart", "why"),
    [
        (4, 0.0, "for 4 seeds, and 5 are needed"),
        (5, 0.02, "mean difference of the engines from +2.00 to +2.00 points of R@1, which may be 1 point or more"),
    ],
)
def test_runs_that_do_not_show_parity_are_not_recorded(tmp_path, capsys, seeds, apart, why):
    agreeing(tmp_path, BOTH, seeds, apart)
    assert main(["table1", "--mini", "--parity", "--runs", str(tmp_path)]) == 0
    assert why in capsys.readouterr().out
    assert not parity.is_recorded(BOTH)
    assert not parity.FILE.exists()


def test_a_record_of_parity_that_was_changed_by_hand_counts_for_nothing(tmp_path):
    agreeing(tmp_path, BOTH)
    both = [store.every(store.of_engine(tmp_path, engine), BOTH) for engine in (MXNET, FLOAT32)]
    assert parity.record(BOTH, *both)
    good = json.loads(parity.FILE.read_text())
    for change in (dict(seeds=[0, 1, 2, 3, 3]), dict(mxnet=[0.8] * 4), dict(pytorch=[0.1] * 5), dict(revision=2)):
        changed = copy.deepcopy(good)
        changed[BOTH.key()].update(change)
        parity.FILE.write_text(json.dumps(changed))
        assert not parity.is_recorded(BOTH)
    parity.FILE.write_text("[]")
    with pytest.raises(ValueError, match="parity.json has contents .*: take it from the repository again"):
        parity.is_recorded(BOTH)


@pytest.mark.parametrize(("spread", "mean", "agree"), [(0.02, 0.0, False), (0.005, 0.0, True), (0.005, 0.008, False)])
def test_means_are_shown_to_be_less_than_a_point_apart_whatever_single_runs_do(spread, mean, agree):
    """90 % intervals by hand: ten pairs, t = 1.833; deviation 2.11 and .53 points; half widths 1.22 and .31 points."""
    mxnet = [0.8] * 10
    pytorch = [0.8 + mean + spread * (-1) ** seed for seed in range(10)]
    assert (not parity.disagreement(dict(seeds=list(range(10)), mxnet=mxnet, pytorch=pytorch))) == agree
    assert not parity.disagreement(dict(seeds=list(range(10)), mxnet=mxnet, pytorch=[0.809] * 10))


def test_the_record_of_the_repository_can_be_read():
    known = parity.read(Path(parity.__file__).with_name("parity.json"))
    assert all(not parity.disagreement(compared) for compared in known.values())


def test_where_the_engines_agree_a_run_by_the_other_one_is_not_trained_again(tmp_path):
    agreeing(tmp_path, BOTH)
    both = [store.every(store.of_engine(tmp_path, engine), BOTH) for engine in (MXNET, FLOAT32)]
    trained(tmp_path, BOTH, 5, 0.8)

    def missing(engine=FLOAT32, needed=False):
        wanted = plan.wanted([TABLES["table1"]], 7, True, store.of_engine(tmp_path, engine), "Both")
        return [run.seed for run in averaging.missing(tmp_path, wanted, engine, needed)]

    assert missing() == [5, 6]
    parity.record(BOTH, *both)
    assert missing() == [6]
    assert missing(needed=True) == [5, 6]
    assert missing(TF32) == list(range(7))


def test_the_plan_counts_what_the_same_command_would_not_train(tmp_path, capsys):
    agreeing(tmp_path, BOTH)
    both = [store.every(store.of_engine(tmp_path, engine), BOTH) for engine in (MXNET, FLOAT32)]
    trained(tmp_path, BOTH, 5, 0.8)
    ask = ["table1", "--mini", "--plan", "--engine", "pytorch", "--seeds", "7", "--runs", str(tmp_path)]
    told = []
    for _ in range(2):
        assert main(ask) == 0
        told.append(capsys.readouterr().out.split("together")[1].split()[:5])
        parity.FILE.exists() or parity.record(BOTH, *both)
    assert [words[2:] for words in told] == [["5", "0", "9"], ["6", "0", "8"]]


def test_runs_that_lie_in_another_engines_place_are_not_averaged(tmp_path):
    trained(tmp_path, BOTH, 0, 0.5)
    trained(tmp_path, BOTH, 1, 0.7, TF32)
    there = store.folder(store.of_engine(tmp_path, TF32), BOTH, 1)
    there.rename(store.folder(tmp_path, BOTH, 1))
    with pytest.raises(
        ValueError, match="is of another run .engine .pytorch in tf32. there, .mxnet in float32. asked for"
    ):
        store.results(tmp_path, BOTH, 2)


def test_what_is_recorded_is_by_one_engine(tmp_path):
    trained(tmp_path, BOTH, 0, 0.7, TF32)
    folder = tmp_path / "recorded"
    tables = [TABLES["table1"]]
    assert record.record(store.of_engine(tmp_path, TF32), tables, folder) == [f"{BOTH.key()}.json"]
    assert [choice.of(run) for run in recorded.read(BOTH, folder)] == [TF32]
    trained(tmp_path, BOTH, 1, 0.7)
    with pytest.raises(ValueError, match="would hold runs by MXNet and by PyTorch in tf32: delete it to record only"):
        record.record(tmp_path, tables, folder)


def test_rows_by_different_engines_are_not_recorded_beside_each_other(tmp_path):
    folder, tables = tmp_path / "recorded", [TABLES["table1"]]
    trained(tmp_path, BOTH, 0, 0.7)
    record.record(tmp_path, tables, folder)
    trained(tmp_path, RANK, 0, 0.5, TF32)
    with pytest.raises(ValueError, match="Table 1 would compare runs by MXNet and by PyTorch in tf32: record all its"):
        record.record(store.of_engine(tmp_path, TF32), tables, folder)
    assert not recorded.file_of(RANK, folder).exists()
    trained(tmp_path, RANK, 0, 0.5)
    assert record.record(tmp_path, tables, folder) == [f"{RANK.key()}.json"]


@pytest.mark.parametrize("changed", [dict(parts=2), dict(weights="f" * 64), dict(data="other"), dict(revision=2)])
def test_runs_that_are_not_averaged_are_neither_recorded_nor_attested_nor_on_the_page(tmp_path, changed, capsys):
    for seed in range(2):
        trained(tmp_path, BOTH, seed, 0.7)
    file = store.folder(tmp_path, BOTH, 1) / "result.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changed}))
    folder = tmp_path / "recorded"
    with pytest.raises(ValueError, match="keep only those that agree"):
        record.record(tmp_path, [TABLES["table1"]], folder)
    assert not folder.exists()
    for flags in (["--attest"], ["--html", "--mini"]):
        assert main(["table1", *flags, "--runs", str(tmp_path)]) == 2
        assert "keep only those that agree" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("run", "cell"),
    [
        (dict(versions={"python": "3.11.7", "mxnet": "1.9.1", "numpy": "1.23.5"}), "3.11.7, 1.9.1, 1.23.5"),
        (
            dict(
                versions={"python": "3.12.1", "torch": "2.13.0", "numpy": "2.2.6", "cuda": "13.0"},
                engine={"name": "pytorch", "precision": "tf32"},
            ),
            "3.12.1, PyTorch 2.13.0 in tf32, 2.2.6, CUDA 13.0",
        ),
        (dict(versions=None), ""),
    ],
)
def test_documents_and_audit_name_the_engine_beside_its_version(run, cell):
    assert trained_by.versions(run) == plain.software(run) == cell


def test_the_page_names_the_engine_and_the_folder_of_its_runs(tmp_path):
    trained(tmp_path, BOTH, 0, 0.7, TF32)
    text = html.page([TABLES["table1"]], lambda one: averaging.every(tmp_path, one, TF32), True)
    assert "PyTorch in tf32 (1 run)" in text
    assert f"pytorch-tf32/{BOTH.key()}/r3-seed0" in text
    trained(tmp_path, BOTH, 0, 0.7)
    text = html.page([TABLES["table1"]], lambda one: averaging.every(tmp_path, one), True)
    assert "Trained by" not in text
    assert f"<code>{BOTH.key()}/r3-seed0" in text
    assert main(["table1", "--mini", "--html", "--runs", str(tmp_path)]) == 0
    text = (tmp_path / "reports" / "reproduction-mini.html").read_text()
    assert "left out, runs of different precision are never averaged: runs by PyTorch in tf32 of Both (1)" in text
    flags = ["--engine", "pytorch", "--precision", "tf32", "--runs", str(tmp_path)]
    assert main(["table1", "--mini", "--html", *flags]) == 0
    text = (store.of_engine(tmp_path, TF32) / "reports" / "reproduction-mini.html").read_text()
    assert f"bash reproduce/table1.sh --mini {' '.join(flags)}<" in text


def test_parity_is_of_the_form_that_is_named(tmp_path, capsys):
    own = small.small_table(TABLES["table1"]).rows[1].mini
    agreeing(tmp_path, own)
    assert main(["--parity", "--small", "--runs", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"{own.key()}: recorded\n"


@pytest.mark.parametrize(
    ("flags", "capability", "engine"),
    [
        ([], None, MXNET),
        ([], "9.0", FLOAT32),
        (["--mini"], "9.0", MXNET),
        (["--mini", "--engine", "pytorch"], None, FLOAT32),
        (["--report"], "9.0", FLOAT32),
        (["--backend", "slurm"], "9.0", MXNET),
        (["--ctx", "cuda0,cuda1"], None, FLOAT32),
        (["--ctx", "cpu"], "9.0", MXNET),
        (["--engine", "pytorch", "--precision", "bf16", "--deterministic"], None, BF16._replace(deterministic=True)),
    ],
)
def test_the_engine_of_a_table_is_the_one_asked_for_or_that_of_the_gpu(monkeypatch, flags, capability, engine):
    found = capability and [{"index": "0", "name": "H100", "compute_cap": capability}]
    monkeypatch.setattr(choice.gpus, "listed", lambda: found)
    assert engine_of(parser("").parse_args(["table1", *flags])) == engine


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["table1", "--precision", "tf32"], "--precision tf32 is PyTorch's, and MXNet trains in float32"),
        (["table1", "--engine", "pytorch", "--ctx", "gpu0"], "--ctx gpu0 is no device of PyTorch"),
        (["table1", "--engine", "pytorch", "--mini", "--parts", "2"], "--parts 2 is MXNet's: leave it out"),
        (["efficiency", "--engine", "pytorch"], "--engine pytorch has no effect on efficiency: leave it out"),
        (["--write", "--engine", "pytorch"], "--engine pytorch has no effect on --write: leave it out"),
        (["table1", "--report", "--engine", "pytorch", "--deterministic"], "--deterministic has no effect on --report"),
        (["table1", "--mini", "--parity", "--seeds", "5"], "--seeds 5 has no effect on --parity: leave it out"),
        (
            ["table1", "--report", "--runs", "x/pytorch-tf32"],
            "x/pytorch-tf32 is the folder of runs by PyTorch in tf32: name x,",
        ),
        (["table1", "--mini", "--parity"], "has no experiment of table1 with finished runs by both engines"),
    ],
)
def test_what_does_not_go_together_is_refused_in_a_sentence(tmp_path, capsys, flags, told):
    named = [] if "--write" in flags or "--runs" in flags else ["--runs", str(tmp_path / "runs")]
    assert main([*flags, *named]) == 2
    said = capsys.readouterr().err.strip()
    assert told in said.splitlines()[-1]
    assert "Traceback" not in said


@pytest.fixture
def asked(monkeypatch):
    """What `store.train` is asked for instead of training."""
    calls = []
    monkeypatch.setattr(environment, "interpreter", lambda: Path("python"))
    monkeypatch.setattr(backends, "devices_of", lambda ctx, engine: ctx.split(","))
    monkeypatch.setattr(backends.store, "train", lambda *arguments, **named: calls.append((arguments, named)))
    return calls


def test_several_gpus_share_a_run_here_and_train_a_run_each_locally(asked, monkeypatch, tmp_path):
    place = (tmp_path / "runs", tmp_path / "data", "cuda0,cuda1", None)
    backends.train([("a", BOTH, 0)], None, True, *place, engine=TF32)
    ((arguments, _),) = asked
    assert arguments[4] == "cuda0,cuda1"
    assert arguments[-1] == TF32
    workers = []
    monkeypatch.setattr(local, "train", lambda todo, devices, threads, **more: workers.append((devices, more)) or [])
    backends.train([("a", BOTH, 0)], "local", False, *place, engine=TF32)
    ((devices, more),) = workers
    assert devices == ["cuda0", "cuda1"]
    assert more["engine"] == TF32


def test_the_store_asks_for_the_engine_by_the_names_that_fit_has(monkeypatch, tmp_path, small_split):
    calls = []
    monkeypatch.setattr("gluon_cgd.train.fit", lambda *arguments, **named: calls.append(named))
    monkeypatch.setattr(store, "load_data", lambda *_: small_split)
    store.train(tmp_path, BOTH, 0, None, "cuda0", None, False, 1, BF16._replace(deterministic=True))
    store.train(tmp_path, BOTH, 0, None, None, None, False)
    assert calls[0] == dict(progress=False, parts=1, engine="pytorch", precision="bf16", deterministic=True)
    assert calls[1] == dict(progress=False, parts=1)


def test_a_slurm_job_trains_by_its_engine_on_the_gpu_that_slurm_gives_it(asked, monkeypatch, tmp_path):
    submitted = []
    monkeypatch.setattr(slurm.jobs, "run", lambda tasks, *_: submitted.extend(tasks) or [None])
    for gpus, device in ((1, "cuda0"), (0, "cpu")):
        options = parse_options([f"gpus_per_job={gpus}"])
        slurm.train([("Both", BOTH, 3)], tmp_path, tmp_path, None, options, print, TF32)
        job = submitted.pop()
        assert (job.device, job.engine) == (device, TF32._asdict())
        job()
        arguments, named = asked.pop()
        assert (arguments[4], named["engine"]) == (device, TF32)


def test_an_experiment_has_the_key_that_it_had_before_engines():
    assert RANK.key() == replace(RANK).key()
    assert (recorded.FOLDER / f"{BOTH.key()}.json").is_file()
    assert {choice.of(run) for run in recorded.read(BOTH)} == {MXNET}
