"""Made-up data and parameters for a rehearsal: in the real layouts, and never to be taken for real ones."""

import numpy as np
import pytest
from PIL import Image

from benchmarks import stand_ins
from gluon_cgd import datasets
from gluon_cgd.backbones import build
from gluon_cgd.datasets import Record, cache, layouts
from gluon_cgd.fetch import loading
from gluon_cgd.files import stand_in
from gluon_cgd.runs import findings

PAIRS = {"cars196": [(0, 0), (97, 5), (98, 0), (195, 81)], "cub200": [(0, 0), (99, 58), (100, 0), (199, 59)]}


@pytest.fixture
def alone(monkeypatch):
    """Pictures are drawn in this process."""

    class Pool:
        def __init__(self, cores):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *error):
            return None

        def submit(self, function, *values):
            value = function(*values)
            return type("Done", (), {"result": staticmethod(lambda: value)})()

    monkeypatch.setattr(stand_ins, "ProcessPoolExecutor", Pool)
    monkeypatch.setattr(stand_ins, "as_completed", list)


@pytest.mark.parametrize("name", ["cars196", "cub200"])
def test_counts_are_the_official_ones(name):
    pairs = stand_ins.listed(name)
    assert len(set(pairs)) == len(pairs)
    labels, first = np.array([label for label, _ in pairs]), 0
    for pictures, classes in datasets.OFFICIAL[name]:
        inside = labels[(labels >= first) & (labels < first + classes)]
        assert (len(inside), len(set(inside.tolist()))) == (pictures, classes)
        assert np.ptp(np.bincount(inside)[first:]) <= 1
        first += classes
    assert len(pairs) == {"cars196": 16185, "cub200": 11788}[name]


@pytest.mark.parametrize("name", ["cars196", "cub200"])
def test_the_reader_of_the_real_layout_reads_them(name, tmp_path, alone):
    root = stand_ins.write(name, tmp_path, PAIRS[name])
    split = getattr(layouts, name)(root)
    records = [*split.train, *split.query]
    assert [record.label for record in records] == [label for label, _ in PAIRS[name]]
    assert (len(split.train), len(split.query)) == (2, 2)
    for record, (label, index) in zip(records, PAIRS[name]):
        with Image.open(record.path) as picture:
            width, height = picture.size
            assert picture.format == "JPEG"
            assert (height, width, record.box) == stand_ins.measures(label, index)
        assert 300 <= min(width, height) <= max(width, height) <= 500
        x1, y1, x2, y2 = record.box
        assert 0 < x1 < x2 < width
        assert 0 < y1 < y2 < height
    assert "STAND-IN" in (root / "STAND-IN.txt").read_text()


def test_an_interrupted_copy_goes_on_to_the_same_bytes_and_a_whole_one_is_left_alone(tmp_path, alone, monkeypatch):
    root = stand_ins.write("cars196", tmp_path, PAIRS["cars196"])
    files = {file: file.read_bytes() for file in sorted(root.glob("car_ims/*.jpg"))}
    assert len(set(files.values())) == 4
    first, *others = files
    first.unlink()
    (root / "stand-in.complete").unlink()
    stand_ins.write("cars196", tmp_path, PAIRS["cars196"])
    assert {file: file.read_bytes() for file in sorted(root.glob("car_ims/*.jpg"))} == files
    monkeypatch.setattr(stand_ins, "drawn", lambda *_: pytest.fail("it was drawn again"))
    stand_ins.write("cars196", tmp_path, PAIRS["cars196"])


def test_two_classes_differ_more_than_two_pictures_of_one():
    def colour(label, index):
        picture, (_, _, (x1, y1, x2, y2)) = stand_ins.drawn(label, index), stand_ins.measures(label, index)
        return np.median(picture[(y1 + y2) // 2 - 20 :, (x1 + x2) // 2 - 20 :][:40, :40], axis=(0, 1))

    # Brightness apart, which varies in a class
    hues = {(label, index): colour(label, index) for label in (0, 1) for index in (0, 1)}
    hues = {place: hue / np.linalg.norm(hue) for place, hue in hues.items()}
    assert np.linalg.norm(hues[0, 0] - hues[0, 1]) < 0.2 < np.linalg.norm(hues[0, 0] - hues[1, 0])


def test_the_data_of_a_run_say_that_they_are_made_up(tmp_path):
    real, made_up = tmp_path / "1.jpg", tmp_path / f"{stand_in.PICTURE}1.jpg"
    for file in (real, made_up):
        file.write_bytes(b"picture")
    assert not cache.fingerprint([Record(str(real), 0)]).startswith(stand_in.MARK)
    one = cache.fingerprint([Record(str(real), 0), Record(str(made_up), 1)])
    assert one.startswith(stand_in.MARK)
    assert len(one) == len(stand_in.MARK) + 16


def test_made_up_parameters_are_those_of_the_network_and_say_what_they_are(tmp_path, caplog):
    file = stand_ins.write_parameters("cifar_resnet10", tmp_path)
    before = file.stat().st_mtime_ns
    assert stand_ins.write_parameters("cifar_resnet10", tmp_path).stat().st_mtime_ns == before
    again = stand_ins.write_parameters("cifar_resnet10", tmp_path / "again")
    assert again.read_bytes() == file.read_bytes()
    net = build("cifar_resnet10", pretrained=True, weights=file)
    assert all(np.isfinite(value.data().asnumpy()).all() for value in net.collect_params().values())
    assert f"{file} holds made-up parameters, for a rehearsal: they were never trained on ImageNet" in caplog.text
    assert loading.sha256_of(file).startswith(stand_in.MARK)
    real = tmp_path / "real.params"
    real.write_bytes(file.read_bytes()[:8] + bytes(8) + file.read_bytes()[16:])
    assert len(loading.sha256_of(real)) == 64


@pytest.mark.parametrize(
    ("result", "parts"),
    [
        ({"data": "stand-in 0123", "weights": "stand-in 4567"}, "pictures and parameters"),
        ({"data": "0123", "weights": "stand-in 4567"}, "parameters"),
        ({"data": "stand-in 0123", "weights": None}, "pictures"),
        ({"data": "0123", "weights": "4567"}, ""),
        ({}, ""),
    ],
)
def test_what_is_made_up_of_a_run_is_the_first_that_is_said_of_it(result, parts):
    assert stand_in.of(result) == parts
    sentence = f"a rehearsal: its {parts} are made up, so that its numbers say nothing about the paper"
    assert findings.made_up(result) == ({stand_in.FINDING: sentence} if parts else {})
