"""`python visualize/similarity.py` as a person types it, on a model of a few steps."""

import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import mxnet as mx
import numpy as np
import pytest
from PIL import Image

from gluon_cgd.experiment import Experiment
from gluon_cgd.train import fit
from visualize import similarity

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def runs(tmp_path_factory, small_split):
    """A folder with one trained SM model, and nothing else."""
    folder = tmp_path_factory.mktemp("runs")
    os.environ["GLUON_CGD_CACHE"] = str(folder / "cache")
    schedule = dict(passes=0.2, batch_classes=4, batch_images=2, evaluations=1)
    small = dict(dataset="glyphs", backbone="cifar_resnet10", pretrained=False, input_size=32, dim=8)
    fit(Experiment(descriptors="SM", **small, **schedule), small_split, folder / "key" / "r1-seed0")
    return folder


def photo(file, size=(90, 60), mode="RGB"):
    pixels = np.random.default_rng(sum(size)).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(file)
    return str(file)


@pytest.fixture
def pair(tmp_path):
    return [photo(tmp_path / "a.jpg"), photo(tmp_path / "b.png", (50, 80))]


def test_no_photo_and_no_numbers_of_something_else_are_overwritten(pair, tmp_path, capsys):
    before = Path(pair[1]).read_bytes()
    assert similarity.main([*pair, "--out", pair[1]]) == 2
    assert capsys.readouterr().err == f"--out {pair[1]} would overwrite {pair[1]}, which is read: name another file\n"
    assert Path(pair[1]).read_bytes() == before
    numbers = tmp_path / "result.json"
    for content in ('{"last": 1}', "[]", "7", "words"):
        numbers.write_text(content)
        assert similarity.main([*pair, "--out", str(tmp_path / "result.png")]) == 2
        rule = "where the numbers go, is there and holds something else: name another --out"
        assert capsys.readouterr().err == f"{numbers}, {rule}\n"
        assert numbers.read_text() == content
    numbers.write_text('{"drawn": []}')  # an earlier call wrote it
    similarity.check_numbers(numbers)
    numbers.unlink()
    numbers.mkdir()
    assert similarity.main([*pair, "--out", str(tmp_path / "result.png")]) == 2
    assert "result.json is a folder" in capsys.readouterr().err


def test_a_pretrained_network_is_not_said_to_be_trained_on_something():
    model = SimpleNamespace(about=dict(name="sm"), experiment=Experiment("my/photos"))
    assert similarity.described(model, "runs/a") == "sm, trained on photos (runs/a)"
    model = SimpleNamespace(about=dict(name="smg", pretrained="gluoncv2:resnet20_cub"), experiment=Experiment())
    assert similarity.described(model, "a.params") == "smg (a.params)"


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_a_pair_is_drawn_with_its_numbers_beside(runs, pair, tmp_path, capsys, suffix):
    out = tmp_path / f"seen.{suffix}"
    options = ["--runs", str(runs), "--out", str(out), "--per-branch", "--show-sum"]
    assert similarity.main([*pair, *options]) == 0
    printed = capsys.readouterr().out
    assert f"trained on glyphs ({runs / 'key' / 'r1-seed0'})" in printed
    assert out.stat().st_size > 5000
    values = json.loads((tmp_path / "seen.json").read_text())
    assert f"cosine {values['cosine']:.4f}" in printed
    assert np.sum(values["drawn"][0]["map1"]) == pytest.approx(values["cosine"], abs=1e-5)
    assert np.sum(values["drawn"][0]["map2"]) == pytest.approx(values["cosine"], abs=1e-5)
    assert [row["title"].split(":")[0] for row in values["drawn"]] == ["all descriptors", "SPoC", "MAC"]
    shares = [branch["share"] for branch in values["branches"].values()]
    assert sum(shares) == pytest.approx(values["cosine"], abs=1e-5)
    assert sorted(os.listdir(tmp_path)) == sorted({"a.jpg", "b.png", "seen.json", out.name})


@pytest.mark.slow
def test_an_exported_model_draws_the_same_without_mxnet(exported, pair, tmp_path, without_mxnet):
    script, out, file = ROOT / "visualize" / "similarity.py", tmp_path / "seen.png", exported / "model.onnx"
    arguments = [*pair, "--model", file, "--out", out, "--per-branch"]
    done = without_mxnet(script, *arguments, drawing=True)
    assert done.returncode == 0, done.stderr
    drawn = json.loads(out.with_suffix(".json").read_text())["drawn"]
    arguments[2:4] = "--checkpoint", exported / "run"
    assert similarity.main(list(map(str, arguments))) == 0
    for seen, other in zip(drawn, json.loads(out.with_suffix(".json").read_text())["drawn"]):
        np.testing.assert_allclose(seen["map1"], other["map1"], atol=1e-4)
        np.testing.assert_allclose(seen["map2"], other["map2"], atol=1e-4)
    refusal = without_mxnet(script, *pair, "--model", file)
    assert refusal.stderr == "--out needs matplotlib: python -m pip install matplotlib\n"


@pytest.mark.slow
def test_the_last_parameters_are_drawn_or_those_that_are_asked_for(runs, pair, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(runs / "key" / "r1-seed0", run)
    values = json.loads((run / "result.json").read_text())
    (run / "result.json").write_text(json.dumps({**values, "files": {}}))  # their hashes
    parameters = mx.nd.load(str(run / "best.params"))
    mx.nd.save(str(run / "best.params"), {name: value * 2 + 0.1 for name, value in parameters.items()})
    cosines = {}
    for which in (None, "last", "best"):
        flags = ["--which", which] if which else []
        assert similarity.main([*pair, "--checkpoint", str(run), "--out", str(tmp_path / "seen.png"), *flags]) == 0
        cosines[which] = json.loads((tmp_path / "seen.json").read_text())["cosine"]
    assert cosines[None] == cosines["last"] != cosines["best"]


@pytest.mark.slow
@pytest.mark.parametrize("place", [["--point", "70,10"], ["--box", "0,0,90,60"]])
def test_a_part_of_the_query_is_asked_about(runs, pair, tmp_path, place):
    out = tmp_path / "part.png"
    assert similarity.main([*pair, *place, "--runs", str(runs), "--out", str(out)]) == 0
    values = json.loads(out.with_suffix(".json").read_text())
    (row,) = values["drawn"]
    assert np.sum(row["map2"]) == pytest.approx(np.sum(row["map1"]), abs=1e-9)
    map1 = np.array(row["map1"])
    if place[0] == "--box":  # all of it
        assert map1.sum() == pytest.approx(values["cosine"], abs=1e-9)
    else:
        place = (10 * map1.shape[0] // 60, 70 * map1.shape[1] // 90)
        assert np.abs(map1).sum() == abs(map1[place])


@pytest.mark.slow
def test_what_keeps_them_apart_is_drawn_written_and_said(runs, pair, tmp_path, capsys):
    out = tmp_path / "apart.png"
    assert similarity.main([*pair, "--runs", str(runs), "--out", str(out), "--per-branch", "--difference"]) == 0
    values, printed = json.loads(out.with_suffix(".json").read_text()), capsys.readouterr().out
    difference = values["difference"]
    assert difference["distance"] == pytest.approx(1 - values["cosine"])
    assert (
        f"1 - cosine {difference['distance']:.4f}\n  SPoC: {difference['branches']['SPoC']['share']:+.4f}\n" in printed
    )
    rows = values["drawn"][3:]
    assert [row["title"].split(":")[0] for row in rows] == ["what keeps them apart", "SPoC apart", "MAC apart"]
    for name in ("map1", "map2"):
        assert np.sum(rows[0][name]) == pytest.approx(difference["distance"], abs=1e-5)
        branches = [np.array(branch[name]) for branch in difference["branches"].values()]
        np.testing.assert_allclose(np.add(*branches), rows[0][name], atol=1e-12)
        for row, branch in zip(rows[1:], branches):
            np.testing.assert_array_equal(row[name], branch)


@pytest.mark.parametrize("place", [["--point", "70,10"], ["--box", "20,0,70,40"]])
def test_each_answer_to_a_part_has_a_scale_of_its_own_for_each_descriptor_too(runs, pair, tmp_path, monkeypatch, place):
    figures = []
    monkeypatch.setattr("gluon_cgd.files.figures.save", lambda figure, file: figures.append(figure))
    out = tmp_path / "part.png"
    assert similarity.main([*pair, *place, "--runs", str(runs), "--out", str(out), "--per-branch"]) == 0
    rows = json.loads(out.with_suffix(".json").read_text())["drawn"]
    assert [row["title"].split(":")[0] for row in rows] == [
        "the marked part",
        "SPoC, the marked part",
        "MAC, the marked part",
    ]
    for name in ("map1", "map2"):
        np.testing.assert_allclose(np.sum([row[name] for row in rows[1:]], axis=0), rows[0][name], atol=1e-12)
    bars = [one.get_ylim() for one in figures[0].axes if one.get_label() == "<colorbar>"]
    maps = [np.array(row[name]) for row in rows for name in ("map1", "map2")]
    assert bars == [pytest.approx((min(0, heat.min()), max(1e-9, heat.max()))) for heat in maps]


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (300, 1)])
def test_a_picture_with_a_side_of_one_pixel_is_a_sentence(runs, pair, tmp_path, capsys, size):
    thin = photo(tmp_path / "thin.png", size)
    for both in ([thin, pair[0]], [pair[0], thin]):
        assert similarity.main([*both, "--runs", str(runs), "--out", str(tmp_path / "x.png")]) == 2
        rule = "a heatmap needs at least 2 on each side: name another picture"
        assert capsys.readouterr().err == f"{thin} is {size[0]} x {size[1]} pixels, and {rule}\n"
    assert not (tmp_path / "x.png").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("size", "mode"), [((2, 2), "RGB"), ((3000, 20), "L"), ((33, 400), "RGBA"), ((40, 40), "P")])
def test_pictures_of_any_size_and_mode_can_be_compared(runs, pair, tmp_path, size, mode):
    odd, out = photo(tmp_path / "odd.png", size, mode), tmp_path / "odd_seen.png"
    assert similarity.main([odd, pair[1], "--runs", str(runs), "--out", str(out)]) == 0
    with Image.open(out) as picture:
        assert max(picture.size) < 1300  # however long the photo is


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--out", "x.gif"], "--out x.gif must end with .png, .pdf, .svg"),
        (["--out", "no/x.png"], "no/x.png cannot be written: there is no folder no, make it first"),
        (["--runtime", "openvino"], "--runtime is for an exported model: leave it out with"),
        (["--model", "m.onnx", "--ctx", "gpu0"], "--ctx gpu0 is no device of ONNX Runtime, which takes cpu, cuda0"),
        (["--model", "m.onnx", "--which", "last"], "--which is for a --checkpoint: leave it out"),
        (["--checkpoint", "m.params", "--which", "last"], "--which is for a run's folder: a published model has one"),
        (["--model", "m.onnx"], "m.onnx does not exist: an exported model is a file"),
        (
            ["--point", "90,10"],
            "90,10 is not inside the query, which is 90 x 60 pixels: X must be from 0 to 89",
        ),
        (["--point", "here"], "--point 'here' must be X,Y: whole numbers"),
        (["--box", "10,10,5,20"], "10,10,5,20 is not inside the query, which is 90 x 60 pixels: 0 <= X1 < X2 <= 90"),
        (["--point", "90,10", "--checkpoint", "nothing"], "90,10 is not inside"),  # before a model is opened
        (["--checkpoint", "nothing"], "nothing holds no finished run"),
        (["--runs", "nowhere"], "nowhere holds no trained model: bash reproduce/table4.sh --mini trains two"),
    ],
)
def test_what_cannot_be_drawn_is_said_in_a_sentence(runs, pair, tmp_path, capsys, monkeypatch, change, message):
    monkeypatch.chdir(tmp_path)
    assert similarity.main([*pair, "--runs", str(runs), *change]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert len(captured.err.strip().splitlines()) == 1


def test_a_folder_and_a_misspelt_flag_are_said_to_be_that(runs, pair, tmp_path, capsys):
    assert similarity.main([str(tmp_path), pair[1], "--runs", str(runs)]) == 2
    assert f"{tmp_path} is a folder: name one picture in it" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        similarity.main([*pair, "--chekpoint", "x"])
    assert "--chekpoint: did you mean --checkpoint?" in capsys.readouterr().err


@pytest.mark.parametrize("content", [None, b"", b"\xff\xd8\xff\xe0 cut", b"words"])
def test_a_missing_empty_or_broken_picture_is_one_sentence(runs, pair, tmp_path, capsys, content):
    broken = tmp_path / "broken.jpg"
    if content is not None:
        broken.write_bytes(content)
    assert similarity.main([str(broken), pair[1], "--runs", str(runs), "--out", str(tmp_path / "x.png")]) == 2
    said = capsys.readouterr().err.strip()
    assert "broken.jpg" in said
    assert len(said.splitlines()) == 1
    assert not (tmp_path / "x.png").exists()


@pytest.mark.slow
def test_the_script_works_from_any_folder_and_within_seconds(runs, pair, tmp_path):
    command = [sys.executable, str(ROOT / "visualize" / "similarity.py"), *pair, "--runs", str(runs)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime - before.ru_utime  # of computing: other processes do not count
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "similarity.png").is_file()
    assert seconds < 20
