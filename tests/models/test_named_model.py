import argparse

import numpy as np
import pytest

from gluon_cgd.commands.options import add_model, model_of
from gluon_cgd.models.opened import open_model


def options(*arguments, symbol=True):
    parser = argparse.ArgumentParser()
    add_model(parser, symbol=symbol)
    for flag in ("--ctx", "--dataset"):
        parser.add_argument(flag)
    return parser.parse_args(list(map(str, arguments)))


def opened(*arguments):
    given = options(*arguments)
    return open_model(**model_of(given), dataset=given.dataset)


def test_a_run_and_the_model_exported_from_it_are_the_same_function(exported):
    pictures = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), np.uint8)
    found = [opened(*named) for named in (("--checkpoint", exported / "run"), ("--model", exported / "model.onnx"))]
    assert found[0].experiment == found[1].experiment
    np.testing.assert_allclose(found[0].embed(pictures), found[1].embed(pictures), atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "m.onnx", "--ctx", "gpu0"], "--ctx gpu0 is no device of ONNX Runtime"),
        (["--model", "m.onnx", "--which", "last"], "--which is for a --checkpoint: leave it out with m.onnx"),
        (["--model", "m.onnx", "--epoch", "0"], "--epoch and --input-size are for a --symbol"),
        (["--checkpoint", "run", "--input-size", "64"], "--epoch and --input-size are for a --symbol"),
        (
            ["--checkpoint", "run", "--runtime", "onnxruntime"],
            "--runtime is for an exported model: leave it out with run, or name a --model",
        ),
        (["--checkpoint", "a.params", "--which", "best"], "has one set of parameters"),
        (["--symbol", "a", "--which", "best", "--dataset", "glyphs"], "leave out --which"),
        (["--symbol", "a"], "name a --dataset"),
    ],
)
def test_options_that_do_not_go_together_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        opened(*arguments)


def test_exactly_one_model_is_named(capsys):
    for arguments in ([], ["--model", "a", "--checkpoint", "b"], ["--model", ""]):
        with pytest.raises(SystemExit):
            options(*arguments)
    with pytest.raises(SystemExit):
        options("--symbol", "a", symbol=False)
    assert "an empty name" in capsys.readouterr().err
