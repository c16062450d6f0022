"""Pictures that people search with and that are not in the index, kept in the cache so that a link to them works.

The newest MOST files are kept, of at most ROOM bytes in all. Their names are hashes of their bytes. Each user of a
shared cache has a folder of their own.
"""

import contextlib
import hashlib
import os
from pathlib import Path

from gluon_cgd.datasets import images
from gluon_cgd.files.printable import printable
from gluon_cgd.files.whole import replacing
from gluon_cgd.machine import facts
from gluon_cgd.machine.sentences import sentence
from gluon_cgd.serve.refusal import Refusal

BYTES, PIXELS = 32 << 20, 64_000_000  # of one picture
MOST, ROOM = 200, 1 << 30
NAME = "the picture"  # of an upload, in messages


def _folder():
    """This user's folder of uploads: in the cache, or in the home folder if the cache is not for this user to write."""
    name, cache = f"serve-{os.getuid()}", facts.cache_folder()
    with contextlib.suppress(OSError):
        folder = facts.made(cache / name)
        if folder.lstat().st_uid == os.getuid() and not folder.is_symlink() and os.access(folder, os.W_OK):
            return folder
    with contextlib.suppress(RuntimeError):  # there is no home folder
        return Path.home() / ".cache" / "gluon_cgd" / name
    return cache / name


class Uploads:
    """The uploaded pictures. most, room: see MOST and ROOM.  slots: limits how many pictures are decoded at once."""

    def __init__(self, slots, most=MOST, room=ROOM):
        self.folder, self._slots, self._most, self._room = _folder(), slots, most, room

    def store(self, data):
        """The id of the picture with the bytes `data`. Raises Refusal if it is none, or too large."""
        if not data:
            raise Refusal(400, "no picture came with the request: drop a file that is not empty")
        if len(data) > BYTES:
            raise Refusal(413, f"{NAME} has {len(data):,} bytes, and at most {BYTES:,} are taken: save it smaller")
        name = f"u{hashlib.sha256(data).hexdigest()[:40]}"
        try:
            if not self._renew(name):
                self._write(name, data)
                self._delete_old()
        except OSError as error:
            reason = sentence(error).replace(printable(str(self.folder)), self.folder.name)
            raise Refusal(507, f"{NAME} could not be kept: {reason}") from error
        return name

    def path(self, name):
        """The file of the upload `name`, an id. Raises Refusal if it is not kept any more."""
        if not self._renew(name):
            rule = f"the {self._most} latest pictures are kept"
            raise Refusal(
                404, f"{name[:9]}... is no uploaded picture, or it is not kept any more ({rule}): drop it again"
            )
        return self.folder / name

    def _renew(self, name):
        """Whether the upload is there; it then counts as new."""
        try:
            os.utime(self.folder / name)
        except OSError:  # it is not there, or not this user's
            return False
        return True

    def _write(self, name, data):
        facts.made(self.folder)
        self.folder.chmod(0o700)
        with replacing(self.folder / name) as temporary:
            Path(temporary).write_bytes(data)
            try:
                with self._slots:
                    images.decode(temporary, PIXELS)
            except (ValueError, OSError, MemoryError) as error:
                status = 503 if isinstance(error, MemoryError) else 422
                raise Refusal(status, sentence(error).replace(printable(temporary), NAME)) from error

    def _delete_old(self):
        """Delete the oldest pictures until as many are left as are kept."""
        kept = []
        for file in self.folder.glob("u*"):
            with contextlib.suppress(FileNotFoundError):
                kept.append((file.stat().st_mtime_ns, file.stat().st_size, file))
        room = self._room
        for count, (_, size, file) in enumerate(sorted(kept, reverse=True)):
            room -= size
            if count >= self._most or room < 0:
                file.unlink(missing_ok=True)
