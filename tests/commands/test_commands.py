"""The command line of gluon_cgd, as a person types it."""

import json
import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import mxnet as mx
import pytest

from gluon_cgd.__main__ import main, parser
from gluon_cgd.datasets import glyphs
from gluon_cgd.experiment import Experiment
from gluon_cgd.models.opened import load_trained
from tests.conftest import write_cars

ROOT = Path(__file__).resolve().parents[2]
SMALL = [
    "--backbone",
    "cifar_resnet10",
    "--no-pretrained",
    "--input-size",
    "16",
    "--dim",
    "12",
    "--passes",
    "1",
    "--batch-classes",
    "3",
    "--batch-images",
    "2",
    "--evaluations",
    "1",
]


@pytest.fixture
def cars(tmp_path):
    return write_cars(tmp_path / "cars", classes=(1, 2, 3, 99, 100), images=4)


def refused(capsys, *arguments):
    """What is said on stderr when the command line is refused."""
    assert main(list(arguments)) == 2
    captured = capsys.readouterr()
    sentence = captured.err.strip().splitlines()[-1]
    assert "Traceback" not in captured.err
    assert not captured.out
    return sentence


def train(cars, tmp_path, *more):
    return [
        "train",
        "--dataset",
        "cars196",
        "--data",
        str(cars),
        "--allow-partial",
        "--out",
        str(tmp_path / "run"),
        *SMALL,
        *more,
    ]


def test_a_model_is_trained_and_evaluated(cars, tmp_path, capsys):
    assert main(train(cars, tmp_path, "--descriptors", "SMG")) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[1].startswith("last       R@1 ")
    assert (
        main(["evaluate", "--checkpoint", str(tmp_path / "run"), "--data", str(cars), "--allow-partial", "--json"]) == 0
    )
    recall = json.loads(capsys.readouterr().out)["recall"]
    assert recall == json.loads((tmp_path / "run/result.json").read_text())["last"]
    assert (
        main(
            [
                "evaluate",
                "--checkpoint",
                str(tmp_path / "run"),
                "--data",
                str(cars),
                "--allow-partial",
                "--which",
                "best",
            ]
        )
        == 0
    )
    assert capsys.readouterr().out.startswith("R@1 ")


@pytest.mark.slow
def test_two_devices_train_and_evaluate_one_model(cars, tmp_path, capsys):
    two = ["--ctx", "cpu0,cpu1"]
    assert main(train(cars, tmp_path, *two)) == 0
    result = json.loads((tmp_path / "run/result.json").read_text())
    assert result["device"] == "cpu(0), cpu(1)"
    capsys.readouterr()
    asked = ["evaluate", "--checkpoint", str(tmp_path / "run"), "--data", str(cars), "--allow-partial", "--json"]
    assert main([*asked, *two]) == 0
    assert json.loads(capsys.readouterr().out)["recall"] == result["last"]


@pytest.mark.slow
def test_a_model_can_be_evaluated_on_another_dataset(cars, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(glyphs, "TRAIN_IMAGES", 1)
    monkeypatch.setattr(glyphs, "TEST_IMAGES", 2)
    assert main(train(cars, tmp_path)) == 0
    assert main(["evaluate", "--checkpoint", str(tmp_path / "run"), "--dataset", "glyphs", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["dataset"] == "glyphs"


def test_a_published_model_and_a_symbol_have_the_recall_of_the_run(cars, tmp_path, capsys):
    assert main(train(cars, tmp_path)) == 0
    recall = json.loads((tmp_path / "run/result.json").read_text())["last"]
    capsys.readouterr()
    assert main(["publish", "--checkpoint", str(tmp_path / "run"), "--out", str(tmp_path / "models")]) == 0
    file = capsys.readouterr().out.strip()
    assert json.loads(Path(file).with_suffix(".json").read_text())["recall"] == recall
    data = ["--data", str(cars), "--allow-partial", "--json"]
    assert main(["evaluate", "--checkpoint", file, *data]) == 0
    assert json.loads(capsys.readouterr().out)["recall"] == recall
    net, _ = load_trained(file)
    net(mx.nd.zeros((1, 3, 16, 16)))
    net.export(str(tmp_path / "released"))
    symbol = ["evaluate", "--symbol", str(tmp_path / "released"), "--input-size", "16"]
    assert main([*symbol, "--dataset", "cars196", *data]) == 0
    assert json.loads(capsys.readouterr().out)["recall"] == recall
    assert "name a --dataset" in refused(capsys, *symbol, *data)
    assert "released-0009.params does not exist" in refused(
        capsys, *symbol, "--dataset", "cars196", "--epoch", "9", *data
    )


def test_every_field_of_an_experiment_has_a_flag_with_its_default_and_meaning(capsys):
    names = set(Experiment().to_dict())
    assert not names & set(vars(parser().parse_args(["train", "--out", "x"])))  # what is not given is not there
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    for field in fields(Experiment):
        shown = " ".join(field.metadata["meaning"].split())
        assert f"--{field.name.replace('_', '-')} " in text
        assert (f"{shown} (" if field.default != "" else shown) in text
    options = parser().parse_args(
        ["train", "--out", "x", "--no-pretrained", "--keep-stride", "--decay-at", "0.6", "0.8", "--no-classification"]
    )
    assert {name: value for name, value in vars(options).items() if name in names} == {
        "pretrained": False,
        "keep_stride": True,
        "decay_at": [0.6, 0.8],
        "classification": False,
    }
    options = parser().parse_args(["train", "--out", "x", "--no-keep-stride", "--decay-at"])
    assert (options.keep_stride, options.decay_at) == (False, [])


def test_the_help_says_what_a_flag_is_for(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "--temperature F temperature of the softmax, 1 is off (equation 4) (0.5)" in text
    assert "--dim N length" in text
    assert "--backbone NAME the network that computes the features (section 3.1) (resnet50); one of resnet50," in text
    assert "(section 3.1, Table 7) (as in the paper)" in text


def test_without_a_command_the_commands_are_listed(capsys):
    assert main([]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "Train and use CGD, image retrieval by a combination of global descriptors (arXiv 1903.10663)." in said
    assert "Exit status: 0 done" in said
    assert "doctor check what this machine has ready" in said


@pytest.mark.parametrize(
    "typed", [["train", "--out", "x", "--chekpoint-every", "5"], ["evaluate", "--chekpoint", "runs/x"]]
)
def test_a_misspelt_flag_is_refused_by_its_command_with_the_flag_that_is_meant(typed, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(typed)
    said = capsys.readouterr().err
    assert said.startswith(f"usage: python -m gluon_cgd {typed[0]} ")
    wrong = typed[-2]
    assert f"{wrong}: did you mean {wrong.replace('chek', 'check')}?" in said


def test_only_a_misspelt_flag_is_said_to_be_one(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["train", "--no-pretrained", "--margi", "0.2", "--held-out=0.3", "--zzz"])
    assert "did you mean" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--backbone", "resnet51"], "backbone 'resnet51' is unknown"),
        (["--descriptors", "SS"], "descriptors 'SS' is unknown"),
        (["--dim", "7", "--descriptors", "SM"], "dim 7 must be divisible by the 2 branches"),
        (["--batch-classes", "1"], "batch_classes 1 must be at least 2"),
        (["--batch-classes", "40"], "cannot be drawn from 3 training classes"),
        (["--ctx", "gpu0"], "device gpu0 is not there"),
        (["--ctx", "tpu"], "device 'tpu' is unknown"),
        (["--ctx", "cpu0,cpu0"], "cpu(0), cpu(0) have one twice"),
        (["--ctx", "cpu0,cpu1,cpu2,cpu3"], "a batch of 6 pictures is too small for 4 devices"),
        (["--dataset", "flowers"], "dataset 'flowers' is unknown"),
        (["--dataset", ""], "dataset '' is empty: name a benchmark, a folder or a .csv file"),
        (["--dataset", __file__], "test_commands.py is a file, but no .csv file: choose"),
        (["--data", __file__], "test_commands.py is a file: --data names the folder that holds the datasets"),
        (["--data", "nowhere"], "nowhere, the folder of cars196, does not exist"),
        (["--pretrained", "--weights", "nowhere.params", "--backbone", "squeezenet1.1"], "nowhere.params"),
        (["--weights", "some.params"], "--weights and --no-pretrained contradict each other"),
        (["--checkpoint-every", "0"], "checkpoint_every 0 must be at least 1"),
        (["--learning-rate", "nan"], "learning_rate nan must be a finite number"),
        (["--passes", "1e308"], "passes 1e+308 must be positive and at most 100000"),
        (["--dim", "1000000000"], "dim 1000000000 must be from 1 to 65536"),
        (["--batch-classes", "1000000000"], "batch_classes 1000000000 must be at least 2 and at most 16384"),
        (["--input-size", "1000000"], "input_size 1000000 must be a multiple of 8 from 16 to 4096"),
        (["--evaluations", "1000000000"], "evaluations 1000000000 must be from 1 to 10000"),
        (["--seed", "10000000000000"], "seed 10000000000000 must be from 0 to 2147483647"),
        (["--parts", "1000000000"], "a batch of 6 pictures is too small for 1000000000 parts"),
        (["--gem-minimum", "1e-300"], "gem_minimum 1e-300 must be from 1e-30 to 1e6"),
    ],
)
def test_bad_input_is_refused_in_a_sentence(cars, tmp_path, capsys, more, message):
    assert message in refused(capsys, *train(cars, tmp_path, *more))


def test_more_runs_of_each_configuration_than_anybody_makes_are_refused(cars, tmp_path, capsys):
    for seeds in ("10000000000000", "0", "-1"):
        said = refused(capsys, "choose", "--dataset", "glyphs", "--out", str(tmp_path), "--seeds", seeds)
        assert f"--seeds {seeds} must be at least 1 and at most 1000" in said


def test_a_value_of_thousands_of_letters_is_shown_by_its_beginning(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["train", "--out", "x", "--dim", "9" * 5000])
    said = capsys.readouterr().err
    assert f"argument --dim: invalid int value: '{'9' * 79}... (5,002 characters)" in said


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("a missing picture", lambda f: f.unlink(), "000002.jpg"),
        ("a cut picture", lambda f: f.write_bytes(f.read_bytes()[:-50]), "000002.jpg is cut off"),
        ("an empty picture", lambda f: f.write_bytes(b""), "000002.jpg is empty"),
        ("no picture", lambda f: f.write_bytes(b"<html>404</html>"), "000002.jpg is not a picture"),
    ],
)
def test_a_bad_picture_is_refused_by_name(cars, tmp_path, capsys, name, change, message):
    change(cars / "car_ims/000002.jpg")
    arguments = train(cars, tmp_path)
    if name == "a missing picture":
        arguments.remove("--allow-partial")
    assert message in refused(capsys, *arguments)
    assert not list((tmp_path / "cache").rglob("*.uint8"))


def test_a_box_outside_its_picture_is_refused(tmp_path, capsys):
    cars = write_cars(tmp_path / "cars", classes=(1, 2, 3, 99), images=2, box=(10, 10, 200, 200))
    assert "is empty or outside of" in refused(capsys, *train(cars, tmp_path))


def test_an_empty_dataset_is_refused(capsys):
    assert "dataset '' is empty: name a benchmark" in refused(capsys, "data", "")


def test_a_wrong_count_is_refused(cars, tmp_path, capsys):
    arguments = train(cars, tmp_path)
    arguments.remove("--allow-partial")
    assert "8 test pictures of 2 classes, where cars196 has 8,054 of 98" in refused(capsys, *arguments)


def test_an_unreadable_checkpoint_is_refused(cars, tmp_path, capsys):
    assert "holds no finished run" in refused(capsys, "evaluate", "--checkpoint", str(tmp_path), "--data", str(cars))
    assert main(train(cars, tmp_path)) == 0
    capsys.readouterr()
    (tmp_path / "run/last.params").write_bytes(b"no parameters")
    assert "last.params is not the file that the run left" in refused(
        capsys, "evaluate", "--checkpoint", str(tmp_path / "run"), "--data", str(cars), "--allow-partial"
    )


def test_a_run_of_another_experiment_is_refused(cars, tmp_path, capsys):
    assert main(train(cars, tmp_path)) == 0
    capsys.readouterr()
    assert "is of another run (margin 0.1 there, 0.3 asked for)" in refused(
        capsys, *train(cars, tmp_path, "--margin", "0.3")
    )


@pytest.mark.slow
def test_no_traceback_reaches_a_person(tmp_path):
    for arguments in (
        ["train", "--out", "/proc/nowhere/run", *SMALL, "--dataset", "glyphs"],
        ["evaluate", "--checkpoint", str(tmp_path)],
    ):
        run = subprocess.run(
            [sys.executable, "-m", "gluon_cgd", *arguments],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            env=dict(
                os.environ,
                GLUON_CGD_CACHE=str(tmp_path / "none" / "x") if "/proc" not in arguments[2] else "/proc/nowhere",
            ),
        )
        assert run.returncode == 2
        assert "Traceback" not in run.stderr


@pytest.mark.slow
def test_another_users_finished_run_can_be_used(glyph_folder, tmp_path, capsys, monkeypatch, other_user):
    run, mine = tmp_path / "shared/run", tmp_path / "mine"
    mine.mkdir()
    mine.chmod(0o777)
    network = ["--backbone", "cifar_resnet10", "--no-pretrained", "--input-size", "16", "--dim", "8"]
    schedule = ["--passes", "1", "--batch-classes", "4", "--batch-images", "2", "--evaluations", "1"]
    command = ["train", "--dataset", str(glyph_folder), *network, *schedule, "--out", str(run)]
    assert main(command) == 0
    printed = capsys.readouterr().out
    for file in ("card.md", "card.png"):
        (run / file).unlink()
    before = {file.name: file.read_bytes() for file in run.iterdir()}
    monkeypatch.setenv("GLUON_CGD_CACHE", str(mine / "cache"))
    with other_user(tmp_path / "shared"):
        assert main(command) == 0  # done already
        again = capsys.readouterr().out
        assert main(["evaluate", "--checkpoint", str(run)]) == 0
        assert main(["card", "--checkpoint", str(run)]) == 2
        refused = capsys.readouterr().err
        assert main(["card", "--checkpoint", str(run), "--out", str(mine / "card")]) == 0
    assert again.splitlines()[:-1] == [line for line in printed.splitlines() if not line.startswith("Written: ")]
    assert "`card --out` writes a card elsewhere" in again
    assert f"{run} may not be written to by this user: add --out DIR" in refused
    assert (mine / "card" / "card.md").read_text().startswith("# cgd_sg_cifar_resnet10_8 on ")
    assert {file.name: file.read_bytes() for file in run.iterdir()} == before
