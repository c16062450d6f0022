"""What makes two pictures alike: python visualize/similarity.py query.jpg result.jpg"""

if __name__ == "__main__":  # started by its name: go on as a module of the project
    import sys
    from pathlib import Path

    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from gluon_cgd.machine import process

    sys.exit(process.run_module("visualize.similarity", __file__))


import argparse
import sys
from pathlib import Path

import numpy as np

from gluon_cgd.files import figures
from gluon_cgd.files.figures import grey
from gluon_cgd.machine import facts, process
from gluon_cgd.models import onnx_model
from gluon_cgd.models import opened as models
from gluon_cgd.similarity import NAMES, answer, arguments, decompose

CHECKPOINT = "a run's folder or a published .params (default: of the runs, glyphs last, the one with the highest R@1)"
SHOWN = 640  # pixels of the longer side of a photo in the picture


def parser():
    """The command line."""
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("query", help="a picture")
    p.add_argument("result", help="another one")
    model = p.add_mutually_exclusive_group()
    model.add_argument("--checkpoint", metavar="PATH", help=CHECKPOINT)
    told = "a model that export --features wrote; it needs no MXNet"
    model.add_argument("--model", metavar="FILE", help=told)
    runtimes = tuple(onnx_model.RUNTIMES)
    p.add_argument("--runtime", choices=runtimes, help=f"what computes a --model (default {runtimes[0]})")
    p.add_argument("--which", choices=("last", "best"), help="of the run's parameters (default last)")
    p.add_argument("--runs", default=facts.PROJECT / "runs", metavar="DIR", help="where to look for the best model")
    p.add_argument("--out", default="similarity.png", help="the picture, .png, .pdf or .svg; a .json is put beside it")
    p.add_argument("--per-branch", action="store_true", help="a row for each descriptor too")
    p.add_argument("--show-sum", action="store_true", help="write under each map what it adds up to")
    place = p.add_mutually_exclusive_group()
    place.add_argument("--point", metavar="X,Y", help="in pixels of the query: what in the result answers this place")
    place.add_argument("--box", metavar="X1,Y1,X2,Y2", help="likewise, this part of the query")
    p.add_argument("--ctx", help="cpu or gpu0, gpu1, ... (default: gpu0 where there is one)")
    return p


def numbers(text, count, what):
    """The whole numbers of "3,4". Raises ValueError when there are not `count`."""
    try:
        found = [int(part) for part in text.split(",")]
    except ValueError:
        found = []
    if len(found) != count:
        raise ValueError(f"--{what} {text!r} must be {count} whole numbers with commas between: pixels of the query")
    return found


def region(options, photo, shape):
    """(mask (h, w) of the query's map that --point or --box covers, its rectangle in pixels), or (None, None)."""
    height, width = photo.shape[:2]
    if options.point:
        x1, y1 = numbers(options.point, 2, "point")
        x2, y2 = x1 + 1, y1 + 1
    elif options.box:
        x1, y1, x2, y2 = numbers(options.box, 4, "box")
    else:
        return None, None
    if not (0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height):
        raise ValueError(f"{options.point or options.box} is not inside the query, which is {width} x {height} pixels")
    rows, columns = shape
    # Every position that the rectangle touches
    top, bottom = y1 * rows // height, -(-y2 * rows // height)
    left, right = x1 * columns // width, -(-x2 * columns // width)
    mask = np.zeros(shape)
    mask[top:bottom, left:right] = 1
    return mask, (left * width / columns, top * height / rows, right * width / columns, bottom * height / rows)


def opened(options):
    """(where it is, Model) of the --model or the --checkpoint, or of the best run where none is named."""
    checkpoint = options.checkpoint
    if not options.model:
        from gluon_cgd.machine import devices  # it needs MXNet

        devices.context(options.ctx)  # one of them
        checkpoint = checkpoint or models.find_best(options.runs, options.which or "last")
    named = (checkpoint, options.model, options.which, options.ctx)
    return checkpoint or options.model, models.load(*named, None, None, options.runtime)


def explain(options):
    """(both photos, Similarity, [(title, map1, map2)] to draw, rectangle or None, names, of what model)."""
    import cv2

    from gluon_cgd.datasets import images

    photos = [images.decode(path) for path in (options.query, options.result)]
    source, model = opened(options)
    experiment, size = model.experiment, (model.side, model.side)
    how = arguments(model.weights(), experiment)
    features = model.features([cv2.resize(photo, size, interpolation=cv2.INTER_LINEAR) for photo in photos])
    found = decompose(*features, **how)
    names = [NAMES[letter] for letter in experiment.descriptors]
    mask, rectangle = region(options, photos[0], found.map1.shape)
    if mask is None:
        rows = [("all descriptors" if len(names) > 1 else names[0], found.map1, found.map2)]
    else:
        answered = answer(*features, mask, **how)
        rows = [(f"the marked part: {answered.sum():+.4f} of {found.cosine:.4f}", found.map1 * mask, answered)]
    if options.per_branch and mask is None and len(names) > 1:
        for name, (map1, map2) in zip(names, found.branches):
            rows.append((f"{name}: {map1.sum():+.4f} of {found.cosine:.4f}", map1, map2))
    told = f"{model.about['name']}, trained on {Path(experiment.dataset).name} ({source})"
    return photos, found, rows, rectangle, names, told


def draw(photos, cosine, rows, rectangle, show_sum, told, file):
    """The picture: a row for each of `rows`, both photos under their maps, one scale a row in units of the cosine."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    tallest = max(photo.shape[0] / photo.shape[1] for photo in photos)
    figure = Figure(figsize=(8.6, 0.8 + (0.75 + 3.65 * min(tallest, 2)) * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(f"cosine {cosine:.4f}\n", fontsize=13)
    figure.text(0.5, 1 - 0.36 / figure.get_figheight(), told, ha="center", va="top", fontsize=7, color="0.35")
    axes = figure.subplots(len(rows), 2, squeeze=False)
    for line, (title, *maps) in zip(axes, rows):
        low, high = min(0, *(m.min() for m in maps)), max(1e-9, *(m.max() for m in maps))
        scale = Normalize(low, high)
        for place, photo, heat, name in zip(line, photos, maps, ("query", "result")):
            height, width = photo.shape[:2]
            extent = (0, width, height, 0)
            place.imshow(grey(shrunk(photo)), extent=extent)
            shown = place.imshow(heat, extent=extent, cmap="viridis", norm=scale, alpha=0.6, interpolation="bilinear")
            place.set_xlim(0, width)
            place.set_ylim(height, 0)
            place.set_xticks([])
            place.set_yticks([])
            total = f"\nsum {heat.sum():.4f}" if show_sum else ""
            place.set_xlabel(f"{name}{total}", fontsize=9)
        if rectangle:
            x1, y1, x2, y2 = rectangle
            line[0].add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor="red", linewidth=2))
        line[0].set_title(title, fontsize=10, loc="left")
        figure.colorbar(shown, ax=line, shrink=0.8, label="cosine, a position")
    figures.save(figure, file)


def shrunk(photo):
    """`photo` (H, W, 3) with at most SHOWN pixels a side: a photo of 40 megapixels is not drawn as such."""
    import cv2

    factor = SHOWN / max(photo.shape[:2])
    return cv2.resize(photo, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA) if factor < 1 else photo


def run(options):
    """Explain, draw, and write the numbers; returns the exit status."""
    from gluon_cgd.files.whole import write_json

    out = Path(options.out)
    figures.check("--out", out)
    photos, found, rows, rectangle, names, told = explain(options)
    draw(photos, found.cosine, rows, rectangle, options.show_sum, told, out)
    branches = {
        name: {"share": float(m.sum()), "map1": m.tolist(), "map2": n.tolist()}
        for name, (m, n) in zip(names, found.branches)
    }
    values = dict(query=str(options.query), result=str(options.result), model=told, cosine=found.cosine)
    drawn = [{"title": title, "map1": m.tolist(), "map2": n.tolist()} for title, m, n in rows]
    write_json(out.with_suffix(".json"), {**values, "branches": branches, "drawn": drawn})
    print(f"cosine {found.cosine:.4f} by {told}")
    for name, (map1, _) in zip(names, found.branches):
        print(f"  {name}: {map1.sum():+.4f}")
    print(f"Written: {out}, {out.with_suffix('.json').name}")
    return 0


def main(arguments=None):
    """Run the command line; returns the exit status."""
    options = parser().parse_args(arguments)
    return process.exit_status(lambda: run(options))
