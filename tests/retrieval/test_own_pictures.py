"""Every block of examples/own_pictures.md, in order, in a folder of its own."""

import json
import re
import shlex
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gluon_cgd.__main__ import main

PAGE = (Path(__file__).resolve().parents[2] / "examples" / "own_pictures.md").read_text(encoding="utf-8")


def blocks():
    """[(language or "", text)] of the page."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def commands(text):
    """The lines of a block, continued ones as one, each split as a shell does."""
    return [shlex.split(line) for line in text.replace("\\\n", " ").splitlines()]


@pytest.mark.slow
def test_the_page_goes_from_a_folder_to_heatmaps_with_and_without_mxnet(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    printed = {}
    for language, text in blocks():
        if language == "python":
            exec(compile(text, "own_pictures.md", "exec"), {})
            continue
        for words in commands(text):
            if words[:3] == ["python", "-m", "gluon_cgd"]:
                assert main(words[3:]) == 0, words
                printed.setdefault(words[3], []).append(capsys.readouterr().out)
            else:
                assert words[0] in ("rm", "cp")
                subprocess.run(words, check=True)
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
