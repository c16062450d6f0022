"""collection.json, the manifest of an index: what it is, and how much of each of its files counts.

It is believed only if its values are possible and its digest is right. collection-before.json takes its place if it is
damaged: it is the manifest before it while somebody writes, and a copy of it afterwards.
"""

import contextlib
import hashlib
import json
import os
from pathlib import Path

from gluon_cgd.files.regular import read_bytes
from gluon_cgd.files.whole import write_text
from gluon_cgd.retrieval import blocks
from gluon_cgd.retrieval.stores import STORES, store_of

FORMAT = 2  # 1 has no checksums: it is read, and `index` rewrites it
NAME, BEFORE = "collection.json", "collection-before.json"
LIMIT = 16 << 20  # bytes; one has some 5 kB
# The least and the most that each number can be
RANGES = dict(rows=(0, 2**40), names=(0, 2**50), dead=(0, 2**40), generation=(0, 2**31), dim=(1, 2**16))
CHECKED = ("rows", "names", "dead")  # the files whose CRC-32 it holds; each embedding has a checksum in `rows`


class Damaged(ValueError):
    """A file of the index in `folder` is not as it was written, and `index` can mend that. what: which, and why."""

    def __init__(self, what, folder):
        super().__init__(
            f"{what}: python -m gluon_cgd index --images DIR --out {folder} mends it and embeds again what was lost; "
            "or index into another folder"
        )
        self.what = what


def digest(manifest):
    """The checksum of a manifest, without the one that it holds."""
    values = {name: value for name, value in manifest.items() if name != "digest"}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def wrong(manifest):
    """What is wrong with a manifest of this or an earlier format, in words; "" if nothing is."""
    if not isinstance(manifest, dict):
        return "it is no object"
    version = manifest.get("format")
    if type(version) is not int or not 1 <= version <= FORMAT:
        return f"format {version!r}, where this version of gluon_cgd knows 1 to {FORMAT}"
    for name, (least, most) in RANGES.items():
        value = manifest.get(name)
        if type(value) is not int or not least <= value <= most:  # a bool is no count
            return f"{name} {value!r:.40} is no number from {least} to {most}"
    if manifest["dead"] > manifest["rows"]:
        return f"{manifest['dead']} of {manifest['rows']} rows are dead"
    name = manifest.get("id")
    if not isinstance(name, str) or not name.isalnum() or not name.isascii() or len(name) > 64:
        return f"id {name!r:.80} is no name of letters and digits"
    if store_of(manifest) not in tuple(STORES):  # a list is no key
        return f"store {store_of(manifest)!r:.40} is unknown"
    if not isinstance(manifest.get("model"), dict):
        return "it does not describe a model"
    if version == 1:
        return ""
    sums, folders = manifest.get("crc"), manifest.get("folders")
    if not isinstance(sums, dict) or set(sums) != set(CHECKED) or {type(value) for value in sums.values()} != {int}:
        return "it has no checksums of the files"
    if not blocks.is_possible(manifest.get("blocks", blocks.NONE)):
        return "its checksums of blocks are none"
    if not isinstance(folders, list) or not all(isinstance(folder, str) for folder in folders):
        return "it does not list the folders that were indexed"
    return "" if manifest.get("digest") == digest(manifest) else "its checksum is another"


def read_values(file):
    """What a JSON file of an index says. Raises OSError and ValueError."""
    try:
        return json.loads(read_bytes(file, LIMIT))
    except RecursionError as error:
        raise ValueError("its brackets are nested too deep") from error


def read_manifest(folder, name=NAME):
    """The manifest in `folder` as a dict.

    Raises FileNotFoundError if there is none, ValueError for one of a later format, and Damaged for anything else.
    """
    file = Path(folder) / name
    try:
        manifest = read_values(file)
    except (FileNotFoundError, NotADirectoryError) as error:
        if name == NAME and (Path(folder) / BEFORE).is_file():
            raise Damaged(f"{file} is missing", folder) from error
        raise FileNotFoundError(f"{folder} is not an index: {making(folder)} makes one") from error
    except (ValueError, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise Damaged(f"{file} cannot be read ({reason})", folder) from error
    problem = wrong(manifest)
    version = manifest.get("format") if isinstance(manifest, dict) else None
    if type(version) is int and version > FORMAT:
        raise ValueError(
            f"{file} cannot be read ({problem}): take the version of gluon_cgd that wrote it, or index into another "
            "folder"
        )
    if problem:
        raise Damaged(f"{file} cannot be read ({problem})", folder)
    return manifest


def making(folder):
    """The command that makes an index in `folder`, or beside it if it is a file or holds something else."""
    folder = Path(folder)
    with contextlib.suppress(OSError):
        if folder.is_file() or any(folder.iterdir()):
            folder = folder.with_name(f"{folder.name}.index") if folder.name not in ("", "..") else "IDX"
    return f"python -m gluon_cgd index --images DIR --out {folder}"


def replace_manifest(folder, manifest):
    """Write collection.json with its digest; from now on its counts hold. The one before it becomes BEFORE."""
    before = os.path.join(folder, BEFORE)
    with contextlib.suppress(OSError):  # there is none yet, or the file system has no second names for a file
        with contextlib.suppress(FileNotFoundError):
            os.unlink(before)
        os.link(os.path.join(folder, NAME), before)
    write(folder, manifest)


def keep_copy(folder, manifest):
    """Make BEFORE a copy of the `manifest` that holds. It is only for the day of a damage: no failure counts."""
    with contextlib.suppress(OSError, ValueError):
        write(folder, manifest, BEFORE)


def write(folder, manifest, name=NAME):
    """Write a manifest with its digest, and wait until it is on the disk."""
    manifest = dict(manifest, format=FORMAT)
    manifest["digest"] = digest(manifest)
    # ASCII: a name that is not UTF-8 has no UTF-8 form
    write_text(os.path.join(folder, name), json.dumps(manifest, indent=1))
