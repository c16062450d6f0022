"""`python -m gluon_cgd serve` as a person starts and stops it; under load, and killed."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from gluon_cgd.__main__ import main
from gluon_cgd.commands import serve
from gluon_cgd.datasets import glyphs, images
from gluon_cgd.machine import facts
from gluon_cgd.models import opened
from gluon_cgd.serve.answers import PAGE
from tests.serve.conftest import Visitor, ids, shop  # noqa: F401

pytest.importorskip("flask")
pytest.importorskip("waitress")


def refused(capsys, *arguments):
    assert main(["serve", *map(str, arguments)]) == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    return error.strip().splitlines()[-1]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # waitress leaves its socket open
def test_what_cannot_be_served_is_a_sentence(shop, tmp_path, capsys, monkeypatch):  # noqa: F811
    assert "no-index" in refused(capsys, tmp_path / "no-index")
    with contextlib.closing(socket.socket()) as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        said = refused(capsys, shop.index, "--port", port)
        assert f"nothing can listen on 127.0.0.1, port {port} (Address already in use): choose another --port" in said
    said = refused(capsys, shop.index, "--host", "no.such.host.invalid")
    assert said.startswith(
        "nothing can listen on no.such.host.invalid, port 8000 (Invalid host/port specified): choose"
    )
    monkeypatch.setenv(serve.TOKEN, "short")
    assert "the token must have 16 or more letters" in refused(capsys, shop.index, "--host", "0.0.0.0")
    for wrong in ("-1", "65536", "http"):
        with pytest.raises(SystemExit):
            main(["serve", str(shop.index), f"--port={wrong}"])
    assert "invalid port_number value: 'http'" in capsys.readouterr().err


def test_without_flask_the_message_names_the_remedy(shop, capsys, monkeypatch):  # noqa: F811
    monkeypatch.setitem(sys.modules, "flask", None)
    monkeypatch.delitem(sys.modules, "gluon_cgd.serve.app", raising=False)
    said = refused(capsys, shop.index)
    assert said.startswith("serve needs flask and waitress (")
    assert said.endswith(facts.install("requirements-extra.txt"))


@contextlib.contextmanager
def started(folder, *arguments, **variables):
    """(process, the address that it printed, all lines of it) of a server in a process of its own."""
    environment = dict(os.environ, GLUON_CGD_CACHE=str(folder), PYTHONPATH=str(facts.PROJECT), GLUON_CGD_ENTERED="1")
    command = [sys.executable, "-m", "gluon_cgd", "serve", *map(str, arguments)]
    process = subprocess.Popen(
        command, env={**environment, **variables}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        lines = iter(process.stdout.readline, "")
        address = next(filter(None, (re.match(r"Open (http://\S+) in a browser", line) for line in lines)), None)
        assert address, process.communicate()[1]
        yield process, address[1]
    finally:
        process.kill()
        process.communicate()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_it_and_it_says_nothing_while_it_waits(shop, tmp_path, number):  # noqa: F811
    with started(tmp_path, shop.index, "--port", 0) as (process, address):
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", address)
        Visitor(int(address.rstrip("/").rpartition(":")[2])).get("/api/about")
        process.send_signal(number)
        _, error = process.communicate(timeout=60)
        assert process.returncode == 0
        assert error.splitlines()[-1] == "stopped"


@pytest.mark.slow
def test_for_others_it_prints_an_address_with_a_token(shop, tmp_path):  # noqa: F811
    token = "a-token-of-mine-1234"
    arguments = (shop.index, "--port", 0, "--host", "0.0.0.0")
    with started(tmp_path, *arguments, GLUON_CGD_TOKEN=token) as (process, address):
        port, shown = re.fullmatch(r"http://[^:/]+:(\d+)/\?token=(.+)", address).groups()
        assert shown == token
        assert Visitor(int(port)).ask("GET", "/api/about")[0] == 401
        assert Visitor(int(port), Authorization=f"Bearer {token}").get("/api/about")["pictures"] == 25


@pytest.mark.slow
def test_fifty_searches_at_once_while_the_index_is_written_and_after_a_kill(shop, tmp_path):  # noqa: F811
    index, more, cache = shutil.copytree(shop.index, tmp_path / "idx"), tmp_path / "more", tmp_path / "cache"
    for label in range(20, 50):
        (more / str(label)).mkdir(parents=True)
        Image.fromarray(glyphs.picture(label, 0)).save(more / str(label) / "0.png")
    files = sorted(shop.photos.rglob("*.*"))
    queries = [(file, box) for file in files for box in ("", "3,3,40,40")]

    def expected():
        """{query: {path: cosine} of every picture that the finished index has}, by the embeddings of all."""
        model, right = opened.open_model(shop.model, ctx="cpu", batch_size=None), {}
        gallery = [*files, *sorted(more.rglob("*.*"))]
        vectors = model.embed([images.load_picture(str(file), 16) for file in gallery])
        for file, box in queries:
            pixels = tuple(map(int, box.split(","))) if box else None
            cosines = vectors @ model.embed([images.load_picture(str(file), 16, pixels)])[0]
            right[file, box] = dict(zip(map(str, gallery), cosines.tolist()))
        return right

    def check(answer, right, whole):
        """Every result has its right cosine, in falling order; no picture is missing that was there all the time."""
        places = {str(shop.photos): "photos", str(more): "more"}
        names = {}
        for path, cosine in right.items():
            (root,) = (root for root in places if path.startswith(root + os.sep))
            below = os.path.relpath(path, root)
            names[below], names[os.path.join(places[root], below)] = cosine, cosine
        shown = {os.path.normpath(os.path.join(one["folder"], one["name"])): one["cosine"] for one in answer["results"]}
        for name, cosine in shown.items():
            assert cosine == pytest.approx(names[name], abs=1e-5), name
        assert answer["total"] == answer["pictures"] == len(answer["cosines"]) >= 25
        assert len(shown) == min(answer["total"], PAGE)
        assert list(shown.values()) == sorted(shown.values(), reverse=True)
        assert not whole or answer["total"] == len(right)

    write = [sys.executable, "-m", "gluon_cgd", "index", "--images", str(more), "--out", str(index), "--ctx", "cpu"]
    uploaded, told = {}, []
    with started(cache, index, "--port", 0) as (process, address):
        visitor = Visitor(int(address.rstrip("/").rpartition(":")[2]))
        writing = []

        def begin():
            writing.append(subprocess.Popen(write, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE))

        at_once, after_first = threading.Barrier(50), threading.Barrier(50, begin)

        def ask(query):
            file, box = query
            at_once.wait()
            uploaded[query] = visitor.upload(file.read_bytes())
            told.append((query, visitor.get("/api/search", q=uploaded[query], box=box), False))
            after_first.wait()
            ended = 0
            while ended < 2:  # one more time when the index is whole
                time.sleep(ended)
                ended += writing[0].poll() is not None
                told.append((query, visitor.get("/api/search", q=uploaded[query], box=box), ended == 2))

        with ThreadPoolExecutor(50) as pool:
            list(pool.map(ask, queries))
        error = writing[0].communicate()[1]
        assert writing[0].returncode == 0, error
        os.kill(process.pid, signal.SIGKILL)
    right = expected()
    assert {query for query, _, whole in told if whole} == set(queries)
    assert {answer["total"] for _, answer, _ in told[:50]} == {25}
    for query, answer, whole in told:
        check(answer, right[query], whole)
    with started(cache, index, "--port", 0) as (process, address):
        visitor = Visitor(int(address.rstrip("/").rpartition(":")[2]))
        assert len(ids(visitor)) == 48  # the first page
        for query in queries[::5]:
            answer = visitor.get("/api/search", q=uploaded[query], box=query[1])  # links still work
            check(answer, right[query], whole=True)
            np.testing.assert_allclose(sorted(right[query].values(), reverse=True), answer["cosines"], atol=1e-4)
