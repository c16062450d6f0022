"""`python -m gluon_cgd data`: download, check and prepare a dataset."""

import sys

from gluon_cgd import datasets
from gluon_cgd.commands.options import add_allow_partial, name
from gluon_cgd.commands.output import say
from gluon_cgd.datasets import settings
from gluon_cgd.datasets.cache import cached, unreadable
from gluon_cgd.datasets.records import ceiling, counted, parts_of
from gluon_cgd.experiment import Experiment
from gluon_cgd.fetch import sources


def add_command(p):
    """The flags of `data`."""
    p.description = (
        "Prints where a dataset comes from. With --root it checks that the files in DIR are complete, and prints the "
        "numbers of pictures and classes."
    )
    help_text = f"{', '.join(datasets.NAMES)}, a folder with one folder per class, or a .csv file"
    p.add_argument("dataset", help=help_text)
    p.add_argument("--root", type=name, metavar="DIR", help="the folder that holds the dataset, or will hold it")
    p.add_argument("--download", action="store_true", help="download it into --root first (cub200 and sop only)")
    p.add_argument("--verify", action="store_true", help="decode every picture and check every box")
    help_text = "decode, crop and resize all pictures now, so that later runs need not"
    p.add_argument("--prepare", action="store_true", help=help_text)
    add_allow_partial(p)
    help_text = "the side of the network's input that --prepare is for (default 224)"
    p.add_argument("--input-size", type=int, default=224, metavar="N", help=help_text)
    p.set_defaults(run=data)


def data(options):
    """Print where a dataset comes from, or download, check, verify and prepare it."""
    dataset, progress = options.dataset, sys.stderr.isatty()
    fields = dict(dataset=dataset, input_size=options.input_size)
    experiment = Experiment(**fields)
    whole = datasets.whole_of(dataset)
    source = sources.SOURCES.get(whole)
    if source and not options.root:
        say(f"{dataset}: {source.words}. Then: python -m gluon_cgd data {dataset} --root DIR --verify --prepare")
        return
    if options.download:
        if not source:
            raise ValueError(f"{dataset} is nothing to download: --download is for {', '.join(sources.SOURCES)}")
        sources.obtain(whole, datasets.located(whole, options.root), progress)
    _, split, choices = settings.fitted(fields, options.root, options.allow_partial)
    drawn = [choice for choice in choices if choice.field in ("split", "held_out")]
    limits = [ceiling(split)] * bool(ceiling(split))
    say("\n".join([f"{dataset}: {counted(split)}", *limits, *settings.lines(drawn)]))
    if options.verify:
        verify(dataset, split, progress)
    if options.prepare:
        for part_name, part in parts_of(split):
            side = experiment.resize if part is split.train else experiment.input_size
            say(f"{part_name} pictures at {side} x {side}: {cached(part, side, progress=progress).filename}")


def verify(dataset, split, progress):
    """Decode every picture of `split`. Raises ValueError that names those that cannot be used."""
    # A picture that is in two parts, as query and in the gallery, is one picture
    problems = list(dict.fromkeys(sentence for _, part in parts_of(split) for sentence in unreadable(part, progress)))
    if problems:
        each = "".join(f"\n  - {sentence}" for sentence in problems)
        pictures = "1 picture" if len(problems) == 1 else f"{len(problems):,} pictures"
        raise ValueError(f"{pictures} of {dataset} cannot be used:{each}")
    say("every picture can be read, and every box is in its picture")
