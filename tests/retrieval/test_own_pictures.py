"""Every block of docs/own-pictures.md, in order, in a folder of its own."""

import json

import numpy as np
import pytest
from PIL import Image

from tests import pages


@pytest.mark.slow
def test_the_page_goes_from_a_folder_to_heatmaps_with_and_without_mxnet(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    printed = pages.run_page(pages.ROOT / "docs" / "own-pictures.md", capsys, slow=True)
    assert printed["data"][0].startswith("photos: 288 training pictures of 12 classes and 72 test pictures")
    recall = {line.split()[0]: float(line.split()[2]) for line in printed["train"][0].splitlines() if " R@1 " in line}
    assert recall["last"] > 2 * recall["untrained"]
    added, changed, _ = printed["index"]
    assert added.startswith("360 pictures in photos: 360 added")
    assert changed == "360 pictures in photos: 1 added, 1 changed, 358 as before, 1 removed that are gone\n"
    first, _, _, several, exported = printed["search"]
    assert first.startswith(f"  1  1.0000  {tmp_path / 'photos/letter 17/3.png'}  (the query itself)")
    asked = {str(tmp_path / "photos/letter 17" / name) for name in ("3.png", "4.png")}
    for result in json.loads(several)["results"]:
        assert result["is_query"] == (result["path"] in asked)
    assert exported.splitlines()[0] == first.splitlines()[0]
    drawn = [np.asarray(Image.open(tmp_path / name).convert("RGB"), int) for name in ("found.png", "onnx.png")]
    assert drawn[0].shape == drawn[1].shape
    assert drawn[0].std() > 20
    assert np.abs(drawn[0] - drawn[1]).mean() < 2  # the same maps
