import numpy as np
import pytest
from matplotlib import colormaps

from gluon_cgd.files import heatmaps

RNG = np.random.default_rng(0)
SHAPE = (120, 160, 3)
EDGE = np.zeros(SHAPE, np.uint8) + (np.arange(160) >= 80)[None, :, None].astype(np.uint8)
PHOTOS = {
    "black": np.zeros(SHAPE, np.uint8),
    "white": np.full(SHAPE, 255, np.uint8),
    "dark": 12 * EDGE,
    "bright": 225 + 25 * EDGE,
    "busy": RNG.integers(0, 256, SHAPE, dtype=np.uint8),
}


def luminance(picture):
    return picture.astype(float) @ (0.299, 0.587, 0.114)


def one_place():
    """A map that is strong at one of its positions, in its upper left corner."""
    heat = np.full((6, 8), 0.005)
    heat[1, 1] = 1
    return heat


@pytest.mark.parametrize("kind", [heatmaps.ALIKE, heatmaps.APART])
@pytest.mark.parametrize("name", PHOTOS)
def test_what_adds_most_is_the_brightest_part_of_any_photo_and_has_its_colour(name, kind):
    heat = one_place()
    drawn = heatmaps.overlay(PHOTOS[name], heat, heatmaps.limits(heat), kind.colours)
    assert drawn.shape == (480, 640, 3)
    hot, cold = drawn[118:122, 118:122], drawn[260:, 240:]
    expected = 255 * np.array(colormaps[kind.colours](1.0)[:3])
    assert np.abs(hot.mean(axis=(0, 1)) - expected).max() < 40
    assert luminance(hot).mean() > 1.5 * luminance(cold).mean()
    assert luminance(hot).min() > np.percentile(luminance(cold), 99.9)


@pytest.mark.parametrize("name", ["dark", "bright"])
def test_a_faint_edge_of_a_photo_is_seen_where_the_map_is_low(name):
    heat = one_place()
    drawn = luminance(heatmaps.overlay(PHOTOS[name], heat, heatmaps.limits(heat)))
    assert drawn[300:, 340:].mean() - drawn[300:, :300].mean() > 30  # of 255; 12 or 25 in the photo


@pytest.mark.parametrize("seed", range(5))
def test_the_line_encloses_the_fewest_positions_that_make_half_of_what_is_added(seed):
    heat = np.random.default_rng(seed).normal(0.2, 1, (5, 7))
    total, taken = 0.0, []
    for value in sorted((value for value in heat.ravel() if value > 0), reverse=True):
        if total >= np.maximum(heat, 0).sum() / 2:
            break
        total += value
        taken.append(value)
    assert sorted(heat[heat > heatmaps.half(heat)], reverse=True) == taken


def test_a_map_that_adds_nothing_has_no_line_and_one_value_or_one_position_is_drawn():
    photo = PHOTOS["black"]
    for heat in (np.zeros((3, 3)), 1e-17 * one_place(), -one_place(), np.ones((1, 1)), np.full((2, 3), 0.5)):
        drawn = heatmaps.overlay(photo, heat, heatmaps.limits(heat))
        assert drawn.dtype == np.uint8
        if heat.max() < 1e-9:
            assert not (drawn == 255).all(axis=2).any()


@pytest.mark.parametrize(("size", "shown"), [((100, 200), 1), ((20, 3000), 15), ((400, 2), 1 / 20), ((2, 2), 1)])
def test_a_strip_is_stretched_until_it_can_be_seen_and_a_photo_is_not(size, shown):
    assert heatmaps.stretch(np.zeros((*size, 3), np.uint8)) == pytest.approx(shown)
    height, width = heatmaps.dimmed(np.zeros((*size, 3), np.uint8)).shape
    assert max(height, width) == 640
    assert min(height, width) >= 64
    assert height / width == pytest.approx(shown * size[0] / size[1], rel=0.02)  # as it is drawn
