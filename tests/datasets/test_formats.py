"""What a picture's content may be, and how large it may claim to be."""

import io
import os
import struct
import sys
import types
import zlib

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image

from gluon_cgd.datasets import formats, images, values


def photo(width=60, height=40):
    y, x = np.mgrid[:height, :width]
    return Image.fromarray(np.stack([4 * x, 6 * y, 2 * (x + y)], axis=-1).astype(np.uint8))


def encoded(kind, picture=None, **options):
    out = io.BytesIO()
    (picture or photo()).save(out, kind, **options)
    return out.getvalue()


def written(tmp_path, data, name="a.png"):
    (tmp_path / name).write_bytes(data)
    return tmp_path / name


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM"])
@pytest.mark.parametrize("name", ["a.jpg", "a.eps", "a"])
def test_a_format_is_known_by_its_content_whatever_its_name(tmp_path, kind, name):
    found = images.decode(written(tmp_path, encoded(kind), name))
    assert found.shape == (40, 60, 3)
    assert np.abs(found.astype(int) - np.asarray(photo())).mean() < (30 if kind == "GIF" else 6)


@pytest.mark.parametrize("kind", ["EPS", "PDF", "TGA", "ICO", "PCX", "SGI", "JPEG2000", "DDS", "XBM", "IM"])
@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_another_format_is_refused_and_its_reader_never_asked(tmp_path, monkeypatch, kind, name):
    def never(*_):
        raise AssertionError("another reader was asked")

    data = encoded(kind, photo().convert("1") if kind == "XBM" else photo())
    for known, (_, accepts) in list(Image.OPEN.items()):
        monkeypatch.setitem(Image.OPEN, known, (never, accepts))
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", never)
    with pytest.raises(ValueError, match=rf"{name} is not a picture that can be read .*like none of JPEG, PNG, BMP"):
        images.decode(written(tmp_path, data, name))


def test_only_regular_files_are_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    os.symlink("/dev/zero", tmp_path / "zero.jpg")
    for name, what in (("pipe.jpg", "a named pipe"), ("zero.jpg", "a device")):
        with pytest.raises(ValueError, match=f"{name} is {what}: name a regular file"):
            images.decode(tmp_path / name)
    with pytest.raises(IsADirectoryError, match="is a folder: name one picture in it"):
        images.decode(tmp_path)


def chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(width, height):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def jpg(width, height, **options):
    data = encoded("JPEG", **options)
    place = data.index(b"\xff\xc2" if options.get("progressive") else b"\xff\xc0") + 5
    return data[:place] + struct.pack(">HH", height, width) + data[place + 4 :]


def bmp(width, height):
    return encoded("BMP")[:18] + struct.pack("<ii", width, height) + encoded("BMP")[26:]


def gif(width, height):
    return b"GIF89a" + struct.pack("<HH", width, height) + encoded("GIF")[10:]


def frame_of_gif(width, height):
    data = encoded("GIF")
    place = data.index(b"\x2c", 13 + 3 * 2 ** ((data[10] & 7) + 1))
    return data[: place + 5] + struct.pack("<HH", width, height) + data[place + 9 :]


def tif(width, height, tags=((256, 0), (257, 1))):
    data = bytearray(encoded("TIFF"))
    start = struct.unpack("<I", data[4:8])[0]
    for number in range(struct.unpack("<H", data[start : start + 2])[0]):
        place = start + 2 + 12 * number
        for tag, which in tags:
            if struct.unpack("<H", data[place : place + 2])[0] == tag:
                data[place : place + 12] = struct.pack("<HHII", tag, 4, 1, (width, height)[which])
    return bytes(data)


def tile_of_tif(width, height):
    """A TIFF of 60 x 40 whose only tile is larger."""
    numbers = {256: 60, 257: 40, 258: 8, 259: 1, 262: 1, 277: 1, 322: width, 323: height, 324: 8, 325: 2400}
    rows = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in numbers.items())
    place = 8 + 2400
    return b"II*\0" + struct.pack("<I", place) + bytes(2400) + struct.pack("<H", len(numbers)) + rows + bytes(4)


def ppm(width, height):
    return b"P6 %d %d 255\n" % (width, height) + bytes(100)


def webp(width, height):
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0\x02\0\0\0" + size


def lossless_webp(width, height):
    bits = (width - 1) | (height - 1) << 14
    return b"RIFF\x16\0\0\0WEBPVP8L\x0a\0\0\0\x2f" + bits.to_bytes(4, "little") + bytes(5)


LARGE = [
    *((maker, 32767, 32767) for maker in (png, jpg, bmp, gif, tif, tile_of_tif, ppm, webp)),
    *((maker, 16384, 15300) for maker in (png, jpg, bmp, gif, tif, ppm, webp, lossless_webp)),
    (png, 2**31 - 1, 2**31 - 1),
    (tif, 2**32 - 1, 2**32 - 1),
    (ppm, 10**9, 1),
    (jpg, 65500, 65500),
]


@pytest.mark.parametrize(("maker", "width", "height"), LARGE)
def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(tmp_path, maker, width, height):
    most = "125,000,000" if "webp" in maker.__name__ else "250,000,000"
    words = rf"a.jpg has {width:,} x {height:,} pixels, and at most {most} are decoded: save it smaller"
    with pytest.raises(ValueError, match=words):
        images.decode(written(tmp_path, maker(width, height), "a.jpg"))


def test_a_frame_of_too_many_pixels_is_refused_too(tmp_path):
    with pytest.raises(ValueError, match=r"a.png has more pixels than its header names, and at most 250,000,000 are"):
        images.decode(written(tmp_path, frame_of_gif(32767, 32767)))


@pytest.mark.parametrize("options", [{}, dict(progressive=True)])
def test_a_jpeg_of_a_few_bytes_cannot_claim_millions_of_pixels(tmp_path, monkeypatch, options):
    monkeypatch.setattr(images.cv2, "imdecode", lambda *_: pytest.fail("it was decoded"))
    with pytest.raises(ValueError, match="is cut off"):
        images.decode(written(tmp_path, jpg(15000, 15000, **options)))


def test_a_file_of_too_many_bytes_is_refused_unread(tmp_path):
    file = written(tmp_path, encoded("JPEG"))
    os.truncate(file, formats.BYTES + 1)  # a hole: it takes no room
    with pytest.raises(ValueError, match="has 1,000,000,001 bytes, more than the 1,000,000,000 that are read"):
        images.decode(file)


def test_the_first_of_many_pictures_in_a_file_is_read(tmp_path):
    more = [Image.new("RGB", (60, 40), (shade, 0, 0)) for shade in range(40)]
    for kind in ("GIF", "TIFF", "PNG", "WEBP"):
        data = encoded(kind, save_all=True, append_images=more, **({"lossless": True} if kind == "WEBP" else {}))
        found = images.decode(written(tmp_path, data))
        assert np.abs(found.astype(int) - np.asarray(photo())).mean() < 30


def test_text_that_unpacks_to_gigabytes_is_refused(tmp_path):
    data = png(4, 4)
    text = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(1 << 22)))
    with pytest.raises(ValueError, match="is not a picture that can be read"):
        images.decode(written(tmp_path, data[:33] + text + data[33:]))


def test_a_large_picture_is_converted_in_parts_to_the_same_values(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    deep = Image.fromarray(rng.integers(0, 65536, (40, 60), np.uint16))
    clear = Image.fromarray(rng.integers(0, 256, (40, 60, 4), np.uint8))
    pictures = [deep, clear, photo().convert("P"), photo().convert("L"), deep.convert("F"), deep.convert("I")]
    files = [
        written(tmp_path, encoded("TIFF" if picture.mode == "F" else "PNG", picture), f"{number}.png")
        for number, picture in enumerate(pictures)
    ]
    at_once = [images.decode(file) for file in files]
    monkeypatch.setattr(values, "BAND", 7 * 60)
    for file, expected in zip(files, at_once):
        np.testing.assert_array_equal(images.decode(file), expected)


@pytest.mark.parametrize(("kind", "brand"), [("HEIC", b"heic"), ("HEIC", b"mif1"), ("AVIF", b"avif")])
def test_heic_and_avif_are_read_where_pillow_heif_is_installed(tmp_path, monkeypatch, kind, brand):
    file = written(tmp_path, b"\0\0\0\x18ftyp" + brand + bytes(100), "a.heic")
    monkeypatch.setattr(formats, "installed", lambda name: False)
    with pytest.raises(ValueError, match=f"a.heic is a picture in {kind}, which needs the package pillow-heif: .*pip"):
        images.decode(file)
    monkeypatch.setattr(formats, "installed", lambda name: name == "pillow_heif")
    reader = types.ModuleType("pillow_heif")
    reader.HeifImageFile = lambda file: photo()
    monkeypatch.setitem(sys.modules, "pillow_heif", reader)
    np.testing.assert_array_equal(images.decode(file), np.asarray(photo()))


@pytest.mark.slow
def test_two_thousand_damaged_pictures_are_read_or_refused_by_name(tmp_path):
    rng, file, counts = np.random.default_rng(0), tmp_path / "damaged", {"read": 0, "refused": 0}
    clear, grey = photo().convert("RGBA"), photo().convert("L")
    files = [encoded("JPEG"), encoded("JPEG", progressive=True), encoded("JPEG", grey), encoded("PNG", clear)]
    files += [encoded("PNG"), encoded("BMP"), encoded("GIF"), encoded("TIFF"), encoded("WEBP"), encoded("PPM")]
    files += [encoded("TIFF", compression=kind) for kind in ("tiff_lzw", "tiff_deflate", "jpeg", "packbits")]
    for number in range(2000):
        data = bytearray(files[number % len(files)])
        for place in rng.integers(0, min(len(data), 10 ** rng.integers(1, 6)), rng.integers(1, 9)):
            data[place] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.integers(256)])
        if number % 4 == 0:
            del data[rng.integers(len(data)) :]
        file.write_bytes(bytes(data))
        try:
            assert images.decode(file).shape[2] == 3
            counts["read"] += 1
        except (ValueError, OSError) as error:
            assert str(file) in str(error)  # noqa: PT017
            counts["refused"] += 1
    assert min(counts.values()) > 300
