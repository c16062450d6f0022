"""Figure 4 on models of a few steps: the numbers are right whatever the models see."""

from dataclasses import replace

import mxnet as mx
import numpy as np
import pytest
from PIL import Image

from gluon_cgd.datasets.cache import cached
from gluon_cgd.train import fit
from reproduce import figure4, store
from reproduce.command import main
from reproduce.tables import FIGURE4, TABLES


@pytest.fixture
def folders(small_experiment, small_split, tmp_path):
    """Runs of SM, S and M."""
    found = {}
    for letters in figure4.CONFIGURATIONS:
        found[letters] = tmp_path / letters
        fit(replace(small_experiment, descriptors=letters), small_split, found[letters])
    return found


def test_ranks_and_first_results_are_those_of_a_sorted_list():
    embedding = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
    embedding /= np.linalg.norm(embedding, axis=1, keepdims=True)
    for query in (0, 7, 29):
        order = [i for i in np.argsort(((embedding - embedding[query]) ** 2).sum(axis=1)) if i != query]
        assert figure4.nearest(embedding, [query]) == [order[0]]
        assert figure4.ranks(embedding, [query] * 3, [order[0], order[4], order[28]]).tolist() == [1, 5, 29]


def test_the_query_is_right_under_sm_and_farthest_down_under_both_others():
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 5, 40)
    embeddings = {name: rng.normal(size=(40, 6)).astype(np.float32) for name in figure4.CONFIGURATIONS}
    seen = {}
    for name, values in embeddings.items():
        seen[name] = figure4.Seen(None, None, values / np.linalg.norm(values, axis=1, keepdims=True))
    best = {}
    for query in range(40):
        (first,) = figure4.nearest(seen["SM"].embedding, [query])
        if labels[first] == labels[query]:
            best[query] = min(figure4.ranks(seen[name].embedding, [query], [first])[0] for name in ("S", "M"))
    for block in (256, 7):
        chosen = figure4.choose_query(seen, labels, block)
        assert best[chosen] == max(best.values())
    with pytest.raises(ValueError, match="SM's first result is wrong for every query"):
        figure4.choose_query(seen, np.arange(40))


def test_every_panel_explains_its_pair_and_the_ranks_of_first_results_are_1(folders, small_split):
    lines, found, sentences = figure4.make(folders, small_split, mx.cpu(), query=5)
    assert sentences[0] == "query 5 of 32"
    pictures = cached(small_split.query, 16)
    for i, line in enumerate(lines):
        assert f"{figure4.CONFIGURATIONS[i]}_R1 seen by {figure4.CONFIGURATIONS[i]}: rank 1," in line[i].title
        for panel in line:
            cosine = float(panel.title.rpartition(" ")[2])
            assert panel.map1.sum() == pytest.approx(cosine, abs=6e-4)
            assert panel.map2.sum() == pytest.approx(cosine, abs=6e-4)
            np.testing.assert_array_equal(panel.query, pictures[5])
    assert {name: values.shape for name, values in found.items()} == {"SPoC": (32, 2), "MAC": (32, 2)}
    with pytest.raises(ValueError, match="--query 32 must be from 0 to 31"):
        figure4.make(folders, small_split, mx.cpu(), query=32)


def test_the_claim_is_judged_by_a_test_on_pairs():
    rng = np.random.default_rng(0)
    wide, narrow = rng.uniform(0.6, 0.9, (200, 2)), rng.uniform(0.3, 0.7, (200, 2))
    assert all(" holds (p = " in line for line in figure4.claim({"SPoC": wide, "MAC": narrow}))
    assert all("DOES NOT HOLD" in line for line in figure4.claim({"SPoC": narrow, "MAC": wide}))
    assert all("DOES NOT HOLD (p = 1, n = 200)" in line for line in figure4.claim({"SPoC": wide, "MAC": wide}))


def test_the_command_trains_draws_and_says_what_it_shows(small_experiment, small_split, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(store, "load_data", lambda name, data: small_split)
    monkeypatch.setattr(
        "reproduce.selection.mini", lambda asked: replace(small_experiment, descriptors=asked.descriptors)
    )
    assert main(["figure4", "--mini", "--query", "3", "--backend", "here", "--runs", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "query 3 of 32" in out
    assert out.count("seen by") == 9
    for name, least in (("figure4-mini.png", 1500), ("figure4-mini-spread.png", 1000)):
        with Image.open(tmp_path / "reports" / name) as picture:
            assert picture.width > least
    assert main(["figure4", "--mini", "--report", "--runs", str(tmp_path / "none")]) == 2
    assert "holds no finished run" in capsys.readouterr().err
    assert main(["figure4", "--rows", "S"]) == 2
    table5 = {row.experiment for row in TABLES["table5"].rows}
    assert {row.experiment for row in FIGURE4.rows} <= table5  # the same runs
