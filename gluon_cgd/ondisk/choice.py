"""Which engine a collection gets, and how its vectors are compressed: by count, dimension and memory."""

from typing import NamedTuple, Tuple

FEW = 25_000_000  # numbers that are compared with a query in some milliseconds, one after the other
CENTRES = 256  # of a product quantiser
POINTS = 39  # vectors that FAISS wants to learn a centre from
SCALAR, PRODUCT = "disksq", "diskpq"
KINDS = (SCALAR, PRODUCT)
ID = 8  # bytes of a row's number, in a list


class Shape(NamedTuple):
    """How the vectors are compressed. lists: cells.  dim: numbers that are kept of a vector.  code: bytes of them."""

    kind: str
    lists: int
    dim: int
    code: int

    def bytes_of(self, rows: int) -> int:
        """The bytes of the lists of so many rows."""
        return rows * (self.code + ID)


def lists_of(rows: int) -> int:
    """The number of cells of an inverted file of N `rows`: 4 sqrt(N), and FAISS wants 39 vectors to train each."""
    return max(1, min(int(4 * rows**0.5), rows // POINTS))


def shape_of(kind: str, rows: int, dim: int, memory: float) -> Shape:
    """The Shape of the lists of so many rows. `memory`, in bytes, is what the searches of this machine may use.

    disksq keeps 256 numbers of a vector at most, a byte for each. diskpq keeps two numbers for each byte of its code,
    which has 96 bytes or as many as leave the lists in a quarter of the memory, but at least 16.
    """
    if kind == SCALAR:
        kept = min(dim, 256)
        return Shape(kind, lists_of(rows), kept, kept)
    sizes = [size for size in (96, 64, 48, 32, 16, 8, 4, 2, 1) if 2 * size <= max(dim, 2)]
    size = next((size for size in sizes if rows * (size + ID) <= memory / 4), min(sizes[0], 16))
    return Shape(kind, lists_of(rows), min(dim, 2 * size), size)


def least_rows(kind: str) -> int:
    """The rows without which `kind` cannot be learned."""
    return POINTS * CENTRES if kind == PRODUCT else POINTS


def choose(rows: int, dim: int, memory: float) -> Tuple[str, str]:
    """("exact", "disksq" or "diskpq", a sentence that says why) for a collection of `rows` vectors of `dim` numbers."""
    size = f"{rows:,} vectors of {dim:,} numbers ({_gigabytes(4 * rows * dim)})"
    if rows * dim <= FEW or rows < least_rows(SCALAR):
        return "exact", f"{size} are so few that each is compared with the query in milliseconds"
    scalar = shape_of(SCALAR, rows, dim, memory)
    held = f"{_gigabytes(scalar.bytes_of(rows))} as bytes, {scalar.code} of each"
    allowed = f"a quarter of the memory that searching may use ({_gigabytes(memory)})"
    if scalar.bytes_of(rows) <= memory / 4 or rows < least_rows(PRODUCT):
        return SCALAR, f"{size} have {held}, which is at most {allowed}"
    product = shape_of(PRODUCT, rows, dim, memory)
    return PRODUCT, (
        f"{size} have {held}, more than {allowed}; product quantisation to {product.code} bytes makes that "
        f"{_gigabytes(product.bytes_of(rows))}"
    )


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:.3g} GB"
