"""What the campaign of bad inputs starts from: good things, and every kind of broken thing beside them."""

import json
import os
import shutil
import struct
import zlib

import numpy as np
import odd_files
from PIL import Image

from gluon_cgd.__main__ import main
from gluon_cgd.datasets import glyphs

SMALL = "--backbone cifar_resnet10 --no-pretrained --input-size 16 --dim 8 --descriptors SM --passes 2 --evaluations 1"
STATE = (
    "result.json",
    "last.params",
    "best.params",
    "ranks.npz",
    "log.jsonl",
    "checkpoint.npz",
)  # what a run's folder may hold


def make(folder):
    """Make the good things in `folder`, and the bad ones; returns {name: path} for the command lines of the cases."""
    things = {name: folder / name for name in ("photos", "run", "run2", "idx", "published")}
    for label in range(4):
        for number in range(4):
            picture(things["photos"] / f"class{label}" / f"{number}.png", label, number)
    things["picture"] = things["photos"] / "class0" / "0.png"
    train = ["train", "--dataset", things["photos"], "--out", things["run"], *SMALL.split()]
    done = [main([str(word) for word in [*train, "--batch-classes", "2", "--batch-images", "2"]])]
    shutil.copytree(things["run"], things["run2"])
    things["onnx"] = folder / "model.onnx"
    done.append(main(["export", "--checkpoint", str(things["run"]), "--onnx", str(things["onnx"])]))
    done.append(main(["publish", "--checkpoint", str(things["run"]), "--out", str(things["published"])]))
    (things["params"],) = things["published"].glob("*.params")
    index = ["index", "--images", things["photos"], "--out", things["idx"], "--checkpoint", things["run"]]
    done.append(main([str(word) for word in index]))
    assert done == [0, 0, 0, 0]
    odd = odd_files.make(folder / "odd", things)
    things.update(names(folder / "names"), **pictures(folder / "pictures"), **broken(folder / "broken", things))
    return {**things, **odd}


def picture(file, label=0, number=0):
    """Write a glyph."""
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(glyphs.picture(label, number)).save(file)
    return file


def names(folder):
    """Paths that are not what they should be: of another kind, or with a name that nobody would choose."""
    folder.mkdir()
    places = {
        name: folder / name
        for name in ("fifo", "fifo.csv", "fifo.params", "fifo.onnx", "fifo.png", "empty_folder", "loop", "dangling")
    }
    for name, place in places.items():
        if "fifo" in name:
            os.mkfifo(place)
    places["empty_folder"].mkdir()
    places["loop"].symlink_to(places["loop"])
    places["dangling"].symlink_to(folder / "absent")
    for name in ("folder.csv", "folder.onnx", "folder.params", "folder.png", "folder.npy"):
        places[name] = folder / name
        places[name].mkdir()
    for name in ("empty", "empty.csv", "empty.params", "empty.onnx", "empty.png", "empty.json"):
        places[name] = folder / name
        places[name].write_bytes(b"")
    for name in ("text", "text.csv", "text.params", "text.onnx", "text.png"):
        places[name] = folder / name
        places[name].write_text("this is a letter to my aunt\n" * 40)
    places["absent"], places["under_file"] = folder / "absent", folder / "text" / "file"
    places["escape"], places["newline"] = folder / "a\x1b]0;title\x07b", folder / "two\nlines"
    places["bytes"], places["bidi"] = folder / "\udcff\udcfe", folder / "a\u202egnp.b"
    places["long"], places["deep"] = folder / ("x" * 300), folder / "/".join(["d" * 200] * 25)
    places["zero"], places["full"], places["null"] = "/dev/zero", "/dev/full", "/dev/null"
    for name in ("escape", "newline", "bytes"):  # classes with such names, each with a picture and a broken one
        photos = places[f"{name}_photos"] = folder / f"{name}_photos"
        for label in range(2):
            for number in range(3):
                file = picture(
                    photos / f"{places[name].name}{label}" / f"{places[name].name}{number}.png", label, number
                )
        file.write_bytes(b"no picture")
    picture(folder / "flat" / "1.png"), picture(folder / "flat" / "2.png")
    picture(folder / "one_class" / "only" / "1.png"), picture(folder / "one_class" / "only" / "2.png")
    picture(folder / "singles" / "a" / "1.png"), picture(folder / "singles" / "b" / "1.png")
    return {**places, **{name: folder / name for name in ("flat", "one_class", "singles")}}


def pictures(folder):
    """Broken pictures, and lists of pictures that are wrong."""
    good = picture(folder / "good.png").read_bytes()
    for number in (1, 2, 3):
        Image.open(folder / "good.png").save(folder / f"good{number}.jpg")
    jpeg = (folder / "good1.jpg").read_bytes()

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0))
    files = {
        "cut.png": good[: len(good) // 2],
        "cut.jpg": jpeg[: len(jpeg) // 2],
        "head.jpg": jpeg[:20],
        "zeros.png": bytes(1000),
        "bomb.png": bomb + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b""),
        "program.png": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n",
        "flipped.png": good[:60] + bytes(byte ^ 255 for byte in good[60:90]) + good[90:],
    }
    for number in (1, 2):
        os.mkfifo(unlinked(picture(folder / "with_fifo" / f"class{number}" / "2.png")))
        picture(folder / "with_fifo" / f"class{number}" / "1.png")
    for name, data in files.items():
        (folder / name).write_bytes(data)
        (folder / f"with_{name}" / "class").mkdir(parents=True)
        (folder / f"with_{name}" / "class" / name).write_bytes(data)
        for label in range(2):
            for number in range(2):
                picture(folder / f"with_{name}" / f"class{label}" / f"{number}.png", label, number)
    rows = {
        "absent_picture.csv": "path,label\nnope.png,a\ngood.png,a\n",
        "no_header.csv": "good.png,a\ngood1.jpg,a\n",
        "no_label.csv": "path,label\ngood.png\ngood1.jpg,a\n",
        "empty_label.csv": "path,label\ngood.png,\ngood1.jpg,a\n",
        "quote.csv": 'path,label\n"good.png,a\ngood1.jpg,a\n',
        "header_only.csv": "path,label\n",
        "strange_split.csv": "path,label,split\ngood.png,a,sometimes\ngood1.jpg,a,train\n",
        "folder_path.csv": "path,label\n.,a\ngood.png,a\n",
        "outside_path.csv": "path,label\n../../../../etc/passwd,a\ngood.png,a\n",
        "escape.csv": "path,label\nx\x1b[2J.png,a\ngood.png,a\n",
    }
    boxes = dict(word="one,2,3,4", nan="nan,2,30,40", far="1,2,3000000,4", turned="30,2,3,4", huge=f"1,2,{'9' * 400},4")
    more = "".join(f"good{number}.jpg,{label},1,2,30,40\n" for number, label in ((1, "a"), (2, "b"), (3, "b")))
    rows.update({f"{name}_box.csv": f"path,label,x1,y1,x2,y2\ngood.png,a,{box}\n{more}" for name, box in boxes.items()})
    for name, text in rows.items():
        (folder / name).write_text(text)
    (folder / "latin.csv").write_bytes("path,label\ngood.png,été\ngood1.jpg,été\n".encode("latin-1"))
    (folder / "nul.csv").write_bytes(b"path,label\ngood.png\0,a\ngood1.jpg,a\n")
    (folder / "wide.csv").write_text("path,label\n" + "x" * 200_000 + ",a\n")
    every = [*files, *rows, "latin.csv", "nul.csv", "wide.csv", "with_fifo", *(f"with_{name}" for name in files)]
    return {name: folder / name for name in every}


def broken(folder, things):
    """Runs, published models, exported models and indexes with one fault each."""
    made = {}

    def copy(name, source):
        made[name] = folder / name
        shutil.copytree(source, made[name])
        return made[name]

    result = json.loads((things["run"] / "result.json").read_text())
    texts = {
        "result_empty": "",
        "result_text": "hello",
        "result_list": "[1, 2]",
        "result_null": "null",
        "result_deep": "[" * 100_000,
        "result_number": "1e999",
        "result_latin": "\udce9",
        "result_bare": "{}",
        "result_no_experiment": json.dumps({key: value for key, value in result.items() if key != "experiment"}),
        "result_word_dim": json.dumps({**result, "experiment": {**result["experiment"], "dim": "many"}}),
        "result_huge_dim": json.dumps({**result, "experiment": {**result["experiment"], "dim": 10**9}}),
        "result_other_dim": json.dumps({**result, "experiment": {**result["experiment"], "dim": 16}}),
        "result_classes": json.dumps({**result, "classes": 10**9}),
        "result_escape": json.dumps({**result, "experiment": {**result["experiment"], "backbone": "\x1b[2Jnet"}}),
        "result_recall": json.dumps({**result, "last": {"R@1": "good"}}),
        "result_seed": json.dumps({**result, "seed": [1]}),
    }
    for name, text in texts.items():
        (copy(name, things["run"]) / "result.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    data = (things["run"] / "last.params").read_bytes()
    for name, changed in damaged(data).items():
        (copy(f"last_{name}", things["run"]) / "last.params").write_bytes(changed)
    (copy("last_missing", things["run"]) / "last.params").unlink()
    (copy("result_missing", things["run"]) / "result.json").unlink()
    (copy("last_folder", things["run"]) / "last.params").unlink()
    (made["last_folder"] / "last.params").mkdir()
    os.mkfifo(unlinked(copy("result_fifo", things["run"]) / "result.json"))
    os.mkfifo(unlinked(copy("last_fifo", things["run"]) / "last.params"))
    for name, changed in damaged(things["params"].read_bytes()).items():
        copy(f"published_{name}", things["published"])
        made[f"published_{name}"] = made[f"published_{name}"] / things["params"].name
        made[f"published_{name}"].write_bytes(changed)
    for name, text in {"text": "hello", "list": "[]", "bare": "{}", "deep": "[" * 100_000}.items():
        copy(f"about_{name}", things["published"])
        made[f"about_{name}"] = made[f"about_{name}"] / things["params"].name
        made[f"about_{name}"].with_suffix(".json").write_text(text)
    files = {f"{name}.onnx": changed for name, changed in damaged(things["onnx"].read_bytes()).items()}
    files["alone.params"] = things["params"].read_bytes()
    manifests = {"text": "hello", "list": "[1]", "bare": "{}", "deep": "[" * 100_000, "empty": "", "number": "7"}
    for name, text in manifests.items():
        (copy(f"idx_{name}", things["idx"]) / "collection.json").write_text(text)
    manifest = json.loads((things["idx"] / "collection.json").read_text())
    for name, value in {"rows": -1, "dim": True, "model": None, "rows_word": "many"}.items():
        changed = {**manifest, name.split("_")[0]: value}
        (copy(f"idx_{name}", things["idx"]) / "collection.json").write_text(json.dumps(changed))
    for file in things["idx"].iterdir():
        if file.is_file() and file.name not in ("lock", "collection.json"):
            name = file.name.split(".")[0].split("-")[0]
            (copy(f"idx_no_{name}", things["idx"]) / file.name).unlink()
            os.truncate(copy(f"idx_cut_{name}", things["idx"]) / file.name, max(file.stat().st_size // 2, 1))
    for prefix, text in dict(net='{"nodes": []}', badnet="hello", lonely='{"nodes": []}').items():
        made[prefix] = folder / prefix
        (folder / f"{prefix}-symbol.json").write_text(text)
        if prefix != "lonely":
            (folder / f"{prefix}-0001.params").write_bytes(data)
    reports = {"text": "hello", "list": "[]", "bare": "{}", "deep": "[" * 100_000, "nan": '{"rows": NaN}'}
    files.update({f"report_{name}": text.encode() for name, text in reports.items()})
    for name, content in files.items():
        made[name] = folder / name
        made[name].write_bytes(content)
    return made


def damaged(data):
    """{what: `data` damaged so}."""
    noise = np.random.default_rng(0).integers(0, 256, len(data), np.uint8).tobytes()
    return {
        "empty": b"",
        "cut": data[: len(data) // 2],
        "zeroed": data[: len(data) // 2] + bytes(len(data) - len(data) // 2),
        "noise": noise,
        "text": b"hello\n" * 20,
        "pickle": b"cos\nsystem\n(S'touch pwned'\ntR.",
    }


def unlinked(file):
    """`file`, which is there no more."""
    file.unlink()
    return file
