"""What a picture's colours and numbers mean stands in the picture."""

import numpy as np
import pytest
from matplotlib.text import Text

from gluon_cgd.datasets.records import Record
from gluon_cgd.files import figures
from visualize import embedding, figure4, ranking

PHOTO = np.zeros((8, 8, 3), np.uint8)


@pytest.fixture
def drawn(monkeypatch):
    """The figures that would have been saved."""
    saved = []
    monkeypatch.setattr(figures, "save", lambda figure, file: saved.append(figure))
    return saved


def test_each_pair_of_figure_4_has_a_bar_with_the_range_of_its_maps(drawn):
    def panel(high, low):
        maps = np.full((2, 2), 0.1), np.array([[low, 0.05], [0.1, high]])
        return figure4.Panel("a title", PHOTO, PHOTO, *maps, True)

    figure4.draw_grid([[panel(0.4, 0.01), panel(0.2, -0.05)]], "never written")
    bars = drawn[0].findobj(lambda part: hasattr(part, "_colorbar"))
    assert [list(bar.get_yticks()) for bar in bars] == [[0, 0.4], [-0.05, 0.2]]
    assert "The bar says how much a position adds" in " ".join(text.get_text() for text in drawn[0].findobj(Text))


def test_the_spreads_are_curves_of_both_networks_and_intervals_of_both_controls(drawn):
    rng = np.random.default_rng(0)
    spreads = {name: {one: rng.random((30, 2)) for one in ("SPoC", "MAC")} for name in ("trained", "untrained")}
    differences = {"untrained": [(0.1, 0.05, 0.2)] * 2, "shuffled": [(-0.01, -0.03, 0.02)] * 2}
    figure4.draw_spreads(spreads, differences, "never written")
    entropy, share, low, _ = drawn[0].axes
    for i, axes in enumerate((entropy, share)):
        curves = {line.get_label(): line for line in axes.get_lines()}
        assert list(curves) == ["SPoC, trained", "MAC, trained", "SPoC, untrained", "MAC, untrained"]
        x, y = curves["MAC, trained"].get_data()
        middle = np.median(spreads["trained"]["MAC"][:, i])
        assert y[np.searchsorted(x, middle) - 1] == pytest.approx(50)
    assert [text.get_text() for text in low.get_yticklabels()] == ["trained - untrained", "one class - two classes"]
    ends = [segment[:, 0].tolist() for bar in low.collections for segment in bar.get_segments()]
    assert ends == [pytest.approx([0.05, 0.2]), pytest.approx([-0.03, 0.02])]


def test_each_result_of_a_ranking_has_its_cosine(drawn):
    ranking.draw([(PHOTO, [(PHOTO, True, 0.91234), (PHOTO, False, -0.2)])], "a title", "never written")
    assert [axes.get_title() for axes in drawn[0].axes] == ["query", "1   0.912", "2   -0.200"]


@pytest.mark.parametrize("classes", [3, 24])
def test_the_map_of_embeddings_names_each_class_beside_its_frame(drawn, classes):
    labels = np.repeat(np.arange(classes), 2)
    places = np.random.default_rng(0).random((len(labels), 2))
    embedding.draw(places, [PHOTO] * len(labels), labels, "a title", "never written", "car {}".format)
    (legend,) = drawn[0].legends
    assert [text.get_text() for text in legend.get_texts()] == [f"car {label} (2)" for label in range(classes)]
    frames = [artist.patch for artist in drawn[0].axes[0].artists]
    styles, shown = (
        [(part.get_edgecolor(), str(part._dash_pattern)) for part in parts]
        for parts in (frames[::2], legend.get_patches())
    )
    assert styles == shown
    assert len(set(styles)) == classes


def test_a_class_whose_name_begins_with_an_underscore_is_named_and_a_long_name_leaves_room_for_the_map(drawn):
    for name in ("_misc {}".format, lambda label: f"{label} {'a class of pictures ' * 8}"):
        embedding.draw(np.eye(3, 2), [PHOTO] * 3, np.arange(3), "a title", "never written", name)
    short, long = drawn
    assert [text.get_text() for text in short.legends[0].get_texts()] == [f"_misc {label} (1)" for label in range(3)]
    assert short.get_figwidth() == embedding.SIZE[0]
    for figure in drawn:
        figure.draw_without_rendering()
        assert figure.axes[0].get_window_extent().width > 0.6 * embedding.SIZE[0] * figure.dpi
        assert figure.legends[0].get_window_extent().x1 <= figure.bbox.width


def test_thumbnails_are_as_large_as_their_number_allows(drawn):
    sides = [embedding.thumbnail_side(count) for count in (3, 60, 240, 5000)]
    assert sides == sorted(sides, reverse=True)
    assert sides[0] == 60
    assert sides[2] > 22  # of twelve classes with twenty pictures
    assert sides[3] == 22
    embedding.draw(np.eye(3, 2), [PHOTO] * 3, np.arange(3), "a title", "never written")
    boxes = drawn[0].axes[0].artists
    assert {box.offsetbox.get_zoom() * 8 for box in boxes} == {60}


@pytest.mark.parametrize(
    ("paths", "names"),
    [(["a/U+41/1", "a/U+41/2", "b/U+42/1"], ["U+41", "U+42"]), (["ims/1", "ims/2", "ims/3"], ["class 7", "class 8"])],
)
def test_classes_of_a_benchmark_have_the_names_of_their_folders_if_each_has_its_own(paths, names):
    records = [Record(path, label) for path, label in zip(paths, (7, 7, 8))]
    assert embedding.folders_of(records) == dict(zip((7, 8), names))


def test_figure_4_says_what_its_titles_mean(drawn):
    panel = figure4.Panel("SM_R1 seen by S: rank 2, cosine 0.5", PHOTO, PHOTO, *[np.eye(2)] * 2, True)
    figure4.draw_grid([[panel]], "never written")
    text = " ".join(text.get_text() for text in drawn[0].findobj(Text))
    assert "SM_R1 is the first result of SM" in text
    assert "the rank that it gives the result" in text
