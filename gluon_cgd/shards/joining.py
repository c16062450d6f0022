"""The shards of an index are joined: every vector is copied once, in the order of the list.

It is made in the folder of the plan and takes its place when it is whole: until then the index is not there. Killed at
any moment, it goes on. The shards are deleted last.
"""

import contextlib
import errno
import os
import shutil
from pathlib import Path

import numpy as np

from gluon_cgd.files.regular import read_json
from gluon_cgd.files.whole import sync_folder, write_json
from gluon_cgd.machine.progress import task
from gluon_cgd.retrieval import collection
from gluon_cgd.retrieval.manifest import NAME as MANIFEST
from gluon_cgd.retrieval.manifest import Damaged, read_manifest
from gluon_cgd.retrieval.model import check_same
from gluon_cgd.retrieval.snapshot import counted
from gluon_cgd.shards.plan import NAME

ROWS = 4_096  # embeddings that are copied at a time
BYTES = 1 << 30  # of embeddings, after which what was copied is kept
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # errors of a disk, a quota or a limit
JOINED, DONE = "joined", "joined.json"


def join(plan, out):
    """Make the index `out` of the shards of `plan`; returns how many pictures it has. Call it with the plan's lock.

    Raises ValueError for shards that are not done, are damaged or are of different models, and if `out` is there;
    OSError, naming the folder and the bytes that it takes, where the disk is full.
    """
    out, folder = Path(os.path.abspath(out)), plan.folder / JOINED
    if is_joined(plan, out):
        return len(collection.read(out))
    refuse_index(out)
    waiting = plan.waiting()
    if waiting:
        raise ValueError(
            f"{len(waiting)} of {len(plan.filled)} shards are not done, the first is shard {waiting[0]}: "
            f"index --out {out} --shard {waiting[0]} fills it"
        )
    try:
        collection.read(folder)
    except FileNotFoundError:
        pass  # it is begun now
    except Damaged:
        shutil.rmtree(folder)  # the shards are still there
    first = read_manifest(plan.shard(plan.filled[0]))
    with collection.writing(folder, first["dim"], first["model"]) as writer:
        writer.describe(first["model"], *first["folders"])
        try:
            _copy(plan, writer)
        except OSError as error:
            if error.errno not in FULL:
                raise
            needed = sum(sum(counted(read_manifest(plan.shard(number))).values()) for number in plan.filled)
            raise OSError(
                f"{folder} cannot be written ({error.strerror}): joining takes {needed:,} bytes beside the shards; "
                "make room and start again: what was copied is kept"
            ) from error
        manifest = writer.manifest
    write_json(plan.folder / DONE, dict(id=manifest["id"]))
    os.rename(folder, out)
    sync_folder(out.parent)
    return manifest["rows"]


def is_joined(plan, out):
    """Whether the index `out` is the one that was joined of the shards of `plan`."""
    try:
        return read_json(plan.folder / DONE)["id"] == read_manifest(out)["id"]
    except FileNotFoundError:
        return False


def refuse_index(out):
    """Raise ValueError if the folder of the index `out` holds something."""
    if os.path.lexists(Path(out) / MANIFEST):
        raise ValueError(
            f"{out} is an index already, and --shards makes a new one: leave --shards out to embed what is new"
        )
    if os.path.islink(out) or os.path.exists(out) and not os.path.isdir(out) or os.path.isdir(out) and os.listdir(out):
        raise ValueError(f"{out} is there already and is no empty folder: name another folder for the index")


def _copy(plan, writer):
    """Copy to `writer` what it has not got yet of the shards, and let it count."""
    total = sum(plan.summary(number)["rows"] for number in plan.filled)
    there, before = writer.manifest["rows"], 0
    with task("joining", total, "img", done=there) as bar:
        for number in plan.filled:
            count = plan.summary(number)["rows"]
            if there < before + count:
                _copy_shard(plan, number, writer, max(0, there - before), bar)
            before += count
        if writer.manifest["rows"] != total:
            raise ValueError(f"{plan.folder} has {writer.manifest['rows']:,} embeddings of {total:,}: start again")


def _copy_shard(plan, number, writer, skipped, bar):
    """Append the embeddings of a shard, without the first `skipped`."""
    try:
        shard = collection.read(plan.shard(number))
        check_same(plan.shard(number), shard.manifest["model"], writer.manifest["model"])
        pending = 0
        for rows in in_order(shard, plan.paths(number)):
            rows, skipped = rows[skipped:], max(0, skipped - len(rows))
            writer.copy(shard, rows)
            shard.forget()
            pending += len(rows) * 4 * shard.dim
            if pending >= BYTES:
                writer.publish()
                pending = 0
            bar.update(len(rows))
        writer.publish()
    except (Damaged, FileNotFoundError) as error:
        plan.summary_file(number).unlink()
        reason = error.what if isinstance(error, Damaged) else f"{error.filename or plan.shard(number)} is missing"
        raise ValueError(
            f"shard {number} is damaged ({reason}): index --out "
            f"{plan.folder.with_suffix('')} --shard {number} embeds again what was lost"
        ) from error


def in_order(snapshot, paths):
    """Yield the rows of those of `paths` that the Snapshot has, ROWS at a time, in their order."""
    finder, rows = collection.Finder(snapshot), []
    for path in paths:
        row = finder.row(path)
        if row >= 0:
            rows.append(row)
        if len(rows) == ROWS:
            yield np.array(rows)
            rows = []
    if rows:
        yield np.array(rows)


def clear(plan):
    """Delete the plan and its shards; the plan itself last, so that a killed one goes on.

    On NFS the folder stays, empty, until the lock that its caller has is closed (see `delete_empty`).
    """
    last = {NAME, DONE, "lock"}
    for entry in sorted(plan.folder.iterdir()) if plan.folder.is_dir() else ():  # else one that was killed did it
        if entry.name in last:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    for name in (DONE, NAME, "lock"):
        (plan.folder / name).unlink(missing_ok=True)
    delete_empty(plan.folder)


def delete_empty(folder):
    """Delete the `folder` if nothing is in it. NFS keeps a deleted file that is open, by another name."""
    with contextlib.suppress(OSError):
        folder.rmdir()
