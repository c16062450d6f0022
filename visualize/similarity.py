"""What makes two pictures alike: python visualize/similarity.py query.jpg result.jpg"""

if __name__ == "__main__":  # started by its path: go on as a module of the project
    import _signal  # `signal` takes longer to import than all that comes before

    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)  # until the program runs, Ctrl-C ends it without a traceback
    import sys
    from pathlib import Path

    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from gluon_cgd.machine import process

    sys.exit(process.run_module("visualize.similarity", __file__))


from pathlib import Path

import numpy as np

from gluon_cgd.commands import effects
from gluon_cgd.commands.options import add_best_model, add_ctx, best_model_of, main_of, parse_pixels
from gluon_cgd.commands.output import say
from gluon_cgd.commands.parser import name as nonempty
from gluon_cgd.experiment import DESCRIPTOR_NAMES
from gluon_cgd.files import figures
from gluon_cgd.files.heatmaps import ALIKE, APART
from gluon_cgd.files.regular import read_json
from gluon_cgd.files.whole import check_target, write_json
from gluon_cgd.models.opened import open_model
from gluon_cgd.similarity import decompose
from visualize.pair import Row, draw

DRAWN = "drawn"  # in the file of numbers: what of it is in the figure


def add_flags(p):
    """The flags of this script."""
    p.add_argument("query", type=nonempty, help="a picture")
    p.add_argument("result", type=nonempty, help="another picture")
    add_best_model(p, exported=True)
    p.add_argument(
        "--out",
        type=nonempty,
        default="similarity.png",
        help="the figure, .png, .pdf or .svg; its numbers go into a .json",
    )
    p.add_argument("--per-branch", action="store_true", help="draw a row for each descriptor too")
    p.add_argument("--difference", action="store_true", help="draw what keeps the two apart too, the rest up to 1")
    p.add_argument("--show-sum", action="store_true", help="write the sum of each heatmap under it")
    place = p.add_mutually_exclusive_group()
    place.add_argument(
        "--point", type=nonempty, metavar="X,Y", help="show what in the result answers this pixel of the query"
    )
    place.add_argument(
        "--box", type=nonempty, metavar="X1,Y1,X2,Y2", help="show what in the result answers these pixels of the query"
    )
    add_ctx(p, several=False, exported=True)


def marked_pixels(options, photo):
    """The box x1, y1, x2, y2 in the query's `photo` that --point or --box marks; None without both."""
    height, width = photo.shape[:2]
    if options.point:
        x1, y1 = parse_pixels("--point", options.point, "X,Y")
        x2, y2 = x1 + 1, y1 + 1
        rule = f"X must be from 0 to {width - 1}, Y from 0 to {height - 1}"
    elif options.box:
        x1, y1, x2, y2 = parse_pixels("--box", options.box, "X1,Y1,X2,Y2")
        rule = f"0 <= X1 < X2 <= {width} and 0 <= Y1 < Y2 <= {height} is needed"
    else:
        return None
    if not (0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height):
        place = options.point or options.box
        raise ValueError(f"{place} is not inside the query, which is {width} x {height} pixels: {rule}")
    return x1, y1, x2, y2


def region(box, photo, shape):
    """(mask (h, w), rectangle in pixels) of the positions that the `box` in `photo` covers; (None, None) for no box."""
    if box is None:
        return None, None
    (x1, y1, x2, y2), (height, width), (rows, columns) = box, photo.shape[:2], shape
    # Every position that the rectangle touches
    top, bottom = y1 * rows // height, -(-y2 * rows // height)
    left, right = x1 * columns // width, -(-x2 * columns // width)
    mask = np.zeros(shape)
    mask[top:bottom, left:right] = 1
    return mask, (left * width / columns, top * height / rows, right * width / columns, bottom * height / rows)


def large_enough(photo, path):
    """`photo`. Raises ValueError if one of its sides is a single pixel: it has no parts that a heatmap could show."""
    height, width = photo.shape[:2]
    if min(height, width) < 2:
        raise ValueError(
            f"{path} is {width} x {height} pixels, and a heatmap needs at least 2 on each side: name another picture"
        )
    return photo


def explain(options):
    """(both photos, Similarity, Rows to draw, rectangle or None, names of the descriptors, the model in words)."""
    import cv2

    from gluon_cgd.datasets import images
    from gluon_cgd.evaluate import compute_named

    photos = [large_enough(images.decode(path), path) for path in (options.query, options.result)]
    box = marked_pixels(options, photos[0])
    model = open_model(**best_model_of(options))
    effects.check(options, effects.BEST_RUN)
    source = options.checkpoint or options.model or model.about["source"]
    experiment, size = model.experiment, (model.input_size, model.input_size)
    resized = [cv2.resize(photo, size, interpolation=cv2.INTER_LINEAR) for photo in photos]
    features = compute_named(model.features, resized, (options.query, options.result))
    similarity = decompose(*features, **model.decomposing())
    names = [DESCRIPTOR_NAMES.get(letter, letter) for letter in experiment.descriptors]
    if options.per_branch and len(names) == 1:
        raise ValueError(f"--per-branch is for several descriptors, and this model has {names[0]} alone: leave it out")
    mask, rectangle = region(box, photos[0], similarity.map1.shape)
    rows = asked(similarity, names, mask, options.per_branch)
    if options.difference:
        rows += difference(similarity, names, options.per_branch)
    return photos, similarity, rows, rectangle, names, described(model, source)


def described(model, source):
    """The `model` from `source` in words."""
    if model.about.get("pretrained"):  # by a library, which may have trained it on anything
        return f"{model.about['name']} ({source})"
    dataset = model.experiment.dataset
    return f"{model.about['name']}, trained on {Path(dataset).name or dataset} ({source})"


def asked(similarity, names, mask, per_branch):
    """The Rows of all descriptors, and with `per_branch` of each: of the whole pictures, or of what `mask` marks."""
    branches, part, marked = similarity.branches, "", mask is not None
    titles = ["all descriptors" if len(names) > 1 else names[0], *names]
    if marked:
        branches = [(map1 * mask, map2) for (map1, _), map2 in zip(branches, similarity.answers(mask))]
        titles, part = ["the marked part", *names], ", the marked part"
    whole = [np.sum(maps, axis=0) for maps in zip(*branches)]
    rows = []
    for title, (map1, map2) in zip(titles, [whole, *(branches if per_branch else ())]):
        if rows or marked:
            title = f"{title}{part * len(rows[:1])}: {map1.sum():+.4f} of {similarity.cosine:.4f}"
        rows.append(Row(title, map1, map2, ALIKE, marked))
    return rows


def difference(similarity, names, per_branch):
    """Yield the Rows of what keeps the pictures apart, of all descriptors, and with `per_branch` of each."""
    apart = similarity.difference()
    yield Row(f"what keeps them apart: 1 - cosine = {apart.distance:.4f}", apart.map1, apart.map2, APART)
    for name, (map1, map2) in zip(names, apart.branches if per_branch else ()):
        yield Row(f"{name} apart: {map1.sum():+.4f} of {apart.distance:.4f}", map1, map2, APART)


def parts(names, branches):
    """{descriptor: its share and its maps, as lists} of the (map1, map2) of each."""
    return {
        name: {"share": float(map1.sum()), "map1": map1.tolist(), "map2": map2.tolist()}
        for name, (map1, map2) in zip(names, branches)
    }


def check_numbers(file):
    """Raise ValueError if `file` is there and does not hold numbers of this script, which it overwrites."""
    check_target(file)
    if not file.exists():
        return
    try:
        ours = DRAWN in read_json(file)
    except (ValueError, TypeError):  # it is not JSON, or a number
        ours = False
    if not ours:
        raise ValueError(f"{file}, where the numbers go, is there and holds something else: name another --out")


def run(options):
    """Explain the pair, draw it, and write the numbers."""
    out = Path(options.out)
    figures.check("--out", out, (options.query, options.result))
    check_numbers(out.with_suffix(".json"))
    photos, similarity, rows, rectangle, names, caption = explain(options)
    draw(photos, similarity.cosine, rows, rectangle, options.show_sum, caption, out)
    values = dict(query=str(options.query), result=str(options.result), model=caption, cosine=similarity.cosine)
    values["branches"] = parts(names, similarity.branches)
    drawn = [{"title": row.title, "map1": row.map1.tolist(), "map2": row.map2.tolist()} for row in rows]
    say(f"cosine {similarity.cosine:.4f} by {caption}")
    say_shares(values["branches"])
    if options.difference:
        apart = similarity.difference()
        values["difference"] = dict(distance=apart.distance, branches=parts(names, apart.branches))
        say(f"1 - cosine {apart.distance:.4f}")
        say_shares(values["difference"]["branches"])
    write_json(out.with_suffix(".json"), {**values, DRAWN: drawn})
    say(f"Written: {out}, {out.with_suffix('.json').name}")


def say_shares(branches):
    """Print the share of each of the `parts`."""
    for name, branch in branches.items():
        say(f"  {name}: {branch['share']:+.4f}")


RULES = (
    effects.Rule(
        ("difference",),
        lambda options: not (options.point or options.box),
        "{flags} is for whole pictures: leave it out with --point and --box",
    ),
)
main = main_of(__doc__, add_flags, run, rules=RULES)
