"""`python -m gluon_cgd train` and `choose`: train one model, or find out which descriptors to combine."""

import argparse
import logging
import re
import sys
from dataclasses import fields

import numpy as np

from gluon_cgd import choose as rule
from gluon_cgd.backbones import BACKBONES
from gluon_cgd.commands import card
from gluon_cgd.commands.evaluate import percent
from gluon_cgd.commands.options import add_data, name
from gluon_cgd.commands.output import say
from gluon_cgd.datasets import settings
from gluon_cgd.datasets.records import counted
from gluon_cgd.descriptors import DESCRIPTORS
from gluon_cgd.engines import choice, process
from gluon_cgd.experiment import Experiment
from gluon_cgd.machine import devices
from gluon_cgd.models.opened import load_trained
from gluon_cgd.runs.fields import shown
from gluon_cgd.train import fit

log = logging.getLogger(__name__)
METAVARS = {int: "N", float: "F", str: "NAME"}
CHOSEN = {"keep_stride": "as in the paper", "frozen_batch_norm": "only those of a pretrained EfficientNet-Lite"}


def add_train(p):
    """The flags of `train`."""
    p.description = (
        "Trains one model and prints its Recall@K before training, at the end and at its best. Writes log, checkpoint, "
        "parameters, result and card into --out; an interrupted run goes on from its checkpoint. Defaults are the "
        "paper's, or ours where it has none. On a folder of your own pictures, settings that fit them are chosen, and "
        "printed with the reason."
    )
    p.add_argument("--out", required=True, type=name, metavar="DIR", help="the run's folder")
    help_text = "the seed of initialisation, batches and augmentation (default 0)"
    p.add_argument("--seed", type=int, default=0, metavar="N", help=help_text)
    add_training(p)
    p.set_defaults(run=train)


def add_choose(p):
    """The flags of `choose`."""
    p.description = (
        "Trains a model with each of the descriptors S, M and G, then the two best combined in both orders, and prints "
        "which --descriptors to take and why (section 3.4)."
    )
    p.add_argument("--out", required=True, type=name, metavar="DIR", help="the folder that receives the runs")
    p.add_argument("--seeds", type=int, default=1, metavar="N", help="the runs of each configuration (default 1)")
    add_training(p, left_out=("descriptors",))
    p.set_defaults(run=choose)


def add_training(p, left_out=()):
    """The flags of both: where to train, and one for each field of Experiment except those `left_out`."""
    add_data(p)
    add_engine(p)
    help_text = "a file of the backbone's ImageNet parameters (default: the published one)"
    p.add_argument("--weights", type=name, metavar="FILE", help=help_text)
    help_text = "write a checkpoint every N iterations (default: 100, fewer if those take ten minutes)"
    p.add_argument("--checkpoint-every", type=int, metavar="N", help=help_text)
    help_text = "compute each batch in N parts, if it does not fit into memory at once (default 1)"
    p.add_argument("--parts", type=int, default=1, metavar="N", help=help_text)
    group = p.add_argument_group("what is trained (defaults in brackets; each switch has its --no-)")
    help_text = "classes and pictures of each in a batch, as in 32x4 or 4x32: --batch-classes and --batch-images in one"
    group.add_argument("--batch", metavar="PxK", help=help_text)
    for field in fields(Experiment):
        if field.name not in left_out:
            add_field(group, field)


def add_engine(p):
    """The flags that say what trains: the engine, its precision and its devices."""
    help_text = "the devices: of MXNet cpu, gpu0, ..., of PyTorch cpu, cuda0, ..., mps; gpu0,gpu1 or cuda0,cuda1 share "
    p.add_argument(
        "--ctx", type=name, help=f"{help_text}each batch (default: a GPU if the engine can use one, else cpu)"
    )
    help_text = "what trains (default: mxnet; pytorch where MXNet has no code for the GPU that is there, or for --ctx)"
    p.add_argument("--engine", metavar="NAME", help=f"{help_text}; one of {', '.join(choice.ENGINES)}")
    help_text = f"of --engine pytorch: {', '.join(choice.PRECISIONS)} (default float32, the paper's)"
    p.add_argument("--precision", metavar="NAME", help=help_text)
    help_text = "let --engine pytorch repeat its results to the bit on a GPU too, which is slower"
    p.add_argument("--deterministic", action="store_true", help=help_text)


def add_field(group, field):
    """Add the flag of a `field` of Experiment. A flag that is not used leaves no value in the options."""
    flag, default = field.name.replace("_", "-"), field.default
    values = default if isinstance(default, tuple) else (default,)
    shown = " ".join(f"{value:.4g}" if isinstance(value, float) else str(value) for value in values)
    shown = CHOSEN[field.name] if default is None else shown
    help_text = field.metadata["meaning"] + (f" ({shown})" if shown else "")
    if field.name == "backbone":
        help_text += f"; one of {', '.join(BACKBONES)}, or gluoncv:NAME, gluoncv2:NAME, onnx:FILE (docs/backbones.md)"
    kind = dict(dest=field.name, default=argparse.SUPPRESS, help=help_text)
    if isinstance(default, bool) or default is None:
        group.add_argument(f"--{flag}", action="store_true", **kind)
        group.add_argument(f"--no-{flag}", action="store_false", **dict(kind, help=argparse.SUPPRESS))
    elif isinstance(default, tuple):
        group.add_argument(f"--{flag}", type=float, nargs="*", metavar="F", **kind)
    else:
        group.add_argument(f"--{flag}", type=type(default), metavar=METAVARS[type(default)], **kind)


def train(options):
    """Train, print the untrained, the last and the best recall, and write the model's card."""
    experiment, split, where = arguments_of(options)
    result = fit(experiment, split, options.out, seed=options.seed, **where)
    for which in ("untrained", "last", "best"):
        say(f"{which:9}  {percent(result[which])}")
    say(f"parameters {result['parameters_sha256']}")
    if not card.may_write(options.out):
        say(f"{options.out} may not be written to by this user: `card --out` writes a card elsewhere")
    elif not card.has_card(options.out):
        ctx = devices.contexts(None if "engine" in where else options.ctx)  # MXNet makes the card
        net, _ = load_trained(options.out, ctx=ctx)
        card.write(options.out, net, experiment, split, ctx, options)


def choose(options):
    """Train single descriptors, then the two best combined, and print which to take and why."""
    if not 1 <= options.seeds <= 1000:
        raise ValueError(f"--seeds {shown(options.seeds)} must be at least 1 and at most 1000")
    experiment, split, where = arguments_of(options)
    say("\n".join(reasoning(rule.choose(experiment, split, options.out, options.seeds, **where))))


def arguments_of(options):
    """(experiment, split, {other arguments of `train.fit`}) that `options` name; prints what was chosen."""
    values = {f.name: getattr(options, f.name) for f in fields(Experiment) if hasattr(options, f.name)}
    if options.batch is not None:
        values["batch_classes"], values["batch_images"] = shape_of(options.batch)
    where = trainer_of(options)
    where.update(weights=options.weights, checkpoint_every=options.checkpoint_every, parts=options.parts)
    experiment, split, choices = settings.fitted(values, options.data, options.allow_partial)
    if choices:
        say("\n".join([f"{experiment.dataset}: {counted(split)}", *settings.lines(choices)]), flush=True)
    return experiment, split, dict(where, progress=sys.stderr.isatty())


def shape_of(text):
    """(classes, pictures of each) of a batch that is named like "4x32". Raises ValueError for another text."""
    sides = re.fullmatch(r"\s*([0-9]{1,9})\s*[xX×]\s*([0-9]{1,9})\s*", text)
    if not sides:
        rule = "must be the classes of a batch, an x, and the pictures of each class"
        raise ValueError(f"--batch {shown(text)} {rule}: --batch 32x4 is the default, --batch 4x32 has few classes")
    return int(sides[1]), int(sides[2])


def trainer_of(options):
    """The arguments of `train.fit` that say what trains: its devices and, of PyTorch, engine, precision, ..."""
    engine = choice.chosen(options.engine, options.precision, options.deterministic, options.ctx)
    if engine.name == "pytorch":
        try:
            names = process.devices_of(options.ctx, engine.precision)  # before anything is prepared
            where = dict(ctx=",".join(names), **engine._asdict())
            where["engine"] = where.pop("name")
            return where
        except ValueError as error:
            if options.engine or options.ctx or options.precision or options.deterministic:
                raise
            log.warning("%s. Until then MXNet trains on the CPU", error)
    return dict(ctx=devices.contexts(options.ctx))


def reasoning(choice):
    """The lines that tell what `choose` measured and which descriptors to take."""

    def percent_of(recalls):
        spread = f" ± {100 * np.std(recalls, ddof=1):.2f} ({len(recalls)} runs)" if len(recalls) > 1 else ""
        return f"{100 * np.mean(recalls):.2f}{spread}"

    def fall(name):
        runs = [
            f"{100 * before:.2f} before training and {100 * after:.2f} after" for before, after in below.get(name, ())
        ]
        return f"  (worse than untrained: {'; '.join(runs)})" if runs else ""

    singles, pairs, best, below = (choice[part] for part in ("singles", "pairs", "best", "below"))
    pair = next(iter(pairs))
    lines = ["Recall@1 in % of the single descriptors:"]
    for letter, recalls in singles.items():
        lines.append(f"  {letter}  {DESCRIPTORS[letter].__name__:5}{percent_of(recalls)}{fall(letter)}")
    lines.append(f"The two best are {pair[0]} and {pair[1]}. Combined (the first letter feeds the classifier):")
    lines += [f"  {name} {percent_of(recalls)}{fall(name)}" for name, recalls in pairs.items()]
    for descriptors, counts in choice["margin"].items():
        number = len({**singles, **pairs}[descriptors])
        lines += [f"{descriptors}: {count} of {number} runs with {finding}." for finding, count in counts.items()]
    if choice["margin"] and best:
        lines.append("Such runs say little of the ranking loss, and so of this choice.")
        lines.append(f"Usual remedies: {choice['remedies']}.")
    if below and best:
        lines.append(f"Not considered, as training made them worse than they were: {', '.join(below)}.")
    if not best:
        lines.append("No configuration is recommended: training made each of them worse than its untrained network.")
        lines.append(f"Usual remedies: {choice['remedies']}.")
        return lines
    if best in pairs:
        lines.append(f"Take --descriptors {best}.")
    else:
        lines.append(f"Neither is better than {best} alone, unlike in section 3.4: take --descriptors {best}.")
    dim = choice["experiment"]["dim"]
    if dim <= rule.SMALL_DIM:
        lines.append(f"Section 3.4 advises few descriptors at {dim} dimensions: compare with S, M and G alone.")
    lines.append("(Chosen on the test pictures, as in the paper: expect a little less on other pictures.)")
    return lines
