"""Ways in which a file is damaged, drawn by a random generator of a fixed seed: what disks, networks and people do."""


def damaged(data, rng):
    """(kind, the bytes `data` with one damage that `rng`, a random.Random, draws); always other bytes than `data`."""
    while True:
        kind = rng.choice(list(KINDS))
        changed = KINDS[kind](bytearray(data), rng)
        if changed != data:
            return kind, bytes(changed)


def _flip(data, rng):
    """One bit."""
    if data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return data


def _flips(data, rng):
    for _ in range(rng.randrange(2, 50)):
        _flip(data, rng)
    return data


def _cut(data, rng):
    """The end is missing."""
    return data[: rng.randrange(len(data) or 1)]


def _zero_end(data, rng):
    """What a power cut leaves of data that had not reached the disk: the right length, zeros at the end."""
    kept = rng.randrange(len(data) or 1)
    return data[:kept] + bytes(len(data) - kept)


def _zero_block(data, rng):
    """A block of the disk, or a few bytes, is lost."""
    start = rng.randrange(len(data) or 1)
    size = min(rng.choice((1, 4, 8, 512, 4096)), len(data) - start)
    return data[:start] + bytes(size) + data[start + size :]


def _overwrite(data, rng):
    start = rng.randrange(len(data) or 1)
    noise = bytes(rng.randrange(256) for _ in range(min(rng.randrange(1, 64), len(data) - start)))
    return data[:start] + noise + data[start + len(noise) :]


def _insert(data, rng):
    at = rng.randrange(len(data) + 1)
    return data[:at] + bytes(rng.randrange(256) for _ in range(rng.randrange(1, 64))) + data[at:]


def _remove(data, rng):
    """A piece of the middle is missing."""
    at = rng.randrange(len(data) or 1)
    return data[:at] + data[at + rng.randrange(1, 64) :]


def _repeat(data, rng):
    """A piece comes twice."""
    at = rng.randrange(len(data) or 1)
    return data[: at + rng.randrange(1, 4096)] + data[at:]


def _number(data, rng):
    """A digit of a text, or a byte that counts something, becomes extreme."""
    digits = [place for place, byte in enumerate(data[:4096]) if 48 <= byte < 58]
    if digits and rng.random() < 0.7:
        place = rng.choice(digits)
        return (
            data[:place]
            + rng.choice((b"-1", b"999999999999", b"1e400", b"0.5", b"true", b'"x"', b""))
            + data[place + 1 :]
        )
    place = rng.randrange(len(data) or 1)
    return data[:place] + b"\xff" * min(rng.choice((1, 2, 4, 8)), len(data) - place) + data[place + 8 :]


def _other(data, rng):
    """Another file has its name: nothing, an error page, noise."""
    return rng.choice(
        (b"", b"<html><body>404</body></html>", b"{}", b"[]", b"null", bytes(rng.randrange(256) for _ in range(99)))
    )


KINDS = {function.__name__[1:]: function for function in (_flip, _flips, _cut, _zero_end, _zero_block, _overwrite)}
KINDS.update({function.__name__[1:]: function for function in (_insert, _remove, _repeat, _number, _other)})
