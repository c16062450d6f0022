"""`python -m gluon_cgd index` and `search` as a person types them, on a model that was never trained."""

import json
import os
import shutil
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gluon_cgd.__main__ import main
from gluon_cgd.commands import search
from gluon_cgd.datasets import glyphs
from gluon_cgd.experiment import Experiment
from gluon_cgd.machine import facts
from gluon_cgd.retrieval import collection, manifest, picture
from tests.models.test_opened import published

EXPERIMENT = Experiment(dataset="glyphs", backbone="cifar_resnet10", pretrained=False, input_size=16, dim=8)
needs_faiss = pytest.mark.skipif(find_spec("faiss") is None, reason="faiss-cpu is not installed")
needs_milvus = pytest.mark.skipif(
    find_spec("pymilvus") is None or find_spec("milvus_lite") is None,
    reason="pymilvus and milvus-lite are not installed",
)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The file of a model."""
    return published(tmp_path_factory.mktemp("model"), EXPERIMENT)


@pytest.fixture(scope="module")
def indexed(tmp_path_factory, model):
    """(folder of 12 pictures, index of them); tests copy what they change."""
    folder, idx = tmp_path_factory.mktemp("photos"), tmp_path_factory.mktemp("made") / "idx"
    for label in range(12):
        Image.fromarray(glyphs.picture(label, 0)).save(folder / f"{label:02}.png")
    assert main(["index", "--images", str(folder), "--checkpoint", model, "--out", str(idx), "--ctx", "cpu"]) == 0
    return folder, idx


@pytest.fixture
def own(tmp_path, indexed):
    """The index, to change."""
    return shutil.copytree(indexed[1], tmp_path / "idx")


def refused(capsys, *arguments):
    assert main([str(argument) for argument in arguments]) == 2
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return captured.err.strip().splitlines()[-1]


def found(capsys, *arguments):
    """The JSON of a search."""
    capsys.readouterr()
    assert main(["search", *map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_picture_finds_itself_first_and_says_so(indexed, capsys):
    folder, idx = indexed
    told = found(capsys, idx, folder / "03.png", "-k", "5")
    assert told["engine"] == "exact"
    assert told["pictures"] == 12
    assert len(told["results"]) == 5
    assert told["results"][0]["path"] == str(folder / "03.png")
    assert told["results"][0]["cosine"] == pytest.approx(1, abs=1e-6)
    assert [result["is_query"] for result in told["results"]] == [True, False, False, False, False]
    cosines = [result["cosine"] for result in told["results"]]
    assert cosines == sorted(cosines, reverse=True)
    assert main(["search", str(idx), str(folder / "03.png"), "-k", "99"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 12
    assert lines[0] == f"  1  1.0000  {folder / '03.png'}  (the query itself)"


def test_the_cosines_are_those_of_the_embeddings(indexed, capsys, model):
    from gluon_cgd.datasets import images
    from gluon_cgd.models import opened

    folder, idx = indexed
    embed = opened.open_model(model, ctx="cpu", batch_size=None).embed
    rows = {str(file): embed([images.load_picture(str(file), 16)])[0] for file in folder.iterdir()}
    several = [str(folder / "00.png"), str(folder / "01.png")]
    mean = rows[several[0]] + rows[several[1]]
    for query, asked in (([several[0]], rows[several[0]]), (several, mean / np.linalg.norm(mean))):
        for result in found(capsys, idx, *query, "-k", 12)["results"]:
            assert result["cosine"] == pytest.approx(float(rows[result["path"]] @ asked), abs=1e-5)
            assert result["is_query"] == (result["path"] in query)


def test_a_part_of_a_picture_is_searched_for_as_that_picture(indexed, capsys, tmp_path):
    folder, idx = indexed
    with Image.open(folder / "04.png") as image:
        canvas = Image.new("RGB", (image.width + 40, image.height + 30), "red")
        canvas.paste(image, (25, 10))
        canvas.save(tmp_path / "scene.png")
        box = f"25,10,{25 + image.width},{10 + image.height}"
    first = found(capsys, idx, tmp_path / "scene.png", "--box", box)["results"][0]
    assert first["path"] == str(folder / "04.png")
    assert first["cosine"] == pytest.approx(1, abs=1e-6)
    assert not first["is_query"]


def test_indexing_again_says_what_it_did(own, tmp_path, indexed, capsys, caplog):
    folder = shutil.copytree(indexed[0], tmp_path / "photos")
    again = ["index", "--images", str(folder), "--out", str(own)]
    assert main(again) == 0
    assert capsys.readouterr().out == f"12 pictures in {folder}: 12 added, 0 changed, 0 as before\n"
    os.remove(folder / "00.png")
    (folder / "01.png").write_bytes(b"broken")
    shutil.copy(folder / "02.png", folder / "new.png")
    assert "01.png is not a picture that can be read" in refused(capsys, *again)
    assert main([*again, "--skip-bad"]) == 0
    told = "1 added, 0 changed, 10 as before, 1 left out that cannot be read, 1 still in the index that are gone"
    assert told in capsys.readouterr().out
    assert f"left out: {folder / '01.png'}" in caplog.text
    assert main([*again, "--skip-bad", "--prune", "--compact"]) == 0
    printed = capsys.readouterr().out
    assert "0 added, 0 changed, 11 as before, 1 left out that cannot be read, 1 removed that are gone\n" in printed
    assert "2 rows of replaced and removed pictures gave their room back" in printed
    assert len(collection.read(own)) == 12 + 11  # of the folder that was indexed first too


def test_a_damaged_index_is_refused_by_search_and_mended_by_the_same_index_command(own, indexed, capsys, caplog):
    folder, query = indexed[0], indexed[0] / "03.png"
    before = found(capsys, own, query)["results"]
    for value in (np.nan, 1e38, 0):
        file = next(own.glob("vectors-*.bin"))
        vectors = np.fromfile(file, "<f4").reshape(-1, 8)
        vectors[5] = value
        vectors.tofile(file)
        told = refused(capsys, "search", own, query)
        assert "is not what was written" in told
        assert f"python -m gluon_cgd index --images DIR --out {own} mends it" in told
        assert main(["index", "--images", str(folder), "--out", str(own)]) == 0
        assert "12 pictures in" in (printed := capsys.readouterr().out)
        assert "1 added, 0 changed, 11 as before\n" in printed
        assert "1 of 12 embeddings are lost" in caplog.text
        results = found(capsys, own, query)["results"]
        assert [result["path"] for result in results] == [result["path"] for result in before]
        cosines = [result["cosine"] for result in before]
        np.testing.assert_allclose([result["cosine"] for result in results], cosines, atol=1e-6)


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("rows", "names", "dead")]


@pytest.mark.parametrize("name", ["vectors", *SLOW, "collection.json"])
def test_a_file_of_the_index_that_a_power_cut_emptied_is_mended_by_the_same_command(own, indexed, capsys, name):
    query = indexed[0] / "03.png"
    before = found(capsys, own, query)["results"]
    file = next(own.glob(f"{name}*"))
    file.write_bytes(bytes(file.stat().st_size // 2))
    if file.stat().st_size:
        assert "index --images DIR" in refused(capsys, "search", own, query)
    assert main(["index", "--images", str(indexed[0]), "--out", str(own)]) == 0
    assert found(capsys, own, query)["results"] == before


def test_a_manifest_that_does_not_say_its_model_is_a_sentence(own, indexed, capsys):
    file, query = own / "collection.json", indexed[0] / "03.png"
    right = json.loads(file.read_text())
    for key, value in dict(source=None, name=3, onnx=0, which="x", parameters_sha256="", experiment=[]).items():
        model = {**right["model"], key: value}
        for wrong in (model, {name: known for name, known in model.items() if name != key}):
            told = {**right, "model": wrong}
            file.write_text(json.dumps({**told, "digest": manifest.digest(told)}))
            assert f"does not say which model it was made with ({key} must be" in refused(capsys, "search", own, query)
    for experiment in ({"dim": "8"}, {"dim": True}, {"hidden": 1}, {"dataset": "glyphs", "dim": -1}):
        told = {**right, "model": {**right["model"], "experiment": experiment}}
        file.write_text(json.dumps({**told, "digest": manifest.digest(told)}))
        assert "with a model that this version of gluon_cgd does not know" in refused(capsys, "search", own, query)


def test_a_moved_folder_is_indexed_without_embedding_and_an_emptied_one_is_pruned(own, tmp_path, indexed, capsys):
    old, new = shutil.copytree(indexed[0], tmp_path / "old"), tmp_path / "new"
    again = ["--out", str(own)]
    assert main(["index", "--images", str(old), *again]) == 0
    os.rename(old, new)
    capsys.readouterr()
    assert main(["index", "--images", str(new), *again, "--prune"]) == 0
    assert capsys.readouterr().out == (
        f"12 pictures in {new}: 0 added, 0 changed, 0 as before, 12 moved, 0 removed that are gone\n"
    )
    for file in new.iterdir():
        file.unlink()
    assert "--prune all to remove them" in refused(capsys, "index", "--images", new, *again, "--prune")
    assert main(["index", "--images", str(new), *again, "--prune", "all"]) == 0
    assert capsys.readouterr().out == (
        f"0 pictures in {new}: 0 added, 0 changed, 0 as before, 12 removed that are gone\n"
    )
    assert len(collection.read(own)) == 12


def test_a_folder_whose_disk_may_not_be_mounted_is_kept_and_named(own, tmp_path, indexed, capsys):
    disk = tmp_path / "disk\x1b[31m"
    disk.mkdir()
    for file in indexed[0].iterdir():
        shutil.copy(file, disk / f"another {file.name}")
    assert main(["index", "--images", str(disk), "--out", str(own)]) == 0
    os.rename(disk, tmp_path / "unplugged")
    again = ["index", "--images", str(indexed[0]), "--out", str(own)]
    for flags, removed in (([], ""), (["--prune"], "0 removed that are gone, ")):
        capsys.readouterr()
        assert main([*again, *flags]) == 0
        assert capsys.readouterr().out == (
            f"12 pictures in {indexed[0]}: 0 added, 0 changed, 12 as before, {removed}12 still in the index whose "
            f"folder has no picture left: {tmp_path}/disk\\x1b[31m is empty, gone or on a disk that is not mounted "
            "(--prune all removes them)\n"
        )
    assert main([*again, "--prune", "all"]) == 0
    assert "12 as before, 12 removed that are gone\n" in capsys.readouterr().out


def test_a_picture_that_is_gone_is_marked_and_drawn_as_an_empty_place(own, indexed, tmp_path, capsys, caplog):
    folder = shutil.copytree(indexed[0], tmp_path / "photos")
    assert main(["index", "--images", str(folder), "--out", str(own)]) == 0
    os.remove(folder / "05.png")
    figure = tmp_path / "out.png"
    assert main(["search", str(own), str(indexed[0] / "05.png"), "-k", "2", "--figure", str(figure)]) == 0
    assert f"{folder / '05.png'}  (not there any more)" in capsys.readouterr().out
    assert "cannot be read any more and is drawn as an empty place" in caplog.text
    assert figure.stat().st_size > 1000


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_query_and_results_are_drawn(indexed, tmp_path, capsys, suffix):
    folder, idx = indexed
    out = tmp_path / f"out.{suffix}"
    heat = ["--heatmaps"] if suffix == "png" else []
    assert main(["search", str(idx), str(folder / "06.png"), "-k", "7", "--figure", str(out), *heat]) == 0
    assert f"Written: {out}" in capsys.readouterr().err
    assert os.listdir(tmp_path) == [out.name]
    if heat:
        with Image.open(out) as picture:
            pixels = np.asarray(picture.convert("RGB"))
        assert pixels.shape[0] > 1200  # two lines of three
        assert main(["search", str(idx), str(folder / "06.png"), "-k", "7", "--figure", str(out)]) == 0
        with Image.open(out) as picture:
            assert picture.height < 700


def test_heatmaps_add_up_to_the_cosine_of_the_hit(indexed, capsys, model):
    from gluon_cgd.datasets import images
    from gluon_cgd.models import opened

    folder, idx = indexed
    loaded = opened.open_model(model, ctx="cpu", batch_size=None)
    hit = found(capsys, idx, folder / "07.png")["results"][3]
    pictures = [images.load_picture(str(path), 16) for path in (folder / "07.png", hit["path"])]
    for heat in search.explainer(loaded, pictures[0])(pictures[1])[:2]:
        assert heat.sum() == pytest.approx(hit["cosine"], abs=1e-4)


def test_the_query_is_passed_through_the_network_once(indexed, model):
    from gluon_cgd.datasets import images
    from gluon_cgd.models import opened

    folder, idx = indexed
    loaded, passed = opened.open_model(model, ctx="cpu", batch_size=None), []
    counting = loaded._replace(features=lambda found: passed.extend(found) or loaded.features(found))
    query, *others = (images.load_picture(str(folder / f"0{i}.png"), 16) for i in range(4))
    explain = search.explainer(counting, query)
    assert [explain(other).map1.shape for other in others] == [explain(query).map2.shape] * 3
    assert len(passed) == 5


def sorted_index(folder, model):
    """(folder of 3 folders of 3 pictures, index of them), made in `folder`."""
    for label in range(3):
        for number in range(3):
            file = folder / "photos" / f"letter {label}" / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(glyphs.picture(label, number)).resize((30, 60)).save(file)
    index = ["index", "--images", str(folder / "photos"), "--checkpoint", model, "--out", str(folder / "idx")]
    assert main(index) == 0
    return folder / "photos", folder / "idx"


def test_results_have_names_and_folders_and_can_be_grouped_and_cut_at_a_threshold(tmp_path, model, capsys):
    photos, idx = sorted_index(tmp_path, model)
    query = photos / "letter 1/2.png"
    results = found(capsys, idx, query, "-k", 9)["results"]
    for result in results:
        assert result["path"] == str(photos / result["folder"] / result["name"])
    folders = list(dict.fromkeys(result["folder"] for result in results[1:]))
    grouped = found(capsys, idx, query, "-k", 2, "--by-folder")["results"]
    assert [group["folder"] for group in grouped] == folders[:2]
    assert all(group["pictures"][0]["cosine"] == group["cosine"] for group in grouped)
    assert str(query) not in [picture["path"] for group in grouped for picture in group["pictures"]]
    assert main(["search", str(idx), str(query), "-k", "1", "--by-folder"]) == 0
    first = grouped[0]
    told = f"  1  {first['cosine']:.4f}  {folders[0]}  ({len(first['pictures'])} of the 9 nearest pictures: "
    assert capsys.readouterr().out.startswith(told + first["name"])
    least = results[3]["cosine"] - 1e-9
    cut = found(capsys, idx, query, "--threshold", f"{least:.12f}")
    assert cut["results"] == results[:4]
    assert cut["threshold"]["basis"] == "folders"
    assert main(["search", str(idx), str(query), "--threshold", "--by-folder"]) == 0
    assert "a picture whose folder is not in the index has a false match in" in capsys.readouterr().err
    Image.new("RGB", (40, 40), "red").save(tmp_path / "other.png")
    nearest = found(capsys, idx, tmp_path / "other.png")["results"][0]
    assert main(["search", str(idx), str(tmp_path / "other.png"), "--threshold", "1"]) == 0
    assert capsys.readouterr().out == f"none reaches the threshold: {nearest['cosine']:.4f}  {nearest['path']}\n"


@pytest.mark.parametrize("method", ["alpha-qe", "k-reciprocal"])
def test_reranking_changes_the_order_alone_and_says_what_it_did_elsewhere(tmp_path, model, capsys, method):
    photos, idx = sorted_index(tmp_path, model)
    query = [idx, photos / "letter 1/2.png", "-k", 9]
    plain, after = found(capsys, *query)["results"], found(capsys, *query, "--rerank", method)
    assert after["rerank"] == method
    for results in (plain, after["results"]):
        results.sort(key=lambda result: result["path"])
    for result, other in zip(plain, after["results"]):
        assert result == {**other, "cosine": pytest.approx(other["cosine"], abs=1e-6)}
    assert main(["search", *map(str, query), "--rerank", method, "--by-folder"]) == 0
    said = capsys.readouterr()
    assert len(said.out.splitlines()) == 3
    assert said.err.count(f"{method}, measured on ") == 2


def test_photos_keep_their_proportions_and_have_captions_and_the_box_is_marked(tmp_path, model, monkeypatch):
    photos, idx = sorted_index(tmp_path, model)
    figures = []
    monkeypatch.setattr("gluon_cgd.files.figures.save", lambda figure, file: figures.append(figure))
    query, out = str(photos / "letter 1/2.png"), str(tmp_path / "out.png")
    assert main(["search", str(idx), query, "-k", "1", "--box", "3,6,27,48", "--figure", out, "--heatmaps"]) == 0
    axes = figures[0].axes
    assert axes[0].images[0].get_array().shape == (60, 30, 3)  # the whole query
    assert axes[0].patches[-1].get_bbox().extents.tolist() == [2.5, 5.5, 26.5, 47.5]
    assert axes[1].images[0].get_array().shape == (60, 30, 3)
    assert [text.get_text().count("letter ") for text in axes[1].texts] == [1]
    below = axes[1 + 2 * picture.COLUMNS]  # the heatmap of the query is that of the part in the box
    assert list(below.images[0].get_extent()) == [0, 24, 42, 0]
    assert main(["search", str(idx), query, "-k", "3", "--by-folder", "--figure", out]) == 0
    titles = [one.get_title() for one in figures[1].axes[:: picture.COLUMNS]]
    assert titles[0] == "query"
    assert [title[0] for title in titles[1:]] == ["1", "2", "3"]
    monkeypatch.setattr(search, "DRAWN", 1)
    assert main(["search", str(idx), query, "-k", "9", "--figure", out]) == 0
    assert len([one for one in figures[-1].axes if one.images]) == 1 + picture.COLUMNS
    assert any(text.get_text().startswith("6 of 9 results, found among ") for text in figures[-1].texts)
    assert main(["search", str(idx), query, "-k", "3", "--by-folder", "--figure", out]) == 0
    assert [one.get_title()[:1] for one in figures[-1].axes if one.images][:2] == ["q", "1"]
    assert not any(one.get_title().startswith("2") for one in figures[-1].axes)


@pytest.mark.slow
def test_heatmaps_of_several_queries_add_up_to_the_cosine_with_their_mean(tmp_path, indexed, capsys, model):
    from gluon_cgd.datasets import images
    from gluon_cgd.models import opened

    folder, idx = indexed
    queries = [folder / "00.png", folder / "01.png", folder / "02.png"]
    out = tmp_path / "out.png"
    hit = found(capsys, idx, *queries)["results"][4]
    assert main(["search", str(idx), *map(str, queries), "-k", "1", "--figure", str(out), "--heatmaps"]) == 0
    assert out.stat().st_size > 1000
    loaded = opened.open_model(model, ctx="cpu", batch_size=None)
    *pictures, result = (images.load_picture(str(path), 16) for path in (*queries, hit["path"]))
    maps = search.alike([search.explainer(loaded, each)(result) for each in pictures])
    assert len(maps) == 4
    assert maps[-1].sum() == pytest.approx(hit["cosine"], abs=1e-4)
    assert sum(heat.sum() for heat in maps[:-1]) == pytest.approx(hit["cosine"], abs=1e-4)
    maps = search.apart([search.explainer(loaded, each)(result) for each in pictures])
    assert len(maps) == 4
    assert maps[-1].sum() == pytest.approx(1 - hit["cosine"], abs=1e-4)
    assert sum(heat.sum() for heat in maps[:-1]) == pytest.approx(1 - hit["cosine"], abs=1e-4)
    one = search.explainer(loaded, pictures[0])(result)
    for heat, other in zip(search.apart([one]), one.difference()):
        np.testing.assert_allclose(heat, other, atol=1e-12)


@pytest.mark.parametrize(
    ("queries", "flags", "rows"),
    [(1, ["--difference"], 3), (1, ["--heatmaps", "--difference"], 5), (2, ["--difference"], 4)],
)
def test_what_keeps_a_result_apart_is_drawn_below_it(indexed, tmp_path, monkeypatch, queries, flags, rows):
    folder, idx = indexed
    figures, columns = [], picture.COLUMNS
    monkeypatch.setattr("gluon_cgd.files.figures.save", lambda figure, file: figures.append(figure))
    named = [str(folder / f"0{number}.png") for number in range(queries)]
    assert main(["search", str(idx), *named, "-k", "3", "--figure", str(tmp_path / "out.png"), *flags]) == 0
    axes = figures[0].axes
    assert len(axes) == rows * columns
    assert [bool(one.images) for one in axes[queries + 1 :: columns]] == [True] * rows  # the second result
    words = " ".join(text.get_text() for one in axes for text in one.texts)
    assert "keeps them apart" in words
    assert ("makes them alike" in words) == ("--heatmaps" in flags)


@pytest.fixture(scope="module")
def exported_too(indexed, exported, tmp_path_factory):
    """(a folder of pictures, the index of them by MXNet, that by an exported model) of the run of `exported`."""
    made = tmp_path_factory.mktemp("both")
    for name, model in (("mxnet", ["--checkpoint", exported / "run"]), ("onnx", ["--model", exported / "model.onnx"])):
        assert main(["index", "--images", str(indexed[0]), *map(str, model), "--out", str(made / name)]) == 0
    return indexed[0], made / "mxnet", made / "onnx"


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_an_exported_model_finds_and_explains_what_mxnet_does(exported_too, exported, capsys, runtime):
    from gluon_cgd.datasets import images
    from gluon_cgd.models import opened

    folder, mxnet, onnx = exported_too
    query, file = folder / "05.png", str(exported / "model.onnx")
    expected = found(capsys, mxnet, query)["results"]
    for idx, more in ((onnx, []), (mxnet, ["--model", file])):
        results = found(capsys, idx, query, *more, "--runtime", runtime)["results"]
        assert [result["path"] for result in results] == [result["path"] for result in expected]
        for result, other in zip(results, expected):
            assert result["cosine"] == pytest.approx(other["cosine"], abs=1e-4)
    pair = [images.load_picture(str(folder / name), 16) for name in ("05.png", "07.png")]
    models = (
        opened.open_model(exported=file, runtime=runtime),
        opened.open_model(str(exported / "run"), ctx="cpu", batch_size=None),
    )
    for seen, other in zip(*(search.explainer(one, pair[0])(pair[1])[:2] for one in models)):
        np.testing.assert_allclose(seen, other, atol=1e-4)
        assert np.abs(seen).max() > 1e-3


def test_without_feature_maps_in_the_file_the_remedy_is_said_before_anything(exported_too, exported, tmp_path, capsys):
    plain, figure = tmp_path / "plain.onnx", tmp_path / "out.png"
    assert main(["export", "--checkpoint", str(exported / "run"), "--onnx", str(plain)]) == 0
    capsys.readouterr()
    query = [exported_too[2], exported_too[0] / "05.png", "--model", plain, "--figure", figure]
    assert main(["search", *map(str, query), "--heatmaps"]) == 2
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert "export it again with --features" in said.err
    assert main(["search", *map(str, query)]) == 0


@pytest.mark.slow
def test_an_exported_model_indexes_and_searches_without_mxnet(exported_too, exported, tmp_path, without_mxnet):
    folder, mxnet, _ = exported_too
    idx, figure, query = tmp_path / "idx", tmp_path / "out.png", folder / "05.png"
    command, model = ["-m", "gluon_cgd"], ["--model", exported / "model.onnx"]
    for arguments in (["index", "--images", folder, *model, "--out", idx], ["search", idx, query]):
        done = without_mxnet(*command, *arguments)  # the index knows its model
        assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"  1  1.0000  {query}")
    drawn = [*command, "search", idx, query, "--figure", figure, "--heatmaps"]
    refusal = without_mxnet(*drawn)
    assert (refusal.returncode, refusal.stdout) == (2, "")
    assert refusal.stderr == "--figure needs matplotlib: python -m pip install matplotlib\n"
    done = without_mxnet(*drawn, drawing=True)
    assert done.returncode == 0, done.stderr
    assert figure.stat().st_size > 5000
    refusal = without_mxnet(*command, "search", mxnet, query)
    assert refusal.returncode == 2
    assert f"has no mxnet: `source {facts.SETUP}` first" in refusal.stderr


def test_names_of_any_kind_are_one_line_each(own, tmp_path, model, capsys):
    folder = tmp_path / "photos"
    folder.mkdir()
    names = ["new\nline.png", " blank .png", "ü$x$.png", os.fsdecode(b"\xff.png")]
    for i, name in enumerate(names):
        Image.fromarray(glyphs.picture(i, 0)).save(folder / "a.png")
        os.rename(folder / "a.png", folder / name)
    idx = tmp_path / "new"
    assert main(["index", "--images", str(folder), "--checkpoint", model, "--out", str(idx)]) == 0
    told = found(capsys, idx, folder / names[0])
    assert sorted(result["path"] for result in told["results"]) == sorted(str(folder / name) for name in names)
    out = tmp_path / "out.png"
    assert main(["search", str(idx), str(folder / names[3]), "--figure", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert any(line.endswith("new\\nline.png") for line in lines)
    assert any("\\xff.png" in line for line in lines)


def test_what_cannot_be_searched_is_said_in_a_sentence(indexed, own, tmp_path, capsys, model):
    folder, idx = indexed
    query = folder / "00.png"
    other, picture_folder = published(tmp_path, replace(EXPERIMENT, dim=4), 1), tmp_path / "out.png"
    picture_folder.mkdir()
    for arguments, message in (
        ([tmp_path, query], "is not an index: python -m gluon_cgd index"),
        ([idx, "nowhere.jpg"], "nowhere.jpg cannot be read (No such file or directory): check its name"),
        ([idx, folder], f"{folder} is a folder: name one picture in it"),
        ([idx, query, "--figure", tmp_path / "no/out.png"], "no, make it first"),
        ([idx, query, "--figure", picture_folder], "out.png is a folder: name a file in it"),
        ([idx, query, "--runtime", "openvino"], "--runtime is for an exported model: leave it out"),
        ([idx, query, "-k", "0"], "-k 0 must be at least 1"),
        ([idx, query, "--uri", "a.db"], "--uri a.db is for --engine milvus: name both, or leave it out"),
        ([idx, query, "--box", "1,2,3"], "--box '1,2,3' must be X1,Y1,X2,Y2: whole numbers, in pixels of the query"),
        ([idx, query, "--box", "900,900,950,950"], "pixels: --box X1,Y1,X2,Y2 needs X1 < X2 and Y1 < Y2 inside"),
        ([idx, query, "--box", "44,44,4,4"], "X1 < X2 and Y1 < Y2 inside the picture"),
        ([idx, query, query, "--box", "1,2,3,4"], "--box is about one query"),
        ([idx, query, "--threshold", "much"], "--threshold much must be a cosine from -1 to 1"),
        ([idx, query, "--threshold", "0.001%"], "name 1.6% or more, or a cosine"),
        ([idx, query, "--heatmaps"], "name one with --figure"),
        ([idx, query, "--figure", "out.jpg"], "must end with .png, .pdf, .svg"),
        ([idx, query, "--checkpoint", other], "embeddings of two models cannot be compared"),
        ([idx, query, "--engine", "milvus"], "--engine milvus needs --uri: a file"),
    ):
        assert message in refused(capsys, "search", *arguments)
    collected = collection.read(own)
    with collection.writing(own, 8, collected.manifest["model"]) as writer:
        writer.commit(np.empty((0, 8)), [], [], range(12))
    assert "holds no pictures" in refused(capsys, "search", own, query)


def test_what_cannot_be_indexed_is_said_in_a_sentence(indexed, tmp_path, capsys, model):
    folder, idx = indexed
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full/x").write_text("")
    other = published(tmp_path, EXPERIMENT, 1)
    images, checkpoint = ["--images", folder], ["--checkpoint", model]
    for arguments, message in (
        (["--out", idx], "there is nothing to do: name the folder of pictures with --images"),
        (["--out", idx, "--compact", "--prune"], "--prune need pictures that are embedded: name their folder"),
        (["--out", idx, "--engine", "faiss", *checkpoint], "--checkpoint need pictures that are embedded"),
        (["--out", idx, *images, "--uri", "a.db"], "--uri a.db is for --engine milvus"),
        (["--out", tmp_path / "new", *images, "--pretrained", "no"], "backbone 'no' is unknown: choose one of"),
        (["--out", tmp_path / "new", "--images", "nowhere", *checkpoint], "nowhere is not a folder"),
        (["--out", tmp_path / "new", "--images", tmp_path / "empty", *checkpoint], "empty holds no pictures"),
        (["--out", tmp_path / "full", *images, *checkpoint], "full holds other files"),
        (["--out", idx, *images, "--checkpoint", other], "embeddings of two models cannot be compared"),
        (["--out", idx, *images, "--engine", "milvus"], "--engine milvus needs --uri"),
        (["--out", tmp_path / "none", "--compact"], "is not an index"),
    ):
        assert message in refused(capsys, "index", *arguments)
    assert not (tmp_path / "new").exists()


@needs_faiss
def test_faiss_is_built_with_its_recall_and_searches(own, indexed, capsys):
    query = indexed[0] / "08.png"
    assert "has no FAISS index 'hnsw'" in refused(capsys, "search", own, query, "--engine", "faiss")
    for _ in range(2):  # the second time it is there
        assert main(["index", "--out", str(own), "--engine", "faiss"]) == 0
        assert capsys.readouterr().out == "faiss hnsw: recall@10 against exact 1.000, on 12 pictures of the index\n"
    exact = found(capsys, own, query)
    assert found(capsys, own, query, "--engine", "faiss") == {**exact, "engine": "faiss hnsw"}


@pytest.mark.slow
@needs_milvus
@pytest.mark.filterwarnings(
    "ignore:(pkg_resources is deprecated|Deprecated call to):DeprecationWarning"
)  # by milvus-lite
def test_milvus_lite_is_sent_the_index_and_searches(own, indexed, tmp_path, capsys):
    query, milvus = indexed[0] / "09.png", ["--engine", "milvus", "--uri", str(tmp_path / "pictures.db")]
    assert "has nothing of" in refused(capsys, "search", own, query, *milvus)
    assert main(["index", "--images", str(indexed[0]), "--out", str(own), *milvus]) == 0
    assert "milvus: recall@10 against exact 1.000, on 12 pictures of the index\n" in capsys.readouterr().out
    exact = found(capsys, own, query)
    assert found(capsys, own, query, *milvus) == {**exact, "engine": "milvus"}


def test_an_engine_that_is_not_installed_is_said_with_the_remedy(own, indexed, capsys, monkeypatch):
    import importlib

    there = importlib.import_module

    def absent(name):
        if name in ("faiss", "pymilvus"):
            raise ImportError(f"No module named {name!r}")
        return there(name)

    monkeypatch.setattr(importlib, "import_module", absent)
    for engine, package in (("faiss", "faiss-cpu"), ("milvus", "pymilvus and milvus-lite")):
        words = ["--engine", engine, *["--uri", "x.db"][: 2 * (engine == "milvus")]]
        for arguments in (["search", own, indexed[0] / "00.png", *words], ["index", "--out", own, *words]):
            said = refused(capsys, *arguments)
            assert f"needs {package} " in said
            assert facts.install("requirements-extra.txt") in said


def test_the_index_is_found_from_any_folder(indexed, tmp_path, monkeypatch, capsys):
    """Paths are kept whole, the model's too."""
    monkeypatch.chdir(indexed[0])
    first = found(capsys, os.path.relpath(indexed[1]), "01.png")["results"][0]
    assert Path(first["path"]).is_absolute()
    assert first["is_query"]
