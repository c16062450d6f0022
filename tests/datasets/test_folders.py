import numpy as np
import pytest
from PIL import Image

from gluon_cgd import datasets
from gluon_cgd.datasets import images
from gluon_cgd.experiment import Experiment
from gluon_cgd.train import fit
from tests import miniatures


def labels(records):
    return {r.label for r in records}


def test_a_folder_is_split_by_classes_with_a_seed(tmp_path, caplog):
    miniatures.folder(tmp_path, classes=6)
    split = datasets.load(str(tmp_path))
    assert len(labels(split.train)) == len(labels(split.query)) == 3
    assert not labels(split.train) & labels(split.query)
    assert split == datasets.load(str(tmp_path))
    assert any(datasets.load(str(tmp_path), split_seed=seed) != split for seed in range(1, 4))
    assert len(labels(datasets.load(str(tmp_path), held_out=0.34).query)) == 2
    assert "1 files are no pictures of a class and are left out, the first is" in caplog.text
    assert "notes.txt" in caplog.text


def test_a_folder_can_be_split_by_images_of_every_class(tmp_path, caplog):
    miniatures.folder(tmp_path, classes=4, images=10)
    miniatures.picture(tmp_path / "rare/1.jpg", 9)
    split = datasets.load(str(tmp_path), split="images", held_out=0.3)
    assert [sum(r.label == label for r in split.query) for label in range(5)] == [3, 3, 3, 3, 0]
    assert [sum(r.label == label for r in split.train) for label in range(5)] == [7, 7, 7, 7, 1]
    assert not {r.path for r in split.train} & {r.path for r in split.query}
    assert "1 classes have fewer than 4 pictures and are only trained on, the first is rare" in caplog.text


def test_a_folder_may_say_its_split_itself(tmp_path):
    for part in ("train", "query", "gallery"):
        miniatures.folder(tmp_path / part, classes=2 if part == "train" else 3, images=2)
    split = datasets.load(str(tmp_path))
    assert [len(part) for part in split] == [4, 6, 6]
    assert labels(split.query) == labels(split.gallery) == {0, 1, 2}
    assert all("/query/" in r.path for r in split.query)


def test_a_csv_file_gives_paths_labels_and_boxes(tmp_path):
    file = miniatures.csv(tmp_path)
    split = datasets.load(str(file))
    assert len(split.train) + len(split.query) == 30
    assert split.train[0].box == (4, 3, 60, 45)
    assert split.train[0].path.startswith(str(tmp_path / "photos"))
    plain = miniatures.csv(tmp_path / "plain", header="path,label", tail="")
    assert datasets.load(str(plain)).train[0].box is None


def test_a_csv_file_may_say_its_split_itself(tmp_path):
    file = miniatures.csv(tmp_path, header="path,label,split", tail=",train")
    lines = file.read_text().splitlines()
    lines[-6:] = [line.replace(",train", ",test") for line in lines[-6:]]
    file.write_text("\n".join(lines))
    split = datasets.load(str(file))
    assert (len(split.train), len(split.query), split.gallery) == (24, 6, None)
    assert labels(split.query) == {4}


def test_a_folder_is_trained_on(tmp_path):
    miniatures.folder(tmp_path / "photos")
    small = dict(backbone="cifar_resnet10", pretrained=False, input_size=16, descriptors="G", dim=8)
    short = dict(batch_classes=2, batch_images=2, passes=1, evaluations=1)
    experiment = Experiment(str(tmp_path / "photos"), **small, **short)
    assert fit(experiment, datasets.load(experiment.dataset), tmp_path / "run")["classes"] == 3


def colours():
    y, x = np.mgrid[:40, :60]
    return np.stack([4 * x, 6 * y, 255 - 4 * x], axis=-1).astype(np.uint8)


def test_pictures_of_every_kind_look_as_a_person_sees_them(tmp_path):
    rgb = Image.fromarray(colours())
    rgb.save(tmp_path / "rgb.png")
    rgb.convert("CMYK").save(tmp_path / "cmyk.jpg", quality=98)
    rgb.convert("CMYK").save(tmp_path / "cmyk.tif")
    rgb.quantize(256).save(tmp_path / "palette.png")
    rgb.save(tmp_path / "a.webp", quality=98)
    rgb.save(tmp_path / "a.bmp")
    rgb.convert("RGBA").save(tmp_path / "rgba.png")
    for file in sorted(tmp_path.iterdir()):
        seen = images.decode(str(file)).astype(int)
        assert seen.shape == (40, 60, 3), file.name
        assert np.abs(seen - colours()).mean() < 12, file.name


def test_16_bits_are_scaled_not_cut(tmp_path):
    ramp = np.linspace(0, 65535, 60 * 40).reshape(40, 60).astype(np.uint16)
    for name in ("a.png", "a.tif"):
        Image.fromarray(ramp).save(tmp_path / name)
        seen = images.decode(str(tmp_path / name))
        np.testing.assert_allclose(seen[..., 0], ramp / 257, atol=1)
        assert (seen[..., 0] == seen[..., 2]).all()


def test_floats_between_0_and_1_are_not_black(tmp_path):
    Image.fromarray(np.linspace(0, 1, 2400, dtype=np.float32).reshape(40, 60)).save(tmp_path / "a.tif")
    assert 100 < images.decode(str(tmp_path / "a.tif")).mean() < 150


def test_transparency_is_white_paper(tmp_path):
    picture = np.dstack([colours(), np.zeros((40, 60), np.uint8)])
    picture[:, 30:, 3] = 255
    Image.fromarray(picture).save(tmp_path / "a.png")
    palette = Image.fromarray(picture[..., 3]).convert("P")
    palette.save(tmp_path / "p.png", transparency=0)
    seen = images.decode(str(tmp_path / "a.png"))
    assert (seen[:, :30] == 255).all()
    np.testing.assert_array_equal(seen[:, 30:], colours()[:, 30:])
    assert (images.decode(str(tmp_path / "p.png"))[:, :30] == 255).all()


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
def test_a_picture_taken_sideways_stands_upright(tmp_path, suffix):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise to see it
    Image.fromarray(colours()).save(tmp_path / f"a.{suffix}", exif=exif, **({"quality": 98} if suffix == "jpg" else {}))
    seen = images.decode(str(tmp_path / f"a.{suffix}")).astype(int)
    assert np.abs(seen - np.rot90(colours(), -1)).mean() < 6
