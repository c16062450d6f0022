"""The pictures that the server shows: those of the index and those that were uploaded, and no other file.

What is sent is always a JPEG that was made from the decoded picture: never a file itself, nor what its EXIF says.
"""

import os
import threading
from typing import NamedTuple, Optional, Tuple

import cv2

from gluon_cgd.datasets import images
from gluon_cgd.files.printable import printable
from gluon_cgd.machine import facts
from gluon_cgd.machine.sentences import sentence
from gluon_cgd.retrieval.finding import stamp_of
from gluon_cgd.serve.recent import Recent
from gluon_cgd.serve.refusal import Refusal
from gluon_cgd.serve.uploads import NAME, Uploads

SENT = 96 << 20  # bytes of pictures that are remembered as they were sent
QUALITY = 88  # of their JPEG
RULE = "a box needs X1 < X2 and Y1 < Y2 inside the picture"


class Picture(NamedTuple):
    """A picture that can be shown.

    row: in the index, None for an uploaded one.  folder: its name in `Places`.  key: changes with the file.
    note: "", or "gone" or "changed" since it was indexed.
    """

    id: str
    path: str
    name: str
    row: Optional[int] = None
    folder: str = ""
    key: Tuple = ()
    note: str = ""


class Pictures:
    """Finds pictures by their ids, decodes them, and sends them smaller. As many at once as there are cores, or two."""

    def __init__(self):
        self._slots = threading.BoundedSemaphore(max(2, facts.cores()))
        self.uploads = Uploads(self._slots)
        self._sent = Recent(SENT, lambda sent: len(sent[0]))

    def find(self, state, name):
        """The Picture with the id `name` in `state` or among the uploads. Raises Refusal, 404, if there is none."""
        if name.startswith("u"):
            return Picture(name, str(self.uploads.path(name)), NAME, key=(name,))
        rows = state.finder.rows_of(int(name, 16))
        if not len(rows):
            raise Refusal(404, f"{name} is no picture of this index, or not any more: search again")
        return of_row(state, rows[0])

    def load(self, picture, side, box=None):
        """The Picture for the network: uint8 (side, side, 3). Raises Refusal if it cannot be read."""
        return self._read(picture, lambda: images.load_picture(picture.path, side, box, remedy=RULE))

    def sent(self, picture, side, box=None):
        """(JPEG, (width, height) of the whole picture): the Picture, or its `box`, whose longer side is at most `side`.

        Raises Refusal if it cannot be read.
        """

        def compute():
            def shrink():
                whole = images.decode(picture.path)
                part = images.crop(whole, box, picture.path, RULE)
                factor = side / max(part.shape[:2])
                if factor < 1:
                    size = tuple(max(1, round(length * factor)) for length in part.shape[1::-1])
                    part = cv2.resize(part, size, interpolation=cv2.INTER_AREA)
                coded = cv2.imencode(".jpg", cv2.cvtColor(part, cv2.COLOR_RGB2BGR), (cv2.IMWRITE_JPEG_QUALITY, QUALITY))
                return coded[1].tobytes(), whole.shape[1::-1]

            return self._read(picture, shrink)

        return self._sent.get((picture.key, side, box), compute)

    def _read(self, picture, read):
        try:
            with self._slots:
                return read()
        except (ValueError, OSError, MemoryError) as error:
            status = 404 if isinstance(error, FileNotFoundError) else 503 if isinstance(error, MemoryError) else 422
            raise Refusal(status, sentence(error).replace(printable(picture.path), picture.name)) from error


def of_row(state, row):
    """The Picture in `row` of the index."""
    path, before = state.snapshot.path(row), state.snapshot.records([row])[0]
    name, folder = printable(os.path.basename(path)), state.places.name(row)
    now, note = None, "gone"
    try:
        about = os.stat(path)
        now = stamp_of(about)
        note = "" if now == (before["size"], before["mtime_ns"]) else "changed"
    except OSError:
        pass
    key = f"{int(before['key']):016x}"
    return Picture(key, path, name, int(row), folder, (key, now), note)
