"""`python -m gluon_cgd card`: writes the card of a finished run again."""

from pathlib import Path

from gluon_cgd import datasets
from gluon_cgd.cards.text import write_card
from gluon_cgd.commands import effects
from gluon_cgd.commands.options import add_ctx, add_data, add_model, name
from gluon_cgd.commands.output import say
from gluon_cgd.files.whole import check_target, may_write
from gluon_cgd.machine import devices
from gluon_cgd.models.opened import load_trained


def add_command(p):
    """The flags of `card`."""
    add_model(p, exported=False, checkpoint="a run's folder (train --out); the card is written there", pretrained=False)
    help_text = "the folder that receives the card (default: the run's; name another if that is another user's)"
    p.add_argument("--out", type=name, metavar="DIR", help=help_text)
    add_data(p)
    add_ctx(p)
    p.set_defaults(run=command)


def command(options):
    """Write the card of the run in --checkpoint."""
    if options.checkpoint.endswith(".params"):
        raise ValueError(f"{options.checkpoint} is a published file and has no log: name the folder of its run")
    out = options.out or options.checkpoint
    if options.out:
        check_target(Path(out) / "card.md")
    if Path(out).is_dir() and not may_write(out):
        raise ValueError(f"{out} may not be written to by this user: add --out DIR, a folder of your own")
    ctx = devices.contexts(options.ctx)
    net, experiment = load_trained(options.checkpoint, options.which, ctx)
    effects.check_data(options, experiment.dataset)
    split = datasets.split_of(experiment, options.data, options.allow_partial)
    write(options.checkpoint, net, experiment, split, ctx, options, options.which or "last", options.out)


def write(folder, net, experiment, split, ctx, options, which="last", out=None):
    """Write the card of the run in `folder` and print where; its commands repeat the flags about data in `options`."""
    flags = ["--data", str(options.data)] if options.data else []
    flags += ["--allow-partial"] * bool(options.allow_partial)
    files = write_card(folder, net, experiment, split, ctx, which, flags, out)
    say(f"Written: {', '.join(map(str, files))}")


def has_card(folder):
    """Whether the run in `folder` has a card that is not older than its result."""
    files = [Path(folder) / name for name in ("card.md", "card.png", "result.json")]
    return all(file.is_file() for file in files) and files[0].stat().st_mtime >= files[2].stat().st_mtime
