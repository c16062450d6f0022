"""2,000 damaged checkpoints, models and indexes: each is refused in a sentence, or is read as if it were undamaged."""

import random
import shutil
from collections import Counter

import numpy as np
import pytest

from gluon_cgd import train
from gluon_cgd.models import opened
from gluon_cgd.retrieval import collection, exact
from gluon_cgd.runs import checkpoint
from tests.campaigns.damage import KINDS, damaged

pytestmark = pytest.mark.slow


def refusal(error, file):
    """Check that `error` is a sentence which names a file and a remedy."""
    text = str(error)
    assert ": " in text, text
    assert len(text) < 700, text
    assert str(file.parent) in text, text
    assert not any(word in text for word in ("Traceback", "src/", "Stack trace")), text


def attempts(number, seed, file):
    """Yield (kind, attempt) for `number` damages of `file`, which is damaged meanwhile and restored at the end."""
    rng, whole, kinds = random.Random(seed), file.read_bytes(), Counter()
    for _ in range(number):
        kind, data = damaged(whole, rng)
        file.write_bytes(data)
        kinds[kind] += 1
        yield kind
    file.write_bytes(whole)
    assert set(kinds) == set(KINDS) or not whole  # in an empty file nothing can be flipped


@pytest.fixture(scope="module")
def stopped(tmp_path_factory, small_split):
    """The folder of a run that was interrupted after its first checkpoints."""
    from gluon_cgd.experiment import Experiment

    experiment = Experiment(
        dataset="glyphs", backbone="cifar_resnet10", pretrained=False, input_size=16, descriptors="SM", dim=8, passes=2,
        batch_classes=4, batch_images=2, evaluations=3, learning_rate=1e-3,
    )  # fmt: skip
    folder, step = tmp_path_factory.mktemp("stopped"), train.Run.step

    def interrupted(run, *arguments):
        if run.iteration == 7:
            raise KeyboardInterrupt
        return step(run, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train.Run, "step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train.fit(experiment, small_split, folder / "run", cache=folder / "cache", checkpoint_every=2)
    return folder / "run"


def test_a_damaged_checkpoint_is_refused_or_read_to_the_same_bits(stopped):
    file = stopped / "checkpoint.npz"
    arrays, meta = checkpoint.load_checkpoint(file)
    refused = 0
    for kind in attempts(600, 0, file):
        try:
            found, about = checkpoint.load_checkpoint(file)
        except ValueError as error:
            refusal(error, file)
            refused += 1
        else:  # a flipped bit in a date of the zip archive
            assert about == meta, kind
            assert set(found) == set(arrays), kind
            for name in arrays:
                np.testing.assert_array_equal(found[name], arrays[name])
    assert refused > 500


@pytest.mark.parametrize(("name", "number"), [("last.params", 150), ("result.json", 250)])
def test_a_damaged_run_is_refused_or_gives_the_same_model(exported, tmp_path, name, number):
    from gluon_cgd.runs.parameters import parameters_hash

    shutil.copytree(exported / "run", tmp_path / "run")
    before = parameters_hash(opened.load_trained(tmp_path / "run")[0])
    experiment = opened.load_trained(tmp_path / "run")[1]
    for kind in attempts(number, 1, tmp_path / "run" / name):
        try:
            net, read = opened.load_trained(tmp_path / "run")
        except (ValueError, FileNotFoundError) as error:
            refusal(error, tmp_path / "run" / name)
        else:
            assert name == "result.json", kind  # the parameters have their hash there
            if read == experiment:
                assert parameters_hash(net) == before, kind


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    """An index of 40 pictures of which three are dead, and the answer to a search in it."""
    folder, rng = tmp_path_factory.mktemp("index"), np.random.default_rng(0)
    vectors = rng.normal(size=(43, 8))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    names = [f"/photos/{'n' * (i % 7)}{i}.jpg" for i in range(43)]
    stat = folder.stat()
    with collection.writing(folder / "idx", 8, {"name": "a model"}) as writer:
        writer.commit(vectors[:20], names[:20], [stat] * 20)
        writer.commit(vectors[20:], names[20:], [stat] * 23, dead=[1, 5, 19])
    return folder / "idx"


def answer(folder):
    """What a search in the index `folder` gives: [(path, cosine), ...] of all pictures, for three queries."""
    snapshot = collection.read(folder)
    queries = np.eye(3, snapshot.dim, dtype=np.float32)
    found = exact.search(snapshot, queries, 40)
    return [[(snapshot.path(row), round(float(cosine), 6)) for cosine, row in zip(*one)] for one in found]


def test_a_damaged_index_is_refused_or_gives_the_same_answer(index, capsys):
    right, silent = answer(index), Counter()
    files = sorted(file for file in index.iterdir() if file.name != "lock")
    assert len(files) >= 5
    for number, file in enumerate(files):
        for kind in attempts(1000 // len(files), 10 + number, file):
            try:
                found = answer(index)
            except (ValueError, FileNotFoundError) as error:
                refusal(error, file)
            else:
                silent[file.name, kind] += found != right
    assert not +silent, f"other answers without a word: {dict(+silent)}"
    assert answer(index) == right
