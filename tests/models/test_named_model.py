import argparse

import numpy as np
import pytest

from gluon_cgd.commands.options import add_model, open_model


def options(*arguments, symbol=True):
    parser = argparse.ArgumentParser()
    add_model(parser, symbol=symbol)
    for flag in ("--ctx", "--dataset"):
        parser.add_argument(flag)
    for flag in ("--epoch", "--input-size"):
        parser.add_argument(flag, type=int)
    return parser.parse_args(list(map(str, arguments)))


def test_a_run_and_the_model_exported_from_it_are_the_same_function(exported):
    pictures = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), np.uint8)
    found = [
        open_model(options(*named))
        for named in (("--checkpoint", exported / "run"), ("--model", exported / "model.onnx"))
    ]
    assert found[0][1] == found[1][1]
    np.testing.assert_allclose(found[0][0](pictures), found[1][0](pictures), atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "m.onnx", "--ctx", "cpu"], "--ctx and --which are for a --checkpoint"),
        (["--model", "m.onnx", "--which", "last"], "--ctx and --which are for a --checkpoint"),
        (["--model", "m.onnx", "--epoch", "0"], "--epoch and --input-size are for a --symbol"),
        (["--checkpoint", "run", "--input-size", "64"], "--epoch and --input-size are for a --symbol"),
        (["--checkpoint", "run", "--runtime", "onnxruntime"], "--runtime is for a --model"),
        (["--checkpoint", "a.params", "--which", "best"], "has one set of parameters"),
        (["--symbol", "a", "--which", "best", "--dataset", "glyphs"], "leave out --which"),
        (["--symbol", "a"], "name a --dataset"),
    ],
)
def test_options_that_do_not_go_together_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        open_model(options(*arguments))


def test_exactly_one_model_is_named(capsys):
    for arguments in ([], ["--model", "a", "--checkpoint", "b"], ["--model", ""]):
        with pytest.raises(SystemExit):
            options(*arguments)
    with pytest.raises(SystemExit):
        options("--symbol", "a", symbol=False)
    assert "an empty name" in capsys.readouterr().err
