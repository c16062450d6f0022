"""Every block of docs/own-pictures.md, in order, in a folder of its own."""

import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from gluon_cgd.datasets import glyphs
from tests import pages


@pytest.mark.slow
def test_the_page_goes_from_a_folder_to_heatmaps_with_and_without_mxnet(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for letter in range(0, 200, 17):  # step 0 is for people who have pictures: the first ones that step 1 draws
        file = tmp_path / "photos" / f"letter {letter}" / "0.png"
        file.parent.mkdir(parents=True)
        Image.fromarray(glyphs.picture(letter, 0, seed=7)).save(file)
    shutil.copy(file, tmp_path / "query.jpg")
    printed = pages.run_page(pages.ROOT / "docs" / "own-pictures.md", capsys, slow=True)
    assert printed["data"][0].startswith("photos: 288 training pictures of 12 classes and 72 test pictures")
    recall = {line.split()[0]: float(line.split()[2]) for line in printed["train"][0].splitlines() if " R@1 " in line}
    assert recall["last"] > 1.5 * recall["untrained"]
    *_, added, heap, changed, _ = printed["index"]
    assert added.startswith("360 pictures in photos: 360 added")
    assert changed == "360 pictures in photos: 1 added, 1 changed, 358 as before, 1 removed that are gone\n"
    assert heap == "4 pictures in heap: 4 added, 0 changed, 0 as before\n"
    *_, first, _, _, several, folders, _, unknown, exported = printed["search"]
    assert re.search(r"^none reaches the threshold: 0\.\d{4}  ", unknown, re.M)
    assert first.startswith(f"  1  1.0000  {tmp_path / 'photos/letter 17/3.png'}  (the query itself)")
    asked = {str(tmp_path / "photos/letter 17" / name) for name in ("3.png", "4.png")}
    assert re.match(r"  1  0\.\d{4}  letter 17  \(\d+ of the \d+ nearest pictures: ", folders)
    groups = printed["duplicates"][0]
    assert "the same pixels:\n" in groups
    assert f"  {tmp_path / 'photos/letter 34/again.png'}" in groups
    assert f"  {tmp_path / 'photos/letter 51/1.png'}" in groups
    assert printed["check"][0].splitlines()[-1].startswith("none: cannot be used; ")
    for result in json.loads(several)["results"]:
        assert result["is_query"] == (result["path"] in asked)
    assert exported.splitlines()[0] == first.splitlines()[0]
    drawn = [np.asarray(Image.open(tmp_path / name).convert("RGB"), int) for name in ("found.png", "onnx.png")]
    assert drawn[0].shape == drawn[1].shape
    assert drawn[0].std() > 20
    assert np.abs(drawn[0] - drawn[1]).mean() < 2  # the same maps
