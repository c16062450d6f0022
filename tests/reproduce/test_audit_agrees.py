"""The audit's verdicts, implemented a second time, are those of the project: on runs of the paper's form too."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from gluon_cgd.experiment import REVISION
from reproduce import recorded
from reproduce.auditing import agreement, blocks, declared, evidence, page
from reproduce.auditing.samples import entries
from reproduce.documents import summary
from reproduce.page import html
from reproduce.report import comparison
from reproduce.tables import EVERYTHING
from reproduce.verdicts.verdict import sentence

TABLES = declared.tables()


def as_published(row, draw, spread):
    """The recalls of a run of `row` around the published numbers: {stage: recall}, {branch: recall}."""
    letters = declared.DECLARED["branches"]
    found = {column: (cell.mean + draw.normal() * spread) / 100 for column, cell in row.published.items()}
    recall = {column.rpartition(" ")[2]: value for column, value in found.items() if "R@" in column}
    recall.setdefault("R@1", found.get("Combined", next(iter(found.values()), 0.9 + 0.01 * draw.normal())))
    recall = {k: round(min(value, 1.0), 6) for k, value in recall.items()}
    branches = {
        letters[letter]: {"R@1": round(found.get(letters[letter], recall["R@1"] - 0.005), 6)}
        for letter in row.experiment["descriptors"]
    }
    return recall, branches


def fill(folder, seeds, spread):
    """Record invented runs of the paper's form of every row in `folder`."""
    folder.mkdir()
    for table in TABLES:
        for row in table.paper:
            file = folder / f"{row.key}.json" if row.experiment else None
            if file is None or (file.exists() and not row.published):
                continue
            draw, runs = np.random.default_rng(int(row.key[-6:], 16)), []
            for seed in range(max(seeds, len(json.loads(file.read_text())["runs"]) if file.exists() else 0)):
                recall, branches = as_published(row, draw, spread)
                before = {k: value / 2 for k, value in recall.items()}
                history = [
                    {"iteration": at, "recall": dict(recall, **{"R@1": round(recall["R@1"] * part, 6)})}
                    for at, part in zip(range(0, 1800, 300), (0.5, 0.7, 0.8, 0.9, 0.95, 1))
                ]
                stages = {"untrained": before, "last": recall, "best": recall}
                run = {"seed": seed, "revision": REVISION, "classes": 98, **stages, "history": history, "seconds": 60.0}
                run["branches"] = dict.fromkeys(stages, branches)
                runs.append({**run, "iterations": 1500, "best_iteration": 1500, "device": "gpu(0)"})
            file.write_text(json.dumps({"experiment": row.experiment, "runs": runs}))


@pytest.mark.slow
@pytest.mark.parametrize(("seeds", "spread"), [(1, 0.2), (2, 0.3), (5, 0.1), (7, 0.6)])
def test_the_paper_form_is_judged_as_the_project_judges_it(tmp_path, monkeypatch, seeds, spread):
    folder = tmp_path / "results"
    fill(folder, seeds, spread)
    monkeypatch.setattr(recorded, "FOLDER", folder)
    monkeypatch.setattr(recorded.read, "__defaults__", (folder,))
    summary.entries.cache_clear()
    runs, findings = evidence.read(folder)
    assert findings == []
    mini, paper = blocks.Mini(TABLES, runs), {table.name: entries(table, runs, False) for table in TABLES}
    try:
        for right, ours in (
            (blocks.status(mini, paper), summary.status()),
            (blocks.tables(mini, paper), summary.tables()),
        ):
            assert right == ours.split("\n")
    finally:
        summary.entries.cache_clear()
    told = {
        (table.name, row.row, column): sentence(verdict)
        for table in EVERYTHING
        for row in comparison.entries(
            table, lambda one, n=table.seeds: [r for r in recorded.read(one, folder) if r["seed"] < n], False, "last"
        )
        for column, verdict in row.verdicts.items()
    }
    text = html.page(EVERYTHING, lambda experiment: recorded.read(experiment, folder), False, verdicts=told)
    assert list(map(str, page.check("page.html", text, TABLES, runs, REVISION))) == []


def test_a_part_of_sop_has_a_hash_of_its_own_and_each_dataset_has_one():
    def recorded(dataset, seed, data):
        run = {"seed": seed, "parameters_sha256": f"{seed}".rjust(64, "0"), "data": data}
        place = {"file": Path(f"{dataset}.json"), "experiment": {"dataset": dataset}, "runs": [run]}
        return SimpleNamespace(**place, at=lambda index, text, field=None: text)

    both = {"a": recorded("sop", 0, "all"), "b": recorded("sop_mini", 1, "a part")}
    assert list(agreement.distinct(both)) == []
    (said,) = agreement.distinct({**both, "c": recorded("sop", 2, "other")})
    assert "learned from another copy of sop than sop, seed 0" in said
