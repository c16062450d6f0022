import hashlib

import pytest

from gluon_cgd.files.whole import digest


@pytest.mark.parametrize("size", [0, 1, 3_000_000])
def test_a_file_read_in_blocks_has_the_digest_of_its_bytes(tmp_path, size):
    (tmp_path / "file").write_bytes(b"x" * size)
    assert digest(tmp_path / "file") == hashlib.sha256(b"x" * size).hexdigest()
    assert digest(tmp_path / "file", "md5") == hashlib.md5(b"x" * size).hexdigest()
