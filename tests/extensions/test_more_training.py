"""Each descriptor, attention and loss beyond the paper's trains to above its untrained value, hybridized and not."""

import mxnet as mx
import pytest
from PIL import Image

from gluon_cgd.datasets import Record, Split, glyphs
from gluon_cgd.experiment import Experiment
from gluon_cgd.train import fit

PIECES = [
    *({"descriptors": letter} for letter in "PQARWC"),
    *({"classification_loss": name} for name in ("normalised_softmax", "cosface", "arcface", "focal")),
    *({"loss": name} for name in ("multi_similarity", "proxy_anchor")),
    *({"attention": name} for name in ("se", "cbam")),
    {"erasing": 0.5, "colour_jitter": 0.4},
    {"whiten": True},
]


@pytest.fixture(scope="module")
def letters(tmp_path_factory):
    """12 training and 12 test classes of the mini benchmark's letters, 8 pictures each."""
    folder, records = tmp_path_factory.mktemp("letters"), []
    for label in (*range(12), *range(100, 112)):
        for index in range(8):
            file = folder / f"{label}-{index}.png"
            Image.fromarray(glyphs.picture(label, index)).save(file)
            records.append(Record(str(file), label))
    return Split([r for r in records if r.label < 100], [r for r in records if r.label >= 100])


def trained(letters, folder, **changes):
    """(untrained, last) Recall@1 of 64 steps of the mini benchmark's network."""
    tiny = dict(dataset="glyphs", backbone="small_resnet", input_size=32, dim=32, descriptors="S")
    short = dict(learning_rate=2e-3, batch_classes=6, batch_images=3, passes=12, evaluations=1, decay_at=(0.8,))
    result = fit(Experiment(**{**tiny, **short, **changes}), letters, folder, cache=folder)
    return result["untrained"]["R@1"], result["last"]["R@1"]


@pytest.mark.slow
@pytest.mark.parametrize("changes", PIECES, ids=lambda changes: "-".join(map(str, changes.values())))
def test_each_piece_trains_to_above_its_untrained_value(changes, letters, tmp_path):
    untrained, last = trained(letters, tmp_path, **changes)
    assert last > untrained + 0.05


@pytest.mark.slow
def test_all_of_them_train_together_and_not_hybridized(letters, tmp_path, monkeypatch):
    monkeypatch.setattr(mx.gluon.HybridBlock, "hybridize", lambda block, *_, **how: None)
    together = dict(descriptors="PQARWC", dim=36, classification_loss="cosface", loss="proxy_anchor", attention="cbam")
    untrained, last = trained(letters, tmp_path, **together)
    assert last > untrained + 0.05
