"""Every picture that a page shows is drawn anew by one command."""

import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from gluon_cgd.train import fit
from reproduce import store
from reproduce.command import main
from reproduce.documents import pictures
from reproduce.tables import FIGURE4
from tests import pages
from visualize import configurations


def test_the_command_draws_every_picture_that_a_page_shows():
    shown, files = set(), {file.name for file in (pages.ROOT / "figures").iterdir()}
    for page in pages.PAGES:
        shown |= set(re.findall(r"\bfigures/([\w.-]+)", page.read_text(encoding="utf-8")))
    assert len(shown) >= 8
    assert shown == set(pictures.NAMES) == files


def test_every_picture_of_a_page_is_in_the_folder_of_figures():
    for page in pages.PAGES:
        for name in re.findall(r"!\[[^]]*\]\(\s*([^)]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / name).resolve().parent == pages.ROOT / "figures", f"{page.name}: {name}"


def test_a_missing_run_is_named_with_the_script_that_trains_it(tmp_path, capsys):
    assert main(["--figures", "--runs", str(tmp_path)]) == 2
    assert "holds no finished run: bash reproduce/figure4.sh --mini trains it" in capsys.readouterr().err
    for row in FIGURE4.rows:
        folder = store.folder(tmp_path, pictures.selection.experiment_of(row, True), 0)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "result.json").write_text("{}")
    assert main(["--figures", "--runs", str(tmp_path)]) == 2
    assert "holds no finished run: bash reproduce/table1.sh --mini trains it" in capsys.readouterr().err
    assert main(["table1", "--figures"]) == 2
    assert "--figures draws the pictures of the documents and takes no table" in capsys.readouterr().err


@pytest.mark.slow
def test_all_pictures_are_drawn_from_the_runs(small_experiment, small_split, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(store, "load_data", lambda name, data: small_split)
    monkeypatch.setattr("gluon_cgd.datasets.load", lambda *_: small_split)
    short = replace(small_experiment, passes=0.5)

    def small(row, mini):
        return replace(short, descriptors=row.experiment.descriptors, smoothing=0.1 * (row is not pictures.README))

    runs, out = tmp_path / "somewhere" / "runs", tmp_path / "figures"
    for row in (*FIGURE4.rows, pictures.README):
        fit(small(row, True), small_split, store.folder(runs, small(row, True), 0))
    monkeypatch.setattr(pictures.selection, "experiment_of", small)
    monkeypatch.setattr(pictures.comparison, "entries", lambda *_: [])
    monkeypatch.setattr(configurations, "panels", lambda entries: {"glyphs": {"S": [1.0, 2.0], "SM": [3.0, 4.0]}})
    monkeypatch.setattr(pictures, "FOLDER", out)
    out.mkdir()
    assert main(["--figures", "--runs", str(runs)]) == 0
    told = capsys.readouterr().out
    assert re.search(
        r"^cosine \d\.\d{4} by cgd_sm_cifar_resnet10_8, trained on glyphs \(runs/glyphs-\S+\)$", told, re.M
    )
    assert "the same pairs before training" in told
    assert str(runs) not in told
    assert sorted(file.name for file in out.iterdir()) == sorted(pictures.NAMES)
    for name, width in pictures.WIDTHS.items():
        with Image.open(out / name) as picture:
            assert picture.width == width
            assert np.asarray(picture.convert("L")).std() > 10, f"{name} is empty"
    with Image.open(out / "letter-2.png") as picture, Image.open(small_split.query[27].path) as original:
        np.testing.assert_array_equal(picture, original)
