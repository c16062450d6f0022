import pytest

from gluon_cgd.files import whole


def test_a_failed_write_keeps_the_old_file(tmp_path):
    file = tmp_path / "result.json"
    whole.write_json(file, {"a": "é"})

    def fail():
        with whole.replacing(file) as temporary:
            open(temporary, "w").close()
            raise KeyboardInterrupt

    pytest.raises(KeyboardInterrupt, fail)
    assert file.read_text(encoding="utf-8") == '{\n "a": "é"\n}'
    assert [f.name for f in tmp_path.iterdir()] == ["result.json"]


def test_a_failed_write_leaves_nothing_whether_or_not_it_had_begun(tmp_path):
    def fail(begun):
        with whole.replacing(tmp_path / "file") as temporary:
            if begun:
                open(temporary, "w").close()
            raise RuntimeError("no room")

    for begun in (True, False):
        pytest.raises(RuntimeError, fail, begun)
    assert not list(tmp_path.iterdir())
