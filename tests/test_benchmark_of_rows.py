"""The benchmarks of an index of many rows run, on few, and print a line for each step."""

import pytest

from benchmarks import rows, scale


@pytest.mark.slow
def test_rows(capsys, monkeypatch):
    for name, value in (("SECONDS", 1), ("READERS", 3), ("BATCHES", 5)):
        monkeypatch.setattr(rows, name, value)
    rows.main(["--rows", "3000", "--small", "2000"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines[: len(rows.STEPS)]] == [name.replace("_", " ") for name in rows.STEPS]
    assert lines[-2].startswith("3 readers beside a writer, 2,000 rows: ")
    share = float(lines[-1].split(" % of the time")[0].split()[-1])
    assert 0 < share < 100


@pytest.mark.slow
@pytest.mark.parametrize("unsharded", [[], ["--unsharded"]])
def test_scale(capsys, unsharded):
    scale.main(["--pictures", "300", "--dim", "4", *unsharded])
    lines = capsys.readouterr().out.splitlines()
    names = list(scale.UNSHARDED if unsharded else scale.STEPS)
    assert [line.split(":")[0] for line in lines[:-1]] == names
    assert lines[-1].startswith("`index` on an unchanged folder takes ")
