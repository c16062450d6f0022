"""Files that are there whole or not at all."""

import contextlib
import json
import os


@contextlib.contextmanager
def replacing(file):
    """`with replacing(file) as temporary`: what was written to `temporary` becomes `file` if nothing was raised."""
    temporary = f"{file}.part"
    try:
        yield temporary
        os.replace(temporary, file)
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)


def write_text(file, text):
    """Write `text` to `file`, and on to the disk."""
    with replacing(file) as temporary, open(temporary, "w", encoding="utf-8") as handle:
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())


def write_json(file, values):
    """Write `values` to `file` as JSON."""
    write_text(file, json.dumps(values, indent=1, ensure_ascii=False))
