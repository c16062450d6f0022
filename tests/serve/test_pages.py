"""What the server answers is what the command line says."""

import io
import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from gluon_cgd.__main__ import main
from gluon_cgd.datasets import images
from gluon_cgd.retrieval import collection
from tests.serve.conftest import Visitor, ids, serving

pytest.importorskip("flask")
pytest.importorskip("waitress")


def searched(capsys, index, *arguments):
    """[(path, cosine), ...] of the command `search`."""
    capsys.readouterr()
    assert main(["search", str(index), *map(str, arguments), "-k", "99", "--json", "--ctx", "cpu"]) == 0
    return [(result["path"], result["cosine"]) for result in json.loads(capsys.readouterr().out)["results"]]


def same(answer, expected, shop):
    """Whether an answer has the results of `searched`, in its order."""
    results = answer["results"]
    paths = [str(shop.photos / ("" if one["folder"] == "." else one["folder"]) / one["name"]) for one in results]
    assert paths == [path for path, _ in expected]
    np.testing.assert_allclose([one["cosine"] for one in results], [cosine for _, cosine in expected], atol=1e-6)


def test_a_picture_of_the_collection_finds_what_the_command_finds(visitor, shop, capsys):
    own = ids(visitor)["small/letter 2/3.png"]
    answer = visitor.get("/api/search", q=own)
    same(answer, searched(capsys, shop.index, shop.photos / "small/letter 2/3.png"), shop)
    assert [one["id"] for one in answer["results"] if one["is_query"]] == [own]
    assert answer["results"][0]["is_query"]
    assert (answer["total"], answer["pages"], answer["more"]) == (25, 1, False)


def test_an_uploaded_picture_finds_what_the_command_finds(visitor, shop, capsys):
    file = shop.photos / "capital/letter 1/0.png"
    name = visitor.upload(file.read_bytes())
    answer = visitor.get("/api/search", q=name)
    same(answer, searched(capsys, shop.index, file), shop)
    assert not any(one["is_query"] for one in answer["results"])
    assert visitor.upload(file.read_bytes()) == name


def test_a_box_is_that_of_the_command(visitor, shop, capsys):
    file = shop.photos / "small/letter 0/1.png"
    expected = searched(capsys, shop.index, file, "--box", "4,6,40,30")
    for name in (ids(visitor)["small/letter 0/1.png"], visitor.upload(file.read_bytes())):
        for other in ("", "0,0,9,9"):  # what was asked before is another question
            visitor.get("/api/search", q=name, box=other)
        answer = visitor.get("/api/search", q=name, box="4,6,40,30")
        same(answer, expected, shop)
        assert answer["query"]["box"] == [4, 6, 40, 30]
        assert not any(one["is_query"] for one in answer["results"])


def test_a_folder_filters_with_all_below_it(visitor):
    names = ids(visitor)
    query = names["small/letter 0/0.png"]
    everything = visitor.get("/api/search", q=query)["results"]
    for folder, count in (("small", 12), ("small/letter 2", 6), ("capital", 12), (".", 1)):
        answer = visitor.get("/api/search", q=query, folder=folder)
        inside = [one for one in everything if f"{one['folder']}/".startswith(f"{folder}/")]
        assert [one["id"] for one in answer["results"]] == [one["id"] for one in inside]
        assert len(inside) == answer["total"] == count
        assert visitor.get("/api/pictures", folder=folder)["total"] == count
    listed = {one["name"]: one["pictures"] for one in visitor.get("/api/about")["folders"]}
    assert listed["small"] == 12
    assert (listed["."], len(listed)) == (1, 7)


def test_the_least_cosine_and_the_pages_cut_one_ranking(visitor, monkeypatch):
    from gluon_cgd.serve import answers

    monkeypatch.setattr(answers, "PAGE", 4)
    query = visitor.get("/api/pictures")["results"][0]["id"]
    pages = [visitor.get("/api/search", q=query, page=number) for number in range(1, 8)]
    assert [len(page["results"]) for page in pages] == [4] * 6 + [1]
    cosines = [one["cosine"] for page in pages for one in page["results"]]
    assert cosines == sorted(cosines, reverse=True)
    assert len({one["id"] for page in pages for one in page["results"]}) == 25
    assert pages[0]["cosines"] == [round(cosine, 4) for cosine in cosines]
    least = (cosines[9] + cosines[10]) / 2
    above = visitor.get("/api/search", q=query, min=f"{least:.9f}", page=3)
    assert (above["total"], above["pages"], len(above["results"])) == (10, 3, 2)
    assert visitor.get("/api/search", q=query, page=99)["page"] == 7


@pytest.mark.parametrize("turned", ["0", "1"])
def test_the_maps_add_up_and_are_those_of_decompose(visitor, shop, turned):
    from gluon_cgd.models import opened
    from gluon_cgd.similarity import arguments, decompose

    names, files = ids(visitor), ("small/letter 0/0.png", "capital/letter 3/2.png")
    q, r = (names[file] for file in files)
    answer = visitor.get("/api/compare", q=q, r=r, turned=turned)
    cosine = {one["id"]: one["cosine"] for one in visitor.get("/api/search", q=q)["results"]}[r]
    model = opened.open_model(shop.model, ctx="cpu")
    order = files[::-1] if turned == "1" else files
    features = model.features([images.load_picture(str(shop.photos / file), 16) for file in order])
    expected = decompose(*features, **arguments(model.projections(), model.experiment))
    views = {view["id"]: view for view in answer["views"]}
    assert list(views) == ["all", "S", "M", "difference"]
    assert answer["cosine"] == pytest.approx(cosine, abs=1e-4)
    for heat, right in zip(views["all"]["maps"], (expected.map1, expected.map2)):
        np.testing.assert_allclose(heat, right, atol=1e-5)
        assert np.sum(heat) == pytest.approx(cosine, abs=1e-4)
    for letter, maps in zip("SM", expected.branches):
        np.testing.assert_allclose(views[letter]["maps"][0], maps[0], atol=1e-5)
        assert views[letter]["sum"] == pytest.approx(maps[0].sum(), abs=1e-5)
    for heat in views["difference"]["maps"]:
        assert np.sum(heat) == pytest.approx(1 - cosine, abs=1e-4)
    assert answer["names"] == [os.path.basename(file) for file in order]


def test_the_answers_to_the_parts_of_a_picture_add_up_to_the_map(visitor):
    names = ids(visitor)
    pair = dict(q=names["small/letter 0/0.png"], r=names["small/letter 0/1.png"])
    whole = visitor.get("/api/compare", **pair)
    parts = [visitor.get("/api/compare", region=part, **pair)["answer"] for part in ("0,0,0.5,1", "0.5,0,1,1")]
    np.testing.assert_allclose(np.add(*(part["map"] for part in parts)), whole["views"][0]["maps"][1], atol=1e-5)
    assert sum(part["sum"] for part in parts) == pytest.approx(whole["cosine"], abs=1e-5)
    assert parts[0]["marked"] == [0, 0, 0.5, 1]


def test_the_threshold_is_that_of_the_command(visitor, shop):
    from gluon_cgd.retrieval.threshold import calibrate

    expected = calibrate(collection.read(shop.index))
    assert visitor.get("/api/threshold") == dict(cosine=expected.cosine, sentence=expected.sentence())
    assert expected.basis == "folders"


def test_pictures_are_upright_in_their_proportions_and_small(visitor):
    names = ids(visitor)
    status, headers, body = visitor.ask("GET", f"/picture/{names['./on its side.jpg']}")
    with Image.open(io.BytesIO(body)) as sent:
        assert (status, sent.format, sent.size) == (200, "JPEG", (40, 120))
        assert not sent.getexif()
    assert headers["Content-Type"] == "image/jpeg"
    again = visitor.ask("GET", f"/picture/{names['./on its side.jpg']}", If_None_Match=headers["ETag"])
    assert (again[0], again[2]) == (304, b"")
    buffer = io.BytesIO()
    Image.new("RGB", (3000, 20)).save(buffer, "PNG")
    large = visitor.upload(buffer.getvalue())
    sizes = {}
    for values in ("side=320", "side=1280", "box=100,0,200,20"):
        with Image.open(io.BytesIO(visitor.ask("GET", f"/picture/{large}?{values}")[2])) as sent:
            sizes[values] = sent.size
    assert sizes == {"side=320": (320, 2), "side=1280": (1280, 9), "box=100,0,200,20": (100, 20)}
    assert visitor.get("/api/search", q=large)["query"]["width"] == 3000


def test_pictures_that_are_gone_or_changed_are_marked(shop, tmp_path):
    from gluon_cgd.serve.answers import Answers
    from gluon_cgd.serve.current import Current
    from gluon_cgd.serve.guard import Guard

    photos = shutil.copytree(shop.photos / "small", tmp_path / "photos")
    make = ["index", "--images", str(photos), "--checkpoint", shop.model, "--ctx", "cpu", "--out", str(tmp_path / "i")]
    assert main(make) == 0
    (photos / "letter 0/0.png").unlink()
    shutil.copy(photos / "letter 0/2.png", photos / "letter 0/1.png")
    own = Current(str(tmp_path / "i"), ctx="cpu")
    with serving(Answers(own), Guard("127.0.0.1")) as port:
        visitor = Visitor(port)
        notes = {one["name"]: one for one in visitor.get("/api/pictures", folder="letter 0")["results"]}
        assert [notes[f"{i}.png"]["note"] for i in range(3)] == ["gone", "changed", ""]
        status, _, body = visitor.ask("GET", notes["0.png"]["picture"])
        assert status == 404
        assert json.loads(body)["error"].startswith("0.png cannot be read")
        assert str(tmp_path) not in body.decode()
        found = visitor.get("/api/search", q=notes["0.png"]["id"])  # its embedding is still there
        assert found["results"][0]["is_query"]
        assert "width" not in found["query"]
    own.close()


def test_a_file_that_is_not_in_the_index_is_never_served(visitor, shop):
    other = shop.photos.parent / "private.png"
    Image.new("RGB", (8, 8)).save(other)
    name = f"{collection.key_of(str(other)):016x}"
    assert visitor.ask("GET", f"/picture/{name}")[0] == 404
    assert visitor.ask("GET", f"/api/search?q={name}")[0] == 404


@pytest.mark.slow
def test_an_exported_model_answers_the_same(exported, shop, tmp_path):
    from gluon_cgd.serve.answers import Answers
    from gluon_cgd.serve.current import Current
    from gluon_cgd.serve.guard import Guard

    given = {"mxnet": ["--checkpoint", str(exported / "run")], "onnx": ["--model", str(exported / "model.onnx")]}
    told = {}
    for name, model in given.items():
        assert main(["index", "--images", str(shop.photos), "--out", str(tmp_path / name), *model]) == 0
        own = Current(str(tmp_path / name))
        with serving(Answers(own), Guard("127.0.0.1")) as port:
            visitor = Visitor(port)
            query = visitor.upload((shop.photos / "small/letter 0/0.png").read_bytes())
            found = visitor.get("/api/search", q=query, box="2,2,40,40")
            maps = visitor.get("/api/compare", q=query, r=found["results"][3]["id"])
            told[name] = [one["id"] for one in found["results"]], found["cosines"], maps["views"]
        own.close()
    assert told["mxnet"][0] == told["onnx"][0]
    np.testing.assert_allclose(told["mxnet"][1], told["onnx"][1], atol=2e-4)
    for one, other in zip(told["mxnet"][2], told["onnx"][2]):
        np.testing.assert_allclose(one["maps"], other["maps"], atol=1e-4)


WITHOUT = """
import sys
from gluon_cgd.serve import answers, app, current, guard
index, query = sys.argv[1:]
client = app.make_app(answers.Answers(current.Current(index)), guard.Guard("127.0.0.1")).test_client()
name = client.post("/api/query", data=open(query, "rb").read(), content_type="image/png").json["id"]
found = client.get(f"/api/search?q={name}").json["results"]
views = client.get(f"/api/compare?q={name}&r={found[1]['id']}").json["views"]
print(len(found), [view["id"] for view in views], "mxnet" in {name for name in sys.modules if sys.modules[name]})
"""


@pytest.mark.slow
def test_an_exported_model_needs_no_mxnet(exported, shop, tmp_path, without_mxnet):
    make = [
        "index",
        "--images",
        str(shop.photos),
        "--out",
        str(tmp_path / "i"),
        "--model",
        str(exported / "model.onnx"),
    ]
    assert main(make) == 0
    done = without_mxnet("-c", WITHOUT, tmp_path / "i", shop.photos / "small/letter 0/0.png")
    assert done.stdout == "25 ['all', 'S', 'M', 'difference'] False\n", done.stderr
