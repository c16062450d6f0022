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
