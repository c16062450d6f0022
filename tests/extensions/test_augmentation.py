"""Colour jitter and random erasing: beside a plain loop, and what is drawn for them."""

import math
from dataclasses import replace

import numpy as np
import pytest

from gluon_cgd.datasets import images
from gluon_cgd.experiment import Experiment
from gluon_cgd.extensions import augmentation
from gluon_cgd.extensions.augmentation import draw_factors, draw_patches, jittered
from gluon_cgd.sampler import ClassBalancedSampler, draw_changes, draw_crops
from gluon_cgd.train import fit

SMALL = Experiment(input_size=16)


def picture(seed=0, side=6):
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)


def rounded(value):
    return min(255, max(0, math.floor(value + 0.5)))


def grey_of(r, g, b):
    return (77 * r + 150 * g + 29 * b) / 256


def jitter_loop(picture, brightness, contrast, saturation):
    """One pixel after the other, by fractions: each change mixes, and rounds to whole numbers."""
    rows = [[[rounded(v * brightness) for v in pixel] for pixel in row] for row in picture.tolist()]
    pixels = [pixel for row in rows for pixel in row]
    mean = math.floor(sum(grey_of(*pixel) for pixel in pixels) / len(pixels))
    rows = [[[rounded(v * contrast + mean * (1 - contrast)) for v in pixel] for pixel in row] for row in rows]
    for row in rows:
        for pixel in row:
            grey = rounded(grey_of(*pixel))
            pixel[:] = [rounded(v * saturation + grey * (1 - saturation)) for v in pixel]
    return np.array(rows)


@pytest.mark.parametrize("factors", [(256, 256, 256), (300, 200, 410), (512, 512, 512), (0, 256, 256), (256, 0, 256)])
def test_colour_jitter_equals_a_loop(factors):
    for seed in range(3):
        shown = picture(seed)
        found = jittered(shown, np.array(factors))
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, jitter_loop(shown, *(factor / 256 for factor in factors)))


def test_each_factor_does_what_its_name_says():
    shown = picture()
    np.testing.assert_array_equal(jittered(shown, np.array([256, 256, 256])), shown)
    np.testing.assert_array_equal(jittered(shown, np.array([128, 256, 256])), (shown.astype(int) + 1) // 2)
    assert not jittered(shown, np.array([0, 256, 256])).any()
    flat = jittered(shown, np.array([256, 0, 256]))
    assert (flat == flat[0, 0]).all()
    assert abs(int(flat[0, 0, 0]) - shown.astype(float) @ [0.299, 0.587, 0.114]).mean() < 128
    grey = jittered(shown, np.array([256, 256, 0]))
    assert (grey == grey[..., :1]).all()
    strong = jittered(shown, np.array([256, 512, 256]))
    assert strong.std() > shown.std()


@pytest.mark.parametrize("strength", [0.25, 1])
def test_factors_are_drawn_evenly_around_1(strength):
    factors = draw_factors(np.random.default_rng(0), 4000, strength)
    assert factors.shape == (4000, 3)
    assert factors.min() == 256 - 256 * strength
    assert factors.max() == 256 + 256 * strength
    assert np.abs(factors.mean(axis=0) - 256).max() < 256 * strength / 20
    assert np.abs(np.corrcoef(factors.T) - np.eye(3)).max() < 0.1


def test_erased_rectangles_are_those_of_the_paper():
    size, count = 64, 3000
    patches = draw_patches(np.random.default_rng(0), count, size, 0.5)
    assert abs(len(patches) / count - 0.5) < 0.03
    assert len({patch.picture for patch in patches}) == len(patches)
    for _, top, left, pixels in patches:
        height, width, _ = pixels.shape
        assert min(top, left) >= 0
        assert max(top + height, left + width) <= size
        assert 0.02 * 0.85 < height * width / size**2 < 0.4 * 1.1  # whole pixels
        assert 0.3 * 0.8 < height / width < 1.25 / 0.3
    areas = [patch.pixels[..., 0].size / size**2 for patch in patches]
    assert min(areas) < 0.03
    assert max(areas) > 0.35
    noise = np.concatenate([patch.pixels.ravel() for patch in patches[:50]])
    assert (noise.min(), noise.max()) == (0, 255)
    assert len(draw_patches(np.random.default_rng(0), 9, 16, 1.0)) == 9


def test_a_batch_is_cropped_then_jittered_then_erased():
    rng = np.random.default_rng(0)
    stored, indices = rng.integers(0, 256, (5, 18, 18, 3), np.uint8), np.array([4, 0, 0, 2])
    drawn = draw_changes(rng, 4, replace(SMALL, erasing=0.6, colour_jitter=0.4))
    assert 0 < len(drawn.patches) < 4
    found = images.cropped(stored, indices, drawn, 16, out=np.zeros((4, 16, 16, 3), np.uint8))
    for place, (i, y, x, flip, factors) in enumerate(zip(indices, *drawn[:4])):
        expected = stored[i, y : y + 16, x : x + 16]
        expected = jitter_loop(expected[:, ::-1] if flip else expected, *(factors / 256))
        for patch in drawn.patches:
            if patch.picture == place:
                height, width, _ = patch.pixels.shape
                expected[patch.top : patch.top + height, patch.left : patch.left + width] = patch.pixels
        np.testing.assert_array_equal(found[place], expected)
    assert (stored == np.random.default_rng(0).integers(0, 256, (5, 18, 18, 3), np.uint8)).all()  # left as they are


def test_without_them_a_batch_draws_what_it_always_did():
    for iteration in range(3):
        (_, rng), (_, other) = (ClassBalancedSampler(np.arange(40) // 4, 4, 2).batch(iteration) for _ in range(2))
        drawn, crops = draw_changes(rng, 8, SMALL), draw_crops(other, 8, 2)
        assert drawn.factors is None
        assert drawn.patches == ()
        for one, same in zip(drawn[:3], crops):
            np.testing.assert_array_equal(one, same)
        assert rng.bit_generator.state == other.bit_generator.state


def test_with_them_the_crops_are_the_same():
    options = [{}, {"erasing": 0.5}, {"colour_jitter": 0.4}, {"erasing": 0.5, "colour_jitter": 0.4}]
    drawn = [draw_changes(np.random.default_rng(1), 8, replace(SMALL, **option)) for option in options]
    for other in drawn[1:]:
        np.testing.assert_array_equal(drawn[0][:3], other[:3])
    np.testing.assert_array_equal(drawn[2].factors, drawn[3].factors)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"erasing": 1.5}, "erasing 1.5 must be from 0 to 1: 0.5 is of random erasing's authors"),
        ({"erasing": -0.1}, "erasing -0.1 must be from 0 to 1"),
        ({"colour_jitter": 2}, "colour_jitter 2.0 must be from 0 to 1"),
        ({"colour_jitter": "much"}, "colour_jitter 'much' must be a finite number"),
    ],
)
def test_what_cannot_be_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        Experiment(**changes)


def test_the_smallest_picture_and_jitter_can_be_drawn():
    assert draw_factors(np.random.default_rng(0), 5, 1e-6).tolist() == [[256] * 3] * 5
    for patch in draw_patches(np.random.default_rng(0), 300, 16, 1.0):
        assert min(patch.pixels.shape) >= 1
    assert augmentation.mixed(np.array([0, 255]), 255, 512).tolist() == [0, 255]


@pytest.mark.slow
def test_an_interrupted_run_with_them_goes_on_to_the_same_parameters(small_experiment, small_split, tmp_path):
    from gluon_cgd.learner import Learner

    experiment = replace(small_experiment, erasing=0.5, colour_jitter=0.4)
    whole, plain = (
        fit(experiment, small_split, tmp_path / "whole"),
        fit(small_experiment, small_split, tmp_path / "plain"),
    )
    assert whole["parameters_sha256"] != plain["parameters_sha256"]
    assert whole["untrained"] == plain["untrained"]
    step, count = Learner.step, []

    def dying(self, *arguments):
        count.append(1)
        if len(count) == 8:
            raise KeyboardInterrupt
        return step(self, *arguments)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Learner, "step", dying)
        with pytest.raises(KeyboardInterrupt):
            fit(experiment, small_split, tmp_path / "cut", checkpoint_every=5)
    assert (
        fit(experiment, small_split, tmp_path / "cut", checkpoint_every=5)["parameters_sha256"]
        == (whole["parameters_sha256"])
    )
