"""Downloads from servers that do harm: each is a function that gets a request and writes what it likes."""

import gzip
import hashlib
import os
import re
import resource
import socket
import threading
from types import SimpleNamespace

import pytest

from gluon_cgd.fetch import download, partial

DATA = bytes(range(256)) * 40
MD5 = hashlib.md5(DATA).hexdigest()


class Server:
    """Listens on this machine; `answers` are called in turn, the last one again and again, with (socket, request)."""

    def __init__(self):
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listening.getsockname()[1]}/f"
        self.requests, self.answers, self.over = [], [], threading.Event()
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                connection, _ = self.listening.accept()
            except OSError:
                return
            threading.Thread(target=self.answer, args=(connection,), daemon=True).start()

    def answer(self, connection):
        with connection:
            request = b""
            while b"\r\n\r\n" not in request:
                more = connection.recv(4096)
                if not more:
                    return
                request += more
            self.requests.append(request.decode())
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            try:
                if isinstance(answer, bytes):
                    connection.sendall(answer)
                else:
                    answer(connection, request.decode())
            except OSError:
                pass  # the client has gone

    def header(self, name):
        """The values of a header in the requests, None where it is missing."""
        found = (re.search(rf"^{name}: (.*?)\r$", request, re.MULTILINE) for request in self.requests)
        return [match and match[1] for match in found]


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(download.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(download, "BLOCK", 1000)
    running = Server()
    yield running
    running.over.set()
    running.listening.close()


def reply(body=DATA, *headers, status="200 OK", length=True):
    lines = [f"HTTP/1.1 {status}", "Connection: close", *headers, *[f"Content-Length: {len(body)}"] * length]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def part(first, body=DATA, *headers):
    span = f"Content-Range: bytes {first}-{len(body) - 1}/{len(body)}"
    return reply(body[first:], span, *headers, status="206 Partial Content")


def drip(head):
    """An answer that begins with `head` and goes on with a byte now and then, without end."""

    def answer(connection, request):
        connection.sendall(head)
        while True:
            threading.Event().wait(0.02)
            connection.sendall(b"x")

    return answer


def left(folder):
    return sorted(os.listdir(folder))


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nX-Endless: ",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10240\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: ",
    ],
    ids=["at once", "header", "length", "no length", "chunk size", "redirect"],
)
def test_a_server_that_sends_a_byte_now_and_then_is_broken_off(server, tmp_path, monkeypatch, head):
    monkeypatch.setattr(download, "PATIENCE", 0.1)
    monkeypatch.setattr(download, "TRIES", 2)
    server.answers = [drip(head)]
    with pytest.raises(OSError, match=r"broke off 2 times, 0 bytes are kept \(next to nothing came in 0.1 seconds\)"):
        download.fetch(server.url, tmp_path / "f", MD5)
    assert left(tmp_path) == []


def test_a_slow_start_keeps_what_came_and_goes_on(server, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "PATIENCE", 0.3)
    server.answers = [drip(b"HTTP/1.1 200 OK\r\nContent-Length: 10240\r\n\r\n" + DATA[:5000]), part(5000)]
    download.fetch(server.url, tmp_path / "f", MD5)
    assert (tmp_path / "f").read_bytes() == DATA
    assert server.header("Range") == [None, "bytes=5000-"]


def endless(head, body=b"x" * 1000):
    def answer(connection, request):
        connection.sendall(head)
        while True:
            connection.sendall(body)

    return answer


CUT = reply(DATA, "Content-Length: 5000", length=False)
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        endless(b"HTTP/1.1 200 OK\r\n\r\n"),
        endless(CHUNKED, b"3e8\r\n" + b"x" * 1000 + b"\r\n"),
        reply(DATA, f"X: {'x' * 10}", length=False) + DATA,
        b"HTTP/1.1 200 OK\r\nContent-Length: 999999999999999\r\n\r\n" + DATA,
    ],
    ids=["without length", "chunked", "a little too much", "announced"],
)
@pytest.mark.parametrize("checksum", [MD5, None])
def test_more_than_such_a_file_can_have_is_not_received(server, tmp_path, answer, checksum):
    server.answers = [answer]
    with pytest.raises(ValueError, match=r"sent another file \(.* bytes or more, while such a file has 15,000 at most"):
        download.fetch(server.url, tmp_path / "f", checksum, limit=15_000)
    assert left(tmp_path) == []
    assert len(server.requests) == 1


@pytest.mark.parametrize("length", [True, False])
def test_the_disk_is_not_filled(server, tmp_path, monkeypatch, length):
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: SimpleNamespace(free=5000))
    server.answers = [reply(length=length)]
    with pytest.raises(OSError, match="has no room for .*: free some"):
        download.fetch(server.url, tmp_path / "f", MD5)
    assert left(tmp_path) == []


def test_the_rest_of_a_part_counts_with_what_is_there(server, tmp_path):
    (tmp_path / "f.part").write_bytes(DATA)
    server.answers = [part(len(DATA), DATA * 2)]
    with pytest.raises(ValueError, match="while such a file has 15,000 at most"):
        download.fetch(server.url, tmp_path / "f", MD5, limit=15_000)
    assert left(tmp_path) == []


def test_what_is_sent_compressed_is_kept_as_it_is(server, tmp_path):
    """Some servers declare a .tgz itself to be compressed in transit; and a few bytes could become gigabytes."""
    packed = gzip.compress(bytes(10_000_000))
    server.answers = [reply(packed, "Content-Encoding: gzip")]
    download.fetch(server.url, tmp_path / "f", hashlib.md5(packed).hexdigest(), limit=100_000)
    assert (tmp_path / "f").read_bytes() == packed
    assert server.header("Accept-Encoding") == ["identity"]


@pytest.mark.parametrize("page", [b"<html>moved</html>", b"\r\n <!DOCTYPE HTML>...", b"<?xml version='1.0'?><Error/>"])
@pytest.mark.parametrize("checksum", [MD5, None])
def test_a_web_page_instead_of_a_file_is_said_and_what_came_before_is_not_mixed_with_it(
    server, tmp_path, page, checksum
):
    server.answers = [reply(page, "Content-Type: text/html")]
    with pytest.raises(ValueError, match=r"sent another file \(a web page.*: get it by hand"):
        download.fetch(server.url, tmp_path / "f", checksum)
    assert left(tmp_path) == []


def test_a_login_page_amid_a_download_costs_nothing_that_came(server, tmp_path):
    (tmp_path / "f.part").write_bytes(DATA[:5000])
    server.answers = [reply(b"<html>please log in</html>"), part(5000)]
    with pytest.raises(ValueError, match="a web page"):
        download.fetch(server.url, tmp_path / "f", MD5)
    download.fetch(server.url, tmp_path / "f", MD5)
    assert (tmp_path / "f").read_bytes() == DATA
    assert server.header("Range") == ["bytes=5000-"] * 2


def test_a_busy_server_is_asked_again_when_it_says_and_what_came_is_kept(server, tmp_path, monkeypatch):
    waits = []
    monkeypatch.setattr(download.time, "sleep", waits.append)
    busy = [
        reply(b"", status="503 Service Unavailable"),
        reply(b"later", "Retry-After: 7", status="429 Too Many Requests"),
        reply(b"<html>", "Retry-After: 86400", status="502 Bad Gateway"),
    ]
    server.answers = [reply()[:-5240], *busy, part(5000)]
    download.fetch(server.url, tmp_path / "f", MD5)
    assert (tmp_path / "f").read_bytes() == DATA
    assert server.header("Range") == [None, *["bytes=5000-"] * 4]
    assert waits == [0.2, 0.4, 7, download.PATIENCE]


@pytest.mark.parametrize("after", ["soon", "-1", "\xb2", ""])
def test_a_server_that_stays_busy_is_told_with_its_answer(server, tmp_path, after):
    server.answers = [reply(b"", f"Retry-After: {after}", status="500 Internal \x1b[31m")]
    with pytest.raises(OSError, match=r"broke off 5 times, 0 bytes .* \(it answers 500 Internal \\x1b\[31m\): start"):
        download.fetch(server.url, tmp_path / "f", MD5)
    assert left(tmp_path) == []


def redirect(target):
    return reply(b"", f"Location: {target}", status="302 Found")


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("/f", "redirected more than 10 times"),
        ("file:///etc/passwd", "file:///etc/passwd is not http or https"),
        ("ftp://127.0.0.1/f", "is not http or https"),
        ("gopher://127.0.0.1:9/_", "is not http or https"),
        ("http://[::1", "cannot be fetched"),
        ("http://.../", "cannot be fetched"),
        ("http://:0/", "cannot be fetched"),
    ],
)
def test_redirects_that_lead_nowhere_good_are_one_sentence(server, tmp_path, target, message):
    server.answers = [redirect(target)]
    with pytest.raises(OSError, match=message) as caught:
        download.fetch(server.url, tmp_path / "f", MD5)
    assert "get it by hand" in str(caught.value)
    assert left(tmp_path) == []


def test_a_redirect_is_followed_and_its_own_body_is_not_read(server, tmp_path):
    head = f"HTTP/1.1 307 Temporary Redirect\r\nLocation: {server.url}2\r\n\r\n".encode()
    server.answers = [endless(head), reply()]
    download.fetch(server.url, tmp_path / "f", MD5)
    assert (tmp_path / "f").read_bytes() == DATA


def test_a_secure_address_is_not_given_up_for_a_plain_one(tmp_path, monkeypatch):
    class Moved:
        """A session whose every answer leads to a plain address."""

        def __enter__(self):
            return self

        __exit__ = lambda *_: None  # noqa: E731
        request = lambda self, *_, **__: self  # noqa: E731
        get_redirect_target = lambda *_: "http://127.0.0.1/f"  # noqa: E731

    monkeypatch.setattr(download.connection, "_Session", Moved)
    with pytest.raises(OSError, match="leads to http://127.0.0.1/f, which is not https.*get it by hand"):
        download.fetch("https://127.0.0.1/f", tmp_path / "f", MD5)


@pytest.mark.parametrize(
    "answer",
    [
        reply(DATA, "Content-Length: abc", length=False),
        reply(DATA, "Content-Length: -5", length=False),
        reply(DATA, "Content-Length: 10240, 10240", length=False),
        reply(DATA, length=False),
    ],
    ids=["text", "negative", "twice", "none"],
)
def test_a_wrong_length_does_not_matter_if_the_file_is_right(server, tmp_path, answer):
    server.answers = [answer]
    download.fetch(server.url, tmp_path / "f", MD5)
    assert (tmp_path / "f").read_bytes() == DATA


@pytest.mark.parametrize(
    "answer",
    [
        CUT,
        b"garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n" + DATA,
        b"HTTP/1.1 999 \x1b[31m\r\nContent-Length: 0\r\n\r\n",
        reply(b"x", status="206 Partial Content"),
        CHUNKED + b"zz\r\n" + DATA,
        CHUNKED + b"-5\r\n" + DATA,
        endless(CHUNKED + b"-1\r\n"),
        endless(CHUNKED),
        endless(CHUNKED + b"5\r\nabcde\r\n0\r\nX: "),
        b"",
    ],
    ids=[
        "short",
        "garbage",
        "headers",
        "status",
        "part",
        "chunk",
        "negative chunk",
        "endless chunk",
        "endless line",
        "endless trailer",
        "nothing",
    ],
)
@pytest.mark.parametrize("checksum", [MD5, None])
def test_an_answer_that_is_damaged_is_one_sentence(server, tmp_path, answer, checksum):
    server.answers = [answer]
    if checksum is None and answer == CUT:
        return  # nobody can see that it is cut off
    with pytest.raises((OSError, ValueError), match=r"http://.*: (get|start)"):
        download.fetch(server.url, tmp_path / "f", checksum)
    assert "f" not in left(tmp_path)


# What an earlier call received is the beginning of the same file, or else it is not used


def test_without_a_checksum_a_download_goes_on_only_with_the_version_that_it_began_with(server, tmp_path):
    cut = reply(DATA, 'ETag: "one"')[:-5000]
    server.answers = [cut, part(len(DATA) - 5000, DATA, 'ETag: "one"')]
    download.fetch(server.url, tmp_path / "f", None)
    assert (tmp_path / "f").read_bytes() == DATA
    assert server.header("If-Range") == [None, '"one"']
    assert server.header("Range") == [None, f"bytes={len(DATA) - 5000}-"]


@pytest.mark.parametrize("header", ['ETag: "one"', "Last-Modified: Thu, 26 Nov 2026 11:00:00 GMT"])
@pytest.mark.parametrize("obeys", [True, False], ids=["heeds If-Range", "ignores it"])
def test_another_version_of_the_file_is_received_from_its_beginning(server, tmp_path, header, obeys):
    other = b"other" * 2048
    now = header.replace("one", "two").replace("11:00", "12:00")
    server.answers = [reply(DATA, header)[:-5000], reply(other, now) if obeys else part(5000, other, now), reply(other)]
    download.fetch(server.url, tmp_path / "f", None)
    assert (tmp_path / "f").read_bytes() == other
    assert server.header("If-Range")[1] == header.partition(": ")[2]
    assert left(tmp_path) == ["f"]


@pytest.mark.parametrize("mark", ["", 'ETag: W/"weak"', "Last-Modified: yesterday", "ETag: bare"])
def test_without_a_checksum_and_a_mark_of_the_version_it_begins_anew(server, tmp_path, mark):
    server.answers = [reply(b"old" * 3000, *[mark] * bool(mark))[:-5000], reply()]
    download.fetch(server.url, tmp_path / "f", None)
    assert (tmp_path / "f").read_bytes() == DATA
    assert server.header("Range") == [None, None]


def test_the_checksum_decides_in_the_end_and_a_mixture_is_received_anew(server, tmp_path, caplog):
    (tmp_path / "f.part").write_bytes(b"the beginning of another file")
    server.answers = [part(29), reply()]
    download.fetch(server.url, tmp_path / "f", MD5)
    assert (tmp_path / "f").read_bytes() == DATA
    assert "is not the rest of what was received before: it is received anew" in caplog.text
    assert left(tmp_path) == ["f"]


def test_what_another_url_sent_is_not_continued_without_a_checksum(server, tmp_path):
    (tmp_path / "f.part").write_bytes(b"other")
    (tmp_path / "f.part.json").write_text('{"url": "http://127.0.0.1/elsewhere", "version": "\\"one\\""}')
    server.answers = [reply(DATA, 'ETag: "one"')]
    download.fetch(server.url, tmp_path / "f", None)
    assert (tmp_path / "f").read_bytes() == DATA
    assert server.header("Range") == [None]


@pytest.mark.parametrize("note", ["", "[]", "{}", '{"url": 1, "version": 2}', "[" * 100_000, "\0"])
def test_a_damaged_note_of_the_version_is_no_note(server, tmp_path, note):
    (tmp_path / "f.part").write_bytes(b"other")
    (tmp_path / "f.part.json").write_text(note)
    server.answers = [reply()]
    download.fetch(server.url, tmp_path / "f", None)
    assert (tmp_path / "f").read_bytes() == DATA
    assert left(tmp_path) == ["f"]


def test_a_part_that_is_longer_than_the_file_is_received_anew(server, tmp_path):
    (tmp_path / "f.part").write_bytes(DATA + b"more")
    beyond = reply(b"", f"Content-Range: bytes */{len(DATA)}", status="416 Range Not Satisfiable")
    server.answers = [beyond, reply()]
    download.fetch(server.url, tmp_path / "f", MD5)
    assert (tmp_path / "f").read_bytes() == DATA


# Links, and two at once


@pytest.mark.parametrize("kind", ["symbolic", "hard", "dangling", "pipe"])
def test_a_link_in_place_of_the_part_leads_to_no_other_file(server, tmp_path, kind):
    victim, place = tmp_path / "victim", tmp_path / "f.part"
    victim.write_bytes(b"mine")
    if kind == "hard":
        os.link(victim, place)
    elif kind == "pipe":
        os.mkfifo(place)
    else:
        place.symlink_to(victim if kind == "symbolic" else tmp_path / "nowhere")
    server.answers = [reply()]
    download.fetch(server.url, tmp_path / "f", MD5)
    assert victim.read_bytes() == b"mine"
    assert (tmp_path / "f").read_bytes() == DATA
    assert left(tmp_path) == ["f", "victim"]


def test_a_folder_in_place_of_the_part_or_the_file_is_a_sentence(server, tmp_path):
    (tmp_path / "f.part").mkdir()
    (tmp_path / "g").mkdir()
    for name, said in (("f", "f.part"), ("g", "g")):
        with pytest.raises(IsADirectoryError, match=f"{said} is a folder"):
            download.fetch(server.url, tmp_path / name, MD5)


def test_two_at_once_receive_it_once(server, tmp_path):
    begun, go_on = threading.Event(), threading.Event()

    def answer(connection, request):
        begun.set()
        go_on.wait(10)
        connection.sendall(reply())

    server.answers = [answer]
    both = [threading.Thread(target=download.fetch, args=(server.url, tmp_path / "f", MD5)) for _ in range(2)]
    both[0].start()
    begun.wait(10)
    both[1].start()
    threading.Event().wait(0.1)
    go_on.set()
    for thread in both:
        thread.join(10)
    assert (tmp_path / "f").read_bytes() == DATA
    assert len(server.requests) == 1
    assert left(tmp_path) == ["f"]


def test_a_file_that_takes_the_place_of_the_part_is_not_taken_for_it(server, tmp_path):
    def answer(connection, request):
        os.unlink(tmp_path / "f.part")
        (tmp_path / "f.part").write_bytes(b"swapped")
        connection.sendall(reply())

    server.answers = [answer]
    with pytest.raises(OSError, match="f.part was moved away or replaced while it was received: start again"):
        download.fetch(server.url, tmp_path / "f", MD5)
    assert not (tmp_path / "f").exists()


def test_a_file_system_without_locks_is_enough(server, tmp_path, monkeypatch):
    def lock(*_):
        raise partial.portalocker.LockException(OSError(37, "No locks available"))

    monkeypatch.setattr(partial.portalocker, "lock", lock)
    server.answers = [reply()]
    download.fetch(server.url, tmp_path / "f", MD5)
    assert left(tmp_path) == ["f"]


def test_a_full_disk_keeps_what_came(server, tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    server.answers = [reply(), part(5000)]
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, limits[1]))  # bytes of a file
    try:
        with pytest.raises(OSError, match="File too large: '.*/f.part'"):
            download.fetch(server.url, tmp_path / "f", MD5)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    download.fetch(server.url, tmp_path / "f", MD5)
    assert (tmp_path / "f").read_bytes() == DATA
    assert server.header("Range") == [None, "bytes=5000-"]


@pytest.mark.parametrize("url", ["hf-mirror.com/f", "file:///etc/passwd", "", "http://", "http://127.0.0.1:99999/"])
def test_an_address_that_is_none_is_a_sentence(tmp_path, url):
    with pytest.raises(OSError, match="cannot be fetched .*: get it by hand"):
        download.fetch(url, tmp_path / "f", MD5)
    with pytest.raises(OSError, match="cannot be reached .*: start again, or get it by hand"):
        download.stated_sha256(url)
    assert left(tmp_path) == []


def test_certificates_that_are_not_there_are_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere/ca.pem")
    url = "https://127.0.0.1:9/f"
    with pytest.raises(OSError, match=r"127.0.0.1:9/f cannot be fetched \(.*/nowhere/ca.pem\): get it by hand"):
        download.fetch(url, tmp_path / "f", MD5)
    with pytest.raises(OSError, match=r"127.0.0.1:9/f cannot be reached \(.*/nowhere/ca.pem\): start again"):
        download.stated_sha256(url)


@pytest.mark.parametrize("stated", ["x" * 64, "ab" * 31, "ab" * 32 + "0", ""])
def test_a_hash_that_is_none_is_not_taken_for_one(server, stated):
    server.answers = [reply(b"", f'X-Linked-Etag: "{stated}"')]
    assert download.stated_sha256(server.url) is None
    server.answers = [reply(b"", f'X-Linked-Etag: "{"AB" * 32}"')]
    assert download.stated_sha256(server.url) == "ab" * 32
