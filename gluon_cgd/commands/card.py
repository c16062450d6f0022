"""`python -m gluon_cgd card`: the card of a finished run, written anew."""

from pathlib import Path

from gluon_cgd import datasets
from gluon_cgd.cards.text import make
from gluon_cgd.commands.options import add_ctx, add_data, add_model
from gluon_cgd.machine import devices
from gluon_cgd.models.opened import load_trained


def add_command(p):
    """The flags of `card`."""
    add_model(p, exported=False, checkpoint="a run's folder (train --out); the card is written there")
    add_data(p)
    add_ctx(p)
    p.set_defaults(run=command)


def command(options):
    """Write the card that the command line asks for, and say where."""
    if options.checkpoint.endswith(".params"):
        raise ValueError(f"{options.checkpoint} is published and has no log: name the folder of its run")
    ctx = devices.contexts(options.ctx)
    net, experiment = load_trained(options.checkpoint, options.which, ctx)
    split = datasets.split_of(experiment, options.data, options.allow_partial)
    files = make(options.checkpoint, net, experiment, split, ctx, options.which or "last", flags(options))
    print(f"Written: {', '.join(map(str, files))}")


def flags(options):
    """What the command line says of where the data are, to be said again by the commands on the card."""
    named = ["--data", str(options.data)] if options.data else []
    return [*named, *["--allow-partial"] * bool(options.allow_partial)]


def is_there(folder):
    """Whether the run in `folder` has a card that is not older than its result."""
    files = [Path(folder) / name for name in ("card.md", "card.png", "result.json")]
    return all(file.is_file() for file in files) and files[0].stat().st_mtime >= files[2].stat().st_mtime
