"""The networks that the mini form starts from: their letters, their files, and how they are made."""

import unicodedata

import mxnet as mx
import numpy as np
import pytest

from gluon_cgd import backbones
from gluon_cgd.datasets import glyphs
from gluon_cgd.fetch import weights
from gluon_cgd.files.whole import digest
from reproduce import command, pretrain
from tests.datasets.test_glyphs import bitmap

BENCHMARK = glyphs.TRAIN + glyphs.TEST


def test_the_letters_are_400_others_than_the_benchmarks():
    assert len(pretrain.LETTERS) == len(set(pretrain.LETTERS)) == 400
    plain = {unicodedata.normalize("NFKC", character).casefold() for character in BENCHMARK}
    assert not plain & {unicodedata.normalize("NFKC", letter).casefold() for letter in pretrain.LETTERS}


def test_no_letter_looks_like_one_of_the_benchmark_in_most_typefaces():
    similarity = []
    for typeface in glyphs.TYPEFACES[:12:2]:
        letters, benchmark = (np.stack([bitmap(c, typeface) for c in part]) for part in (pretrain.LETTERS, BENCHMARK))
        similarity.append(letters @ benchmark.T)
    assert np.median(similarity, axis=0).max() < 0.93  # of what is one character to the eye: 0.95


def test_letters_are_drawn_alike_each_time_and_in_grey():
    first = pretrain.draw(pretrain.LETTERS[0], np.random.default_rng(5))
    np.testing.assert_array_equal(first, pretrain.draw(pretrain.LETTERS[0], np.random.default_rng(5)))
    assert first.shape == (48, 48, 3)
    assert (first == first[..., :1]).all()
    assert np.ptp(first.astype(int)) >= 50


def test_four_networks_of_at_most_three_megabytes_come_with_the_project():
    files = [weights.shipped(name) for name in pretrain.NETWORKS]
    assert sum(file.stat().st_size for file in files) <= 3_000_000
    assert sorted(weights.SHIPPED.iterdir()) == sorted(files)
    for file in files:
        assert digest(file).startswith(file.stem[-8:])
        stored = mx.nd.load(str(file))
        assert {value.dtype for value in stored.values()} == {np.float16}
        assert all(np.isfinite(value.asnumpy()).all() for value in stored.values())


@pytest.mark.parametrize("name", pretrain.NETWORKS)
def test_a_network_starts_from_its_file_whatever_its_stride(name):
    stored = mx.nd.load(str(weights.shipped(name)))
    for keep_stride in (None, True, False):
        backbone = backbones.build(name, pretrained=True, keep_stride=keep_stride, input_size=32)
        values = backbone._collect_params_with_prefix()
        assert len(values) == len(stored)
        for key, value in values.items():
            assert value.data().dtype == np.float32
            np.testing.assert_array_equal(value.data().asnumpy(), stored[key].astype("float32").asnumpy())


def test_a_file_that_is_not_the_one_of_its_name_is_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no parameters of small_resnet: take it from the repository again"):
        weights.shipped("small_resnet", tmp_path)
    whole = weights.shipped("small_resnet")
    (tmp_path / whole.name).write_bytes(whole.read_bytes()[:-1] + b"\0")
    with pytest.raises(
        ValueError, match=f"{whole.name} is not the file that its name says.*python -m reproduce pretrain"
    ):
        weights.shipped("small_resnet", tmp_path)


def test_pretraining_learns_and_gives_the_same_file_each_time(tmp_path, monkeypatch):
    monkeypatch.setattr(pretrain, "LETTERS", pretrain.LETTERS[:12])
    monkeypatch.setattr(pretrain, "BATCH", 32)
    monkeypatch.setattr(pretrain, "WARMUP", 5)
    drawn = pretrain.pictures()
    assert drawn.shape == (12 * pretrain.PICTURES, 36, 36, 3)
    files = []
    for folder in (tmp_path / "one", tmp_path / "two"):
        whole, right = pretrain.learn("small_resnet", drawn, passes=2)
        files.append(pretrain.save(whole, "small_resnet", folder))
    assert right > 2 / 12
    assert files[0].name == files[1].name
    assert [file.name for file in files[0].parent.iterdir()] == [files[0].name]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("pretrain table1", "pretrain makes the parameters"),
        ("pretrain --report", "pretrain makes the parameters"),
        ("pretrain --seeds 3", "--seeds 3 has no effect on pretrain"),
        ("table1 --from-scratch", "--from-scratch changes the mini form of a table"),
        ("report --mini --from-scratch", "--from-scratch changes the mini form of a table"),
    ],
)
def test_what_has_no_effect_is_refused(words, says, capfd):
    assert command.main(words.split()) == 2
    assert says in capfd.readouterr().err
