"""`index --kind auto` and the kinds on the disk, as they are typed."""

import json
from importlib.util import find_spec

import pytest

from gluon_cgd.__main__ import main
from tests.commands.test_search import indexed, model, own, refused  # noqa: F401

pytestmark = pytest.mark.skipif(find_spec("faiss") is None, reason="faiss-cpu is not installed")


@pytest.mark.slow
def test_auto_says_why_it_searches_exactly_and_search_takes_what_it_chose(own, indexed, capsys, caplog):  # noqa: F811
    assert "has no engine that was chosen" in refused(
        capsys, "search", own, indexed[0] / "03.png", "--engine", "faiss", "--kind", "auto"
    )
    assert main(["index", "--out", str(own), "--engine", "faiss", "--kind", "auto", "--recall", "0.9"]) == 0
    assert "is searched exactly: 12 vectors of 8 numbers" in capsys.readouterr().out
    assert main(["search", str(own), str(indexed[0] / "03.png"), "--json", "--engine", "faiss", "--kind", "auto"]) == 0
    assert json.loads(capsys.readouterr().out)["engine"] == "exact"


@pytest.mark.slow
def test_what_cannot_be_reached_is_refused_in_a_sentence(own, capsys):  # noqa: F811
    engine = ["index", "--out", own, "--engine", "faiss", "--kind"]
    for recall in ("0", "1.1", "nan", "-1"):
        assert "must be above 0 and at most 1: 0.95 finds 95 %" in refused(capsys, *engine, "auto", "--recall", recall)
    for memory in ("0", "-3", "nan", "inf"):
        assert "must be above 0, in GB" in refused(capsys, *engine, "auto", "--memory", memory)
    assert "has 12 rows, and FAISS needs 39 for disksq: take --engine exact" in refused(capsys, *engine, "disksq")
