"""`python -m gluon_cgd data`: get, check and prepare a dataset."""

import sys

from gluon_cgd import datasets
from gluon_cgd.commands.options import add_allow_partial, name
from gluon_cgd.datasets import settings
from gluon_cgd.datasets.cache import cached, unreadable
from gluon_cgd.datasets.records import counted, parts_of
from gluon_cgd.experiment import Experiment
from gluon_cgd.fetch import sources


def add_command(p):
    """The flags of `data`."""
    p.add_argument("dataset", help=f"{', '.join(datasets.NAMES)}, a folder with a folder a class, or a .csv file")
    p.add_argument("--root", type=name, metavar="DIR", help="the folder that holds it, or is to hold it")
    p.add_argument("--download", action="store_true", help="get it first, where that is possible (cub200, sop)")
    p.add_argument("--verify", action="store_true", help="decode every picture and check every box")
    p.add_argument("--prepare", action="store_true", help="decode, crop and resize every picture for later runs")
    add_allow_partial(p)
    p.add_argument("--input-size", type=int, default=224, metavar="X", help="that --prepare is for (224)")
    p.set_defaults(run=data)


def data(options):
    """Say where a dataset comes from, get it, compare it with the official counts, decode it, prepare it."""
    name, progress = options.dataset, sys.stderr.isatty()
    given = dict(dataset=name, input_size=options.input_size)
    experiment = Experiment(**given)
    source = sources.SOURCES.get(name.replace("sop_mini", "sop"))
    if source and not options.root:
        print(f"{name}: {source.words}. Then: python -m gluon_cgd data {name} --root DIR --verify --prepare")
        return
    if options.download:
        if not source:
            raise ValueError(f"{name} is nothing to download: --download is for {', '.join(sources.SOURCES)}")
        sources.obtain(name.replace("sop_mini", "sop"), options.root, progress)
    _, split, choices = settings.fitted(given, options.root, options.allow_partial)
    drawn = [one for one in choices if one.field in ("split", "held_out")]
    print("\n".join([f"{name}: {counted(split)}", *settings.lines(drawn)]))
    parts = parts_of(split)
    if options.verify:
        wrong = [sentence for _, part in parts for sentence in unreadable(part, progress)]
        if wrong:
            shown = "".join(f"\n  - {sentence}" for sentence in wrong[:10])
            raise ValueError(
                f"{len(wrong):,} pictures of {name} cannot be used{', the first ten' * (len(wrong) > 10)}:{shown}"
            )
        print("every picture can be read, and every box is in its picture")
    if options.prepare:
        for part_name, part in parts:
            side = experiment.resize if part is split.train else experiment.input_size
            print(f"{part_name} pictures at {side} x {side}: {cached(part, side, progress=progress).filename}")
