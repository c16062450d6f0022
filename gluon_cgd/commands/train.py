"""`python -m gluon_cgd train` and `choose`: train one experiment, or find out which descriptors to combine."""

import argparse
import sys
from dataclasses import fields

import numpy as np

from gluon_cgd import choose as rule
from gluon_cgd.commands import card
from gluon_cgd.commands.evaluate import percent
from gluon_cgd.commands.options import add_ctx, add_data, name
from gluon_cgd.datasets import settings
from gluon_cgd.datasets.records import counted
from gluon_cgd.descriptors import DESCRIPTORS
from gluon_cgd.experiment import Experiment
from gluon_cgd.machine import devices
from gluon_cgd.models.opened import load_trained
from gluon_cgd.train import fit


def add_train(p):
    """The flags of `train`."""
    p.description = "Every default is the paper's, where it has one; on your own pictures, what fits them, with why."
    p.add_argument(
        "--out", required=True, type=name, metavar="DIR", help="the run's folder: log, checkpoint, parameters, result"
    )
    p.add_argument("--seed", type=int, default=0, help="of initialisation, batches and augmentation (default 0)")
    add_training(p)
    p.set_defaults(run=train)


def add_choose(p):
    """The flags of `choose`."""
    p.description = "Trains S, M and G, then the two best combined in both orders (section 3.4); says what to take."
    p.add_argument("--out", required=True, type=name, metavar="DIR", help="holds a run a configuration and seed")
    p.add_argument("--seeds", type=int, default=1, metavar="N", help="runs of each configuration (default 1)")
    add_training(p, left_out=("descriptors",))
    p.set_defaults(run=choose)


def add_training(p, left_out=()):
    """What both take: where to train, and a flag for every field of Experiment but those `left_out`."""
    add_data(p)
    add_ctx(p)
    help_text = "the backbone's ImageNet parameters, if not the published"
    p.add_argument("--weights", type=name, metavar="FILE", help=help_text)
    p.add_argument("--checkpoint-every", type=int, default=100, metavar="N", help="iterations (default 100)")
    help_text = "learn from each batch in N parts, where it does not fit into memory whole (default 1)"
    p.add_argument("--parts", type=int, default=1, metavar="N", help=help_text)
    add_experiment(p.add_argument_group("the experiment (each switch has its --no-)"), left_out)


def add_experiment(group, left_out):
    """Flags that mirror Experiment's fields, but for those `left_out`; what is not given is not in the options."""
    for field in fields(Experiment):
        if field.name in left_out:
            continue
        flag, default, meaning = "--" + field.name.replace("_", "-"), field.default, field.metadata["meaning"]
        if isinstance(default, bool) or default is None:
            switch = dict(dest=field.name, default=argparse.SUPPRESS)
            group.add_argument(flag, action="store_true", help=f"{meaning} ({default})", **switch)
            group.add_argument(f"--no-{flag[2:]}", action="store_false", **dict(switch, help=argparse.SUPPRESS))
        elif isinstance(default, tuple):
            shown = " ".join(f"{value:.3g}" for value in default)
            value = dict(type=float, nargs="*", metavar="F", default=argparse.SUPPRESS)
            group.add_argument(flag, help=f"{meaning} ({shown})", **value)
        else:
            shown = f"{default:.6g}" if isinstance(default, float) else default
            value = dict(type=type(default), metavar="X", default=argparse.SUPPRESS)
            group.add_argument(flag, help=f"{meaning} ({shown})", **value)


def train(options):
    """Train, print the untrained, the last and the best recall, and write the model's card."""
    experiment, split, where = asked(options)
    result = fit(experiment, split, options.out, seed=options.seed, **where)
    for which in ("untrained", "last", "best"):
        print(f"{which:9}  {percent(result[which])}")
    print(f"parameters {result['parameters_sha256']}")
    if not card.has_card(options.out):
        net, _ = load_trained(options.out, ctx=where["ctx"])
        card.write(options.out, net, experiment, split, where["ctx"], options)


def choose(options):
    """Train single descriptors and combinations of the two best, and print which to take and why."""
    if options.seeds < 1:
        raise ValueError(f"--seeds {options.seeds} must be at least 1")
    experiment, split, where = asked(options)
    print("\n".join(reasoning(rule.choose(experiment, split, options.out, options.seeds, **where))))


def asked(options):
    """(experiment, split, the other arguments of `train.fit`) that the command line asks for."""
    given = {f.name: getattr(options, f.name) for f in fields(Experiment) if hasattr(options, f.name)}
    if options.weights and not Experiment(**given).pretrained:
        raise ValueError("--weights and --no-pretrained contradict each other: leave one out")
    ctx = devices.contexts(options.ctx)
    where = dict(ctx=ctx, weights=options.weights, checkpoint_every=options.checkpoint_every, parts=options.parts)
    experiment, split, choices = settings.fitted(given, options.data, options.allow_partial)
    if choices:
        print("\n".join([f"{experiment.dataset}: {counted(split)}", *settings.lines(choices)]), flush=True)
    return experiment, split, dict(where, progress=sys.stderr.isatty())


def reasoning(choice):
    """What `choose` found and concluded, in lines for a person."""

    def told(recalls):
        spread = f" ± {100 * np.std(recalls, ddof=1):.2f} ({len(recalls)} runs)" if len(recalls) > 1 else ""
        return f"{100 * np.mean(recalls):.2f}{spread}"

    singles, pairs, best = choice["singles"], choice["pairs"], choice["best"]
    pair = next(iter(pairs))
    lines = ["Recall@1 in % of the single descriptors:"]
    lines += [f"  {letter}  {DESCRIPTORS[letter].__name__:5}{told(recalls)}" for letter, recalls in singles.items()]
    lines.append(f"The two best are {pair[0]} and {pair[1]}; combined, the first letter feeding the classifier:")
    lines += [f"  {name} {told(recalls)}" for name, recalls in pairs.items()]
    if best in pairs:
        lines.append(f"Take --descriptors {best}.")
    else:
        lines.append(f"Neither is above {best} alone, against the rule of section 3.4: take --descriptors {best}.")
    if choice["experiment"]["dim"] <= rule.SMALL_DIM:
        lines.append(
            f"At {choice['experiment']['dim']} dimensions section 3.4 advises few descriptors; look at S, M, G."
        )
    lines.append("(Chosen on the test part, as the paper does: expect a little less on pictures that nobody has seen.)")
    return lines
