"""JPEG files as phones, editors and broken connections leave them."""

import io
import logging
import struct

import numpy as np
import pytest
from PIL import Image

from gluon_cgd.datasets import images, jpeg

KINDS = {
    "baseline": {},
    "progressive": dict(progressive=True),
    "optimised": dict(optimize=True),
    "restart": dict(restart_marker_rows=1),
    "fine": dict(quality=98, subsampling=0),
    "coarse": dict(quality=5),
}
END = b"\xff\xd9"


def photo(height=120, width=160, mode="RGB"):
    y, x = np.mgrid[:height, :width]
    noise = np.random.default_rng(0).normal(0, 12, (height, width, 1))
    values = np.stack([x, 2 * y, x + y], axis=-1) % 256 + noise
    return Image.fromarray(values.clip(0, 255).astype(np.uint8)).convert(mode)


def encoded(kind="baseline", mode="RGB", **more):
    out = io.BytesIO()
    photo(mode=mode).save(out, "JPEG", **{**KINDS[kind], **more})
    return out.getvalue()


def box(name, content):
    return struct.pack(">I", 8 + len(content)) + name + content


def decoded(tmp_path, data, name="a.jpg"):
    (tmp_path / name).write_bytes(data)
    return images.decode(tmp_path / name)


TRAILERS = {
    "a film with what looks like a scan": b"\0\0\0\x18ftypmp42\xff\xda\x00",
    "a film": box(b"ftyp", b"mp42\0\0\0\0") + box(b"mdat", bytes(range(256)) * 8 + b"\xff\xd8\xff\xda\xff\xd9\xff\xda"),
    "Samsung's": b"\0\0\x30\x0a\x10\0\0\0MotionPhoto_Data" + b"\xff\xda" * 9 + b"SEFH\x6a\0\0\0SEFT",
    "zeros": bytes(4096),
    "a second picture": encoded("progressive"),
    "half a second picture": encoded()[:900],
    "a second end": END + b"\xff\xda" + END,
    "a line of text": b"\r\n",
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("trailer", TRAILERS)
def test_what_follows_a_whole_picture_changes_nothing(tmp_path, caplog, kind, trailer):
    whole = encoded(kind)
    np.testing.assert_array_equal(decoded(tmp_path, whole + TRAILERS[trailer]), decoded(tmp_path, whole))
    assert not caplog.records


@pytest.mark.parametrize("trailer", ["", "a film with what looks like a scan", "a film", "a second picture"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_cut_in_its_data_is_refused_whatever_follows(tmp_path, kind, trailer):
    whole = encoded(kind)
    first = whole.index(b"\xff\xda") + 14
    for place in (first + 1, first + (len(whole) - first) // 3, first + (len(whole) - first) * 4 // 5, len(whole) - 40):
        if trailer and kind == "progressive":
            continue  # scans that end early are legal
        with pytest.raises(ValueError, match="a.jpg is cut off .*: get the picture again"):
            decoded(tmp_path, whole[:place] + TRAILERS.get(trailer, b""))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("zeros", [500, 5000])
def test_zeros_in_place_of_the_rest_are_not_taken_for_data(tmp_path, kind, zeros):
    whole = encoded(kind)
    for end in (b"", END) if zeros == 500 and kind != "progressive" else (b"",):
        with pytest.raises(ValueError, match="cut off"):
            decoded(tmp_path, whole[: len(whole) // 3] + bytes(zeros) + end)


@pytest.mark.parametrize("end", [END, b"\xff" + END, b"\0" + END])
def test_an_end_mark_behind_cut_data_does_not_make_them_whole(tmp_path, end):
    for kind in ("baseline", "restart", "optimised", "fine"):
        whole = encoded(kind)
        for share in (0.5, 0.9):
            with pytest.raises(ValueError, match="cut off"):
                decoded(tmp_path, whole[: int(len(whole) * share)] + end)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_that_lacks_its_end_mark_alone_is_read_with_a_warning(tmp_path, caplog, kind, mode):
    whole = encoded(kind, mode)
    expected = decoded(tmp_path, whole)
    for lacking in (whole[:-2], whole[:-1], whole[:-2] + b"\xff\xfe\0\x40half a comment"):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            np.testing.assert_array_equal(decoded(tmp_path, lacking), expected)
        assert "a.jpg has no end mark, but all of its picture: it is read" in caplog.text


@pytest.mark.parametrize("kind", KINDS)
def test_one_lost_byte_of_the_data_is_told_from_a_lost_end_mark(tmp_path, kind):
    whole = encoded(kind)
    expected = decoded(tmp_path, whole)
    for lost in range(3, 12):
        try:
            found = decoded(tmp_path, whole[:-lost])
        except ValueError as error:
            assert "cut off" in str(error)  # noqa: PT017
        else:  # bits that change no pixel
            np.testing.assert_array_equal(found, expected)


def test_a_progressive_picture_cut_between_two_scans_is_refused(tmp_path, caplog):
    whole = encoded("progressive")
    places = [at for at in range(2, len(whole)) if whole[at : at + 2] == b"\xff\xda"]
    assert len(places) > 5
    for place in places[1:]:
        with pytest.raises(ValueError, match="cut off"):
            decoded(tmp_path, whole[:place])
    with caplog.at_level(logging.WARNING):
        decoded(tmp_path, whole[: places[3]] + END)
    assert "lacks some of the scans of its picture, which may be blurred" in caplog.text


def test_thumbnails_and_fill_bytes_belong_to_the_header(tmp_path):
    whole, thumbnail = encoded(), encoded("coarse")
    segment = b"\xff\xe1" + (len(thumbnail) + 8).to_bytes(2, "big") + b"Exif\0\0" + thumbnail
    padded = whole[:2] + segment + b"\xff\xff\xff" + segment + b"\xff\xff" + whole[2:-2] + b"\xff\xff\xff" + END
    np.testing.assert_array_equal(decoded(tmp_path, padded), decoded(tmp_path, whole))
    for cut in (100, len(segment) - 3, len(segment) + 40, len(padded) - 60):
        with pytest.raises(ValueError, match=r"cut off|not a picture that can be read \(a JPEG without its size\)"):
            decoded(tmp_path, padded[:cut])


def test_a_grey_picture_is_not_taken_for_a_cut_one(tmp_path):
    out = io.BytesIO()
    Image.new("RGB", (64, 48), (128, 128, 128)).save(out, "JPEG")
    assert (decoded(tmp_path, out.getvalue()) == 128).all()


def test_the_structure_names_size_components_and_the_end_of_the_data():
    whole = encoded()
    assert jpeg.structure(whole + TRAILERS["a film"]) == (160, 120, 3, len(whole) - 2, True, True, 1, False)
    assert jpeg.structure(encoded(mode="CMYK"))[:3] == (160, 120, 4)
    assert jpeg.structure(whole[:-2])[3:5] == (len(whole) - 2, False)
    assert jpeg.structure(whole[:30]) is None
    assert jpeg.structure(b"\xff\xd8\xff\xd9") is None


@pytest.mark.parametrize(("near", "far"), [(1, 1), (2, 7), (50, 64), (1000, 1 << 20)])
def test_markers_are_found_wherever_the_data_are_divided(monkeypatch, near, far):
    files = [encoded(kind) + TRAILERS["a film"] for kind in KINDS] + [encoded(kind)[:-2] for kind in KINDS]
    expected = [jpeg.structure(data) for data in files]
    monkeypatch.setattr(jpeg, "NEAR", near)
    monkeypatch.setattr(jpeg, "FAR", far)
    assert [jpeg.structure(data) for data in files] == expected


def test_endless_markers_and_scans_are_refused_in_a_moment(tmp_path, monkeypatch):
    whole = encoded("progressive")
    with pytest.raises(ValueError, match="a JPEG without its size"):
        decoded(tmp_path, whole[:2] + b"\xff\x01" * 200_000 + whole[2:])
    last = whole.rindex(b"\xff\xda")
    bomb = whole[:-2] + whole[last:-2] * 3000 + END
    monkeypatch.setattr(images.formats, "PIXELS", 10**6)
    with pytest.raises(ValueError, match=r"a.jpg has 3,0\d\d scans, too many for its size: get it again"):
        decoded(tmp_path, bomb)
    assert decoded(tmp_path, whole[:-2] + whole[last:-2] * 50 + END).shape == (120, 160, 3)
