import logging
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from gluon_cgd.datasets import images
from gluon_cgd.retrieval import collection, index
from gluon_cgd.shards import drift
from tests.datasets.test_tree import unreadable

ROOT = Path(__file__).resolve().parents[2]
SIDE = 4


def cheap(pictures):
    """Embeddings that tell pictures apart, without a network."""
    return np.stack([np.append(picture.reshape(-1).astype(np.float32), 1) for picture in pictures])


def picture(file, seed, size=(9, 7), mode="RGB"):
    """Write a picture that `seed` decides; returns its path."""
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(file)
    return str(file)


def update(idx, folder, embed=cheap, **how):
    """Run an update to its end; returns what it told last."""
    with collection.writing(idx, 4 * 4 * 3 + 1, {}) as writer:
        return list(index.update(writer, folder, embed, SIDE, **how))[-1]


def right(idx, paths):
    """The index holds `paths`, each once, and each has the embedding of the picture that is there now."""
    snapshot = collection.read(idx)
    rows = np.flatnonzero(snapshot.live)
    assert sorted(snapshot.path(row) for row in rows) == sorted(paths)
    for row in rows:
        path = snapshot.path(row)
        expected = index.unit(cheap([images.load_picture(path, SIDE)]), [path])[0]
        np.testing.assert_array_equal(snapshot.vectors[row], expected)


@pytest.fixture
def photos(tmp_path):
    """A folder with ten pictures, in two subfolders."""
    return [picture(tmp_path / "photos" / "ab"[i % 2] / f"{i}.png", i) for i in range(10)]


def test_only_what_is_new_or_changed_is_embedded(tmp_path, photos):
    embedded = []

    def counting(pictures):
        embedded.append(len(pictures))
        return cheap(pictures)

    folder, idx = tmp_path / "photos", tmp_path / "idx"
    told = update(idx, folder, counting, batch=4)
    assert (told.found, told.added, told.changed, told.same) == (10, 10, 0, 0)
    assert embedded == [4, 4, 2]
    right(idx, photos)
    told = update(idx, folder, counting)
    assert (told.same, told.added, embedded) == (10, 0, [4, 4, 2])
    picture(Path(photos[3]), 100, (5, 5))
    photos.append(picture(folder / "c.png", 11))
    told = update(idx, folder, counting)
    assert (told.added, told.changed, told.same, embedded[3:]) == (1, 1, 9, [2])
    right(idx, photos)


def test_a_picture_of_the_same_size_and_another_time_has_changed(tmp_path, photos):
    folder, idx = tmp_path / "photos", tmp_path / "idx"
    update(idx, folder)
    data = Path(photos[0]).read_bytes()
    Path(photos[0]).write_bytes(data)
    os.utime(photos[0], ns=(1, 1))
    assert update(idx, folder).changed == 1
    right(idx, photos)


def test_a_renamed_picture_is_a_new_one_and_the_old_is_kept_until_it_is_pruned(tmp_path, photos):
    folder, idx = tmp_path / "photos", tmp_path / "idx"
    update(idx, folder)
    renamed = str(folder / "renamed.png")
    os.rename(photos[0], renamed)
    os.remove(photos[1])
    told = update(idx, folder)
    assert (told.added, told.gone, told.removed) == (1, 2, 0)
    assert len(collection.read(idx)) == 11
    told = update(idx, folder, prune=True)
    assert (told.added, told.gone, told.removed) == (0, 0, 2)
    right(idx, [renamed, *photos[2:]])


def test_pruning_one_folder_leaves_what_is_of_another(tmp_path, photos):
    idx, other = tmp_path / "idx", tmp_path / "photos and more"
    update(idx, tmp_path / "photos")
    added = picture(other / "x.jpg", 50)
    assert update(idx, other, prune=True).removed == 0
    assert update(idx, tmp_path / "photos" / "a", prune=True).removed == 0
    right(idx, [*photos, added])


def test_any_picture_with_any_name_is_indexed(tmp_path):
    folder = tmp_path / "photos"
    names = ["ü ñ.png", "new\nline.png", " .png", "$x$'\".PNG", os.fsdecode(b"\xff\xfe.png"), "grey.png", "one.png"]
    modes = ["RGB", "RGBA", "P", "CMYK", "RGB", "L", "1"]
    paths = []
    for i, (name, mode) in enumerate(zip(names, modes)):
        made = picture(
            folder / f"{i}.{'tif' if mode == 'CMYK' else 'png'}", i, (1, 1) if name == "one.png" else (9, 7), mode
        )
        paths.append(os.path.join(str(folder), name))
        os.rename(made, paths[-1])
    for left_out in (".hidden.png", "notes.txt", ".trash/a.png"):
        (folder / left_out).parent.mkdir(exist_ok=True)
        (folder / left_out).write_text("no picture")
    assert update(tmp_path / "idx", folder).added == len(names)
    right(tmp_path / "idx", paths)


def test_pictures_are_resized_whole_and_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # taken sideways
    (tmp_path / "photos").mkdir()
    Image.fromarray(np.arange(600, dtype=np.uint8).reshape(20, 10, 3)).save(tmp_path / "photos/a.jpg", exif=exif)
    seen = []
    update(tmp_path / "idx", tmp_path / "photos", lambda pictures: seen.extend(pictures) or cheap(pictures))
    upright = images.decode(tmp_path / "photos/a.jpg")
    assert upright.shape == (10, 20, 3)
    np.testing.assert_array_equal(seen[0], cv2.resize(upright, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR))


def break_in(photos, kind):
    """Break the sixth picture of the order in which they are taken; returns what is taken before, it, and the rest."""
    order = sorted(photos)
    path = Path(order[5])
    if kind == "a broken link":
        path.unlink()
        path.symlink_to("nowhere")
    else:
        path.write_bytes(dict(empty=b"", html=b"<html>404</html>", cut=path.read_bytes()[:60])[kind])
    return order[:5], str(path), order[6:]


@pytest.mark.parametrize("kind", ["empty", "html", "cut", "a broken link"])
def test_a_picture_that_cannot_be_read_ends_it_with_all_before_it_kept(tmp_path, photos, kind, caplog):
    before, broken, after = break_in(photos, kind)
    with pytest.raises(
        ValueError, match=r"the 5 pictures before it are in the index. Mend or remove it .*--skip-bad"
    ) as e:
        update(tmp_path / "idx", tmp_path / "photos", batch=4)
    assert broken in str(e.value)
    right(tmp_path / "idx", before)
    told = update(tmp_path / "idx", tmp_path / "photos", batch=4, skip_bad=True)
    assert len(told.bad) == 1
    assert broken in told.bad[0]
    assert broken in caplog.text
    assert (told.same, told.added, told.found) == (5, 4, 10)
    right(tmp_path / "idx", [*before, *after])


def test_a_picture_that_memory_lacks_for_is_not_left_out_as_a_bad_one(tmp_path, photos, monkeypatch):
    before, large = sorted(photos)[:4], sorted(photos)[5]
    as_seen, small = images.values.as_seen, (9, 7)
    picture(Path(large), 0, size=(8, 8))

    def without_memory(image):
        if image.size != small:
            raise MemoryError
        return as_seen(image)

    with monkeypatch.context() as lack:
        lack.setattr(images.values, "as_seen", without_memory)
        with pytest.raises(MemoryError, match=f"{large} needs more memory than there is"):
            update(tmp_path / "idx", tmp_path / "photos", batch=4, skip_bad=True)
    right(tmp_path / "idx", before)
    assert update(tmp_path / "idx", tmp_path / "photos", skip_bad=True).added == 6


def test_a_picture_that_broke_since_is_not_found_as_it_was(tmp_path, photos):
    update(tmp_path / "idx", tmp_path / "photos")
    before, _, after = break_in(photos, "html")
    told = update(tmp_path / "idx", tmp_path / "photos", skip_bad=True)
    assert (told.same, len(told.bad)) == (9, 1)
    right(tmp_path / "idx", [*before, *after])


def test_a_picture_whose_file_is_not_there_keeps_its_embedding_until_it_is_pruned(tmp_path, photos):
    """As a list names those of a disk that is not mounted, or a link leads to one."""
    file, link = tmp_path / "list.txt", tmp_path / "photos" / "link.png"
    link.symlink_to(picture(tmp_path / "disk" / "x.png", 50))
    file.write_text("\n".join([*photos, str(link)]))
    for source in (file, tmp_path / "photos"):
        update(tmp_path / "idx", source)
        (tmp_path / "disk").rename(tmp_path / "away")
        told = update(tmp_path / "idx", source, skip_bad=True)
        assert (told.same, len(told.bad), told.removed) == (10, 1, 0)
        assert len(collection.read(tmp_path / "idx")) == 11
        (tmp_path / "away").rename(tmp_path / "disk")
        assert update(tmp_path / "idx", source).same == 11
    (tmp_path / "disk").rename(tmp_path / "away")
    assert update(tmp_path / "idx", tmp_path / "photos", skip_bad=True, prune=True).removed == 1
    right(tmp_path / "idx", photos)


def test_a_picture_that_cannot_be_looked_at_is_not_pruned(tmp_path, photos, monkeypatch):
    update(tmp_path / "idx", tmp_path / "photos")
    stat = os.stat

    def silent(path, **how):
        if path == photos[3]:
            raise OSError(5, "Input/output error", path)
        return stat(path, **how)

    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", silent)
        told = update(tmp_path / "idx", tmp_path / "photos", skip_bad=True, prune=True)
    assert (told.same, len(told.bad), told.removed, told.gone) == (9, 1, 0, 0)
    right(tmp_path / "idx", photos)


@pytest.mark.parametrize("new_first", [True, False])
def test_a_list_may_name_a_moved_picture_by_both_paths(tmp_path, photos, new_first):
    update(tmp_path / "idx", tmp_path / "photos")
    new = str(tmp_path / "new" / os.path.basename(photos[0]))
    os.mkdir(tmp_path / "new")
    os.rename(photos[0], new)
    names = [new, photos[0]] if new_first else [photos[0], new]
    (tmp_path / "list.txt").write_text("\n".join([*names, *photos[1:]]))
    told = update(tmp_path / "idx", tmp_path / "list.txt", skip_bad=True)
    assert (told.moved, told.same, len(told.bad)) == (1, 9, 1)
    right(tmp_path / "idx", [new, *photos[1:]])


@pytest.mark.parametrize("time", [2**63 + 5, 2**63 - 1, -5])
def test_a_time_far_from_now_is_a_time(tmp_path, photos, time):
    """As of a camera with a wrong clock, or a damaged file system: 2**63 ns end in the year 2262."""
    os.utime(photos[0], ns=(0, time))
    update(tmp_path / "idx", tmp_path / "photos")
    right(tmp_path / "idx", photos)
    assert update(tmp_path / "idx", tmp_path / "photos").same == 10
    assert drift.compare(collection.read(tmp_path / "idx"), tmp_path / "photos")[:3] == (0, 0, 0)
    os.rename(tmp_path / "photos", tmp_path / "new")
    assert update(tmp_path / "idx", tmp_path / "new").moved == 10
    os.utime(tmp_path / "new" / os.path.relpath(photos[0], tmp_path / "photos"), ns=(0, time - 1))
    assert update(tmp_path / "idx", tmp_path / "new").changed == 1


def test_a_folder_without_pictures_is_refused_and_nothing_is_pruned(tmp_path, photos):
    update(tmp_path / "idx", tmp_path / "photos")
    os.rename(tmp_path / "photos", tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="photos is not a folder: --images must name the folder"):
        update(tmp_path / "idx", tmp_path / "photos", prune=True)
    (tmp_path / "photos").mkdir()  # a disk that is not mounted
    with pytest.raises(ValueError, match=r"photos holds no pictures .*\.jpg.*: check --images"):
        update(tmp_path / "idx", tmp_path / "photos", prune=True)
    assert len(collection.read(tmp_path / "idx")) == 10


@pytest.mark.parametrize("value", [0, np.nan, np.inf])
def test_an_embedding_without_direction_is_refused_by_name(tmp_path, photos, value):
    def broken(pictures):
        found = cheap(pictures)
        found[2] = value
        return found

    with pytest.raises(ValueError, match=f"embedding of {sorted(photos)[2]} is zero, NaN or infinite"):
        update(tmp_path / "idx", tmp_path / "photos", broken)
    right(tmp_path / "idx", [])


def test_several_queries_are_the_mean_of_their_unit_vectors():
    found = index.query_of(lambda pictures: np.array([[3.0, 0], [0, 0.5]]), [None] * 2, ["a", "b"])
    np.testing.assert_allclose(found, [[0.5**0.5, 0.5**0.5]], rtol=1e-6)
    with pytest.raises(ValueError, match="embedding of a is zero"):
        index.query_of(lambda pictures: np.array([[1.0, 0], [-1, 0]]), [None] * 2, ["a", "b"])


def test_memory_holds_a_few_batches_whatever_the_number_of_pictures(tmp_path, photos, monkeypatch):
    """Of pictures that are decoded and not yet embedded there are never more than two batches."""
    alive, most = [0], []
    load = images.load_picture

    def counting(path, side):
        alive[0] += 1
        most.append(alive[0])
        return load(path, side)

    def embed(pictures):
        alive[0] -= len(pictures)
        return cheap(pictures)

    monkeypatch.setattr(images, "load_picture", counting)
    for i in range(40):
        picture(tmp_path / "photos" / f"{i}.png", i)
    update(tmp_path / "idx", tmp_path / "photos", embed, batch=3)
    assert max(most) <= 2 * 3


ADDING = """
import os, signal, sys, threading, time
sys.path.insert(0, {root!r})
from gluon_cgd.retrieval import collection, index
from tests.retrieval.test_index import cheap, SIDE

def slow(pictures):
    time.sleep(0.002)
    return cheap(pictures)

with collection.writing({idx!r}, 49, {{}}) as writer:
    print("started", flush=True)
    for step, told in enumerate(index.update(writer, {folder!r}, slow, SIDE, batch=2)):
        print(told.same + told.added + told.changed, flush=True)
        if step == {kill}:
            threading.Timer({delay}, os.kill, (os.getpid(), signal.SIGKILL)).start()
print("done", flush=True)
time.sleep(60 * ({kill} >= 0))  # until it is killed
"""


@pytest.mark.slow
def test_what_was_acknowledged_survives_ten_kills_and_the_rest_is_not_half_there(tmp_path):
    """A process is killed at random moments, while pictures are added and, from the second on, replaced."""
    rng, folder, idx = random.Random(0), tmp_path / "photos", tmp_path / "idx"
    paths = [picture(folder / f"{i:03}.png", i) for i in range(120)]
    names = dict(root=str(ROOT), idx=str(idx), folder=str(folder))
    survived, incomplete = [], 0
    for kill in range(10):
        program = ADDING.format(**names, kill=rng.randrange(5), delay=rng.random() * 0.01)
        process = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
        printed = process.stdout.split()
        assert printed[0] == "started"
        acknowledged = max(int(line) for line in printed if line.isdigit())
        incomplete += "done" not in printed
        assert process.returncode == -signal.SIGKILL
        snapshot = collection.read(idx)
        rows = np.flatnonzero(snapshot.live)
        found = {snapshot.path(row): snapshot.vectors[row] for row in rows}
        assert len(found) == len(rows)
        for path, vector in found.items():  # the one that was changed is in the first batch, which is acknowledged
            expected = index.unit(cheap([images.load_picture(path, SIDE)]), [path])[0]
            np.testing.assert_array_equal(vector, expected)
        assert set(survived) <= set(found)
        assert len(found) >= acknowledged
        survived = list(found)
        picture(Path(survived[0]), 1000 + kill, (5 + kill, 6))
    assert incomplete >= 3
    program = ADDING.format(**names, kill=-1, delay=0)
    last = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert last.stdout.endswith("120\ndone\n")
    right(idx, paths)


def test_the_second_writer_is_refused_and_a_reader_is_not(tmp_path, photos):
    names = dict(root=str(ROOT), idx=str(tmp_path / "idx"), folder=str(tmp_path / "photos"))
    program = ADDING.format(**names, kill=-1, delay=0)
    with collection.writing(tmp_path / "idx", 49, {}):
        other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
        assert "another process is writing to" in other.stderr
        right(tmp_path / "idx", [])
    update(tmp_path / "idx", tmp_path / "photos")
    right(tmp_path / "idx", photos)


def test_a_folder_that_cannot_be_listed_ends_it(tmp_path, photos, monkeypatch):
    """Or --prune would take out what is in it."""
    update(tmp_path / "idx", tmp_path / "photos")
    unreadable(monkeypatch, "/b")
    with pytest.raises(PermissionError):
        update(tmp_path / "idx", tmp_path / "photos", prune=True)
    assert len(collection.read(tmp_path / "idx")) == 10


def test_what_is_left_out_is_logged(tmp_path, photos, caplog):
    caplog.set_level(logging.WARNING)
    Path(photos[0]).write_bytes(b"")
    update(tmp_path / "idx", tmp_path / "photos", skip_bad=True)
    assert caplog.messages == [f"left out: {photos[0]} is empty: get the picture again"]
