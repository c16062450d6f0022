import os
import socket

import pytest

from gluon_cgd.files import regular


def test_a_regular_file_is_read_and_a_link_to_it(tmp_path):
    (tmp_path / "a.json").write_bytes(b'\xef\xbb\xbf{"a": 1}')
    (tmp_path / "link").symlink_to("a.json")
    assert regular.read_json(tmp_path / "link") == {"a": 1}
    assert regular.read_text(tmp_path / "a.json") == '{"a": 1}'
    with regular.open_regular(tmp_path / "a.json") as file:
        assert file.read() == b'\xef\xbb\xbf{"a": 1}'


def test_what_would_block_or_never_end_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "zero").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
    for name, kind in dict(fifo="a named pipe", zero="a device", socket="a socket").items():
        with pytest.raises(ValueError, match=f"{name} is {kind}: name a regular file"):
            regular.read_bytes(tmp_path / name, 10)
    with pytest.raises(IsADirectoryError, match="is a folder: name a file in it"):
        regular.open_regular(tmp_path)
    with pytest.raises(FileNotFoundError):
        regular.open_regular(tmp_path / "nowhere")


def test_a_file_that_is_too_large_is_refused_before_it_is_read(tmp_path):
    with open(tmp_path / "large", "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ValueError, match=r"has 1,099,511,627,776 bytes, more than the 100 that are read"):
        regular.read_bytes(tmp_path / "large", 100)
    (tmp_path / "full").write_bytes(bytes(100))
    assert regular.read_bytes(tmp_path / "full", 100) == bytes(100)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"{", "is not JSON"), (b"[" * 100_000, "nested too deep"), (b"\xff\xfe{", "not UTF-8 text .byte 0 is 0xff")],
)
def test_what_is_not_json_is_one_sentence(tmp_path, content, reason):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ValueError, match=reason):
        regular.read_json(tmp_path / "a.json")
