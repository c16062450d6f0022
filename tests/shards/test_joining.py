"""Shards and their join: the same bytes as one process, after kills, damage and changes of the folder."""

import contextlib
import errno
import os
import random
import signal
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from gluon_cgd.__main__ import main
from gluon_cgd.commands import index_shards
from gluon_cgd.files.lock import locked
from gluon_cgd.retrieval import collection, filling, sources, whitening
from gluon_cgd.shards import drift, joining
from gluon_cgd.shards import filling as shard_filling
from tests.retrieval.test_index import picture
from tests.shards.conftest import CHEAP, same


def fill_all(plan, skip_bad=False):
    """Fill the shards, the last one first; returns their summaries in order."""
    return [shard_filling.fill(plan, number, skip_bad=skip_bad) for number in reversed(plan.filled)][::-1]


@pytest.mark.parametrize("shards", [1, 3, pytest.param(64, marks=pytest.mark.slow)])
def test_shards_give_the_bytes_of_one_process(begun, whole, shards):
    plan, out = begun(shards)
    summaries = fill_all(plan)
    assert sum(summary["rows"] for summary in summaries) == 20
    assert joining.join(plan, out) == 20
    same(out, whole)
    joining.clear(plan)
    assert not plan.folder.exists()


def test_a_list_gives_the_bytes_of_one_process_in_its_own_order(begun, photos, tmp_path):
    file = tmp_path / "list.txt"
    file.write_text("\n".join(sorted(sources.pictures_of(photos), reverse=True)))
    list(filling.fill(tmp_path / "whole", file, CHEAP))
    plan, out = begun(3, file)
    fill_all(plan)
    joining.join(plan, out)
    same(out, tmp_path / "whole")
    snapshot = collection.read(out)
    assert [snapshot.path(row) for row in range(20)] == file.read_text().splitlines()
    assert snapshot.manifest["folders"] == []


def killed(work, delay):
    """Whether `work()`, in a process of its own, was killed after `delay` seconds; else it was done."""
    child = os.fork()
    if not child:
        try:
            timer = threading.Timer(delay, os.kill, (os.getpid(), signal.SIGKILL))
            timer.daemon = True
            timer.start()
            work()
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def killed_until_done(work, rng):
    """How often `work()` was killed at random moments until it was done; it gets longer from time to time."""
    kills = 0
    while killed(work, rng.random() * 0.02 * 1.4**kills):
        kills += 1
    return kills


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_whatever_is_killed_at_any_moment_goes_on_to_the_same_bytes(begun, whole, monkeypatch, seed):
    rng = random.Random(seed)
    monkeypatch.setattr(joining, "ROWS", 2)
    monkeypatch.setattr(joining, "BYTES", 1)  # every few rows count
    plan, out = begun(4)
    kills = [killed_until_done(partial(shard_filling.fill, plan, number), rng) for number in plan.filled]
    kills.append(killed_until_done(partial(joining.join, plan, out), rng))
    assert sum(kills) > 3
    same(out, whole)
    killed_until_done(partial(joining.clear, plan), rng)
    assert not plan.folder.exists()


def test_a_joiner_that_was_ended_copies_only_the_rest(begun, whole, monkeypatch):
    monkeypatch.setattr(joining, "ROWS", 2)
    monkeypatch.setattr(joining, "BYTES", 1)
    plan, out = begun(2)
    fill_all(plan)
    copied, copy = [], collection.Writer.copy

    def copying(writer, snapshot, rows):
        if len(copied) == 7:
            raise KeyboardInterrupt
        copied.append(len(rows))
        return copy(writer, snapshot, rows)

    monkeypatch.setattr(collection.Writer, "copy", copying)
    with pytest.raises(KeyboardInterrupt):
        joining.join(plan, out)
    assert not out.exists()
    monkeypatch.setattr(
        collection.Writer,
        "copy",
        lambda writer, snapshot, rows: copied.append(len(rows)) or copy(writer, snapshot, rows),
    )
    joining.join(plan, out)
    assert sum(copied) == 20
    same(out, whole)


def test_a_disk_that_is_full_while_shards_are_joined_is_named_and_what_was_copied_is_kept(begun, whole, monkeypatch):
    plan, out = begun(2)
    fill_all(plan)
    needed = sum(file.stat().st_size for number in (1, 2) for file in plan.shard(number).glob("*-0.bin"))
    publish, copied = collection.Writer.publish, []

    def full(writer):
        if writer.manifest["rows"] == 20:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        publish(writer)

    with monkeypatch.context() as patch:
        patch.setattr(collection.Writer, "publish", full)
        with pytest.raises(OSError, match=rf"idx.shards/joined cannot .* joining takes {needed:,} bytes beside the sh"):
            joining.join(plan, out)
    copy = collection.Writer.copy
    monkeypatch.setattr(collection.Writer, "copy", lambda w, s, rows: copied.append(len(rows)) or copy(w, s, rows))
    joining.join(plan, out)
    assert sum(copied) == plan.parts[1].pictures
    same(out, whole)


def test_a_shard_that_is_not_done_or_is_damaged_is_named_and_mended(begun, whole):
    plan, out = begun(3)
    with pytest.raises(ValueError, match=r"3 of 3 shards are not done, the first is shard 1: index --out .*--shard 1"):
        joining.join(plan, out)
    fill_all(plan)
    file = plan.shard(2) / "vectors-0.bin"
    data = bytearray(file.read_bytes())
    data[4] ^= 1
    file.write_bytes(data)
    with pytest.raises(ValueError, match=r"shard 2 is damaged .*: index --out .*idx --shard 2 embeds again") as told:
        joining.join(plan, out)
    assert len(str(told.value).splitlines()) == 1
    assert shard_filling.fill(plan, 2)["rows"] == plan.parts[1].pictures
    joining.join(plan, out)
    same(out, whole)  # its row comes last in the shard, and in its place in the index


def test_on_nfs_the_folder_of_the_shards_goes_when_its_lock_is_closed(begun, photos, whole, monkeypatch, capsys):
    """NFS renames a file that is open and is deleted; until it is closed, its folder cannot be deleted."""
    plan, out = begun(2)
    fill_all(plan)
    unlink, kept = Path.unlink, plan.folder / ".nfs0001"

    def renaming(file, missing_ok=False):
        if file == plan.folder / "lock":
            os.rename(file, kept)
        else:
            unlink(file, missing_ok=missing_ok)

    @contextlib.contextmanager
    def closing(folder, doing):
        with locked(folder, doing):
            yield
        unlink(kept)

    monkeypatch.setattr(Path, "unlink", renaming)
    monkeypatch.setattr(index_shards, "locked", closing)
    assert main(["index", "--out", str(out), "--join"]) == 0
    assert capsys.readouterr().out == f"20 pictures of {photos} from 2 shards\n"
    same(out, whole)
    assert not plan.folder.exists()


def test_two_that_fill_a_shard_are_one_too_many(begun):
    plan, _ = begun(2)
    shard_filling.fill(plan, 1)
    plan.summary_file(1).unlink()
    with locked(plan.shard(1)), pytest.raises(ValueError, match=r"another process is writing to .*000001"):
        shard_filling.fill(plan, 1)
    shard_filling.fill(plan, 2)


def test_a_shard_of_another_model_is_refused(begun, monkeypatch):
    plan, out = begun(2)
    shard_filling.fill(plan, 1)
    other = CHEAP._replace(about=dict(CHEAP.about, parameters_sha256="1" * 64))
    monkeypatch.setattr(shard_filling, "open_model", lambda folder, remembered, **how: other)
    shard_filling.fill(plan, 2)
    with pytest.raises(ValueError, match="embeddings of two models cannot be compared"):
        joining.join(plan, out)


def test_an_index_that_is_there_is_never_replaced(begun, whole):
    plan, _ = begun(1)
    fill_all(plan)
    with pytest.raises(ValueError, match="is an index already, and --shards makes a new one"):
        joining.join(plan, whole)
    (whole.parent / "file").write_text("mine")
    for name in ("file", "photos"):
        with pytest.raises(ValueError, match="is there already and is no empty folder"):
            joining.join(plan, whole.parent / name)


def test_what_changes_between_two_shards_is_told(begun, photos, tmp_path):
    plan, out = begun(2)
    first, second = (list(plan.paths(number)) for number in (1, 2))
    assert shard_filling.fill(plan, 1)["gone"] == 0
    os.unlink(second[0])  # before its shard
    os.unlink(first[0])  # after it
    os.utime(first[1], ns=(5, 5))
    os.utime(second[1], ns=(5, 5))  # replaced before it was embedded: nothing to tell
    picture(photos / "new.png", 99)
    os.rename(first[2], photos / "b" / os.path.basename(first[2]))
    summary = shard_filling.fill(plan, 2)
    assert (summary["gone"], summary["left_out"], summary["rows"]) == (1, [], len(second) - 1)
    assert joining.join(plan, out) == 19
    changes = drift.compare(collection.read(out), plan.source, summary["left_out"])
    assert changes[:3] == (2, 1, 2)  # the moved one is new in one place and gone in another
    *_, told = filling.fill(out, photos, CHEAP, prune=True)
    assert (told.added, told.changed, told.moved, told.removed, told.same) == (1, 1, 1, 1, 16)


def test_a_shard_whose_disk_is_not_mounted_here_is_refused_and_not_done(begun, whole, photos, tmp_path):
    plan, out = begun(3)
    os.rename(photos, tmp_path / "away")
    for skip_bad in (False, True):
        with pytest.raises(ValueError, match=r"none of the \d pictures of shard 2 is there .*mount their disk on this"):
            shard_filling.fill(plan, 2, skip_bad=skip_bad)
    assert plan.waiting() == [1, 2, 3]
    os.rename(tmp_path / "away", photos)
    fill_all(plan)
    joining.join(plan, out)
    same(out, whole)


def test_a_picture_that_cannot_be_looked_at_is_not_gone(begun, monkeypatch):
    plan, _ = begun(2)
    path, lstat = list(plan.paths(1))[3], os.lstat

    def failing(asked, **how):
        if asked == path:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), asked)
        return lstat(asked, **how)

    monkeypatch.setattr(os, "lstat", failing)
    with pytest.raises(PermissionError, match=r"\.png cannot be looked at \(Permission denied\): make its disk"):
        shard_filling.fill(plan, 1, skip_bad=True)
    assert plan.waiting() == [1, 2]
    monkeypatch.undo()


def test_what_comes_back_after_its_shard_is_new_and_what_stays_away_is_not(begun, photos, tmp_path):
    listed = sorted(sources.pictures_of(photos))
    file = tmp_path / "list.txt"
    file.write_text("\n".join(listed))
    plan, out = begun(2, file)
    os.unlink(listed[0])
    os.rename(listed[1], tmp_path / "away")
    summaries = fill_all(plan)
    assert [summary["gone"] for summary in summaries] == [2, 0]
    os.rename(tmp_path / "away", listed[1])
    joining.join(plan, out)
    left_out = [path for summary in summaries for path in summary["left_out"]]
    assert drift.compare(collection.read(out), plan.source, left_out) == (1, 0, 0, listed[1])


def test_what_cannot_be_read_stops_its_shard_alone_and_can_be_left_out(begun, whole, photos, tmp_path):
    plan, out = begun(3)
    bad = list(plan.paths(2))[1]
    with open(bad, "w") as file:
        file.write("no picture")
    shard_filling.fill(plan, 1)
    with pytest.raises(ValueError, match="01|no picture|is not a picture|that can be read"):
        shard_filling.fill(plan, 2)
    assert plan.waiting() == [2, 3]
    summary = shard_filling.fill(plan, 2, skip_bad=True)
    assert (len(summary["bad"]), summary["left_out"]) == (1, [bad])
    shard_filling.fill(plan, 3)
    assert joining.join(plan, out) == 19
    assert drift.compare(collection.read(out), plan.source, [bad]) == (0, 0, 0, "")
    list(filling.fill(tmp_path / "skipping", photos, CHEAP, skip_bad=True))
    same(out, tmp_path / "skipping")


def test_whitening_is_learned_from_all_pictures_after_the_join(begun, whole):
    plan, out = begun(3)
    fill_all(plan)
    joining.join(plan, out)
    assert whitening.whiten(out) == whitening.whiten(whole)
    same(out, whole)


def test_rows_come_in_the_order_of_the_list_whatever_that_of_the_shard(begun):
    plan, _ = begun(1)
    shard_filling.fill(plan, 1)
    snapshot, paths = collection.read(plan.shard(1)), list(plan.paths(1))
    order = np.random.default_rng(0).permutation(20)
    shuffled = [paths[i] for i in order]
    (rows,) = joining.in_order(snapshot, ["/no/such.png", *shuffled])
    assert [snapshot.path(row) for row in rows] == shuffled
    np.testing.assert_array_equal(rows, order)
