"""Who may ask a server that others reach: only who has the token."""

import contextlib
import re
import socket
from concurrent.futures import ThreadPoolExecutor
from html import unescape
from urllib.parse import parse_qsl, urlencode

import pytest

from gluon_cgd.serve.guard import Guard, is_local
from gluon_cgd.serve.refusal import Refusal
from tests.serve.conftest import Visitor, serving

TOKEN = "a-token-of-24-characters"


@pytest.fixture
def shared(answers):
    """A Visitor of a server that asks for a token."""
    pytest.importorskip("flask")
    pytest.importorskip("waitress")
    with serving(answers, Guard("0.0.0.0", TOKEN)) as port:
        yield Visitor(port)


@pytest.mark.parametrize("path", ["/api/about", "/api/pictures", "/static/app.js", "/picture/ffffffffffffffff", "/x"])
def test_nothing_is_answered_without_the_token(shared, path):
    assert shared.ask("GET", path)[0] == 401
    assert shared.ask("GET", f"{path}?token={TOKEN}")[0] == 401  # only the page takes it from its address
    for wrong in ("", "Bearer", f"Bearer {TOKEN}x", f"Basic {TOKEN}", "Bearer \xe9"):
        assert shared.ask("GET", path, Authorization=wrong)[0] == 401
    for wrong in ("", TOKEN, "\xe9"):
        assert shared.ask("GET", path, Cookie=f"gluon_cgd_{shared.port}={wrong}")[0] == 401
    assert shared.ask("GET", path, Authorization=f"Bearer {TOKEN}")[0] in (200, 404)


def test_the_page_asks_for_the_token_and_keeps_it_out_of_the_address(shared):
    status, headers, body = shared.ask("GET", "/")
    assert (status, headers["Content-Type"]) == (401, "text/html; charset=utf-8")
    assert b"Token needed" in body
    assert b"This is not the token" not in body
    assert b"This is not the token" in shared.ask("GET", "/?token=wrong")[2]
    assert shared.ask("GET", "/static/style.css")[0] == 200
    assert shared.ask("POST", "/api/query", b"x", Content_Type="image/png")[0] == 401
    status, headers, _ = shared.ask("GET", f"/?token={TOKEN}")
    assert (status, headers["Location"]) == (303, "/")
    cookie = headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert TOKEN not in cookie
    with_cookie = Visitor(shared.port, Cookie=cookie.split(";")[0])
    assert with_cookie.ask("GET", "/")[0] == 200
    assert with_cookie.get("/api/about")["pictures"] == 25


def test_a_shared_search_goes_on_after_the_token(shared):
    search = [("q", "ffffffffffffffff"), ("folder", 'sm "all" & <big>/ü'), ("box", "1,2,3,4")]
    page = shared.ask("GET", f"/?{urlencode(search)}")[2].decode()
    kept = re.findall(r'<input type="hidden" name="(.*?)" value="(.*?)">', page)
    assert [(name, unescape(value)) for name, value in kept] == search
    assert "<big>" not in page
    wrong = shared.ask("GET", f"/?{urlencode([*search, ('token', 'wrong')])}")[2].decode()
    assert re.findall(r'<input type="hidden" name="(.*?)" value="(.*?)">', wrong) == kept
    status, headers, _ = shared.ask("GET", f"/?{urlencode([*search, ('token', TOKEN)])}")
    assert status == 303
    path, _, query = headers["Location"].partition("?")
    assert (path, parse_qsl(query)) == ("/", search)


@pytest.mark.parametrize(
    "token", ["", "short", "with a space in its middle", "änderung-im-schlüssel", "one\nand another line"]
)
def test_a_token_that_can_be_guessed_or_not_be_typed_is_refused(token):
    with pytest.raises(ValueError, match="must have 16 or more letters"):
        Guard("0.0.0.0", token)


def test_only_this_machine_reaches_a_local_address():
    assert all(map(is_local, ("127.0.0.1", "127.3.3.3", "::1", "[::1]", "localhost", "LocalHost")))
    assert not any(map(is_local, ("0.0.0.0", "::", "192.168.1.2", "example.org", "localhost.example.org", "")))


def test_a_server_for_others_has_the_names_that_it_was_given(monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: "Shop")
    monkeypatch.setattr("socket.getfqdn", lambda: "shop.example.org")
    guard = Guard("pictures.example.org", TOKEN)
    for ours in ("pictures.example.org:8000", "shop", "SHOP.example.org", "192.168.1.2:8000", "[fe80::1]", "localhost"):
        guard.check_host(ours)
    for name in ("evil.example", "example.org", "pictures.example.org.evil.example", "0.0.0.0", "[::]"):
        with pytest.raises(Refusal) as refusal:
            guard.check_host(name)
        assert refusal.value.status == 421


def test_whoever_lacks_the_token_cannot_fill_the_temporary_folder(shared):
    from gluon_cgd.serve import app

    with contextlib.closing(app.listen(lambda *_: [], "127.0.0.1", 0)) as server:
        assert server.adj.connection_limit * server.adj.max_request_body_size < 2.3e9
    head = b"POST /api/query HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\nContent-Length: 30000000\r\n\r\n"

    def ask(path):
        return shared.ask("GET", path, Authorization=f"Bearer {TOKEN}")[0]

    with contextlib.ExitStack() as stack:
        for _ in range(40):
            stack.enter_context(socket.create_connection(("127.0.0.1", shared.port), timeout=20)).sendall(head + b"x")
        with ThreadPoolExecutor(18) as pool:  # three browsers get their answers meanwhile
            assert set(pool.map(ask, ["/api/about", "/api/pictures", "/static/app.js"] * 12)) == {200}


def test_a_lack_of_memory_is_answered_with_its_remedy_and_logged_without_a_traceback(answers, monkeypatch, caplog):
    app = pytest.importorskip("gluon_cgd.serve.app")

    def lacking():
        raise MemoryError

    monkeypatch.setattr(answers, "about", lacking)
    answer = app.make_app(answers, Guard("127.0.0.1")).test_client().get("/api/about")
    assert (answer.status_code, answer.json["error"].split(":")[0]) == (503, "there is not enough memory")
    assert "there is not enough memory: close other programs" in caplog.text
    assert "Traceback" not in caplog.text
