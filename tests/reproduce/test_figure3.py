"""The two sentences of section 4.4.1 are decided by a bootstrap over seeds."""

import json

import numpy as np
import pytest

from gluon_cgd.experiment import CONFIGURATIONS
from reproduce.command import main
from reproduce.page.sections import Section
from reproduce.report import comparison, formats
from reproduce.report.data import as_data
from reproduce.tables import FIGURE3
from reproduce.verdicts import figure3
from tests.reproduce.test_html import run
from visualize import configurations

LEVELS = dict(zip(CONFIGURATIONS, (50, 46, 48, 51, 50.5, 49.9, 55, 52, 49, 53, 51.5, 47)))  # best: GS of S and G


def panel(spread, seeds=10, levels=LEVELS, common=3.0, start=0):
    """{configuration: {seed: recall}}: around `levels`, with a part of each seed that all configurations share."""
    rng = np.random.default_rng(0)
    shared = common * rng.normal(size=seeds)
    own = spread * rng.normal(size=(12, seeds))
    values = {name: level + shared + one for (name, level), one in zip(levels.items(), own)}
    return {name: dict(enumerate(one, start)) for name, one in values.items()}


def slowly(results):
    """The shares, sample by sample with loops."""
    seeds = sorted(set.intersection(*(set(runs) for runs in results.values())))
    drawn = np.random.default_rng(0).integers(len(seeds), size=(figure3.SAMPLES, len(seeds)))
    counts = [0, 0]
    for sample in drawn[:100]:
        middle = {name: np.median([runs[seeds[i]] for i in sample]) for name, runs in results.items()}
        singles = sorted((name for name in middle if len(name) == 1), key=lambda name: -middle[name])
        above = [name for name in middle if len(name) > 1 and middle[name] > middle[singles[0]]]
        counts[0] += 2 * len(above) > 9
        pair = [name for name in middle if set(name) == set(singles[:2])]
        others = [value for name, value in middle.items() if name not in pair]
        counts[1] += max(middle[name] for name in pair) > max(others)
    return [count / 100 for count in counts]


@pytest.mark.parametrize("spread", [0.3, 4.0])
def test_the_shares_are_those_of_samples_of_seeds(spread, monkeypatch):
    results = panel(spread)
    draw = np.random.default_rng(0).integers(10, size=(figure3.SAMPLES, 10))
    middle = np.array([[np.median([runs[i] for i in sample]) for sample in draw[:100]] for runs in results.values()])
    found = [float(np.mean(true)) for true in figure3.truths(middle)]
    assert found == slowly(results)
    whole = [claim.share for claim in figure3.claims(results)]
    assert whole == pytest.approx(found, abs=0.2)
    assert [claim.share for claim in figure3.claims(results)] == whole  # always the same


def test_a_sentence_holds_or_not_only_beyond_95_percent_of_the_samples():
    clear = figure3.claims(panel(0.1))
    assert [claim.outcome for claim in clear] == ["holds", "holds"]
    assert clear[0].sentence() == (
        "6 of 9 combined descriptors are above the best single one, S: 'the majority outperforms' holds "
        "(true in 100.0 % of 10,000 bootstrap samples of 10 seeds)"
    )
    unclear = figure3.claims(panel(4.0))
    assert unclear[1].outcome == "undecided"
    assert 0.05 < unclear[1].share < 0.95
    levels = {**LEVELS, "S": 60}
    assert [claim.outcome for claim in figure3.claims(panel(0.1, levels=levels))] == ["does not hold"] * 2
    small = figure3.claims(panel(0.1, levels=levels), small=True)
    assert [claim.outcome for claim in small] == ["opposite here"] * 2
    assert [figure3.outcome(share, False) for share in (0.95, 0.949, 0.051, 0.05, None)] == [
        "holds",
        "undecided",
        "undecided",
        "does not hold",
        "undecided",
    ]


def test_no_share_is_rounded_over_a_limit():
    shares = (1.0, 0.9999, 0.95, 0.9499, 0.0501, 0.05, 0.0001, 0.0, 0.292)
    told = ["100.0", "99.9", "95.0", "94.9", "5.1", "5.0", "0.1", "0.0", "29.2"]
    assert [figure3.shown(share) for share in shares] == told


def test_seeds_are_drawn_for_all_configurations_together():
    # Shared luck of thirty points a seed moves all configurations at once, and so decides nothing
    assert [claim.outcome for claim in figure3.claims(panel(0.1, common=30.0))] == ["holds", "holds"]
    results = panel(0.1)
    results["GS"] = dict(list(results["GS"].items())[3:])  # three seeds less: the others count
    assert figure3.claims(results)[0].seeds == 7


@pytest.mark.parametrize("seeds", [1, 2, 4])
def test_few_seeds_decide_nothing(seeds):
    claims = figure3.claims(panel(0.1, seeds))
    assert [claim.outcome for claim in claims] == ["undecided"] * 2
    assert claims[0].sentence().endswith(f"undecided (only {seeds} seed{'s' * (seeds > 1)}: too few to draw from)")
    assert figure3.sentences({"S": {0: 50.0}}) == ["not all configurations have run yet"]


def test_equal_configurations_are_seldom_said_to_have_a_best_that_combines_the_two_best(monkeypatch):
    monkeypatch.setattr(figure3, "SAMPLES", 400)
    rng = np.random.default_rng(0)
    said = 0
    for _ in range(100):
        values = 50 + 3 * rng.normal(size=(1, 10)) + rng.normal(size=(12, 10))
        said += figure3.shares_of.__wrapped__(tuple(map(tuple, values)))[1] >= 0.95
    assert said / 100 <= 0.05


def test_text_json_page_and_plot_say_the_same():
    levels = dict(zip(CONFIGURATIONS, (0.5, 0.3, 0.4, *[0.45] * 8, 0.6)))

    def results(experiment):
        return [run(experiment, seed, levels[experiment.descriptors] + 0.01 * seed) for seed in range(6)]

    rows = comparison.entries(FIGURE3, results, True, "last")
    text = formats.as_text(FIGURE3, rows, True, "last")
    majority, best = (line[len("  - ") :] for line in text.splitlines() if "bootstrap samples of 6 seeds" in line)
    assert "the best single one, S: 'the majority outperforms' opposite here (true in 0.0 %" in majority
    assert "'the best one combines the two best' opposite here" in best
    assert formats.body(FIGURE3, rows, True).splitlines()[-3:-1] == [f"  - {majority}", f"  - {best}"]
    entries = json.loads(json.dumps(as_data(FIGURE3, rows, True)))
    claims = [claim for entry in entries for claim in entry["claims"]]
    assert [claim["sentence"] for claim in claims] == [majority, best]
    assert [(claim["outcome"], claim["share"]) for claim in claims] == [("opposite here", 0.0)] * 2
    assert configurations.captions(entries) == {"glyphs": [majority, best]}
    axes = configurations.boxes(configurations.panels(entries), configurations.captions(entries)).axes[0]
    assert " ".join(axes.get_xlabel().split()) == f"{majority} {best}"
    section = Section(FIGURE3, results, True, "last", {}, None)
    assert section.figure3_claims() == {"glyphs": [majority, best]}


def test_a_report_of_an_earlier_version_is_drawn_without_sentences():
    entries = [{"row": "CUB200 S", "ours": {"R@1": {"values": [50.0, 51.0]}}}]
    assert configurations.captions(entries) == {"CUB200": []}
    assert configurations.boxes(configurations.panels(entries), configurations.captions(entries)).axes


def test_the_orderings_are_in_the_json_with_the_better_row(tmp_path, capsys):
    assert main(["table1", "--mini", "--json", "--runs", str(tmp_path)]) == 0
    rank, both = json.loads(capsys.readouterr().out)
    assert rank["table_verdict"] is None  # the mini form says nothing of the paper
    assert rank["claims"] == []
    assert both["claims"] == [
        {"claim": "Both > Rank", "outcome": "not run", "p": [None, None], "sentence": "Both > Rank: not run"}
    ]
