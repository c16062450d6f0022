"""Which pictures a model was trained on: a list that goes with the model, so that a changed folder is tested rightly.

The benchmarks have fixed parts. People's own pictures are divided by drawing, and a folder that has changed since the
training would be divided in another way: pictures that the model was trained on would become test pictures.
"""

import base64
import binascii
import functools
import logging
import os
import unicodedata
from collections import Counter
from hashlib import blake2b
from pathlib import Path
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from gluon_cgd import datasets
from gluon_cgd.datasets import images
from gluon_cgd.datasets.records import PathLike, Record, Split, is_searched_in_training
from gluon_cgd.files.regular import open_regular
from gluon_cgd.machine import facts
from gluon_cgd.machine.progress import task

log = logging.getLogger(__name__)
BOXED = ("cub200", "cars196")  # section 4.1
HASH = 8  # bytes: among a million pictures, two are taken for one with a chance of 3 in 100 million


class Trained(NamedTuple):
    """What a model says of the pictures that it was trained on.

    dataset: their name.  data: the `cache.fingerprint` of all parts, None if the model does not say.
    part: what `describe` returned, None for a benchmark and for a model of an earlier version.
    """

    dataset: str
    data: Optional[str] = None
    part: Optional[Mapping[str, Any]] = None


def trained_of(dataset: str, values: Mapping[str, Any], source: PathLike) -> Trained:
    """The Trained of a model on `dataset`, from `values`, what the file `source` says of it.

    Raises ValueError if its list of training pictures is damaged.
    """
    part = values.get("training")
    if part is not None:
        try:
            counts = [part[name] for name in ("pictures", "boxes", "tested")]
            counts += [part.get(name, 0) for name in ("copies", "twins")]
            if not all(type(count) is int and count >= 0 for count in counts):
                raise ValueError("its counts are not numbers")
            if not isinstance(part["test_hash"], str):
                raise ValueError("its test_hash is not text")
            hashes_of(part)
        except (ValueError, TypeError, KeyError, AttributeError, binascii.Error) as error:
            raise ValueError(
                f"the list of training pictures in {source} is damaged ({error}): get the file again, or train again"
            ) from error
    data = values.get("data")
    return Trained(dataset, data if isinstance(data, str) else None, part)


def describe(split: Split, dataset: str, progress: bool = False) -> Optional[Dict[str, Any]]:
    """The training part of people's own pictures for a result file, ready for JSON; None for a benchmark.

    Logs a warning where test pictures are copies.
    {"pictures": how many training pictures, "boxes": how many of them are cut out by a box, "hashes": which they are,
    see `hashes_of`, "tested": how many test pictures, "copies": how many of them are copies of training pictures,
    "twins": how many queries have a copy among the test pictures, "test_hash": a hash of all test pictures}.
    """
    if dataset in datasets.NAMES:
        return None
    test = tested_records(split)
    contents = contents_of([*split.train, *test], progress)
    rows = {(contents[record.path], place_of(record.path, dataset)) for record in split.train}

    def seen(record):
        return contents[record.path], record.box

    learned, times = set(map(seen, split.train)), Counter(map(seen, test))
    part = dict(
        pictures=len(split.train),
        boxes=sum(record.box is not None for record in split.train),
        hashes=base64.b64encode(b"".join(content + place for content, place in sorted(rows))).decode(),
        tested=len(test),
        copies=sum(seen(record) in learned for record in test),
        twins=sum(times[seen(record)] > 1 for record in split.query),
        test_hash=hash_of_test(split, contents),
    )
    for sentence in said_of_copies(part):
        log.warning("%s", sentence)
    return part


def learned_boxes(trained: Optional[Trained]) -> bool:
    """Whether the model was trained on pictures that are cut out by boxes; False if nothing is known."""
    if trained is None:
        return False
    return bool(trained.part["boxes"]) if trained.part else datasets.whole_of(trained.dataset) in BOXED


def warn_of_boxes(trained: Optional[Trained]) -> None:
    """Log a warning if whole pictures are embedded by a model that was trained on boxes."""
    if learned_boxes(trained):
        log.warning(
            "the model was trained on pictures that are cut out by boxes; here whole pictures are embedded, which it "
            "tells apart less well: cut the objects out first"
        )


def hash_of_test(split: Split, contents: Mapping[str, bytes]) -> str:
    """A hash of the test pictures of `split`, whatever their names; contents: as `contents_of` returns them."""
    test = b"".join(contents[record.path] for record in tested_records(split))
    return blake2b(test, digest_size=HASH).hexdigest()


def tested_records(split: Split) -> List[Record]:
    """The pictures of `split` that a model must not be trained on: queries and gallery."""
    return [*split.query, *([] if is_searched_in_training(split) else split.gallery or [])]


def said_of_copies(part: Optional[Mapping[str, Any]]) -> List[str]:
    """Sentences for test pictures that exist twice under other names; part: as `describe` returns it."""
    kinds = {
        "copies": "{:,} of {:,} test pictures are copies of training pictures",
        "twins": "{:,} of {:,} test pictures have a copy among the test pictures, which any model finds",
    }
    remedy = ", so the recall is too high: remove the copies (`duplicates` names those of an index) and train again"
    return [text.format(part[kind], part["tested"]) + remedy for kind, text in kinds.items() if part and part.get(kind)]


def hashes_of(part: Mapping[str, Any]) -> List[Tuple[bytes, bytes]]:
    """[(hash of the content, hash of the path in the dataset), ...] of the training pictures in `part`."""
    data = base64.b64decode(part["hashes"], validate=True)
    if len(data) % (2 * HASH):
        raise ValueError("it is cut off")
    pairs = (data[start : start + 2 * HASH] for start in range(0, len(data), 2 * HASH))
    return [(pair[:HASH], pair[HASH:]) for pair in pairs]


def carried(values: Mapping[str, Any]) -> Dict[str, Any]:
    """What a copy of a model takes over from `values`, a result, of its training pictures: {} for a benchmark."""
    return {key: values.get(key) for key in ("data", "training")} if values.get("training") else {}


def contents_of(records: Sequence[Record], progress: bool = False) -> Dict[str, bytes]:
    """{path: hash of the file's bytes} of `records`. Raises ValueError or OSError that names a file."""
    paths = list(dict.fromkeys(record.path for record in records))
    hashed = images.load_ahead(_content, paths, 4 * facts.cores())
    contents = {}
    with task("hashing", len(paths), "img", progress) as bar:
        for path, content in hashed:
            if isinstance(content, Exception):
                raise content
            contents[path] = content
            bar.update()
    return contents


def _content(path):
    status = os.stat(path)
    return _content_of(os.path.abspath(path), status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


@functools.lru_cache(maxsize=1 << 16)
def _content_of(path, *state):
    """The hash of a file; `choose` and `train`, which writes a card, ask for the same ones again."""
    content = blake2b(digest_size=HASH)
    with open_regular(path) as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            content.update(block)
    return content.digest()


def place_of(path: PathLike, dataset: str) -> bytes:
    """The hash of the path inside the folder or beside the .csv file `dataset`, without its suffix.

    A picture that is saved again, as another kind of file even, keeps it.
    """
    root = dataset if os.path.isdir(dataset) else os.path.dirname(dataset)
    place = Path(os.path.relpath(path, root or ".")).with_suffix("").as_posix()
    return blake2b(os.fsencode(unicodedata.normalize("NFC", place)), digest_size=HASH).digest()
