"""What a request asks for, as values: every text that comes from outside is read here, or refused with 400."""

import math
import re

from gluon_cgd.serve.refusal import Refusal

IN_INDEX, UPLOADED = re.compile("[0-9a-f]{16}"), re.compile("u[0-9a-f]{40}")
SIDES = (320, 1280)  # of pictures that are sent, in pixels: in a list, and large
PAGES = 10**6


def shown(text):
    """`text` as a message quotes it, cut if it is long."""
    return repr(text if len(text) <= 40 else f"{text[:40]}...")


def picture(values, name):
    """The id of a picture that `values` hold under `name`. Raises Refusal for a text that cannot be one."""
    text = values.get(name, "")
    if not (IN_INDEX.fullmatch(text) or UPLOADED.fullmatch(text)):
        raise Refusal(400, f"{name}={shown(text)} names no picture: take an id that the page or /api/search gives")
    return text


def box(values):
    """(x1, y1, x2, y2) in pixels, or None without one. Whether it is inside the picture is known later."""
    text = values.get("box", "")
    if not text:
        return None
    if not re.fullmatch(r"\d{1,6}(,\d{1,6}){3}", text, re.ASCII):
        raise Refusal(400, f"box={shown(text)} must be X1,Y1,X2,Y2: whole numbers, in pixels of the query")
    return tuple(int(number) for number in text.split(","))


def region(values):
    """(left, top, right, bottom), each from 0 to 1, in parts of the picture's width and height; None without one."""
    text = values.get("region", "")
    if not text:
        return None
    numbers = tuple(map(_number, text.split(",")[:5]))
    if len(numbers) != 4 or None in numbers or not _is_inside(*numbers):
        rule = "four numbers from 0 to 1, of which the third is above the first and the fourth above the second"
        raise Refusal(400, f"region={shown(text)} must be LEFT,TOP,RIGHT,BOTTOM: {rule}")
    return numbers


def _is_inside(left, top, right, bottom):
    return 0 <= left < right <= 1 and 0 <= top < bottom <= 1


def least(values):
    """The least cosine of a result, -1 if none is named."""
    number = _number(values.get("min", "-1"))
    if number is None or not -1 <= number <= 1:
        raise Refusal(400, f"min={shown(values['min'])} must be a cosine, a number from -1 to 1")
    return number


def page(values):
    """The number of a page, from 1."""
    text = values.get("page", "1")
    if not re.fullmatch(r"[1-9]\d{0,6}", text, re.ASCII) or int(text) > PAGES:
        raise Refusal(400, f"page={shown(text)} must be a whole number from 1 to {PAGES:,}")
    return int(text)


def side(values):
    """The longer side of a picture that is to be sent, one of SIDES."""
    text = values.get("side", str(SIDES[0]))
    if text not in map(str, SIDES):
        raise Refusal(400, f"side={shown(text)} must be one of {', '.join(map(str, SIDES))}")
    return int(text)


def turned(values):
    """Whether the result is to stand on the left: turned=1."""
    text = values.get("turned", "0")
    if text not in ("0", "1"):
        raise Refusal(400, f"turned={shown(text)} must be 0 or 1")
    return text == "1"


def _number(text):
    """The finite number that `text` is, or None."""
    if not re.fullmatch(r"-?\d{0,20}(\.\d{0,20})?(e-?\d{1,3})?", text, re.ASCII):
        return None
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
