"""Which pictures a model was trained on: a list that goes with the model, so that a changed folder is tested rightly.

The benchmarks have fixed parts. People's own pictures are divided by drawing, and a folder that has changed since the
training would be divided in another way: pictures that the model was trained on would become test pictures.
"""

import base64
import binascii
import functools
import os
import unicodedata
from hashlib import blake2b
from pathlib import Path
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple

from gluon_cgd import datasets
from gluon_cgd.datasets import images
from gluon_cgd.datasets.records import PathLike, Record, Split, is_searched_in_training
from gluon_cgd.files.regular import open_regular
from gluon_cgd.machine import facts
from gluon_cgd.machine.progress import task

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
            counts = [part[name] for name in ("pictures", "tested", "boxes", "copies")]
            if not all(isinstance(count, int) and count >= 0 for count in counts):
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

    {"pictures": how many training pictures, "boxes": how many of them are cut out by a box, "hashes": which they are,
    see `hashes_of`, "tested", "copies", "test_hash": see `tested_in`}.
    """
    if dataset in datasets.NAMES:
        return None
    contents = contents_of([*split.train, *tested_records(split)], progress)
    rows = {(contents[record.path], place_of(record.path, dataset)) for record in split.train}
    return dict(
        pictures=len(split.train),
        boxes=sum(record.box is not None for record in split.train),
        hashes=base64.b64encode(b"".join(content + place for content, place in sorted(rows))).decode(),
        **tested_in(split, contents, {content for content, _ in rows}),
    )


def tested_in(split: Split, contents: Mapping[str, bytes], learned: Set[bytes]) -> Dict[str, Any]:
    """{"tested", "copies", "test_hash"}: the number of test pictures, how many are `learned` ones, and a hash of all.

    contents: as `contents_of` returns them.  learned: the hashes of the training pictures' contents.
    """
    test = [contents[record.path] for record in tested_records(split)]
    copies = sum(content in learned for content in test)
    return dict(tested=len(test), copies=copies, test_hash=blake2b(b"".join(test), digest_size=HASH).hexdigest())


def tested_records(split: Split) -> List[Record]:
    """The pictures of `split` that a model must not be trained on: queries and gallery."""
    return [*split.query, *([] if is_searched_in_training(split) else split.gallery or [])]


def said_of_copies(part: Mapping[str, Any]) -> str:
    """The sentence for test pictures that are training pictures under another name; part: as `describe` returns it."""
    return (
        f"{part['copies']:,} of {part['tested']:,} test pictures are copies of training pictures, so the recall is too "
        "high: remove the copies and train again"
    )


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
    return _content_of(path, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=1 << 16)
def _content_of(path, size, mtime):
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
