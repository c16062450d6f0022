"""Miniature copies of the official layouts, in their real annotation formats, with glyphs for pictures."""

import numpy as np
import scipy.io
from PIL import Image

from gluon_cgd.datasets import glyphs


def picture(file, label, index=0, size=(64, 48)):
    """Write glyph `label` as a JPEG of `size` (width, height)."""
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(glyphs.picture(label % 200, index)).resize(size).save(file, quality=90)


def cub200(root, classes=(1, 2, 100, 101, 150, 200), images=3):
    """images.txt, image_class_labels.txt and bounding_boxes.txt (floats), 1-based, without headers; a stray ._ file."""
    base = root / "CUB_200_2011"
    lines = {"images": [], "image_class_labels": [], "bounding_boxes": []}
    for label in classes:
        for index in range(images):
            number = len(lines["images"]) + 1
            path = f"{label:03d}.Bird_{label}/Bird_{label}_{index:04d}_{number}.jpg"
            picture(base / "images" / path, label, index)
            lines["images"].append(f"{number} {path}")
            lines["image_class_labels"].append(f"{number} {label}")
            lines["bounding_boxes"].append(f"{number} 4.0 3.0 50.0 40.0")
    (base / "images/._Bird.jpg").write_bytes(b"Mac OS X")
    for name, body in lines.items():
        (base / f"{name}.txt").write_text("\n".join(body) + "\n")
    return root


def _annotations(rows, fields):
    return {"annotations": np.array([rows], dtype=[(field, object) for field in fields])}


def cars196_devkit(root, classes=(1, 98, 99, 196), images=3, nested=False):
    """cars_train/, cars_test/ and devkit/, numbers as uint8 arrays; `nested` as Kaggle's copies are."""
    (root / "devkit").mkdir(parents=True)
    fields = ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "fname")
    for part, annotations in (("cars_train", "cars_train_annos.mat"), ("cars_test", "cars_test_annos_withlabels.mat")):
        folder, rows = root / part / (part if nested else ""), []
        for label in classes:
            for index in range(images):
                name = f"{len(rows) + 1:05d}.jpg"
                picture(folder / name, label, index)
                rows.append((*(np.uint8(n) for n in (4, 3, 60, 45, label)), name))
        scipy.io.savemat(root / "devkit" / annotations, _annotations(rows, fields))
    unlabelled = [(*row[:4], row[5]) for row in rows]
    scipy.io.savemat(root / "devkit/cars_test_annos.mat", _annotations(unlabelled, (*fields[:4], "fname")))
    return root


def sop(root, products=26, images=3):
    """Ebay_train.txt and Ebay_test.txt with their header, 12 super-classes."""
    base, number = root / "Stanford_Online_Products", 0
    for part, first in (("train", 1), ("test", 11319)):
        lines = ["image_id class_id super_class_id path"]
        for product in range(first, first + products):
            kind = (product - first) % 12 + 1
            for index in range(images):
                number += 1
                path = f"kind{kind}_final/{product}_{index}.JPG"
                picture(base / path, product, index)
                lines.append(f"{number} {product} {kind} {path}")
        (base / f"Ebay_{part}.txt").write_text("\n".join(lines) + "\n")
    return root


def inshop(root, items=5, images=4):
    """Eval/list_eval_partition.txt: a count, a header, rows split by runs of blanks; a training item with one photo."""
    rows = []
    for item in range(1, 2 * items + 1):
        for index in range(1 if item == 1 else images):
            part = "train" if item <= items else ("query" if index < images // 2 else "gallery")
            path = f"img/WOMEN/Dresses/id_{item:08d}/{index:02d}_1_front.jpg"
            picture(root / "Img" / path, item, index)
            rows.append(f"{path}    id_{item:08d}          {part}")
    (root / "Eval").mkdir(parents=True)
    text = "\n".join([str(len(rows)), "image_name item_id evaluation_status", *rows]) + "\n"
    (root / "Eval/list_eval_partition.txt").write_text(text)
    return root


def folder(root, classes=5, images=6):
    """A folder a class, with a stray file that is no picture."""
    for label in range(classes):
        for index in range(images):
            picture(root / f"class {label}" / f"{index}.jpg", label, index)
    (root / "class 0/notes.txt").write_text("taken in May")
    return root


def csv(root, classes=5, images=6, header="path,label,x1,y1,x2,y2", tail=",4,3,60,45"):
    """The same as a CSV file; returns the file."""
    lines = [header]
    for label in range(classes):
        for index in range(images):
            picture(root / "photos" / f"{label}-{index}.jpg", label, index)
            lines.append(f"photos/{label}-{index}.jpg,dish {label}{tail}")
    (root / "list.csv").write_text("\n".join(lines) + "\n")
    return root / "list.csv"
