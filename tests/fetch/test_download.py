"""Downloads against a server on this machine, which behaves as badly as the tests ask; and archives made to do harm."""

import hashlib
import http.server
import io
import os
import re
import tarfile
import threading
import zipfile

import pytest

from gluon_cgd.__main__ import main
from gluon_cgd.fetch import download, sources
from tests import miniatures

DATA = bytes(range(256)) * 4000
MD5 = hashlib.md5(DATA).hexdigest()


class Server(http.server.BaseHTTPRequestHandler):
    """Serves `server.body`; drops the connection after `server.drops` bytes, the first times; knows ranges or not."""

    def do_GET(self):
        server = self.server
        server.requests.append(self.headers.get("Range"))
        if server.status != 200:
            self.send_error(server.status)
            return
        start = 0
        asked = re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if asked and server.ranges:
            start = int(asked[1])
            if start >= len(server.body):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(server.body) - 1}/{len(server.body)}")
        else:
            self.send_response(200)
        body = server.body[start:]
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: server.drops.pop(0)] if server.drops else body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(download.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(download, "BLOCK", 1000)
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    running.body, running.drops, running.ranges, running.status, running.requests = DATA, [], True, 200, []
    running.url = f"http://127.0.0.1:{running.server_port}/birds.tgz"
    thread = threading.Thread(target=running.serve_forever)
    thread.start()
    yield running
    running.shutdown()
    running.server_close()
    thread.join()


def test_a_file_is_fetched_once(server, tmp_path):
    file = tmp_path / "new" / "birds.tgz"
    download.fetch(server.url, file, MD5)
    assert file.read_bytes() == DATA
    download.fetch(server.url, file, MD5)
    assert server.requests == [None]
    assert os.listdir(tmp_path / "new") == ["birds.tgz"]


def test_a_dropped_connection_is_taken_up_where_it_broke(server, tmp_path):
    server.drops = [100_000, 300_000]
    download.fetch(server.url, tmp_path / "f", MD5)
    assert (tmp_path / "f").read_bytes() == DATA
    assert server.requests == [None, "bytes=100000-", "bytes=400000-"]


def test_a_server_without_ranges_starts_again(server, tmp_path):
    server.drops, server.ranges = [100_000], False
    download.fetch(server.url, tmp_path / "f", MD5)
    assert (tmp_path / "f").read_bytes() == DATA


def test_what_came_is_kept_when_the_server_gives_up_and_used_by_the_next_call(server, tmp_path):
    server.drops = [1000] * download.TRIES
    with pytest.raises(OSError, match=r"broke off 5 times, 5,000 bytes are kept .*: start again to go on"):
        download.fetch(server.url, tmp_path / "f", MD5)
    server.requests.clear()
    download.fetch(server.url, tmp_path / "f", MD5)
    assert server.requests == ["bytes=5000-"]
    assert (tmp_path / "f").read_bytes() == DATA


def test_a_download_that_was_whole_but_not_yet_named_is_not_fetched_again(server, tmp_path):
    (tmp_path / "f.part").write_bytes(DATA)
    download.fetch(server.url, tmp_path / "f", MD5)
    assert (tmp_path / "f").read_bytes() == DATA


def test_another_file_is_refused_and_not_kept(server, tmp_path):
    server.body = b"<html>moved</html>"
    with pytest.raises(ValueError, match=f"sent another file .*, not {MD5}.*: get it by hand"):
        download.fetch(server.url, tmp_path / "f", MD5)
    assert not os.listdir(tmp_path)


def test_a_good_file_is_never_overwritten_by_a_bad_one(server, tmp_path):
    (tmp_path / "f").write_bytes(b"mine")
    with pytest.raises(ValueError, match="is there but is not the file wanted"):
        download.fetch(server.url, tmp_path / "f", MD5)
    assert (tmp_path / "f").read_bytes() == b"mine"
    assert not server.requests


@pytest.mark.parametrize("status", [404, 403, 410])
def test_a_refusal_is_told_with_its_number(server, tmp_path, status):
    server.status = status
    with pytest.raises(OSError, match=f"answers {status} .*: get the file by hand"):
        download.fetch(server.url, tmp_path / "f", MD5)


def test_nobody_answering_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(download.time, "sleep", lambda seconds: None)
    with pytest.raises(OSError, match="broke off 5 times, 0 bytes are kept"):
        download.fetch("http://127.0.0.1:9/f", tmp_path / "f", MD5)


def archived(folder, file):
    """`folder` as a .tgz or a .zip."""
    if file.suffix == ".tgz":
        with tarfile.open(file, "w:gz") as archive:
            archive.add(folder, arcname=".")
    else:
        with zipfile.ZipFile(file, "w") as archive:
            for path in sorted(folder.rglob("*")):
                archive.write(path, path.relative_to(folder))
    return file


@pytest.mark.parametrize("suffix", [".tgz", ".zip"])
def test_an_archive_is_unpacked_whole(tmp_path, suffix):
    miniatures.folder(tmp_path / "photos", classes=2)
    download.unpack(archived(tmp_path / "photos", tmp_path / f"a{suffix}"), tmp_path / "out")
    files = sorted(p.relative_to(tmp_path / "photos") for p in (tmp_path / "photos").rglob("*.jpg"))
    assert sorted(p.relative_to(tmp_path / "out") for p in (tmp_path / "out").rglob("*.jpg")) == files
    for file in files:
        assert (tmp_path / "out" / file).read_bytes() == (tmp_path / "photos" / file).read_bytes()


def member(name, data=b"x", **fields):
    """A tar archive, as bytes, of one good file and then one member."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for info, content in ((tarfile.TarInfo("good.jpg"), b"good"), (tarfile.TarInfo(name), data)):
            info.size = len(content)
            if info.name == name:
                for field, value in fields.items():
                    setattr(info, field, value)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def bomb():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.jpg", bytes(60_000_000))
    return buffer.getvalue()


def lying_bomb():
    """A zip whose directory declares a tenth of what it holds."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.jpg", bytes(100_000))
    size = (100_000).to_bytes(4, "little")
    data = buffer.getvalue()
    place = data.rindex(b"PK\x01\x02") + 24
    assert data[place : place + 4] == size
    return data[:place] + (1000).to_bytes(4, "little") + data[place + 4 :]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (member("../outside.jpg"), "'../outside.jpg', which leads out of the folder"),
        (member("/etc/outside.jpg"), "which leads out of the folder"),
        (member("a/../../b.jpg"), "which leads out of the folder"),
        (member("link.jpg", type=tarfile.SYMTYPE, linkname="/etc/passwd", size=0), "which is a link or a device"),
        (member("link.jpg", type=tarfile.LNKTYPE, linkname="good.jpg", size=0), "which is a link or a device"),
        (member("pipe", type=tarfile.FIFOTYPE, size=0), "which is a link or a device"),
        (bomb(), "would unpack to 0.1 GB, no archive of pictures does"),
        (lying_bomb(), "a.zip"),
        (member("a.jpg", bytes(20000))[:12000], "cannot be unpacked"),
        (b"<html>404</html>", "cannot be unpacked"),
    ],
    ids=["up", "root", "hidden up", "symbolic link", "hard link", "pipe", "bomb", "lying bomb", "cut", "page"],
)
def test_a_harmful_or_broken_archive_is_refused_and_leaves_nothing(tmp_path, data, message):
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(ValueError, match=message):
        download.unpack(tmp_path / "a.zip", tmp_path / "data" / "out")
    assert not list((tmp_path / "data" / "out").iterdir())
    assert sorted(os.listdir(tmp_path)) == ["a.zip", "data"]


def test_what_is_there_is_not_overwritten_by_an_archive(tmp_path):
    miniatures.folder(tmp_path / "photos", classes=1)
    (tmp_path / "out" / "class 0").mkdir(parents=True)
    with pytest.raises(ValueError, match="class 0 is there already: move it away"):
        download.unpack(archived(tmp_path / "photos", tmp_path / "a.zip"), tmp_path / "out")
    assert os.listdir(tmp_path / "out") == ["class 0"]


def test_a_dataset_is_downloaded_unpacked_and_prepared(server, tmp_path, monkeypatch, capsys):
    miniatures.cub200(tmp_path / "birds")
    server.body = archived(tmp_path / "birds", tmp_path / "birds.tgz").read_bytes()
    source = sources.Source("", server.url, hashlib.md5(server.body).hexdigest())
    monkeypatch.setitem(sources.SOURCES, "cub200", source)
    command = [
        "data",
        "cub200",
        "--root",
        str(tmp_path / "data"),
        "--download",
        "--verify",
        "--prepare",
        "--allow-partial",
    ]
    assert main([*command, "--input-size", "16"]) == 0
    out = capsys.readouterr().out
    assert "cub200: 9 training pictures of 3 classes and 9 test pictures of 3 classes" in out
    assert "every picture can be read" in out
    assert "training pictures at 18 x 18: " in out


def test_where_to_get_what_cannot_be_downloaded(tmp_path, capsys):
    assert main(["data", "inshop"]) == 0
    assert "sign the agreement" in capsys.readouterr().out
    assert main(["data", "cars196", "--root", str(tmp_path), "--download"]) == 2
    assert "cars196 cannot be downloaded: its authors' links are dead" in capsys.readouterr().err
    assert main(["data", "glyphs", "--download"]) == 2
    assert "nothing to download" in capsys.readouterr().err
