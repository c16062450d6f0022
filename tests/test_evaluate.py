import mxnet as mx
import numpy as np

from gluon_cgd.datasets import images
from gluon_cgd.evaluate import embed


def test_embedding_gives_every_picture_its_row_whatever_the_batch():
    def net(x):
        return [x.mean(axis=(2, 3))]

    pictures = np.random.default_rng(0).integers(0, 256, (7, 4, 4, 3), dtype=np.uint8)
    expected = images.normalise(pictures, mx.cpu()).asnumpy().mean(axis=(2, 3))
    for batch_size in (1, 3, 7, 20):
        np.testing.assert_allclose(embed(net, pictures, mx.cpu(), batch_size), expected, rtol=1e-5)
