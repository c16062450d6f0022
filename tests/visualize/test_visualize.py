import json
import re

import pytest
from PIL import Image

from visualize import configurations


def entries():
    return [
        {"row": f"{benchmark} {name}", "ours": {"R@1": {"values": values}}}
        for benchmark in ("CUB200", "CARS196", "SOP")
        for name, values in (("S", [50.0, 51, 52]), ("SM", [55.0, 54, 53]))
    ] + [{"row": "In-shop S", "ours": None}]


def test_a_panel_a_benchmark_holds_every_run():
    assert configurations.panels(entries())["SOP"] == {"S": [50.0, 51, 52], "SM": [55.0, 54, 53]}
    assert "In-shop" not in configurations.panels(entries())


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_a_report_is_drawn_into_a_file(tmp_path, capsys, suffix):
    report = tmp_path / "figure3.json"
    report.write_text(json.dumps(entries()))
    out = tmp_path / f"boxes.{suffix}"
    assert configurations.main([str(report), "--out", str(out)]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    if suffix == "png":
        with Image.open(out) as picture:
            assert picture.width > 1000


@pytest.mark.parametrize(
    ("content", "out", "message"),
    [
        ("", "a.png", "cannot be drawn"),
        ("[]", "a.png", "it has no run of figure3 to draw"),
        ("[]", "a.txt", "must end with .png, .pdf, .svg"),
        (None, "a.png", "No such file"),
        ('[{"row": "CUB200 S", "ours": {"R@1": {"values": ["x"]}}}]', "a.png", "has 'values' .* 'x', which must be a"),
        ('[{"row": "CUB200 S", "ours": {"R@1": {"values": 7}}}]', "a.png", "7, which must be a list"),
        ('[{"row": 7, "ours": null}]', "a.png", "has 'row' under contents 7, which must be a text"),
        ("[7]", "a.png", "has contents 7, which must be a table"),
        ("[" * 100_000, "a.png", "its brackets are nested too deep"),
    ],
)
def test_what_cannot_be_drawn_is_said_in_a_sentence(tmp_path, capsys, content, out, message):
    report = tmp_path / "figure3.json"
    if content is not None:
        report.write_text(content)
    assert configurations.main([str(report), "--out", str(tmp_path / out)]) == 2
    assert re.search(message, capsys.readouterr().err)
