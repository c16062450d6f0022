"""Names in figures are drawn as they are: they are of files and classes."""

import warnings

import numpy as np
import pytest
from PIL import Image

from gluon_cgd.retrieval.picture import Hit, Query
from gluon_cgd.retrieval.picture import draw as draw_results
from visualize import embedding, ranking, similarity
from visualize.pair import Row

NAME = "a$\\frac{1$ $x^$ \x1b[31m \udcff.png"
PHOTO = np.zeros((20, 20, 3), np.uint8)
HEAT = np.ones((2, 2))
DRAWINGS = {
    "search": lambda file: draw_results([Query(PHOTO)], [Hit(0.5, PHOTO)], NAME, file),
    "ranking": lambda file: ranking.draw([(PHOTO, [(PHOTO, True, 0.5)])], NAME, file),
    "embedding": lambda file: embedding.draw(np.random.rand(3, 2), [PHOTO] * 3, np.array([0, 1, 1]), NAME, file),
    "similarity": lambda file: similarity.draw([PHOTO] * 2, 0.5, [Row(NAME, HEAT, HEAT)], None, True, NAME, file),
}


@pytest.mark.parametrize("drawing", DRAWINGS)
def test_a_name_with_the_signs_of_formulas_and_terminals_is_drawn(drawing, tmp_path):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")
        DRAWINGS[drawing](tmp_path / "drawn.png")
    with Image.open(tmp_path / "drawn.png") as picture:
        assert picture.width > 100


def test_the_text_of_a_drawing_is_the_name(tmp_path):
    import matplotlib

    with matplotlib.rc_context({"svg.fonttype": "none"}):
        DRAWINGS["similarity"](tmp_path / "drawn.svg")
    text = (tmp_path / "drawn.svg").read_text(encoding="utf-8")
    assert "a$\\frac{1$ $x^$ \\x1b[31m \\xff.png" in text
    assert "\x1b" not in text
