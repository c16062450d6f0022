"""Made-up copies of CARS196 and CUB200-2011, and made-up ImageNet parameters, for rehearsals.

The copies have the layout, the annotation files and the counts of the real ones, and pictures of 300 to 500 pixels with
boxes; the parameters have the names and shapes of the published ones. What is in them is drawn. Each file says so in
itself (`gluon_cgd.files.stand_in`), so that no run that used one can be taken for a result.
"""

import os
import struct
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import numpy as np

from gluon_cgd import backbones, datasets
from gluon_cgd.files import stand_in
from gluon_cgd.files.parameters import LIST
from gluon_cgd.files.whole import replacing, write_text
from gluon_cgd.machine import facts
from gluon_cgd.machine.progress import task

QUALITY = 90
NOTE = (
    "STAND-IN. Every picture in this folder is drawn by benchmarks/stand_ins.py. None is of {}. For a rehearsal only.\n"
)


def measures(label, index, seed=0):
    """(height, width, box (x1, y1, x2, y2)) of picture `index` of class `label`, in pixels."""
    rng = np.random.default_rng((seed, label, index, 0))
    height, width = (int(side) for side in rng.integers(300, 501, 2))
    w, h = (int(side * rng.uniform(0.5, 0.85)) for side in (width, height))
    x1, y1 = int(rng.integers(4, width - w - 4)), int(rng.integers(4, height - h - 4))
    return height, width, (x1, y1, x1 + w, y1 + h)


def drawn(label, index, seed=0):
    """Picture `index` of class `label`, uint8 (H, W, 3), BGR, always the same.

    In its box is an object whose colours and stripes are its class's, on a ground with detail at several scales.
    """
    import cv2

    height, width, (x1, y1, x2, y2) = measures(label, index, seed)
    rng, kind = np.random.default_rng((seed, label, index, 1)), np.random.default_rng((seed, label))
    ground = np.zeros((height, width, 3), np.float32)
    for exponent in (2, 4, 6):
        cells = rng.normal(0, 1, (3 * 2**exponent, 4 * 2**exponent, 3)).astype(np.float32)
        ground += cv2.resize(cells, (width, height), interpolation=cv2.INTER_LINEAR) * 45 / exponent
    picture = np.clip(ground + rng.uniform(60, 190, 3), 0, 255).astype(np.uint8)
    body, stripe = (tuple(int(value) for value in colour) for colour in kind.integers(0, 256, (2, 3)))
    count, slope, thick = int(kind.integers(2, 9)), kind.uniform(-0.6, 0.6), int(kind.integers(4, 16))
    shape, thing = np.zeros((height, width), np.uint8), np.full_like(picture, body)
    cv2.ellipse(shape, ((x1 + x2) // 2, (y1 + y2) // 2), ((x2 - x1) // 2, (y2 - y1) // 2), 0, 0, 360, 255, -1)
    rise = int(slope * (x2 - x1) / 2)
    for place in np.linspace(y1, y2, count + 2)[1:-1]:
        cv2.line(thing, (x1, int(place) - rise), (x2, int(place) + rise), stripe, thick)
    picture[shape > 0] = np.clip(thing[shape > 0] * rng.uniform(0.7, 1.2), 0, 255).astype(np.uint8)
    noise = rng.normal(0, 6, (height, width, 1)).astype(np.float32)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


def listed(name):
    """[(label from 0, index in its class), ...] of the stand-in for the benchmark `name`: its counts, spread evenly."""
    pairs, first = [], 0
    for pictures, classes in datasets.OFFICIAL[name]:
        for place in range(classes):
            count = pictures // classes + (place < pictures % classes)
            pairs += [(first + place, index) for index in range(count)]
        first += classes
    return pairs


def path_of(name, number, label, index):
    """Where picture `number` (from 1) is, below the benchmark's folder, as its own lists write it."""
    if name == "cars196":
        return f"car_ims/{stand_in.PICTURE}{number:06d}.jpg"
    kind = f"{label + 1:03d}.Stand_in_{label + 1}"
    return f"{kind}/{stand_in.PICTURE}{label + 1:03d}_{index:04d}_{number}.jpg"


def write_some(root, rows):
    """Draw those of `rows`, [(path, label, index), ...], that are not there, below `root`; returns how many it was."""
    import cv2

    cv2.setNumThreads(1)
    for path, label, index in rows:
        file = Path(root) / path
        if not file.exists():  # it is whole: it got its name when it was
            data = cv2.imencode(".jpg", drawn(label, index), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1]
            file.parent.mkdir(parents=True, exist_ok=True)
            with replacing(file) as temporary:
                Path(temporary).write_bytes(data.tobytes())
    return len(rows)


def write(name, folder, pairs=None):
    """Write the stand-in for the benchmark `name` to `folder`/`name`, in its layout; returns that folder.

    It goes on where it was interrupted, and two processes at once do no harm: a picture depends on its class and index
    alone. pairs: as `listed`, for a smaller one.
    """
    root, pairs = Path(folder) / name, listed(name) if pairs is None else pairs
    pictures = root if name == "cars196" else root / "CUB_200_2011" / "images"
    done = root / "stand-in.complete"
    if done.is_file() and done.read_text() == str(len(pairs)):
        return root
    rows = [(path_of(name, number, *pair), *pair) for number, pair in enumerate(pairs, 1)]
    pictures.mkdir(parents=True, exist_ok=True)
    write_text(root / "STAND-IN.txt", NOTE.format(name))
    step = 64
    with ProcessPoolExecutor(facts.cores()) as pool, task(f"drawing {name}", len(rows), "img") as bar:
        parts = [pool.submit(write_some, pictures, rows[start : start + step]) for start in range(0, len(rows), step)]
        for part in as_completed(parts):
            bar.update(part.result())
    (_cars if name == "cars196" else _birds)(root, rows, [measures(*pair)[2] for pair in pairs])
    write_text(done, str(len(pairs)))
    return root


def _cars(root, rows, boxes):
    """Write cars_annos.mat, each number an array of the type that the real one has."""
    import scipy.io

    fields = ("relative_im_path", "bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "test")
    values = [
        (path, *(np.uint16(side) for side in box), np.uint8(label + 1), np.uint8(number % 2))
        for number, ((path, label, _), box) in enumerate(zip(rows, boxes))
    ]
    annotations = np.array([values], dtype=[(field, object) for field in fields])
    names = np.array([[f"stand-in {label}" for label in range(1, 197)]], dtype=object)
    with replacing(root / "cars_annos.mat") as temporary, open(temporary, "wb") as handle:
        scipy.io.savemat(handle, {"annotations": annotations, "class_names": names})


def _birds(root, rows, boxes):
    """Write the lists of CUB_200_2011: numbers from 1, boxes as x, y, width and height with a decimal."""
    lines = {"images": [], "image_class_labels": [], "bounding_boxes": [], "train_test_split": []}
    for number, ((path, label, index), (x1, y1, x2, y2)) in enumerate(zip(rows, boxes), 1):
        lines["images"].append(f"{number} {path}")
        lines["image_class_labels"].append(f"{number} {label + 1}")
        lines["bounding_boxes"].append(f"{number} {x1}.0 {y1}.0 {x2 - x1}.0 {y2 - y1}.0")
        lines["train_test_split"].append(f"{number} {index % 2}")
    lines["classes"] = [f"{label} {label:03d}.Stand_in_{label}" for label in range(1, 201)]
    for name, body in lines.items():
        write_text(root / "CUB_200_2011" / f"{name}.txt", "\n".join(body) + "\n")


def write_parameters(backbone, folder, seed=0):
    """Write made-up parameters of `backbone`, with the names and shapes of the published ones; returns the file.

    They are drawn as for a training from the beginning (He), which keeps features at a usual size; the mark is in the
    header.
    """
    import mxnet as mx

    file = Path(folder) / f"{stand_in.PICTURE}{backbone}.params"
    if file.is_file():
        return file
    mx.random.seed(seed)
    net, *_ = backbones.recipe_of(backbone).make(224)
    net.initialize(mx.init.MSRAPrelu(slope=0))
    net(mx.nd.zeros((1, 3, 224, 224)))  # gives every parameter its shape
    file.parent.mkdir(parents=True, exist_ok=True)
    with replacing(file) as temporary:
        net.save_parameters(str(temporary))
        with open(temporary, "r+b") as handle:
            kind, reserved = struct.unpack("<QQ", handle.read(16))
            if (kind, reserved) != (LIST, 0):
                raise ValueError(f"MXNet wrote a header of another kind ({kind:#x}, {reserved}): it cannot be marked")
            handle.seek(8)
            handle.write(stand_in.PARAMETERS)
            handle.flush()
            os.fsync(handle.fileno())
    return file
