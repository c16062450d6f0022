"""An index of letters in folders, the server over it, and visitors. Nothing here needs Flask before it is used."""

import contextlib
import http.client
import json
import shutil
import threading
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlencode

import numpy as np
import pytest
from PIL import Image

from gluon_cgd.__main__ import main
from gluon_cgd.datasets import glyphs
from gluon_cgd.experiment import Experiment
from tests.models.test_opened import published

EXPERIMENT = Experiment(
    dataset="glyphs", backbone="cifar_resnet10", pretrained=False, input_size=16, descriptors="SM", dim=8
)


def draw(folder, classes=4, images=6):
    """Letters in `folder`, in folders of two levels, one of them a photo that lies on its side by its EXIF."""
    for label in range(classes):
        for index in range(images):
            file = Path(folder) / ("capital" if label % 2 else "small") / f"letter {label}" / f"{index}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(glyphs.picture(label, index)).save(file)
    wide = Image.fromarray(np.repeat(np.arange(120, dtype=np.uint8)[None, :, None], 40, axis=0).repeat(3, axis=2))
    exif = Image.Exif()
    exif[0x0112] = 6  # it is 40 wide and 120 high for a person
    wide.save(Path(folder) / "on its side.jpg", exif=exif)


@pytest.fixture(scope="session")
def shop(tmp_path_factory):
    """photos: a folder of 25 pictures.  index: of them.  model: its file.  Tests copy what they change."""
    folder = tmp_path_factory.mktemp("shop")
    draw(folder / "photos")
    model = published(folder / "model", EXPERIMENT)
    make = ["index", "--images", str(folder / "photos"), "--checkpoint", model, "--ctx", "cpu"]
    assert main([*make, "--out", str(folder / "idx")]) == 0
    return SimpleNamespace(photos=folder / "photos", index=folder / "idx", model=model)


@pytest.fixture
def own_index(shop, tmp_path):
    """The index, to change."""
    return shutil.copytree(shop.index, tmp_path / "idx")


@pytest.fixture(scope="session")
def current(shop):
    """The Current of the index, with its model opened once."""
    from gluon_cgd.serve.current import Current

    with contextlib.closing(Current(str(shop.index), ctx="cpu")) as current:
        yield current


@pytest.fixture
def answers(current):
    """The Answers of the index, with uploads of this test alone."""
    from gluon_cgd.serve.answers import Answers

    return Answers(current)


@contextlib.contextmanager
def serving(answers, guard):
    """The port of a real server in a thread of this process."""
    from gluon_cgd.serve import app

    server, ended = app.listen(app.make_app(answers, guard), "127.0.0.1", 0), threading.Event()

    def run():
        while not ended.is_set():
            server.asyncore.loop(timeout=0.02, map=server._map, count=1)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield server.effective_port
    finally:
        ended.set()
        thread.join()
        server.task_dispatcher.shutdown()
        for channel in list(server._map.values()):
            channel.close()


class Visitor:
    """Asks a server on this machine, and remembers its headers and cookie."""

    def __init__(self, port, **headers):
        self.port, self.headers = port, {name.replace("_", "-"): value for name, value in headers.items()}

    def ask(self, method, path, body=None, **headers):
        """(status, headers, body) of an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, {**self.headers, **named})
            response = connection.getresponse()
            return response.status, response.headers, response.read()

    def get(self, path, **values):
        """The JSON of an answer that is no refusal."""
        status, _, body = self.ask("GET", f"{path}?{urlencode(values)}")
        assert status == 200, body
        return json.loads(body)

    def upload(self, data):
        """The id of an uploaded picture."""
        status, _, body = self.ask("POST", "/api/query", data, Content_Type="image/png")
        assert status == 201, body
        return json.loads(body)["id"]


@pytest.fixture
def visitor(answers):
    """A Visitor of a server on this machine."""
    from gluon_cgd.serve.guard import Guard

    with serving(answers, Guard("127.0.0.1")) as port:
        yield Visitor(port)


def ids(visitor):
    """{path below the folder: id} of all pictures."""
    return {f"{one['folder']}/{one['name']}": one["id"] for one in visitor.get("/api/pictures")["results"]}
