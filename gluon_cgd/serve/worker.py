"""The one thread that calls the model. MXNet is not safe to call from several threads."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from gluon_cgd.retrieval.index import query_of
from gluon_cgd.serve.recent import Recent
from gluon_cgd.similarity import decompose

FEATURES = 128 << 20  # bytes of feature maps that are remembered


class Worker:
    """Runs one function after another, in the order in which they come, all in one thread."""

    def __init__(self):
        self._pool = ThreadPoolExecutor(1, "model")

    def run(self, function, *values):
        """function(*values), computed by the thread; what it raises is raised here."""
        return self._pool.submit(function, *values).result()

    def close(self):
        """End the thread."""
        self._pool.shutdown()


class Computed:
    """What a Model computes of pictures, by a Worker. A picture has a key by which its values are remembered."""

    def __init__(self, model, worker):
        self.model, self._worker = model, worker
        self._vectors = Recent(10_000)
        self._features, self._how = Recent(FEATURES, lambda maps: maps.nbytes), Recent(1)

    def vector(self, key, load, name):
        """The embedding (1, D) of the picture `load()`, of unit length. name: the picture's, for messages."""

        def compute():
            picture = load()
            return self._worker.run(query_of, self.model.embed, [picture], [name])

        return self._vectors.get(key, compute)

    def similarity(self, first, second):
        """The Similarity of two pictures, each (key, load). Raises ValueError for a model without feature maps."""
        how = self._how.get("how", lambda: self._worker.run(self.model.decomposing))
        return decompose(*(self._maps(*picture) for picture in (first, second)), **how)

    def _maps(self, key, load):
        def compute():
            picture = load()
            return np.asarray(self._worker.run(self.model.features, [picture])[0])

        return self._features.get(key, compute)
