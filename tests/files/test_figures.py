"""Names in figures are drawn as they are: they are of files and classes. A bad name of a figure is refused at once."""

import os
import warnings

import numpy as np
import pytest
from PIL import Image

from gluon_cgd.files import figures
from gluon_cgd.retrieval.picture import Hit, Query
from gluon_cgd.retrieval.picture import draw as draw_results
from visualize import embedding, ranking, similarity
from visualize.pair import Row

NAME = "a$\\frac{1$ $x^$ \x1b[31m \udcff 漢.png"
LONG = f"a model, trained on photographs ({'/a folder' * 40})"
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
        warnings.simplefilter("error")  # a letter that the font lacks needs no words
        DRAWINGS[drawing](tmp_path / "drawn.png")
    with Image.open(tmp_path / "drawn.png") as picture:
        assert picture.width > 100


def test_the_text_of_a_drawing_is_the_name(tmp_path):
    import matplotlib

    with matplotlib.rc_context({"svg.fonttype": "none"}):
        DRAWINGS["similarity"](tmp_path / "drawn.svg")
    text = (tmp_path / "drawn.svg").read_text(encoding="utf-8")
    assert "a$\\frac{1$ $x^$ \\x1b[31m \\xff 漢.png" in text
    assert "\x1b" not in text


@pytest.mark.parametrize("kind", ["similarity", "ranking"])
def test_a_long_name_of_a_model_is_whole_inside_the_figure_and_above_the_photos(kind, monkeypatch):
    saved = []
    monkeypatch.setattr(figures, "save", lambda figure, file: saved.append(figure))
    if kind == "ranking":
        ranking.draw([(PHOTO, [(PHOTO, True, 0.5)])], LONG, "never written")
    else:
        similarity.draw([PHOTO] * 2, 0.5, [Row("a row", HEAT, HEAT)], None, True, LONG, "never written")
    (figure,) = saved
    figure.draw_without_rendering()
    (text,) = (text for text in figure.texts if "a model" in text.get_text())
    assert text.get_text().replace("\n", "").replace(" ", "") == LONG.replace(" ", "")
    box = text.get_window_extent()
    assert 0 <= box.x0 < box.x1 <= figure.bbox.width
    assert box.y1 <= figure.bbox.height
    assert box.y0 >= max(axes.get_tightbbox().y1 for axes in figure.axes)


def test_a_figure_of_many_rows_has_fewer_pixels_and_no_error(tmp_path):
    figures.save(figures.empty(0.1, 500), tmp_path / "long.png")  # at 150 to an inch more than matplotlib draws
    with Image.open(tmp_path / "long.png") as drawn:
        assert drawn.height == figures.LARGEST


def test_a_file_that_cannot_be_written_or_is_read_is_refused_at_once(tmp_path, other_user):
    folder = tmp_path / "folder"
    folder.mkdir()
    with other_user(folder), pytest.raises(ValueError, match=r"--figure .*x\.png cannot be written: this user may not"):
        figures.check("--figure", folder / "x.png")
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ValueError, match="is a named pipe"):
        figures.check("--figure", tmp_path / "pipe.png")
    (tmp_path / "photo.png").write_bytes(b"a photo")
    (tmp_path / "link.png").symlink_to("photo.png")
    for name in ("photo.png", "link.png"):
        with pytest.raises(ValueError, match=f"{name} would overwrite .*photo.png, which is read: name another file"):
            figures.check("--figure", tmp_path / name, ("elsewhere.png", tmp_path / "photo.png"))
    figures.check("--figure", tmp_path / "new.png", [tmp_path / "photo.png", tmp_path / "gone.png"])
