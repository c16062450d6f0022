"""How finely an approximate index cuts a collection: cells of vectors, and pieces of a vector."""


def probed(lists, share=1.0):
    """How many of the `lists` cells a search looks into: a sixteenth, at least 8; more if only a `share` counts."""
    return min(lists, int(max(8, lists // 16) / share))


def pieces_of(dim):
    """The bytes of a compressed vector: one for 8 dimensions, or for the next larger number that divides `dim`."""
    return next(dim // width for width in range(min(8, dim), dim + 1) if dim % width == 0)
