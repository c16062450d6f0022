import io
import re
import struct
import zlib
from pathlib import Path

import cv2
import mxnet as mx
import numpy as np
import pytest
from PIL import Image, ImageFile

from gluon_cgd.datasets import images


def photo(height=40, width=60):
    y, x = np.mgrid[:height, :width]
    return np.stack([4 * x, 6 * y, 2 * (x + y)], axis=-1).astype(np.uint8)


def saved(file, picture=None, **options):
    Image.fromarray(photo() if picture is None else picture).save(file, **options)
    return str(file)


def test_a_picture_is_read_as_red_green_blue(tmp_path):
    exact = images.decode(saved(tmp_path / "a.png"))
    np.testing.assert_array_equal(exact, photo())
    jpeg = images.decode(saved(tmp_path / "a.jpg", quality=98, subsampling=0))
    assert np.abs(jpeg.astype(int) - photo()).max() < 12


def test_grey_palette_and_transparent_pictures_become_rgb(tmp_path):
    for mode in ("L", "P", "RGBA", "1"):
        Image.fromarray(photo()).convert(mode).save(tmp_path / f"{mode}.png")
        assert images.decode(str(tmp_path / f"{mode}.png")).shape == (40, 60, 3)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.bmp", "a.gif", "a.tif", "a.ppm", "a.webp"])
def test_fewer_pixels_can_be_allowed_than_are_decoded_by_default(tmp_path, name):
    file = saved(tmp_path / name)
    pixels = 2400 * (1 + name.endswith(".webp"))  # which takes twice the memory
    assert images.decode(file, pixels).shape == (40, 60, 3)
    with pytest.raises(ValueError, match=f"{name} has 60 x 40 pixels, and at most .* are decoded"):
        images.decode(file, pixels - 1 - name.endswith(".webp"))


def test_broken_files_are_refused_by_name(tmp_path):
    whole, png = (Path(saved(tmp_path / name)).read_bytes() for name in ("a.jpg", "a.png"))
    for name, data in (
        ("cut.jpg", whole[:-200]),
        ("half.jpg", whole[: len(whole) // 2]),
        ("head.jpg", whole[:20]),
        ("empty.jpg", b""),
        ("text.jpg", b"a photo of a car"),
        ("cut.png", png[:-300]),
        ("page.jpg", b"<html>404</html>"),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ValueError, match=name):
            images.decode(str(tmp_path / name))
    with pytest.raises(FileNotFoundError, match="nowhere.jpg"):
        images.decode(str(tmp_path / "nowhere.jpg"))


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.gif"])
def test_a_cut_file_is_refused_after_gluoncv_was_imported_too(tmp_path, monkeypatch, name):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)  # as GluonCV does for the whole process
    whole = Path(saved(tmp_path / name)).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=f"{name} is not a picture that can be read"):
        images.decode(str(tmp_path / name))


def png_of(width, height, interlace, rows):
    """A PNG of `rows` grey bytes whose header says width x height."""
    parts = ((b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, interlace)), (b"IDAT", zlib.compress(rows)))
    chunks = [
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in (*parts, (b"IEND", b""))
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def test_a_png_with_fewer_rows_than_its_header_names_is_refused(tmp_path):
    file, row = tmp_path / "short.png", b"\0" + b"\x80" * 20
    for rows in (row * 5, row * 9):
        file.write_bytes(png_of(20, 10, 0, rows))
        with pytest.raises(ValueError, match=r"short.png is cut off \(a PNG with fewer rows"):
            images.decode(str(file))
    black = png_of(20, 10, 0, row * 9 + bytes(21))
    file.write_bytes(black)
    assert images.decode(str(file))[:9].min() == 128  # a black last row is no fault
    of_passes = [(1 + w) * h for w, h in ((3, 2), (3, 2), (5, 1), (5, 3), (10, 2), (10, 5), (20, 5))]
    file.write_bytes(png_of(20, 10, 1, bytes(sum(of_passes))))
    assert images.decode(str(file)).shape == (10, 20, 3)


def test_a_tiff_with_fewer_strips_than_its_header_names_is_refused(tmp_path):
    file, strips = tmp_path / "short.tif", 4
    for height, offsets, whole in ((32, 4, True), (64, 4, False), (32, 3, False)):  # of strips with 8 rows
        pixels = bytes([128]) * 20 * 8 * strips
        places = [8 + 160 * i for i in range(offsets)] + [0] * (strips - offsets)  # 0: a hole
        numbers = b"".join(struct.pack("<I", number) for number in [*places, *[160] * strips])
        tags = [(256, 3, 1, 20), (257, 3, 1, height), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)]
        tags += [(273, 4, strips, 8 + len(pixels)), (277, 3, 1, 1), (278, 3, 1, 8), (279, 4, strips, 24 + len(pixels))]
        directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags) + bytes(4)
        file.write_bytes(b"II*\0" + struct.pack("<I", 8 + len(pixels) + len(numbers)) + pixels + numbers + directory)
        if whole:
            assert (images.decode(str(file)) == 128).all()
            continue
        with pytest.raises(ValueError, match=r"short.tif is cut off \(a TIFF with fewer rows"):
            images.decode(str(file))


def test_twelve_bits_that_are_saved_as_sixteen_are_told(tmp_path, caplog):
    grey = photo()[..., 0].astype(np.uint16)
    for scale, told in ((1, False), (4, True), (16, True), (257, False)):  # of 8, 10, 12 and 16 bits
        caplog.clear()
        images.decode(saved(tmp_path / "grey.png", grey * scale))
        assert ("grey.png is read nearly black: its largest value is" in caplog.text) == told


@pytest.mark.parametrize(("lowest", "highest"), [(0, np.nan), (-np.inf, 1), (-1, 1), (0, 2e9), (-32768, 255)])
def test_values_that_are_no_brightness_are_refused(tmp_path, lowest, highest):
    for kind in (np.float32, np.int32)[: 1 + bool(np.isfinite([lowest, highest]).all())]:
        picture = np.full((8, 9), lowest, kind)
        picture[0, 0] = highest
        with pytest.raises(ValueError, match="values.tif has values from .* scale them"):
            images.decode(saved(tmp_path / "values.tif", picture))


def test_a_cut_jpeg_with_a_thumbnail_is_still_noticed(tmp_path):
    thumbnail = io.BytesIO()
    Image.fromarray(photo()).save(thumbnail, "JPEG")
    exif = b"\xff\xe1" + (len(thumbnail.getvalue()) + 8).to_bytes(2, "big") + b"Exif\0\0" + thumbnail.getvalue()
    whole = Path(saved(tmp_path / "a.jpg")).read_bytes()
    (tmp_path / "b.jpg").write_bytes(whole[:2] + exif + whole[2:])
    images.decode(str(tmp_path / "b.jpg"))
    (tmp_path / "c.jpg").write_bytes((whole[:2] + exif + whole[2:])[:-100])
    with pytest.raises(ValueError, match="cut off"):
        images.decode(str(tmp_path / "c.jpg"))


def test_a_box_is_cut_out_with_its_far_corner_exclusive():
    np.testing.assert_array_equal(images.crop(photo(), (5, 4, 55, 36), "a"), photo()[4:36, 5:55])
    assert images.crop(photo(), (0, 0, 61, 40), "a").shape == (40, 60, 3)  # a pixel over: clipped
    assert images.crop(photo(), None, "a").shape == (40, 60, 3)


@pytest.mark.parametrize(
    "box", [(5, 4, 5, 36), (55, 4, 5, 36), (100, 0, 140, 30), (0, 0, 200, 40), (-50, 0, 20, 40), (0, 30, 60, 90)]
)
def test_an_empty_box_or_one_outside_its_picture_is_refused(box):
    with pytest.raises(ValueError, match=r"outside of car.jpg, which is 60 x 40"):
        images.crop(photo(), box, "car.jpg")


def test_a_batch_is_random_crops_half_of_them_flipped():
    side, size = 18, 16
    y, x = np.mgrid[:side, :side]
    pictures = np.stack([np.stack([y, x, np.full_like(x, i)], axis=-1) for i in range(4)]).astype(np.uint8)
    indices = np.tile(np.arange(4), 200)
    batch = images.augment(pictures, indices, size, np.random.default_rng(0))
    assert batch.shape == (800, 16, 16, 3)
    np.testing.assert_array_equal(batch[:, 0, 0, 2], indices)
    flipped = batch[:, 0, 0, 1] > batch[:, 0, 1, 1]
    assert 0.4 < flipped.mean() < 0.6
    tops, lefts = batch[:, 0, 0, 0], np.minimum(batch[:, 0, 0, 1], batch[:, 0, -1, 1])
    assert set(tops) == set(lefts) == {0, 1, 2}  # every one of the 3 x 3 places
    np.testing.assert_array_equal(batch, images.augment(pictures, indices, size, np.random.default_rng(0)))


def test_normalising_gives_imagenets_mean_and_deviation():
    batch = np.random.default_rng(0).integers(0, 256, (2, 5, 4, 3), dtype=np.uint8)
    expected = ((batch / 255 - images.MEAN) / images.STD).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(images.normalise(batch, mx.cpu()).asnumpy(), expected, atol=1e-5)


def test_resizing_equals_mxnets_bilinear_bit_for_bit():
    ours = cv2.resize(photo(), (18, 18), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(
        ours, mx.image.imresize(mx.nd.array(photo(), dtype="uint8"), 18, 18, interp=1).asnumpy()
    )


DAMAGED = [b"no EXIF at all", b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08\0\x09\x01\x12"]


@pytest.mark.parametrize("exif", DAMAGED)
@pytest.mark.parametrize("name", ["a.png", "a.webp"])
def test_a_sound_picture_whose_exif_is_damaged_is_read_as_it_lies(tmp_path, caplog, name, exif):
    lossless = {"lossless": True} if name == "a.webp" else {}
    np.testing.assert_array_equal(images.decode(saved(tmp_path / name, exif=exif, **lossless)), photo())
    assert re.search(rf"the EXIF of .*{name} is damaged \(\w+\): the picture is not turned", caplog.text)


def no_memory(*_, **__):
    error = cv2.error("(-4:Insufficient memory) Failed to allocate 192000000 bytes")
    error.code = cv2.Error.STS_NO_MEM
    raise error


def memory_error(*_, **__):
    raise MemoryError


LACKS = {
    "OpenCV decodes": ("a.jpg", cv2, "imdecode", no_memory),
    "OpenCV converts": ("a.jpg", cv2, "cvtColor", no_memory),
    "OpenCV resizes": ("a.png", cv2, "resize", no_memory),
    "Pillow decodes": ("a.png", ImageFile.ImageFile, "load", memory_error),
    "the EXIF is read": ("a.png", images.ImageOps, "exif_transpose", memory_error),
    "the end is checked": ("grey.jpg", images.jpeg.JpegImagePlugin, "JpegImageFile", memory_error),
}


@pytest.mark.parametrize("where", LACKS)
def test_a_lack_of_memory_is_not_taken_for_a_damaged_picture(tmp_path, monkeypatch, where):
    name, owner, function, lacking = LACKS[where]
    grey = np.full((40, 60, 3), 128, np.uint8)
    file = saved(tmp_path / name, grey if name == "grey.jpg" else None)
    with monkeypatch.context() as lack:
        lack.setattr(owner, function, lacking)
        with pytest.raises(MemoryError, match=f"{name} needs more memory than there is .*: close other programs"):
            images.load_picture(file, 16)
    assert images.load_picture(file, 16).shape == (16, 16, 3)
