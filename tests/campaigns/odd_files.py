"""For the campaign of bad inputs: in place of a file that a command reads or writes, something that is no such file."""

import os
import shutil

KINDS = {  # what takes the file's place
    "folder": os.mkdir,
    "fifo": os.mkfifo,
    "nowhere": lambda file: os.symlink("/nonexistent/file", file),
    "zero": lambda file: os.symlink("/dev/zero", file),
    "noise": lambda file: file.write_bytes(b"\xff\x00hello\x1b[2J"),
}
LISTS = {
    "cub200": ("images.txt", "image_class_labels.txt", "bounding_boxes.txt"),
    "cars196": ("cars_annos.mat",),
    "sop": ("Ebay_train.txt", "Ebay_test.txt"),
    "inshop": ("list_eval_partition.txt",),
}


def make(folder, things):
    """{name: path} of copies of `things`, and new folders, in which a file is one of KINDS: "idx_lock_fifo", ..."""
    made = {}
    for kind, put in KINDS.items():

        def place(name, source, *files, kind=kind, put=put):
            where = made[f"{name}_{kind}"] = folder / f"{name}_{kind}"
            if source:
                shutil.copytree(source, where)
            else:
                where.mkdir(parents=True)
            for file in files:
                (where / file).unlink(missing_ok=True)
                put(where / file)
            return where

        for name, file in (("lock", "lock"), ("manifest", "collection.json"), ("vectors", "vectors-0.bin")):
            place(f"idx_{name}", things["idx"], file)
        for name in ("lock", "train.log", "checkpoint.npz", "result.json"):
            place(f"new_{name.split('.')[0]}", None, name)
        place("run_best", things["run"], "best.params")
        place("choice", None, "choice.json")
        place("vectors", None, "v.txt")
        for name, files in LISTS.items():
            place(name, None, *files)
        about = things["params"].with_suffix(".json").name
        made[f"published_{kind}"] = place("published", things["published"], about) / things["params"].name
        made[f"symbol_{kind}"] = place("symbol", None, "net-symbol.json") / "net"
        shutil.copy(things["run"] / "last.params", made[f"symbol_{kind}"].with_name("net-0001.params"))
    return made
