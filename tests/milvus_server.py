"""A Milvus server of this machine for the tests: the package `milvus`, on free ports, with its data in a folder."""

import contextlib
import lzma
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.cluster import free_ports, stop

absent = [name for name in ("milvus", "pymilvus") if find_spec(name) is None]
needs_server = pytest.mark.skipif(
    bool(absent) or not sys.platform.startswith("linux"),
    reason=f"{' and '.join(absent) or 'a Milvus server for Linux'} is not installed here",
)
PORTS = (
    *("etcd_port", "root_coord_port", "proxy_port", "proxy_internal_port", "query_coord_port", "query_node_port"),
    *("index_coord_port", "index_node_port", "data_coord_port", "data_node_port"),
)
ETCD = """
listen-client-urls: http://127.0.0.1:{0}
advertise-client-urls: http://127.0.0.1:{0}
listen-peer-urls: http://127.0.0.1:{1}
initial-advertise-peer-urls: http://127.0.0.1:{1}
initial-cluster: default=http://127.0.0.1:{1}
"""
# Starts the program of its arguments, which Linux kills when the process that started this one ends, however it ends
BOUND = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
os.getppid() == int(sys.argv[1]) or sys.exit("the tests have ended")
os.execv(sys.argv[2], sys.argv[2:])
"""


class Server:
    """A server of the `programs` with its data in `folder`. After `kill`, `start` goes on with the same data and ports.

    needs_token: it wants a user and a password, root:Milvus at first.
    """

    def __init__(self, folder, programs, needs_token=False):
        from milvus import MilvusServerConfig

        self.folder, self._programs, self._process = Path(folder), programs, None
        *ports, self._peer, self._metrics = free_ports(len(PORTS) + 2)
        ports = dict(zip(PORTS, ports))
        self.uri = f"http://127.0.0.1:{ports['proxy_port']}"
        self._etcd = ports["etcd_port"]
        self._config = MilvusServerConfig(data_dir=str(folder), **ports)
        self._config.set("authorization_enabled", needs_token)
        self._config.set("common.session.ttl", 5)  # seconds that a killed server counts as alive for the next one

    @property
    def pid(self):
        """The number of its process."""
        return self._process.pid

    def start(self):
        """Start it, and return when it answers. Raises RuntimeError with the end of its log if it ends before."""
        if not (self.folder / "configs" / "milvus.yaml").exists():  # ports of a killed server rest for a minute
            self._configure()
        programs, log = self._programs, self.folder / "logs" / "milvus.out"
        started = [sys.executable, "-I", "-c", BOUND, str(os.getpid()), str(programs / "milvus"), "run", "standalone"]
        with open(log, "a") as output:
            self._process = subprocess.Popen(
                started,
                cwd=str(self.folder),
                env=dict(DEPLOY_MODE="STANDALONE", METRICS_PORT=str(self._metrics), LD_LIBRARY_PATH=str(programs)),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        end = time.monotonic() + 120
        while not self._is_healthy():
            if self._process.poll() is not None or time.monotonic() > end:
                self.kill()
                raise RuntimeError(f"Milvus did not start: {log.read_text()[-2000:]}")
            time.sleep(0.1)

    def _configure(self):
        """Write its configuration. The package leaves one port of etcd as it is, which a second server needs too."""
        self._config.resolve()
        etcd, config = self.folder / "configs" / "etcd.yaml", self.folder / "configs" / "milvus.yaml"
        etcd.write_text(ETCD.format(self._etcd, self._peer))
        text = config.read_text()
        assert "\netcd:\n" in text
        config.write_text(text.replace("\netcd:\n", f"\netcd:\n  config:\n    path: {etcd}\n"))

    def _is_healthy(self):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._metrics}/healthz", timeout=5) as answer:
                return b"OK" in answer.read()
        except (urllib.error.URLError, OSError):
            return False

    def kill(self):
        """End it as a power cut does, without a word; nothing if it does not run."""
        if self._process:
            self._process.kill()
            self._process.wait()

    def stop(self):
        """End it."""
        if self._process:
            stop(self._process)


def unpack(folder):
    """Unpack Milvus's program and its libraries into `folder`."""
    import milvus

    for packed in (Path(milvus.__file__).parent / "data" / "bin").glob("*.lzma"):
        with lzma.open(packed) as source, open(folder / packed.stem, "wb") as program:
            shutil.copyfileobj(source, program)
        (folder / packed.stem).chmod(0o755)


@pytest.fixture(scope="session")
def programs(tmp_path_factory):
    """The folder of Milvus's programs, 250 MB."""
    folder = tmp_path_factory.mktemp("milvus")
    unpack(folder)
    yield folder
    shutil.rmtree(folder)


@contextlib.contextmanager
def running(folder, programs, **how):
    """`with running(folder, programs) as server`: a Server that answers, stopped at the end."""
    server = Server(folder, programs, **how)
    try:
        server.start()
        yield server
    finally:
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)
