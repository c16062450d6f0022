"""--batch 4x32 names the classes of a batch, and the pictures of each."""

import pytest

from gluon_cgd.__main__ import main, parser
from gluon_cgd.commands import train
from gluon_cgd.datasets import settings
from gluon_cgd.experiment import Experiment


@pytest.mark.parametrize("command", ["train", "choose"])
@pytest.mark.parametrize(
    ("text", "shape"), [("4x32", (4, 32)), ("32x4", (32, 4)), ("8 x 2", (8, 2)), ("12X3", (12, 3))]
)
def test_a_batch_is_named_by_its_shape(text, shape, command, monkeypatch):
    given = []
    monkeypatch.setattr(settings, "fitted", lambda values, *_: given.append(values) or (Experiment(**values), None, ()))
    options = parser([command]).parse_args([command, "--out", "r", "--dataset", "cub200", "--batch", text])
    experiment, *_ = train.arguments_of(options)
    assert (experiment.batch_classes, experiment.batch_images) == shape
    assert given[0] == {"dataset": "cub200", "batch_classes": shape[0], "batch_images": shape[1]}


def test_the_default_is_32_x_4():
    assert Experiment(batch_classes=32, batch_images=4).changes() == {}


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["4"], "--batch '4' must be the classes of a batch, an x, and the pictures of each class: --batch 32x4 is"),
        (["4x"], "--batch '4x' must be"),
        (["4x-2"], "--batch '4x-2' must be"),
        (["4x2x3"], "--batch '4x2x3' must be"),
        ([""], "--batch '' must be"),
        (["٤x٢"], "must be the classes of a batch"),
        (["9999999999x4"], "must be the classes of a batch"),
        (["1x4"], "batch_classes 1 must be at least 2 and at most 16384: one class has no negatives"),
        (["4x1"], "batch_images 1 must be at least 2 and at most 16384: one image has no positives"),
        (["4x32", "--batch-images", "8"], "--batch 4x32 is --batch-classes and --batch-images in one: leave it out"),
    ],
)
def test_what_is_no_shape_is_refused_in_a_sentence(typed, message, capsys, tmp_path):
    assert main(["train", "--dataset", "glyphs_mini", "--out", str(tmp_path / "r"), "--batch", *typed]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "r").exists()
