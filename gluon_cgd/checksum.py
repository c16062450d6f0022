"""What tells one file from another."""

import hashlib


def digest(file, kind="sha256"):
    """The checksum of a file in hexadecimal digits; kind: md5, sha1 or sha256."""
    checksum = hashlib.new(kind)
    with open(file, "rb") as handle:
        for block in iter(lambda: handle.read(1 << 20), b""):
            checksum.update(block)
    return checksum.hexdigest()
