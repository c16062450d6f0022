"""Figure 4 on models of a few steps: the numbers are right whatever the models see."""

import json
import re
from dataclasses import replace

import mxnet as mx
import numpy as np
import pytest
from PIL import Image

from gluon_cgd.datasets.cache import cached
from gluon_cgd.evaluate import embedded
from gluon_cgd.machine.facts import PROJECT
from gluon_cgd.recall import recall_of
from gluon_cgd.runs.results import read_result
from gluon_cgd.train import fit
from reproduce import figure4, store
from reproduce.command import main
from reproduce.flags import parser
from reproduce.tables import FIGURE4, TABLES
from reproduce.verdicts import figure4 as judge


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


@pytest.mark.slow
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
    assert list(found.spreads) == ["trained", *judge.CONTROLS]
    for spreads in found.spreads.values():
        assert {name: values.shape for name, values in spreads.items()} == {"SPoC": (32, 2), "MAC": (32, 2)}
    with pytest.raises(ValueError, match="--query 32 must be from 0 to 31"):
        figure4.make({}, small_split, mx.cpu(), query=32)  # before anything is opened


@pytest.mark.slow
def test_the_control_is_the_network_that_the_run_started_from(folders, small_split, tmp_path, monkeypatch):
    result = read_result(folders["SM"] / "result.json")
    net = figure4.untrained(folders["SM"], mx.cpu()).net
    embeddings = embedded(net, small_split, cached(small_split.query, 16), None, mx.cpu())
    assert recall_of((1, 2, 4, 8), embeddings) == pytest.approx(result["untrained"])
    result["experiment"]["pretrained"], result["weights"] = True, "0" * 64
    (folders["SM"] / "result.json").write_text(json.dumps(result))
    (tmp_path / "some.params").write_bytes(b"other")
    monkeypatch.setattr(figure4.backbones, "imagenet_file", lambda name: tmp_path / "some.params")
    with pytest.raises(
        ValueError, match=r"was not trained from the ImageNet parameters .*some\.params: name those with"
    ):
        figure4.untrained(folders["SM"], mx.cpu())


def test_nothing_says_that_the_paper_states_how_its_query_was_chosen():
    told = [parser("").format_help(), figure4.choose_query.__doc__]
    told += [(PROJECT / name).read_text(encoding="utf-8") for name in ("docs/similarity.md", "reproduce/figure4.sh")]
    for text in told:
        assert not re.search(r"criterion|chosen as in|, as in the paper|like the paper's", " ".join(text.split()))


def test_pairs_are_of_one_class_and_those_of_the_control_of_two():
    rng = np.random.default_rng(4)
    labels = np.r_[rng.integers(0, 5, 39), 9]  # nothing else is of class 9
    embedding = rng.normal(size=(40, 6)).astype(np.float32)
    embedding /= np.linalg.norm(embedding, axis=1, keepdims=True)
    queries, results, others = figure4.draw_pairs(embedding, labels)
    assert sorted(queries) == list(range(39))
    assert set(others) <= set(results)
    for query, result, other in zip(queries, results, others):
        same = [i for i in range(40) if labels[i] == labels[query] and i != query]
        assert result == max(same, key=lambda i: embedding[i] @ embedding[query])
        assert labels[other] != labels[query]
    assert len(figure4.draw_pairs(embedding, labels, 7)[0]) == 7
    with pytest.raises(ValueError, match="all test pictures are of one class"):
        figure4.draw_pairs(embedding, np.zeros(40, int))


def measured(rng, learned, of_pair, classes=20, each=10):
    """The Measured of maps whose gap is .2 before training, whatever the pair; training adds to it, and the pair does.

    Pairs of one class share a part of their noise.
    """
    labels = np.repeat(np.arange(classes), each)
    spreads = {}
    for name, more in (("trained", learned + of_pair), ("untrained", 0), ("shuffled", learned)):
        noise = rng.normal(0, 0.05, (classes, 2))[labels] + rng.normal(0, 0.05, (len(labels), 2))
        spreads[name] = {"SPoC": 0.8 + more + noise, "MAC": np.full((len(labels), 2), 0.6)}
    return figure4.Measured(labels, spreads)


def test_random_networks_show_nothing_though_mac_is_always_narrower():
    rng, said = np.random.default_rng(0), []
    for _ in range(50):
        said += [judge.judged(d) for of in judge.differences(measured(rng, 0, 0)).values() for d in of]
    assert len(said) == 200
    assert np.mean([words != "no difference shown" for words in said]) < 0.1  # 5 %, a little more of 20 classes
    assert not any("holds" in line.lower() for line in judge.sentences(measured(rng, 0, 0)))


def test_what_training_and_the_pair_add_is_found_with_its_sign():
    rng = np.random.default_rng(0)
    words = [[judge.judged(d) for d in of] for of in judge.differences(measured(rng, 0.2, -0.2)).values()]
    assert words == [["no difference shown"] * 2, ["narrower"] * 2]
    lines = judge.sentences(measured(rng, 0.2, 0))
    assert lines[0].startswith("spread of SM's maps, means over 200 pairs")
    assert len(lines) == 8
    assert lines[2].startswith("  the same pairs before training: 0.2")
    assert "; training changes it by +0.2" in lines[2]
    assert lines[2].endswith("): wider")
    assert lines[3].endswith("): no difference shown")
    assert "over 20 classes, for one run" in lines[-1]


def test_the_interval_is_of_classes_not_of_pairs():
    values = np.repeat(np.random.default_rng(0).normal(size=12), 50)  # all pairs of a class are equal: 12 numbers
    mean, low, high = judge.interval(values, np.repeat(np.arange(12), 50))
    assert mean == pytest.approx(values.mean())
    standard_error = values[::50].std() / 12**0.5
    assert high - low == pytest.approx(2 * 1.96 * standard_error, rel=0.1)


@pytest.mark.slow
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
