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
from gluon_cgd.files import figures
from gluon_cgd.files.whole import write_json
from gluon_cgd.models.opened import open_model
from gluon_cgd.similarity import NAMES, decompose


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
    p.add_argument("--show-sum", action="store_true", help="write the sum of each heatmap under it")
    place = p.add_mutually_exclusive_group()
    place.add_argument(
        "--point", type=nonempty, metavar="X,Y", help="show what in the result answers this pixel of the query"
    )
    place.add_argument(
        "--box", type=nonempty, metavar="X1,Y1,X2,Y2", help="show what in the result answers these pixels of the query"
    )
    add_ctx(p, several=False)


def region(options, photo, shape):
    """(mask (h, w), rectangle in pixels) of the positions that --point or --box covers; (None, None) without both."""
    height, width = photo.shape[:2]
    if options.point:
        x1, y1 = parse_pixels("--point", options.point, "X,Y")
        x2, y2 = x1 + 1, y1 + 1
        rule = f"X must be from 0 to {width - 1}, Y from 0 to {height - 1}"
    elif options.box:
        x1, y1, x2, y2 = parse_pixels("--box", options.box, "X1,Y1,X2,Y2")
        rule = f"0 <= X1 < X2 <= {width} and 0 <= Y1 < Y2 <= {height} is needed"
    else:
        return None, None
    if not (0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height):
        place = options.point or options.box
        raise ValueError(f"{place} is not inside the query, which is {width} x {height} pixels: {rule}")
    rows, columns = shape
    # Every position that the rectangle touches
    top, bottom = y1 * rows // height, -(-y2 * rows // height)
    left, right = x1 * columns // width, -(-x2 * columns // width)
    mask = np.zeros(shape)
    mask[top:bottom, left:right] = 1
    return mask, (left * width / columns, top * height / rows, right * width / columns, bottom * height / rows)


def explain(options):
    """(both photos, Similarity, [(title, map1, map2)] to draw, rectangle or None, descriptors, the model in words)."""
    import cv2

    from gluon_cgd.datasets import images
    from gluon_cgd.evaluate import compute_named

    photos = [images.decode(path) for path in (options.query, options.result)]
    model = open_model(**best_model_of(options))
    effects.check(options, effects.BEST_RUN)
    source = options.checkpoint or options.model or model.about["source"]
    experiment, size = model.experiment, (model.input_size, model.input_size)
    resized = [cv2.resize(photo, size, interpolation=cv2.INTER_LINEAR) for photo in photos]
    features = compute_named(model.features, resized, (options.query, options.result))
    similarity = decompose(*features, **model.decomposing())
    names = [NAMES[letter] for letter in experiment.descriptors]
    if options.per_branch and len(names) == 1:
        raise ValueError(f"--per-branch is for several descriptors, and this model has {names[0]} alone: leave it out")
    mask, rectangle = region(options, photos[0], similarity.map1.shape)
    if mask is None:
        rows = [("all descriptors" if len(names) > 1 else names[0], similarity.map1, similarity.map2)]
    else:
        map2 = similarity.answer(mask)
        rows = [(f"the marked part: {map2.sum():+.4f} of {similarity.cosine:.4f}", similarity.map1 * mask, map2)]
    if options.per_branch:
        for name, (map1, map2) in zip(names, similarity.branches):
            rows.append((f"{name}: {map1.sum():+.4f} of {similarity.cosine:.4f}", map1, map2))
    caption = f"{model.about['name']}, trained on {Path(experiment.dataset).name} ({source})"
    return photos, similarity, rows, rectangle, names, caption


def draw(photos, cosine, rows, rectangle, show_sum, caption, file):
    """Draw `photos` under the heatmaps of each of `rows` into `file`; each row has its own colour scale.

    rows: [(title, map1, map2)].  rectangle: what to mark in the query, or None.  caption: what the model is.
    """
    from matplotlib.patches import Rectangle

    tallest = max(photo.shape[0] / photo.shape[1] for photo in photos)
    figure = figures.empty(8.6, 0.8 + (0.75 + 3.65 * min(tallest, 2)) * len(rows))
    figure.suptitle(f"cosine {cosine:.4f}\n", fontsize=13)
    figure.text(0.5, 1 - 0.36 / figure.get_figheight(), caption, ha="center", va="top", fontsize=7, color="0.35")
    for pair, (title, *maps) in zip(figure.subplots(len(rows), 2, squeeze=False), rows):
        heatmap = figures.heatmaps(pair, photos, maps)
        for axes, heat, name in zip(pair, maps, ("query", "result")):
            figures.frame(axes)
            axes.set_xlabel(name + f"\nsum {heat.sum():.4f}" * show_sum, fontsize=9)
        if rectangle:
            x1, y1, x2, y2 = rectangle
            pair[0].add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor="red", linewidth=2))
        pair[0].set_title(title, fontsize=10, loc="left")
        figure.colorbar(heatmap, ax=pair, shrink=0.8, label="what a position adds to the cosine")
    figures.save(figure, file)


def run(options):
    """Explain the pair, draw it, and write the numbers."""
    out = Path(options.out)
    figures.check("--out", out)
    photos, similarity, rows, rectangle, names, caption = explain(options)
    draw(photos, similarity.cosine, rows, rectangle, options.show_sum, caption, out)
    branches = {
        name: {"share": float(map1.sum()), "map1": map1.tolist(), "map2": map2.tolist()}
        for name, (map1, map2) in zip(names, similarity.branches)
    }
    drawn = [{"title": title, "map1": map1.tolist(), "map2": map2.tolist()} for title, map1, map2 in rows]
    values = dict(query=str(options.query), result=str(options.result), model=caption, cosine=similarity.cosine)
    write_json(out.with_suffix(".json"), {**values, "branches": branches, "drawn": drawn})
    say(f"cosine {similarity.cosine:.4f} by {caption}")
    for name, branch in branches.items():
        say(f"  {name}: {branch['share']:+.4f}")
    say(f"Written: {out}, {out.with_suffix('.json').name}")


RULES = (
    effects.Rule(
        ("per_branch",),
        lambda options: not (options.point or options.box),
        "{flags} is for whole pictures: leave it out with --point and --box",
    ),
)
main = main_of(__doc__, add_flags, run, rules=RULES)
