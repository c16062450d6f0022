"""One answer of a server: its redirects followed with care, and broken off when it is too slow."""

import http.client
import queue
import threading
from typing import Iterator, Mapping, NamedTuple
from urllib.parse import urljoin, urlsplit

import requests
import urllib3

REDIRECTS = 10
LINE = 1 << 16  # bytes of a line between two chunks of a body

# Errors of a connection; with another try it may work
BROKEN = (
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
    urllib3.exceptions.HTTPError,
    http.client.HTTPException,
    ConnectionError,
    TimeoutError,
)


class Answer(NamedTuple):
    """What a server answers: the status, the reason in words, the headers, and the blocks of the body."""

    status: int
    reason: str
    headers: Mapping[str, str]
    blocks: Iterator[bytes]


def ask(method, url, headers, timeout, block, patience, redirects=REDIRECTS):
    """The Answer to a request. The body is what was sent: nothing in it is decompressed.

    timeout: seconds without a byte.  block: bytes of a block.  patience: seconds that the headers, and each block, take
    at most.  redirects: how many are followed.
    Raises one of BROKEN if the connection fails or is too slow; ValueError for a URL or a redirect that is not http or
    https, or that leads from https to http.
    """
    items = _in_time(_received(method, url, headers, timeout, block, redirects), patience)
    status, reason, fields = next(items)
    return Answer(status, reason, fields, items)


class _Session(requests.Session):
    """A session that follows no redirects: requests reads the body of each, of any size, into memory."""

    def resolve_redirects(self, *_, **__):
        """None."""
        return iter(())


class _Bounded:
    """What a server sends, as a file of which no call reads all, nor a line without end."""

    def __init__(self, file):
        self.file = file

    def __getattr__(self, name):
        return getattr(self.file, name)

    def read(self, size=-1):
        """Up to `size` bytes."""
        if size is None or size < 0:
            raise http.client.HTTPException("a chunk without an end")
        return self.file.read(size)

    def readline(self, limit=LINE):
        """A line, which describes a chunk or is a header after the last one."""
        line = self.file.readline(min(limit, LINE) if limit > 0 else LINE)
        if len(line) == LINE:
            raise http.client.HTTPException("a line without an end")
        return line


def _bound(raw):
    """Bound what urllib3 reads at once of the response `raw`: of a chunk of size -1 it would read all there is."""
    response = raw._original_response  # requests itself uses it
    if getattr(response, "fp", None) is not None:
        response.fp = _Bounded(response.fp)


def _received(method, url, headers, timeout, block, redirects):
    """Yield (status, reason, headers), then the blocks of the body."""
    secure = False
    headers = {"Accept-Encoding": "identity", **headers}
    with _Session() as session:
        for _ in range(redirects + 1):
            scheme = urlsplit(url).scheme.lower()
            if scheme not in (("https",) if secure else ("http", "https")):
                raise ValueError(f"it leads to {url}, which is not https" if secure else f"{url} is not http or https")
            secure = scheme == "https"
            answer = session.request(method, url, headers=headers, stream=True, timeout=timeout, allow_redirects=False)
            with answer:
                target = session.get_redirect_target(answer) if redirects else None
                if target is None:
                    yield answer.status_code, answer.reason, answer.headers
                    _bound(answer.raw)
                    yield from answer.raw.stream(block, decode_content=False)
                    return
            url = urljoin(url, target)
    raise ValueError(f"it was redirected more than {redirects} times")


def _in_time(items, patience):
    """Yield the `items`, which a thread computes. Raises TimeoutError if one takes more than `patience` seconds.

    A thread, since a server that sends a byte now and then holds up every call that reads from it.
    """
    results, abandoned = queue.Queue(8), threading.Event()

    def put(*result):
        while not abandoned.is_set():
            try:
                return results.put(result, timeout=0.1)
            except queue.Full:
                continue

    def work():
        try:
            for item in items:
                put(item, None)
                if abandoned.is_set():
                    return
            put(None, StopIteration())
        except BaseException as error:
            put(None, error)
        finally:
            items.close()

    threading.Thread(target=work, daemon=True).start()
    try:
        while True:
            try:
                item, error = results.get(timeout=patience)
            except queue.Empty:
                raise TimeoutError(f"next to nothing came in {patience} seconds") from None
            if isinstance(error, StopIteration):
                return
            if error:
                raise error
            yield item
    finally:
        abandoned.set()
