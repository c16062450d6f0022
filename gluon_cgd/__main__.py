"""`python -m gluon_cgd train`, `choose`, `evaluate`, ... Exit status: 0 done, 2 refused, with a sentence on stderr."""

import argparse
import json
import logging
import sys
from dataclasses import fields, replace
from pathlib import Path

from tqdm.contrib.logging import logging_redirect_tqdm

from . import card, datasets, defaults, doctor, embed, export, runtime, search, trained
from .cache import cached, unreadable
from .experiment import Experiment
from .records import counted, parts_of


def parser():
    """The command line; `train` has a flag for every field of Experiment."""
    p = argparse.ArgumentParser(prog="python -m gluon_cgd", description=__doc__.splitlines()[0])
    commands = p.add_subparsers(dest="command", required=True)
    t = commands.add_parser(
        "train",
        help="train one experiment",
        description="Every default is the paper's, where it has one; on your own pictures, what fits them, with why.",
    )
    t.add_argument(
        "--out", required=True, type=named, metavar="DIR", help="the run's folder: log, checkpoint, parameters, result"
    )
    t.add_argument("--seed", type=int, default=0, help="of initialisation, batches and augmentation (default 0)")
    c = commands.add_parser(
        "choose",
        help="which descriptors to combine on a dataset",
        description="Trains S, M and G, then the two best combined in both orders (section 3.4); says what to take.",
    )
    c.add_argument("--out", required=True, type=named, metavar="DIR", help="holds a run a configuration and seed")
    c.add_argument("--seeds", type=int, default=1, metavar="N", help="runs of each configuration (default 1)")
    for command in (t, c):
        command.add_argument(
            "--weights", type=named, metavar="FILE", help="the backbone's ImageNet parameters, if not the published"
        )
        command.add_argument("--checkpoint-every", type=int, default=100, metavar="N", help="iterations (default 100)")
        help_text = "learn from each batch in N parts, where it does not fit into memory whole (default 1)"
        command.add_argument("--parts", type=int, default=1, metavar="N", help=help_text)
        left_out = ("descriptors",) if command is c else ()
        add_experiment(command.add_argument_group("the experiment (each switch has its --no-)"), left_out)
    e = commands.add_parser("evaluate", help="recall of a trained model")
    trained.add_flags(e, symbol=True)
    e.add_argument("--epoch", type=int, metavar="N", help="of the symbol's parameters, where there is more than one")
    e.add_argument("--input-size", type=int, metavar="X", help="of the symbol's pictures (224)")
    s = commands.add_parser("publish", help="write a trained model as a file that one can hand to somebody else")
    s.add_argument(
        "--checkpoint", required=True, type=named, metavar="DIR", help="a run's folder, as given to train --out"
    )
    s.add_argument("--which", choices=("last", "best"), default="last", help="of the run's parameters (default last)")
    s.add_argument("--out", required=True, type=named, metavar="DIR", help="receives NAME-HASH.params and its .json")
    e.add_argument("--dataset", type=named, help="evaluate on another dataset than it was trained on")
    e.add_argument("--json", action="store_true", help="print JSON")
    card.add_command(commands)
    export.add_command(commands)
    embed.add_command(commands)
    d = commands.add_parser("data", help="get, check and prepare a dataset")
    d.add_argument("dataset", help=f"{', '.join(datasets.NAMES)}, a folder with a folder a class, or a .csv file")
    d.add_argument("--root", type=named, metavar="DIR", help="the folder that holds it, or is to hold it")
    d.add_argument("--download", action="store_true", help="get it first, where that is possible (cub200, sop)")
    d.add_argument("--verify", action="store_true", help="decode every picture and check every box")
    d.add_argument("--prepare", action="store_true", help="decode, crop and resize every picture for later runs")
    d.add_argument("--allow-partial", action="store_true", help="go on with an incomplete copy of the dataset")
    d.add_argument("--input-size", type=int, default=224, metavar="X", help="that --prepare is for (224)")
    doctor.add_arguments(commands.add_parser("doctor", help="what of this machine is ready, and what to do about it"))
    for command in (t, c, e, commands.choices["card"]):
        command.add_argument(
            "--data", type=named, metavar="DIR", help="the dataset's folder, or one that holds it under its name"
        )
        command.add_argument(
            "--allow-partial", action="store_true", help="go on with an incomplete copy of the dataset"
        )
        command.add_argument(
            "--ctx",
            help="cpu, gpu0, ..., or several that share each batch: gpu0,gpu1 (default: gpu0 where there is one)",
        )
    search.add_commands(commands, named)
    return p


def named(text):
    """A name given on the command line: anything but nothing."""
    if not text:
        raise argparse.ArgumentTypeError("an empty name")
    return text


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
    from .checkpoint import load_trained
    from .train import fit

    experiment, split, where = asked(options)
    result = fit(experiment, split, options.out, seed=options.seed, **where)
    for which in ("untrained", "last", "best"):
        print(f"{which:9}  {percent(result[which])}")
    print(f"parameters {result['parameters_sha256']}")
    if not card.is_there(options.out):
        net, _ = load_trained(options.out, ctx=where["ctx"])
        files = card.make(options.out, net, experiment, split, where["ctx"], more=card.flags(options))
        print(f"Written: {', '.join(map(str, files))}")


def choose(options):
    """Train single descriptors and combinations of the two best, and print which to take and why."""
    from . import choose as rule

    if options.seeds < 1:
        raise ValueError(f"--seeds {options.seeds} must be at least 1")
    experiment, split, where = asked(options)
    print("\n".join(rule.reasoning(rule.choose(experiment, split, options.out, options.seeds, **where))))


def asked(options):
    """(experiment, split, the other arguments of `train.fit`) that the command line asks for."""
    given = {f.name: getattr(options, f.name) for f in fields(Experiment) if hasattr(options, f.name)}
    if options.weights and not Experiment(**given).pretrained:
        raise ValueError("--weights and --no-pretrained contradict each other: leave one out")
    ctx = runtime.contexts(options.ctx)
    where = dict(ctx=ctx, weights=options.weights, checkpoint_every=options.checkpoint_every, parts=options.parts)
    experiment, split, choices = defaults.fitted(given, options.data, options.allow_partial)
    if choices:
        print("\n".join([f"{experiment.dataset}: {counted(split)}", *defaults.lines(choices)]), flush=True)
    return experiment, split, dict(where, progress=sys.stderr.isatty())


def evaluate(options):
    """Print the recall of a trained model on a dataset's test set."""
    from .evaluate import labelled
    from .recall import recall_of

    embedding, experiment = trained.opened(options)
    dataset = options.dataset or experiment.dataset
    split = datasets.split_of(replace(experiment, dataset=dataset), options.data, options.allow_partial)
    query, gallery = (
        records and cached(records, experiment.input_size, progress=sys.stderr.isatty()) for records in split[1:]
    )
    recall = recall_of(datasets.recall_ks(dataset), labelled(embedding, split, query, gallery))
    if options.json:
        kinds = ("symbol", "model", "checkpoint")
        model = {kind: getattr(options, kind) for kind in kinds if getattr(options, kind)}
        if options.checkpoint and not options.checkpoint.endswith(".params"):
            model["which"] = options.which or "last"
        told = {"dataset": dataset, **model, "recall": recall}
        print(json.dumps(told))
    else:
        print(percent(recall))


def publish(options):
    """Write a run's model with its description, and print the file's path."""
    from . import model_zoo
    from .checkpoint import load_trained, read_result

    if options.checkpoint.endswith(".params"):
        raise ValueError(f"{options.checkpoint} is published already: hand it on with the .json beside it")
    net, experiment = load_trained(options.checkpoint, options.which)
    result = read_result(Path(options.checkpoint) / "result.json")
    about = {"which": options.which, "recall": result[options.which], "data": result.get("data")}
    print(model_zoo.save(net, experiment, options.out, **about, seed=result["seed"], versions=result.get("versions")))


def data(options):
    """Say where a dataset comes from, get it, compare it with the official counts, decode it, prepare it."""
    from . import download

    name, progress = options.dataset, sys.stderr.isatty()
    given = dict(dataset=name, input_size=options.input_size)
    experiment = Experiment(**given)
    source = download.SOURCES.get(name.replace("sop_mini", "sop"))
    if source and not options.root:
        print(f"{name}: {source.words}. Then: python -m gluon_cgd data {name} --root DIR --verify --prepare")
        return
    if options.download:
        if not source:
            raise ValueError(f"{name} is nothing to download: --download is for {', '.join(download.SOURCES)}")
        download.obtain(name.replace("sop_mini", "sop"), options.root, progress)
    _, split, choices = defaults.fitted(given, options.root, options.allow_partial)
    drawn = [one for one in choices if one.field in ("split", "held_out")]
    print("\n".join([f"{name}: {counted(split)}", *defaults.lines(drawn)]))
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


def percent(recall):
    """ "R@1 45.83  R@2 57.91" for {"R@1": 0.4583, "R@2": 0.5791}."""
    return "  ".join(f"{name} {100 * value:.2f}" for name, value in recall.items())


def main(arguments=None):
    """Run the command line; returns the exit status."""
    options = parser().parse_args(arguments)
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    logging.getLogger("gluon_cgd").setLevel(logging.INFO)

    def command():
        with logging_redirect_tqdm():  # log lines go above the bars
            call = {"train": train, "choose": choose, "evaluate": evaluate, "publish": publish, "data": data}
            call.update(card=card.command, export=export.command, embed=embed.command, doctor=doctor.run)
            call.update(index=search.index, search=search.search)
            return call[options.command](options) or 0

    return runtime.exit_status(command)


if __name__ == "__main__":
    sys.exit(main())
