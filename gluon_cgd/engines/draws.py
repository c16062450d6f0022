"""The uniform numbers that MXNet draws on a CPU, by NumPy to the bit: the margin loss draws its negatives with them."""

from typing import Dict, Sequence

import numpy as np

STREAMS, LEAST = 1024, 64  # MXNet's generators, and how many numbers each draws at least, where there are enough
SPREAD = 127  # the seed of the first generator is this many times the seed that is given


class Uniform:
    """What mx.nd.random.uniform gives on a CPU after mx.random.seed(seed), call after call.

    MXNet 1.9.1 shares the numbers of a call out among up to 1,024 Mersenne Twisters with consecutive seeds, and each
    goes on where it stopped (include/mxnet/random_generator.h, src/operator/random/sampler.h, src/resource.cc).
    """

    def __init__(self, seed: int):
        self.first = seed * SPREAD
        self.streams: Dict[int, np.random.RandomState] = {}  # number -> generator; only those that were needed

    def draw(self, shape: Sequence[int]) -> np.ndarray:
        """The next numbers in [0, 1), float32, of the given shape."""
        size = int(np.prod(shape, dtype=np.int64))
        if not size:
            return np.zeros(shape, np.float32)
        streams = min(-(-size // LEAST), STREAMS)
        each = -(-size // streams)
        bits = [self._bits(number, min(each, size - number * each)) for number in range(-(-size // each))]
        # As std::generate_canonical: a number that float32 rounds up to 1 becomes the largest below
        numbers = np.concatenate(bits).astype(np.float32) * np.float32(2.0**-32)
        return np.minimum(numbers, np.nextafter(np.float32(1), np.float32(0))).reshape(shape)

    def _bits(self, number, count):
        """The next `count` outputs, uint32, of a stream."""
        if number not in self.streams:
            self.streams[number] = np.random.RandomState((self.first + number) % 2**32)
        return self.streams[number].randint(0, 2**32, count, dtype=np.uint32)
