"""A page that FAISS searches: the same answers, while the index grows and when it is made anew."""

import contextlib
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from gluon_cgd.__main__ import main
from gluon_cgd.datasets import glyphs
from gluon_cgd.retrieval import approximate
from gluon_cgd.retrieval.manifest import NAME
from gluon_cgd.serve.answers import Answers
from gluon_cgd.serve.current import Current
from gluon_cgd.serve.refusal import Refusal

pytest.importorskip("faiss")
FLAT = ("faiss", "flat", None)


@pytest.fixture
def built(own_index):
    """The folder of an index that FAISS searches exactly."""
    assert main(["index", "--out", str(own_index), "--engine", "faiss", "--kind", "flat"]) == 0
    return own_index


def after(current):
    """The state when the Current looks again."""
    current._next = 0.0
    return current.state()


def test_the_answers_are_those_of_an_exact_search_and_faiss_was_asked(built, answers, monkeypatch):
    asked, candidates = [], approximate.Faiss.candidates
    monkeypatch.setattr(
        approximate.Faiss, "candidates", lambda self, *how: asked.append(how[1]) or candidates(self, *how)
    )
    with contextlib.closing(Current(str(built), FLAT, ctx="cpu")) as current:
        own = Answers(current)
        for name in (0, 7, 24):
            row = own.browse({})["results"][name]["id"]
            found, right = (each.search({"q": row}) for each in (own, answers))
            assert [one["id"] for one in found["results"]] == [one["id"] for one in right["results"]]
            np.testing.assert_allclose(found["cosines"], right["cosines"], atol=1e-4)
            assert found["total"] == 25
        assert len(asked) == 3
        folder = own.about()["folders"][0]["name"]
        inside = own.search({"q": row, "folder": folder})
        assert inside["total"] == answers.search({"q": row, "folder": folder})["total"] > 0
        assert len(asked) == 3  # a folder is searched exactly


def test_new_pictures_are_found_and_a_new_faiss_index_is_taken(built, tmp_path):
    with contextlib.closing(Current(str(built), FLAT, ctx="cpu")) as current:
        first = current.state().engine
        assert (first.name, first.rows) == ("faiss flat", 25)
        (tmp_path / "more").mkdir()
        Image.fromarray(glyphs.picture(9, 0)).save(tmp_path / "more" / "new.png")
        assert main(["index", "--images", str(tmp_path / "more"), "--out", str(built), "--ctx", "cpu"]) == 0
        state = after(current)
        assert state.engine is first
        own = Answers(current)
        new = own.browse({"folder": "more"})["results"][0]
        found = own.search({"q": new["id"]})
        assert (found["total"], found["results"][0]["id"]) == (26, new["id"])
        more = ["index", "--images", str(tmp_path / "more"), "--out", str(built), "--ctx", "cpu"]
        Image.fromarray(glyphs.picture(9, 1)).save(tmp_path / "more" / "newer.png")
        assert main([*more, "--engine", "faiss", "--kind", "flat"]) == 0
        assert after(current).engine.rows == 27


def test_an_index_without_faiss_is_refused_at_the_start_and_later_says_how_to_build_it(built, capsys):
    build = f"python -m gluon_cgd index --out {built} --engine faiss --kind"
    with pytest.raises(ValueError, match=f"{built} has no FAISS index 'hnsw' of these rows: {build} hnsw builds it"):
        Current(str(built), ("faiss", "hnsw", None), ctx="cpu").read()
    with contextlib.closing(Current(str(built), FLAT, ctx="cpu")) as current:
        current.state()
        for file in built.glob("faiss-*.index"):
            file.unlink()
        shutil.copy(built / NAME, built / "again.json")  # as a new write of the index does
        (built / "again.json").replace(built / NAME)
        with pytest.raises(Refusal, match=f"{build} flat builds it") as refusal:
            after(current)
        assert refusal.value.status == 503


def test_flags_that_belong_to_another_engine_are_refused(built, capsys):
    for flags, message in (
        (["--kind", "flat"], "--kind flat is for --engine faiss: name both, or leave it out"),
        (["--engine", "milvus"], "--engine milvus needs --uri"),
        (["--engine", "faiss", "--kind", "ivf"], "has no FAISS index 'ivf' of these rows"),
    ):
        assert main(["serve", str(built), "--ctx", "cpu", *flags]) == 2
        assert message in capsys.readouterr().err


def test_the_command_says_what_searches(built, capsys, monkeypatch):
    pytest.importorskip("flask")
    from gluon_cgd.serve import app

    server = SimpleNamespace(effective_port=8000, run=lambda: None, close=lambda: None)
    monkeypatch.setattr(app, "listen", lambda *where: server)
    assert main(["serve", str(built), "--ctx", "cpu", "--engine", "faiss", "--kind", "flat"]) == 0
    assert f"25 pictures in {built}, by cgd_sm_cifar_resnet10_8, searched by faiss flat" in capsys.readouterr().out
