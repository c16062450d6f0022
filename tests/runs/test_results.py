import json

import pytest

from gluon_cgd.experiment import Experiment
from gluon_cgd.runs.results import read_result

RECALL = {"R@1": 0.5}
RESULT = dict(experiment=Experiment().to_dict(), seed=0, classes=4, untrained=RECALL, last=RECALL, best=RECALL)


def test_a_result_is_read_as_it_was_written(tmp_path):
    for more in ({}, {"files": {"last.params": "0"}, "branches": {"last": {"SPoC": RECALL}, "best": {}}}):
        (tmp_path / "result.json").write_text(json.dumps({**RESULT, **more}))
        assert read_result(tmp_path / "result.json") == {**RESULT, **more}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": 0}, "has 0 classes: delete it"),
        ({"classes": "4"}, "has '4' classes: delete it"),
        ({"last": {"R@1": 1.5}}, "has a recall under 'last' that is not between 0 and 1: delete it"),
        ({"best": None}, "is not the result of a run: delete it"),
        ({"branches": {"best": {"MAC": {"R@1": "0.5"}}}}, "has a recall under 'best' that is not between 0 and 1"),
        ({"branches": []}, "is not the result of a run"),
        ({"files": ["last.params"]}, "is not the result of a run"),
        ({"experiment": "glyphs"}, "is not the result of a run"),
    ],
)
def test_a_broken_result_is_refused_with_what_is_wrong(tmp_path, change, message):
    (tmp_path / "result.json").write_text(json.dumps({**RESULT, **change}))
    with pytest.raises(ValueError, match=f"result.json {message}"):
        read_result(tmp_path / "result.json")
