"""This project's side of the comparisons. Each task runs in its own process; see `turns.serve`."""

import os
import tempfile
from pathlib import Path

import numpy as np
from turns import serve

from gluon_cgd.experiment import Experiment

FOLDER = Path(os.environ.get("BENCHMARK_FOLDER", "."))
SIZE = int(os.environ.get("BENCHMARK_INPUT_SIZE", 224))
EXPERIMENT = Experiment(pretrained=False, input_size=SIZE)  # the paper's ResNet-50 with SG, from random parameters
CLASSES = 98


def write_models():
    """Write the models that the tasks load, as `publish` and `export` do, in float32 and in 8 bits."""
    import mxnet as mx

    from gluon_cgd import export, model
    from gluon_cgd.export import int8
    from gluon_cgd.models import zoo

    mx.random.seed(0)
    net = model.from_experiment(EXPERIMENT, CLASSES)
    zoo.save(net, EXPERIMENT, FOLDER)
    export.export(net, EXPERIMENT, FOLDER / "model.onnx")
    int8.quantise(FOLDER / "model.onnx", FOLDER / "int8.onnx", pictures()[:32])


def pictures():
    """The pictures of the folder as the network takes them: uint8 (N, SIZE, SIZE, 3)."""
    from gluon_cgd.datasets import images

    return np.stack([images.load_picture(str(path), SIZE) for path in sorted((FOLDER / "pictures").iterdir())])


def embedding(model=None, runtime=None, few=False):
    """Set up: JPEG files to vectors on disk, by the trained model in MXNet or an exported one."""

    def setup():
        from gluon_cgd.datasets import folders
        from gluon_cgd.models import onnx_model
        from gluon_cgd.retrieval import embed

        if model:
            function = onnx_model.load_exported(FOLDER / model, runtime).embed
        else:
            net, ctx = load_model()

            def function(batch):
                from gluon_cgd import evaluate

                return evaluate.embed(net, batch, ctx, 32)

        paths, out = folders.pictures_in(FOLDER / ("few" if few else "pictures")), tempfile.mkdtemp(dir=FOLDER)
        return lambda: embed.save(Path(out) / "vectors.npy", *embed.embed_files(function, paths, SIZE)), len(paths)

    return setup


def load_model():
    """(the published model, its device), as the commands load it."""
    import mxnet as mx

    from gluon_cgd.models import zoo

    return zoo.load_published(next(FOLDER.glob("*.params")), mx.cpu())[0], mx.cpu()


def network():
    """Set up: one batch of 32 through the network alone. Its units are operations: two for each multiply-add."""
    from gluon_cgd import model
    from gluon_cgd.datasets import images
    from reproduce.training import complexity

    net, ctx = load_model()
    x = images.normalise(pictures()[:32], ctx)
    operations = 2 * complexity.counts(model.layers_of(EXPERIMENT, CLASSES), SIZE)[1]
    return lambda: net(x)[0].wait_to_read(), 32 * operations


def product():
    """Set up: float32 matrix products of the same library. Their units are operations: two for each multiply-add."""
    import mxnet as mx

    size = 2048
    a, b = (mx.nd.random.uniform(shape=(size, size)) for _ in range(2))

    def call():
        for _ in range(20):
            mx.nd.dot(a, b).wait_to_read()

    return call, 20 * 2 * size**3


def training(size):
    """Set up: a step of training on `size` pictures."""

    def setup():
        import mxnet as mx

        from reproduce import efficiency

        return efficiency.prepared("train", EXPERIMENT, size, mx.cpu())[0], size

    return setup


def vectors():
    """(embeddings, labels), as many as SOP's test set has."""
    return np.load(FOLDER / "vectors.npy"), np.load(FOLDER / "labels.npy")


def recall():
    """Set up: Recall@{1,10,100,1000}."""
    from gluon_cgd.recall import recall_at

    embeddings, labels = vectors()
    return lambda: list(recall_at((1, 10, 100, 1000), embeddings, labels).values()), len(embeddings)


def blocked_product():
    """Set up: the product of all pairs of embeddings, nothing else, in blocks of 64 MB."""
    embeddings, _ = vectors()
    step = max(1, 2**24 // len(embeddings))

    def call():
        for start in range(0, len(embeddings), step):
            embeddings[start : start + step] @ embeddings.T

    return call, len(embeddings)


def pipeline(cached):
    """Set up: batches of training pictures, cropped and flipped; from the cache, or decoded each time with cv2."""

    def setup():
        import cv2

        from gluon_cgd.datasets import cache, images
        from gluon_cgd.datasets.records import Record
        from gluon_cgd.sampler import ClassBalancedSampler

        cv2.setNumThreads(1)
        records = [Record(str(path), i // 4) for i, path in enumerate(sorted((FOLDER / "pictures").iterdir()))]
        sampler = ClassBalancedSampler([record.label for record in records], len(records) // 8, 4)
        kept = cache.cached(records, EXPERIMENT.resize, FOLDER / "cache")
        rounds, batch = (50 if cached else 1), 4 * (len(records) // 8)
        buffer = np.empty((batch, SIZE, SIZE, 3), np.uint8)

        def call():
            for iteration in range(rounds):
                indices, rng = sampler.batch(iteration)
                if cached:
                    images.augment(kept, indices, SIZE, rng, buffer)
                else:
                    read = [cv2.imread(records[i].path) for i in indices]
                    fresh = [cv2.resize(picture, (EXPERIMENT.resize,) * 2) for picture in read]
                    images.augment(np.stack(fresh), np.arange(batch), SIZE, rng, buffer)

        return call, rounds * batch

    return setup


PAIRS = 20  # in a turn: one pair alone takes too little time to be measured well


def pair(explained):
    """Set up: two pictures through the network, PAIRS times; with `explained` also their heatmaps."""

    def setup():
        from gluon_cgd import similarity
        from gluon_cgd.datasets import images

        net, ctx = load_model()
        two = pictures()[:2]
        how = similarity.arguments(similarity.weights_of(net), EXPERIMENT)

        def call():
            for _ in range(PAIRS):
                features = net.last_map(images.normalise(two, ctx)).asnumpy()
                if explained:
                    similarity.decompose(*features, **how)

        return call, PAIRS

    return setup


def importing(statement):
    """Set up: a new Python that runs `statement`."""

    def setup():
        import subprocess
        import sys

        return lambda: subprocess.run([sys.executable, "-c", statement], check=True) and None, 1

    return setup


TASKS = {
    "embed": embedding(),
    "embed onnxruntime": embedding("model.onnx", "onnxruntime"),
    "embed openvino": embedding("model.onnx", "openvino"),
    "embed int8 onnxruntime": embedding("int8.onnx", "onnxruntime"),
    "embed int8 openvino": embedding("int8.onnx", "openvino"),
    "embed few int8 onnxruntime": embedding("int8.onnx", "onnxruntime", few=True),
    "embed few int8 openvino": embedding("int8.onnx", "openvino", few=True),
    "network": network,
    "product": product,
    "train 32": training(32),
    "train 128": training(128),
    "recall": recall,
    "blocked product": blocked_product,
    "batches from the cache": pipeline(True),
    "batches decoded": pipeline(False),
    "pair": pair(False),
    "heatmap": pair(True),
    "import mxnet": importing("import mxnet"),
    "import gluon_cgd": importing("import gluon_cgd, mxnet"),
    "write models": lambda: (write_models, 1),
}

if __name__ == "__main__":
    serve(TASKS)
