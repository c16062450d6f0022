"""Training through Slurm: what needs a cluster runs on one that is started here (tests/cluster.py)."""

import os
import pickle
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import mxnet as mx
import pytest

from gluon_cgd.cluster import watch as slurm_jobs
from gluon_cgd.cluster.options import Options, parse_options
from gluon_cgd.engines import environment
from gluon_cgd.engines.choice import Engine
from gluon_cgd.machine import facts
from reproduce import store
from reproduce.training import slurm
from tests.cluster import absent, needs_slurm

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = Options(time_minutes=30, cpus_per_job=1)


@pytest.fixture
def experiment(small_experiment, glyph_folder):
    """600 short iterations on 4 classes of pictures, with a checkpoint every 60."""
    schedule = dict(passes=600 * 4 / 24, batch_classes=2, batch_images=2, evaluations=10)
    return replace(small_experiment, dataset=str(glyph_folder), **schedule)


def command(*words):
    """What a program of Slurm prints."""
    return subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout


def once(file, *words):
    """Start a thread that waits until `file` is there and calls a program of Slurm then; returns the thread."""

    def work():
        end = time.time() + 100
        while not file.exists() and time.time() < end:
            time.sleep(0.02)
        command(*words)

    thread = threading.Thread(target=work)
    thread.start()
    return thread


@pytest.mark.slow
@needs_slurm
def test_a_run_that_is_killed_or_preempted_goes_on_to_the_same_bits_and_one_that_fails_stops_no_other(
    in_cluster, experiment, tmp_path
):
    # The boundary of a loss that is not theirs: other runs of one and the same training
    same = [replace(experiment, margin_boundary=boundary) for boundary in (1.2, 1.3, 1.4)]
    wrong = replace(experiment, learning_rate=1e30)
    names = ("undisturbed", "killed", "preempted", "diverging")
    todo = [(name, one, 0) for name, one in zip(names, (*same, wrong))]
    runs, said, threads = tmp_path / "runs", [], []
    folders = [store.folder(runs, one, 0) for _, one, _ in todo]

    def say(sentence):
        said.append(sentence)
        if not threads:  # the first one names the job
            number = sentence.split(":")[0].split()[-1]
            threads.append(once(folders[1] / "checkpoint.npz", "scancel", f"{number}_1"))
            threads.append(once(folders[2] / "checkpoint.npz", "scancel", "--signal=USR2", f"{number}_2"))

    found = slurm.train(todo, runs, tmp_path, None, OPTIONS, say)
    for thread in threads:
        thread.join()
    assert [(name, one, seed) for name, one, seed, _ in found] == todo
    sentences = [sentence for *_, sentence in found]
    assert sentences[:3] == [None, None, None]
    number = said[0].split(":")[0].split()[-1]
    assert f"diverging, seed 0 (Slurm job {number}_3) failed: " in sentences[3]
    assert "the run has diverged, lower the learning rate; see " in sentences[3]
    log = Path(sentences[3].split("; see ")[1])
    assert log.parent == runs / "slurm"
    assert "the run has diverged" in log.read_text()
    assert f"killed, seed 0 (Slurm job {number}_1): CANCELLED, back in the queue, 1 of 10 times; Ctrl-C" in "\n".join(
        said
    )
    assert f"Slurm job {number}: 3 of 4 runs done, 1 failed, 0 running, 0 waiting" in said
    results = [store.result(runs, one, 0) for one in same]
    assert len({result["parameters_sha256"] for result in results}) == 1
    assert results[0]["history"] == results[1]["history"] == results[2]["history"]
    resumed = ["resumed at iteration" in (folder / "train.log").read_text() for folder in folders]
    assert resumed == [False, True, True, False]


@pytest.mark.slow
@needs_slurm
@pytest.mark.skipif(mx.context.num_gpus() > 0, reason="what is asked for is there")
def test_a_gpu_job_gets_its_gpu_from_slurm_and_says_so_where_mxnet_has_none(in_cluster, experiment, tmp_path):
    options = replace(OPTIONS, gpus_per_job=1, setup=('echo "GPU $CUDA_VISIBLE_DEVICES, $SLURM_JOB_GPUS"',))
    ((*_, sentence),) = slurm.train([("Both", experiment, 3)], tmp_path / "runs", tmp_path, None, options, print)
    assert "Both, seed 3 (Slurm job " in sentence
    assert "failed: device gpu0 is not there: MXNet can use 0 GPUs on this machine" in sentence
    (out,) = (tmp_path / "runs" / "slurm").glob("*_log.out")
    assert "GPU 0, 0\n" in out.read_text()


@pytest.mark.slow
@needs_slurm
@pytest.mark.skipif(environment.found() is None, reason="there is no .venv-torch: .ci/run makes it")
def test_a_job_trains_by_pytorch_in_its_own_environment_and_says_so_where_it_has_no_gpu(
    in_cluster, experiment, tmp_path
):
    short, engine = replace(experiment, passes=2, evaluations=1), Engine("pytorch")
    runs = store.of_engine(tmp_path / "runs", engine)
    ((*_, sentence),) = slurm.train([("Both", short, 0)], runs, tmp_path, None, OPTIONS, print, engine)
    assert sentence is None
    made = store.result(runs, short, 0)["engine"]
    assert (made["name"], made["precision"]) == ("pytorch", "float32")
    if not environment.devices(environment.found())["cuda"]:
        options = replace(OPTIONS, gpus_per_job=1)
        ((*_, sentence),) = slurm.train([("Both", short, 1)], runs, tmp_path, None, options, print, engine)
        assert "failed: device cuda0 is not there: PyTorch can use 0 GPUs" in sentence


@pytest.mark.slow
@needs_slurm
def test_an_interruption_leaves_the_jobs_to_go_on(in_cluster, experiment, tmp_path):
    said, short = [], replace(experiment, passes=1, evaluations=1)

    def say(sentence):
        said.append(sentence)
        if len(said) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        slurm.train([("Rank", short, 0), ("Rank", short, 1)], tmp_path / "runs", tmp_path, None, OPTIONS, say)
    number = said[0].split(":")[0].split()[-1]
    assert said[-1].startswith(f"Slurm job {number} goes on: scancel {number} ends it; the same command")
    end = time.time() + 60
    while not all(store.result(tmp_path / "runs", short, seed) for seed in (0, 1)):
        assert time.time() < end
        time.sleep(0.2)


@pytest.mark.slow
@needs_slurm
def test_what_waits_for_ever_says_why_and_stays_out_of_the_queue_when_it_is_cancelled(
    in_cluster, experiment, tmp_path, monkeypatch
):
    monkeypatch.setattr(slurm_jobs, "PATIENCE", 0)
    said, options = [], replace(OPTIONS, time_minutes=120)  # the partition's limit is an hour

    def say(sentence):
        said.append(sentence)
        if "0 running, 2 waiting (PartitionTimeLimit)" in sentence:
            command("scancel", sentence.split(":")[0].split()[-1])

    found = slurm.train(
        [("Rank", experiment, seed) for seed in (0, 1)], tmp_path / "runs", tmp_path, None, options, say
    )
    assert all("without a result" in sentence and "so it never started" in sentence for *_, sentence in found)
    assert not any("back in the queue" in sentence for sentence in said)


@pytest.mark.slow
@needs_slurm
def test_what_slurm_refuses_is_told_in_its_words(in_cluster, experiment, tmp_path):
    options = replace(OPTIONS, partition="nowhere")
    with pytest.raises(
        ValueError, match="Slurm refused the jobs .*[Ii]nvalid partition.*: check the partition"
    ) as told:
        slurm.train([("Both", experiment, 0)], tmp_path / "runs", tmp_path, None, options, print)
    assert len(str(told.value).splitlines()) == 1


class Leaving:
    """A job as `Watched` sees it."""

    job_id = "7_1"

    def __init__(self, folder):
        self.paths = self
        self.result_pickle, self.stderr = folder / "result.pkl", folder / "log.err"


@pytest.fixture
def watched(tmp_path, monkeypatch):
    """A run that is watched; `watched.asked` are the commands that Slurm got, `watched.said` the sentences."""
    asked, said = [], []
    monkeypatch.setattr(slurm_jobs, "output_of", lambda *words: asked.append(words) or "")
    one = slurm_jobs.Watched(Leaving(tmp_path), "Both, seed 1", 2, said.append)
    one.asked, one.said = asked, said
    return one


@pytest.mark.parametrize("state", sorted(slurm_jobs.KILLED))
def test_a_job_that_is_killed_is_requeued_so_many_times_and_no_more(watched, state, monkeypatch):
    watched.job.stderr.write_text("")
    for _ in range(2):
        watched.look("RUNNING")
        watched.look(state)
    assert watched.asked == [("scontrol", "requeue", "7_1")] * 2
    assert f"{state}, back in the queue, 2 of 2 times" in watched.said[-1]
    watched.look(state)
    assert not watched.finished  # its result may be on its way
    monkeypatch.setattr(slurm_jobs, "PATIENCE", -1)
    watched.look(state)
    assert watched.finished
    assert watched.sentence.startswith(f"Both, seed 1 (Slurm job 7_1) failed: it ended as {state}, without a result")
    assert len(watched.asked) == 2


@pytest.mark.parametrize("state", ["RUNNING", "COMPLETING", "FAILED", "PREEMPTED"])
def test_a_job_whose_way_back_into_the_queue_was_cut_short_is_requeued(watched, state):
    watched.job.stderr.write_text("")
    error = "subprocess.CalledProcessError: Command '['scontrol', 'requeue', '7_1']' died with <Signals.SIGTERM: 15>."
    watched.job.result_pickle.write_bytes(pickle.dumps(("error", f"Traceback ...\n{error}")))
    watched.look(state)
    assert watched.asked == [("scontrol", "requeue", "7_1")]
    assert not watched.finished
    watched.look("RUNNING")
    watched.job.result_pickle.write_bytes(pickle.dumps(("success", None)))
    watched.look("COMPLETED")
    assert watched.finished
    assert watched.sentence is None


@pytest.mark.parametrize("state", ["PENDING", "RUNNING", "COMPLETING", "CONFIGURING", "SUSPENDED", "UNKNOWN"])
def test_a_job_under_way_is_left_alone(watched, state, monkeypatch):
    monkeypatch.setattr(slurm_jobs, "PATIENCE", -1)
    for _ in range(3):
        watched.look(state)
    assert not watched.finished
    assert not watched.asked


def test_a_job_that_slurm_has_forgotten_and_one_out_of_memory_have_failed(watched, monkeypatch):
    monkeypatch.setattr(slurm_jobs, "PATIENCE", -1)
    for state in ("OUT_OF_MEMORY", slurm_jobs.GONE):
        watched.finished = watched.over_since = None
        watched.look(state)
        watched.look(state)
        assert f"failed: it ended as {state}, without a result" in watched.sentence
        assert "so it never started" in watched.sentence
    watched.job.stderr.write_text("killed")
    watched.finish("it ended")
    assert watched.sentence.endswith(f"failed: it ended; see {watched.job.stderr}")


@pytest.mark.skipif("submitit" in absent, reason="submitit is not installed here: requirements-test.txt has it")
def test_what_a_job_left_counts_whatever_its_state(watched):
    trace = "Traceback (most recent call last):\n  ...\nValueError: the loss is nan.\n"
    watched.job.result_pickle.write_bytes(pickle.dumps(("success", None)))
    watched.look(slurm_jobs.GONE)
    assert (watched.finished, watched.sentence) == (True, None)
    watched.job.result_pickle.write_bytes(pickle.dumps(("error", trace)))
    watched.look("RUNNING")
    assert "failed: the loss is nan; " in watched.sentence


def test_slurm_that_does_not_answer_is_waited_for(watched, monkeypatch):
    failed, running, waiting = ({"7_1": (state, "Priority")} for state in ("FAILED", "RUNNING", "PENDING"))
    answers = iter([None, running, None, waiting, failed, failed])
    monkeypatch.setattr(slurm_jobs, "queue", lambda: next(answers))
    monkeypatch.setattr(slurm_jobs, "PATIENCE", -1)
    monkeypatch.setattr(slurm_jobs.time, "sleep", lambda seconds: None)
    said = []
    slurm_jobs.wait([watched], "7", said.append)
    assert said[0] == said[2] == "Slurm job 7: no answer from Slurm, still waiting"
    assert said[1] == "Slurm job 7: 0 of 1 runs done, 0 failed, 1 running, 0 waiting"
    assert said[3] == "Slurm job 7: 0 of 1 runs done, 0 failed, 0 running, 1 waiting (Priority)"
    assert said[-1] == "Slurm job 7: 0 of 1 runs done, 1 failed, 0 running, 0 waiting"


def test_nothing_to_do_needs_no_slurm(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert slurm.train([], "runs", "data", None, OPTIONS, print) == []


def test_a_machine_without_slurm_or_submitit_is_told_the_remedy(small_experiment, tmp_path, monkeypatch):
    def refused():
        with pytest.raises(ValueError, match=".") as told:
            slurm.train([("Both", small_experiment, 0)], tmp_path / "runs", tmp_path, None, OPTIONS, print)
        assert len(str(told.value).splitlines()) == 1
        assert not (tmp_path / "runs").exists()
        return str(told.value)

    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "submitit", type(sys)("submitit"))
    assert "sbatch is not on the PATH: start this on a machine of a Slurm cluster" in refused()
    monkeypatch.setitem(sys.modules, "submitit", None)
    said = refused()
    assert f"{sys.executable} has no submitit" in said
    assert facts.install("requirements-extra.txt") in said


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (dict(time_minutes=-1), "time_minutes -1 must be a whole number from 5"),
        (dict(time_minutes=1.5), "time_minutes 1.5 must be a whole number from 5"),
        (dict(gpus_per_job=-1), "gpus_per_job -1 must be a whole number from 0"),
        (dict(gpus_per_job=2), "gpus_per_job 2 must be 0 or 1"),
        (dict(cpus_per_job=0), "cpus_per_job 0 must be a whole number from 1"),
        (dict(memory_gb=-4), "memory_gb -4 must be a positive number"),
        (dict(memory_gb=float("nan")), "memory_gb nan must be a positive number"),
        (dict(at_once=0), "at_once 0 must be a whole number from 1"),
        (dict(max_requeues=-1), "max_requeues -1 must be a whole number from 0"),
        (dict(partition="a\nrm"), r"partition 'a\nrm' must be a name without blanks"),
        (dict(qos=""), "qos '' must be a name without blanks"),
        (dict(setup="module load cuda"), "setup 'module load cuda' must be a list of lines"),
    ],
)
def test_options_that_no_job_can_have_are_refused_in_a_sentence(wrong, message):
    with pytest.raises(ValueError, match="must be") as told:
        Options(**wrong)
    assert str(told.value).startswith(message)
    assert len(str(told.value).splitlines()) == 1


@pytest.mark.parametrize("name", ["12345", "1", "inf", "1e3", "1_000", "nan"])
def test_a_name_of_the_cluster_may_look_like_a_number(name):
    options = parse_options([f"partition={name}", f"account={name}", f"qos={name}", "cpus_per_job=8", "memory_gb=1.5"])
    assert (options.partition, options.account, options.qos) == (name, name, name)
    assert (options.cpus_per_job, options.memory_gb) == (8, 1.5)


def test_an_option_that_is_given_twice_is_refused_unless_it_is_a_line_of_shell():
    assert parse_options(["setup=a", "setup=b"]).setup == ("a", "b")
    for key, values in (("partition", "ab"), ("cpus_per_job", "48")):
        words = [f"{key}={value}" for value in values]
        with pytest.raises(ValueError, match=f"--slurm {words[1]} gives {key} again, after {values[0]}: say it once"):
            parse_options(words)


def test_a_little_memory_is_not_zero_which_slurm_takes_for_all():
    assert Options(memory_gb=0.0001).parameters()["mem"] == "1M"


def test_a_jobs_script_asks_for_what_the_options_say():
    options = Options("gpus", 60, 1, 3, 1.5, 2, "lab", "high", ("module load cuda",))
    asked = options.parameters()
    assert (asked["partition"], asked["account"], asked["qos"]) == ("gpus", "lab", "high")
    assert (asked["time"], asked["gres"], asked["cpus_per_task"], asked["mem"]) == (60, "gpu:1", 3, "1536M")
    assert asked["array_parallelism"] == 2
    assert asked["setup"][:2] == ["module load cuda", "export OMP_NUM_THREADS=3"]
    assert str(ROOT) in asked["setup"][2]
    assert {"gres", "mem", "partition", "account", "qos"}.isdisjoint(Options().parameters())


def test_a_pickled_job_holds_words_and_numbers_and_imports_no_mxnet(small_experiment):
    job = slurm.Job(small_experiment.to_dict(), 1, "/runs", "/data", None, "cpu")
    assert all(isinstance(value, (str, int, dict, type(None))) for value in vars(job).values())
    code = "import pickle, sys; job = pickle.load(sys.stdin.buffer); print(job.seed, 'mxnet' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=pickle.dumps(job),
        capture_output=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.stdout.split() == [b"1", b"False"]
