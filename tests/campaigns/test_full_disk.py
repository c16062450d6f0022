"""A disk that is full at any of the files that commands write: one sentence that names the file, and nothing half done.

A limit on the size of a file stands for the disk.
"""

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gluon_cgd.datasets import glyphs

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
NETWORK = "--backbone cifar_resnet10 --no-pretrained --input-size 16 --dim 8 --dataset pictures"
SCHEDULE = "--passes 2 --batch-classes 3 --batch-images 2 --evaluations 2 --checkpoint-every 3"
COMMANDS = {  # name -> the command, and a file that it writes
    "train": (f"train {NETWORK} {SCHEDULE} --out new", "new/result.json"),
    "choose": (f"choose {NETWORK} {SCHEDULE} --out choice", "choice/choice.json"),
    "card": ("card --checkpoint run", "run/card.png"),
    "publish": ("publish --checkpoint run --out models", "models/*.params"),
    "export": ("export --checkpoint run --onnx model.onnx", "model.onnx"),
    "embed": ("embed --images pictures --checkpoint run --out e.npy", "e.npy"),
    "index": ("index --images pictures --checkpoint run --out index", "index/collection.json"),
    "search": ("search known pictures/0/0.png --figure f.png", "f.png"),
    "data": ("data pictures --prepare --input-size 40", "cache/pictures/*.uint8"),
    "evaluate": ("evaluate --checkpoint run", "cache/pictures/*.uint8"),
}


def run(command, folder, limit=resource.RLIM_INFINITY):
    """The finished process of a command in `folder`, which cannot write files of more than `limit` bytes."""
    environment = dict(os.environ, PYTHONPATH=str(ROOT), GLUON_CGD_CACHE=str(folder / "cache"), GLUON_CGD_ENTERED="1")
    return subprocess.run(
        [sys.executable, "-m", "gluon_cgd", *command.split()],
        cwd=str(folder),
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        check=False,
    )


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A folder with pictures, a run, and an index of them; the pictures are not prepared."""
    folder = tmp_path_factory.mktemp("prepared")
    for label, index in np.ndindex(6, 6):
        file = folder / f"pictures/{label}/{index}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(glyphs.picture(label, index)).save(file)
    for command in (f"train {NETWORK} {SCHEDULE} --out run", "index --images pictures --checkpoint run --out known"):
        done = run(command, folder)
        assert done.returncode == 0, done.stderr
    for file in folder.glob("run/card*"):
        file.unlink()
    shutil.rmtree(folder / "cache")
    return folder


@pytest.mark.parametrize(("name", "limit"), [*((name, 200) for name in COMMANDS), ("index", 3000), ("train", 3000)])
def test_a_full_disk_is_one_sentence_and_nothing_half_done(name, limit, prepared, tmp_path):
    folder, (command, file) = tmp_path / "here", COMMANDS[name]
    shutil.copytree(prepared, folder)
    done = run(command, folder, limit)
    written = list(folder.glob(file))
    if not (done.returncode == 0 and written):  # what is smaller than the limit
        assert done.returncode == 2, done.stderr
        last = done.stderr.strip().splitlines()[-1]
        assert any(words in last for words in ("so large here", "no room", "(File too large): ", "full: ")), done.stderr
        assert not written or name == "index"  # which keeps what it has
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert not [place for place in folder.rglob("*") if place.suffix == ".part" or "saving" in place.name]
    again = run(command, folder)
    assert again.returncode == 0, again.stderr
    assert list(folder.glob(file))
