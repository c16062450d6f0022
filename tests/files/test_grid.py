from gluon_cgd.files import grid

LINES = [("row", "R@1", ""), ("SM", "75.3", "mini"), ("a | b \\| c", "9", "")]


def test_columns_are_as_wide_as_their_widest_cell():
    assert grid.as_text(LINES) == ["row         R@1", "SM          75.3  mini", "a | b \\| c  9"]


def test_markdown_keeps_every_cell_in_its_column():
    assert grid.as_markdown(LINES).splitlines() == [
        "| row | R@1 |  |",
        "| --- | --- | --- |",
        "| SM | 75.3 | mini |",
        "| a \\| b \\| c | 9 |  |",
    ]


def test_what_markdown_would_read_as_its_own_is_shown_as_it_is():
    assert grid.escaped("<b>_x_*\n[1]|$") == r"\<b\>\_x\_\* \[1\]\|\$"
    assert grid.as_markdown([("head",), (grid.escaped("a|b"),)]).endswith(r"| a\|b |")
