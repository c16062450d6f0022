"""What a hostile visitor may try, each with the status that it gets from a real server."""

import contextlib
import io
import json
import re
import socket
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from tests.serve.conftest import serving

pytest.importorskip("flask")
pytest.importorskip("waitress")
Q = "ffffffffffffffff"  # an id of no picture


def png(width, height):
    """The beginning of a PNG that names a size and holds no pixels."""
    head = b"IHDR" + struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head)) + b"\0\0\0\0IDAT"


def whole(kind, cut=None):
    """A whole picture of a format, or its first `cut` bytes."""
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    Image.fromarray(noise).save(buffer, kind)
    return buffer.getvalue()[:cut]


JPEG_64K = whole("JPEG")
JPEG_64K = re.sub(b"(\xff\xc0\x00\x11\x08)....", b"\\1\xff\xff\xff\xff", JPEG_64K, count=1, flags=re.DOTALL)
WEBP = b"RIFF\x1a\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\xff\x3f\0\xff\x3f\0" + bytes(8)
PATHS = {
    404: """/../../etc/passwd /static/../app.py /static/..%2fapp.py /static/%2e%2e/%2e%2e/app.py /static/....//app.py
        /static//etc/passwd /static/app.py /static/ /static/templates/page.html /templates/page.html //etc/passwd
        /picture/ /picture/../../etc/passwd /picture/%2fetc%2fpasswd /picture/..%2f..%2fetc%2fpasswd /.git/config /.env
        /admin /api /api/ /api/search/ /console /metrics /wp-login.php /collection.json /photos /api/query/..
        /picture/ffffffffffffffff /picture/u0000000000000000000000000000000000000000 /%2e%2e/%2e%2e/etc/passwd
        /api/search?q=ffffffffffffffff /api/pictures?folder=/etc /api/pictures?folder=../.. /api/pictures?folder=%00
        /api/pictures?folder=sma /api/compare?q=ffffffffffffffff&r=ffffffffffffffff""",
    400: """/picture/etc /picture/%00 /picture/FFFFFFFFFFFFFFFF /picture/u..%5c..%5cetc%5cpasswd /picture/x.jpg
        /picture/ffffffffffffffff?side=0 /picture/ffffffffffffffff?side=-1 /picture/ffffffffffffffff?side=99999999
        /picture/ffffffffffffffff?side=abc /picture/ffffffffffffffff?box=1,2 /api/search /api/search?q=
        /api/search?q=../../etc/passwd /api/search?q=/etc/passwd /api/search?q=file:///etc/passwd
        /api/search?q=http://169.254.169.254/ /api/search?q=1'%20OR%201=1 /api/search?q=%00 /api/search?q={{7*7}}
        /api/search?q=ffffffffffffffff%0a /api/search?q=ffffffffffffffff&box=1,2,3
        /api/search?q=ffffffffffffffff&box=a,b,c,d /api/search?q=ffffffffffffffff&box=-1,0,5,5
        /api/search?q=ffffffffffffffff&box=1e9,0,2,2 /api/search?q=ffffffffffffffff&box=0,0,9999999,5
        /api/search?q=ffffffffffffffff&box=%D9%A3,0,9,9 /api/search?q=ffffffffffffffff&min=nan
        /api/search?q=ffffffffffffffff&min=inf /api/search?q=ffffffffffffffff&min=1e999
        /api/search?q=ffffffffffffffff&min=2 /api/search?q=ffffffffffffffff&min=0x1 /api/search?q=ffffffffffffffff&min=
        /api/search?q=ffffffffffffffff&min=%D9%A3 /api/pictures?page=0 /api/pictures?page=-1 /api/pictures?page=1.5
        /api/pictures?page=abc /api/pictures?page=99999999 /api/pictures?page= /api/compare?q=ffffffffffffffff
        /api/compare?q=ffffffffffffffff&r=ffffffffffffffff&turned=2
        /api/compare?q=ffffffffffffffff&r=ffffffffffffffff&region=0,0,0,0
        /api/compare?q=ffffffffffffffff&r=ffffffffffffffff&region=1,1,0,0
        /api/compare?q=ffffffffffffffff&r=ffffffffffffffff&region=nan,0,1,1
        /api/compare?q=ffffffffffffffff&r=ffffffffffffffff&region=0,0,2,2
        /api/compare?q=ffffffffffffffff&r=ffffffffffffffff&region=0,0,1
        /api/compare?q=ffffffffffffffff&r=ffffffffffffffff&region=x,y,1,1""",
    200: "/ /?q=<script>alert(1)</script> /?__debugger__=yes&cmd=resource /api/pictures?page=1000000 /api/about?x=1",
    405: "/api/query",
    431: f"/{'a' * 20_000} /api/pictures?folder={'a' * 20_000}",
}
METHODS = {
    "POST": 405,
    "PUT": 405,
    "DELETE": 405,
    "PATCH": 405,
    "TRACE": 405,
    "PROPFIND": 405,
    "HEAD": 200,
    "OPTIONS": 200,
}
HOSTS = {
    200: "127.0.0.1 127.0.0.1:1 localhost LOCALHOST:99 localhost. [::1] [::1]:80 127.8.8.8",
    421: "evil.example evil.example:8000 127.0.0.1.evil.example localhost.evil.example xn--lcalhost-54a 0.0.0.0 [::] "
    "169.254.169.254 192.168.0.1 127.1 0x7f000001 2130706433 [::ffff:10.0.0.1] 017700000001",
    400: "localhost@evil.example localhost/ [::1 evil,localhost localhost:123456 <script>",
}
SITES = [  # method, path, headers, status
    ("GET", "/api/about", {"Sec-Fetch-Site": "cross-site"}, 403),
    ("GET", "/api/about", {"Sec-Fetch-Site": "same-site"}, 403),  # a server on another port of this machine
    ("GET", "/api/about", {"Sec-Fetch-Site": "nonsense"}, 403),
    ("GET", "/api/about", {"Sec-Fetch-Site": "same-origin"}, 200),
    ("GET", "/api/about", {"Origin": "http://evil.example"}, 403),
    ("GET", "/api/about", {"Origin": "null"}, 403),
    ("GET", "/api/about", {"Origin": "http://127.0.0.1.evil.example"}, 403),
    ("GET", "/api/about", {"Origin": "http://127.0.0.1:9"}, 403),
    ("GET", f"/picture/{Q}", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "image"}, 403),
    ("GET", "/static/app.js", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "script"}, 403),
    ("GET", "/", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}, 403),
    ("GET", "/", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "document"}, 403),
    ("GET", "/", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, 200),
    ("POST", "/", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, 403),
    ("POST", "/api/query", {"Origin": "http://evil.example", "Content-Type": "image/png"}, 403),
    ("POST", "/api/query", {"Origin": "null", "Content-Type": "image/png"}, 403),
    ("POST", "/api/query", {"Sec-Fetch-Site": "cross-site", "Content-Type": "text/plain"}, 403),
    ("OPTIONS", "/api/query", {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}, 403),
    ("POST", "/api/query", {"Origin": "http://127.0.0.1", "Content-Type": "image/png"}, 400),  # our own, and empty
]
TYPES = ("", "text/html", "text/plain", "application/json", "application/x-www-form-urlencoded")
TYPES = (*TYPES, "multipart/form-data; boundary=x", "image", "application/octet-streams", "imagery/png")
BODIES = {
    "a picture": (201, whole("PNG")),
    "a JPEG": (201, whole("JPEG")),
    "nothing": (400, b""),
    "a page": (422, b"<html><script>alert(1)</script>"),
    "an SVG": (422, b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>'),
    "PostScript": (422, b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) run\n"),
    "ImageMagick's language": (422, b"push graphic-context\nfill 'url(https://x/|ls)'\npop graphic-context"),
    "a PDF": (422, b"%PDF-1.7\n"),
    "a ZIP": (422, b"PK\x03\x04" + bytes(60)),
    "a program": (422, b"#!/bin/sh\nreboot\n"),
    "an ELF": (422, b"\x7fELF" + bytes(60)),
    "a pickle": (422, b"\x80\x04cos\nsystem\n(S'ls'\ntR."),
    "zeros": (422, bytes(1000)),
    "a PNG of 900 megapixels": (422, png(30_000, 30_000)),
    "a PNG of 65 megapixels": (422, png(10_000, 6_500)),
    "a PNG of no pixels": (422, png(0, 0)),
    "a PNG without its end": (422, whole("PNG", -40)),
    "a JPEG of 64k x 64k": (422, JPEG_64K),
    "a JPEG without its end": (422, whole("JPEG", 400)),
    "the beginning of a JPEG": (422, b"\xff\xd8\xff"),
    "a WebP of 268 megapixels": (422, WEBP),
    "a GIF of 64k x 64k": (422, b"GIF89a\xff\xff\xff\xff\0\0\0;"),
    "a TIFF without pages": (422, b"II*\0\x08\0\0\0\0\0"),
    "a gzip": (422, b"\x1f\x8b\x08" + bytes(60)),
    "a byte too much": (413, None),
}
POST = "POST /api/query HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
RAW = [  # requests that are no HTTP, or hide one in another
    (400, "GET / HTTP/1.1\r\n\r\n"),
    (400, "GET / HTTP/1.1\r\nHost:\r\n\r\n"),
    (400, "GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n"),
    (400, "GET / HTTP/1.1\r\nHost : localhost\r\n\r\n"),
    (400, f"{POST}Content-Length: -5\r\n\r\n"),
    (400, f"{POST}Content-Length: 1e3\r\n\r\n"),
    (413, f"{POST}Content-Length: 99999999999\r\n\r\n"),
    (501, f"{POST}Transfer-Encoding: gzip\r\n\r\n"),
    (431, f"GET / HTTP/1.1\r\nHost: localhost\r\nX: {'a' * 20_000}\r\n\r\n"),
    (400, "\x16\x03\x01\x02\x00\r\n\r\n"),
]


def requests():
    """(status, method, path, headers, body or None) of every request."""
    for status, paths in PATHS.items():
        yield from ((status, "GET", path, {}, None) for path in paths.split())
    yield from ((status, method, "/", {}, None) for method, status in METHODS.items())
    yield (405, "DELETE", f"/picture/{Q}", {}, None)
    for status, hosts in HOSTS.items():
        yield from ((status, "GET", "/", {"Host": host}, None) for host in hosts.split())
    yield from ((status, method, path, headers, b"") for method, path, headers, status in SITES)
    yield from ((415, "POST", "/api/query", {"Content-Type": kind}, whole("PNG")) for kind in TYPES)
    yield (422, "POST", "/api/query", {"Content-Type": "image/png", "Content-Encoding": "gzip"}, b"\x1f\x8b\x08\0")
    for status, body in BODIES.values():
        body = bytes((32 << 20) + 1) if body is None else body
        yield (status, "POST", "/api/query", {"Content-Type": "image/png"}, body)


REQUESTS = list(requests())
NAMES = [f"{number} {status} {method} {path[:50]}" for number, (status, method, path, *_) in enumerate(REQUESTS)]


@pytest.fixture(scope="module")
def port(current, tmp_path_factory):
    """The port of a server that all requests of this module go to."""
    from gluon_cgd.serve.answers import Answers
    from gluon_cgd.serve.guard import Guard

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLUON_CGD_CACHE", str(tmp_path_factory.mktemp("hostile")))
        with serving(Answers(current), Guard("127.0.0.1")) as port:
            yield port


def exchange(port, request):
    """The bytes that the server sends until it closes the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it may refuse before all was sent
            connection.sendall(request)
        answer = b""
        try:
            while True:
                piece = connection.recv(1 << 16)
                if not piece:
                    return answer
                answer += piece
        except ConnectionResetError:
            return answer


def check(answer, status):
    """The head of an answer with this status, which tells nothing of the server's inside."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.split(b" ", 2)[1:2] == [b"%d" % status], (head[:80], body[:300])
    assert not re.search(rb"Traceback|root:|gluon_cgd/serve|<script>alert|/tmp/", body)
    return head.lower()


def test_there_are_enough():
    assert len(REQUESTS) + len(RAW) > 180


@pytest.mark.parametrize(("status", "method", "path", "headers", "body"), REQUESTS, ids=NAMES)
def test_a_hostile_request_gets_the_right_status(port, status, method, path, headers, body):
    named = {"Host": "127.0.0.1", **headers, "Connection": "close"}
    if body is not None:
        named["Content-Length"] = len(body)
    lines = "".join(f"{name}: {value}\r\n" for name, value in named.items())
    head = check(exchange(port, f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode() + (body or b"")), status)
    assert b"\r\nserver:" not in head
    if status != 431:  # which is answered before it comes to the page's own code
        assert b"content-security-policy: default-src 'none';" in head
        assert b"\r\nx-content-type-options: nosniff" in head
        assert b"\r\nreferrer-policy: no-referrer" in head
        assert b"\r\ncross-origin-resource-policy: same-origin" in head
        assert b"access-control-allow-origin" not in head


@pytest.mark.parametrize(("status", "request_text"), RAW, ids=[str(number) for number in range(len(RAW))])
def test_what_is_no_whole_request_is_refused(port, status, request_text):
    text = request_text.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n")
    check(exchange(port, text.encode("latin-1")), status)


def test_the_server_is_well_afterwards_and_keeps_nothing_that_is_no_picture(port):
    answer = exchange(port, b"GET /api/about HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    check(answer, 200)
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["pictures"] == 25
    from gluon_cgd.machine import facts

    assert not list(facts.cache_folder().glob("serve/.*"))
