"""What several test modules need: pictures in a folder, a miniature CARS196, and a run that takes seconds."""

import contextlib
import os
import subprocess
import sys

os.environ["OMP_NUM_THREADS"] = (
    "1"  # before MXNet: tiny batches lose with more, by minutes where another process keeps the cores busy
)

import numpy as np  # noqa: E402
import pytest  # noqa: E402
import scipy.io  # noqa: E402
from PIL import Image  # noqa: E402

from gluon_cgd.datasets import Record, Split, formats, glyphs, tree  # noqa: E402
from gluon_cgd.experiment import Experiment  # noqa: E402
from gluon_cgd.fetch import weights  # noqa: E402
from gluon_cgd.machine import facts, prepare  # noqa: E402
from tests.cluster import cluster, in_cluster  # noqa: E402, F401


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """No test reads or writes the user's caches, or asks the network."""
    monkeypatch.setenv("GLUON_CGD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MXNET_HOME", str(tmp_path / "mxnet"))
    for variable in ("MXNET_GLUON_REPO", "HF_ENDPOINT"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")  # nobody answers there
    monkeypatch.setattr(weights, "GLUONCV2", "http://127.0.0.1:9")


@pytest.fixture(autouse=True)
def without_heif(monkeypatch):
    """No result depends on whether pillow-heif, which is optional, is installed."""
    for module in (formats, tree):
        monkeypatch.setattr(module, "installed", lambda name: name != "pillow_heif" and prepare.installed(name))


@pytest.fixture(scope="session")
def small_split(tmp_path_factory):
    """6 training and 4 test classes of glyphs, 8 pictures each."""
    folder = tmp_path_factory.mktemp("glyphs")
    records = []
    for label in (*range(6), *range(100, 104)):
        for index in range(8):
            file = folder / f"{label}-{index}.png"
            Image.fromarray(glyphs.picture(label, index)).save(file)
            records.append(Record(str(file), label))
    return Split([r for r in records if r.label < 100], [r for r in records if r.label >= 100])


@pytest.fixture
def glyph_folder(tmp_path):
    """A folder with a folder a class that other processes can read: 8 classes of 6 glyphs."""
    for label in range(8):
        for index in range(6):
            file = tmp_path / "pictures" / str(label) / f"{index}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(glyphs.picture(label, index)).save(file)
    return tmp_path / "pictures"


@pytest.fixture
def small_experiment():
    """12 iterations of 4 classes x 2 images with the small network."""
    return Experiment(
        dataset="glyphs",
        backbone="cifar_resnet10",
        pretrained=False,
        input_size=16,
        descriptors="SM",
        dim=8,
        learning_rate=1e-3,
        passes=2,
        batch_classes=4,
        batch_images=2,
        evaluations=3,
    )


@pytest.fixture(scope="session")
def exported(small_split, tmp_path_factory):
    """A folder with a run/, trained for a moment, and the model.onnx of it, which gives the feature maps too."""
    from gluon_cgd.__main__ import main
    from gluon_cgd.train import fit

    folder = tmp_path_factory.mktemp("exported")
    asked = dict(dataset="glyphs", backbone="cifar_resnet10", pretrained=False, input_size=16, descriptors="SM", dim=8)
    short = dict(passes=2, batch_classes=4, batch_images=2, evaluations=3, learning_rate=1e-3)
    fit(Experiment(**asked, **short), small_split, folder / "run", cache=folder / "cache")
    export = ["export", "--checkpoint", str(folder / "run"), "--onnx", str(folder / "model.onnx"), "--features"]
    assert main(export) == 0
    return folder


@pytest.fixture
def other_user():
    """A context in which this process is a user who may read, but not write, what is in a folder and in `readable`."""

    @contextlib.contextmanager
    def become(folder, *readable):
        places = [folder, *(place for place in folder.rglob("*") if not place.is_symlink())]
        modes = {place: place.stat().st_mode & 0o777 for place in places}
        for place, mode in modes.items():
            place.chmod(mode & 0o555)
        user = os.geteuid()
        if user == 0:  # whom permissions do not bind
            for parent in (*reversed(folder.parents), *readable):  # pytest's are its user's alone
                if parent.stat().st_uid == 0 and not parent.stat().st_mode & 0o001:
                    modes[parent] = parent.stat().st_mode & 0o777
                    parent.chmod(modes[parent] | 0o011)
            os.seteuid(65534)
        try:
            yield
        finally:
            os.seteuid(user)
            for place, mode in modes.items():
                place.chmod(mode)

    return become


@pytest.fixture
def without_mxnet(tmp_path):
    """A function that runs a command where only what docs/export.md names can be imported, with a NumPy that MXNet
    cannot use; returns the finished process. `drawing`: matplotlib is there too.
    """
    place = tmp_path / "without_mxnet"
    place.mkdir()
    gone = {"mxnet", "gluoncv", "gluoncv2", "onnx", "requests", "scipy", "safetensors", "faiss", "sklearn"}

    def run(*arguments, drawing=False):
        blocked = sorted(gone if drawing else gone | {"matplotlib"})
        (place / "sitecustomize.py").write_text(
            f"import sys; sys.modules.update(dict.fromkeys({blocked}))\nimport numpy; numpy.__version__ = '1.24.0'\n"
        )
        return subprocess.run(
            [sys.executable, *map(str, arguments)],
            cwd=str(facts.PROJECT),
            env=dict(os.environ, PYTHONPATH=str(place), GLUON_CGD_ENTERED="1", PYTHONDONTWRITEBYTECODE="1"),
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def write_cars(root, classes=(1, 2, 98, 99, 196), images=3, box=None, change=None):
    """A CARS196 in its `car_ims` layout with its real annotation types, `images` pictures for each of `classes`.

    box: for every picture instead of the one that is right.  change: a function of the rows, before they are written.
    """
    (root / "car_ims").mkdir(parents=True)
    rows = []
    for label in classes:
        for _ in range(images):
            name = f"car_ims/{len(rows) + 1:06d}.jpg"
            Image.fromarray(np.full((40, 60, 3), label, np.uint8)).save(root / name, quality=95)
            x1, y1, x2, y2 = box or (5, 4, 55, 36)
            rows.append(
                (name, np.uint8(x1), np.uint8(y1), np.uint8(x2), np.uint8(y2), np.uint8(label), np.uint8(len(rows) % 2))
            )
    if change:
        rows = change(rows)
    fields = ("relative_im_path", "bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "test")
    annotations = np.array([rows], dtype=[(field, object) for field in fields])
    scipy.io.savemat(root / "cars_annos.mat", {"annotations": annotations})
    return root
