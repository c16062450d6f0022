import json
import os
import resource

import numpy as np
import pytest
from PIL import Image

from gluon_cgd.__main__ import main
from gluon_cgd.datasets import glyphs
from gluon_cgd.datasets.images import load_picture
from gluon_cgd.machine import facts
from gluon_cgd.models import onnx_model
from gluon_cgd.retrieval import embed
from tests.export.test_export import refused


@pytest.fixture
def folder(tmp_path):
    """Five pictures at different depths, and files that are none."""
    for index, name in enumerate(("b.png", "a.jpg", "deep/er/c.PNG", "deep/d.png", "é.png")):
        (tmp_path / "pictures" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(glyphs.picture(index, 0)).save(tmp_path / "pictures" / name)
    (tmp_path / "pictures/notes.txt").write_text("taken in May")
    (tmp_path / "pictures/._b.png").write_bytes(b"Mac OS X")
    return tmp_path / "pictures"


def names(out):
    return [os.path.basename(path) for path in out.with_suffix(".txt").read_text(encoding="utf-8").splitlines()]


def test_both_ways_give_a_row_a_picture_in_the_order_of_the_names(exported, folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(embed, "BATCH", 2)
    found = {}
    for kind, path in (("--model", "model.onnx"), ("--checkpoint", "run")):
        out = tmp_path / f"{path}.npy"
        assert main(["embed", kind, str(exported / path), "--images", str(folder), "--out", str(out)]) == 0
        told = capsys.readouterr().out
        assert told == f"{out}: 5 embeddings of 8 numbers; pictures: {out.with_suffix('.txt')}\n"
        assert names(out) == ["a.jpg", "b.png", "d.png", "c.PNG", "é.png"]
        found[kind] = np.load(out)
        assert found[kind].dtype == np.float32
    np.testing.assert_allclose(found["--model"], found["--checkpoint"], atol=1e-5)
    last = load_picture(str(folder / "é.png"), 16)[None]
    expected = onnx_model.load_exported(exported / "model.onnx").embed(last)
    np.testing.assert_allclose(found["--model"][-1:], expected, atol=1e-6)


def test_a_broken_picture_is_named_and_left_out_only_where_that_is_asked_for(exported, folder, tmp_path, capsys):
    (folder / "b.png").write_bytes((folder / "b.png").read_bytes()[:100])
    out = tmp_path / "vectors.npy"
    command = ["embed", "--model", exported / "model.onnx", "--images", folder, "--out", out]
    sentence = refused(capsys, *command)
    assert "b.png is not a picture that can be read" in sentence
    assert sentence.endswith("say --skip-bad to leave such pictures out")
    assert not list(tmp_path.glob("vectors*"))
    assert main([*map(str, command), "--skip-bad"]) == 0
    assert names(out) == ["a.jpg", "d.png", "c.PNG", "é.png"]
    assert len(np.load(out)) == 4
    capsys.readouterr()
    for path in folder.rglob("*.*"):
        path.write_bytes(b"")
    assert "none of the 5 pictures can be read" in refused(capsys, *command, "--skip-bad")
    assert len(np.load(out)) == 4


def test_a_folder_or_a_name_that_cannot_be_is_refused(exported, tmp_path, capsys):
    command = ["embed", "--model", exported / "model.onnx", "--images"]
    assert "must end in .npy" in refused(capsys, *command, tmp_path, "--out", tmp_path / "vectors")
    out = ["--out", tmp_path / "vectors.npy"]
    assert "none is not a folder: --images must name the folder of pictures" in refused(
        capsys, *command, tmp_path / "none", *out
    )
    (tmp_path / "some").mkdir()
    assert "holds no pictures (files named *.bmp" in refused(capsys, *command, tmp_path / "some", *out)
    (tmp_path / "some/a\nb.png").write_bytes(b"")
    assert "line break in its name" in refused(capsys, *command, tmp_path / "some", *out)


@pytest.mark.slow
def test_the_commands_work_without_mxnet(exported, folder, tmp_path, without_mxnet):
    rows = [f"pictures/{name},{label},test" for name, label in (("a.jpg", 0), ("b.png", 0), ("é.png", 1))]
    (tmp_path / "list.csv").write_text(
        "\n".join(["path,label,split", "pictures/deep/d.png,2,train", *rows]), encoding="utf-8"
    )
    model = ["--model", exported / "model.onnx"]
    images = ["--images", folder, "--out", tmp_path / "vectors.npy"]
    done = without_mxnet("-m", "gluon_cgd", "embed", *model, *images)
    assert done.returncode == 0, done.stderr
    assert np.load(tmp_path / "vectors.npy").shape == (5, 8)
    done = without_mxnet("-m", "gluon_cgd", "evaluate", *model, "--dataset", tmp_path / "list.csv")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("R@1 ")
    refusal = without_mxnet("-m", "gluon_cgd", "embed", "--checkpoint", exported / "run", *images)
    assert refusal.returncode == 2
    assert f"has no mxnet: `source {facts.SETUP}` first" in refusal.stderr


def test_evaluate_states_the_ceiling_of_recall(exported, folder, tmp_path, capsys):
    rows = ["a.jpg,0,test", "b.png,0,test", "é.png,1,test", "deep/d.png,2,train"]
    (folder / "list.csv").write_text("\n".join(["path,label,split", *rows]), encoding="utf-8")
    command = ["evaluate", "--model", str(exported / "model.onnx"), "--dataset", str(folder / "list.csv")]
    told = "no Recall@K can be above 66.67 %: 1 of 3 test pictures have no other picture of their class to be found"
    assert main(command) == 0
    assert told in capsys.readouterr().err
    assert main([*command, "--json"]) == 0
    assert told in json.loads(capsys.readouterr().out)["warnings"]


def test_a_disk_without_room_for_the_last_bytes_is_an_error(tmp_path):
    vectors, limits = np.arange(80, dtype=np.float32).reshape(10, 8), resource.getrlimit(resource.RLIMIT_FSIZE)
    embed.save(tmp_path / "e.npy", vectors, ["a"] * 10)
    np.testing.assert_array_equal(np.load(tmp_path / "e.npy"), vectors)
    before = (tmp_path / "e.npy").read_bytes()
    np.save(tmp_path / "same.npy", vectors)
    assert (tmp_path / "same.npy").read_bytes() == before
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) - 1, limits[1]))
    try:
        with pytest.raises(OSError, match="e.npy"):
            embed.save(tmp_path / "e.npy", vectors + 1, ["a"] * 10)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / "e.npy").read_bytes() == before


def test_files_that_cannot_be_written_are_refused_before_anything_is_embedded(exported, folder, tmp_path, capsys):
    (tmp_path / "a" / "v.txt").mkdir(parents=True)
    (tmp_path / "file").write_text("")
    for out, message in ((tmp_path / "a" / "v.npy", "v.txt is a folder"), (tmp_path / "file" / "v.npy", "is a file")):
        flags = ["--model", str(exported / "model.onnx"), "--images", str(folder), "--out", str(out)]
        assert main(["embed", *flags]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "a" / "v.npy").exists()
