"""Where the benchmarks come from."""

import contextlib
import logging
from pathlib import Path
from typing import NamedTuple

from gluon_cgd.fetch.archives import delete_abandoned, is_unpacked, unpack
from gluon_cgd.fetch.download import LIMIT, fetch
from gluon_cgd.fetch.partial import forget
from gluon_cgd.files.lock import waiting

log = logging.getLogger(__name__)


class Source(NamedTuple):
    """Where a dataset comes from: in `words`, and by `url` and `md5` if it can be downloaded.

    limit: bytes that the archive may have.
    """

    words: str
    url: str = ""
    md5: str = ""
    limit: int = LIMIT


SOURCES = {
    "cub200": Source(
        "CUB_200_2011.tgz from https://data.caltech.edu/records/65de6-vp158, unpacked into the folder",
        "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz",
        "97eceeb196236b17998738112f37df78",
        limit=1_200_000_000,  # it has 1,150,585,339
    ),
    "sop": Source(
        "Stanford_Online_Products.zip from ftp://cs.stanford.edu/cs/cvgl/, unpacked into the folder",
        "http://ftp.cs.stanford.edu/cs/cvgl/Stanford_Online_Products.zip",
        "7f73d41a2f44250d4779881525aea32e",
    ),
    "cars196": Source(
        "its authors' links are dead. Either car_ims.tgz (md5 d5c8f0aa497503f355e17dc7886c3f14) unpacked, with "
        "cars_annos.mat (md5 b407c6086d669747186bd1d764ff9dbc) beside it; or cars_train/, cars_test/ (Kaggle has "
        "copies of the 'Stanford Cars Dataset'), with cars_train_annos.mat and cars_test_annos_withlabels.mat (md5 "
        "b0a2b23655a3edd16d84508592a98d10) in devkit/",
    ),
    "inshop": Source(
        "sign the agreement of DeepFashion's In-shop Clothes Retrieval Benchmark at "
        "https://mmlab.ie.cuhk.edu.hk/projects/DeepFashion.html, then put its Eval/ and Img/ (img.zip "
        "unpacked) into the folder",
    ),
}


def obtain(name, root, progress=False):
    """Download dataset `name` and unpack it into `root`, as far as that is not done; a second process waits.

    An interrupted call is continued by the next one. What is unpacked and whole is left alone, even if the archive has
    been deleted since. Raises ValueError for a dataset that cannot be downloaded.
    """
    source, root = SOURCES[name], Path(root)
    if not source.url:
        raise ValueError(f"{name} cannot be downloaded: {source.words}")
    archive = root / source.url.rsplit("/", 1)[-1]
    note = root / f".{archive.name}.unpacked.json"
    if is_unpacked(note, source.md5, root):  # before the lock: the folder need not be writable
        with contextlib.suppress(OSError):
            _delete_left(root, archive)
        return
    root.mkdir(parents=True, exist_ok=True)
    with waiting(root / ".download.lock", f"the files of {name} in {root}"):
        if is_unpacked(note, source.md5, root):  # by the process that had the lock
            return
        log.info("downloading %s to %s", source.url, archive)
        fetch(source.url, archive, source.md5, progress, source.limit)
        log.info("unpacking %s", archive)
        unpack(archive, root, note, source.md5)
        _delete_left(root, archive)


def _delete_left(root, archive):
    """Delete what killed processes left in `root`, where all is whole and nobody writes."""
    delete_abandoned(root)
    forget(archive)
    for left in root.glob(f".*{archive.name}.*.part"):
        left.unlink()
