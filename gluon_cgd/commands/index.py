"""`python -m gluon_cgd index`: embed a folder of pictures, so that it can be searched."""

import contextlib
import logging
import os

from gluon_cgd.commands import index_shards
from gluon_cgd.commands.options import OWN_RUN, choose_model, model_of, name
from gluon_cgd.commands.output import say
from gluon_cgd.commands.search_engine import add_engine, engine_of
from gluon_cgd.datasets.training_part import warn_of_boxes
from gluon_cgd.doctor import hardware
from gluon_cgd.files.printable import printable
from gluon_cgd.machine.progress import task
from gluon_cgd.retrieval import (
    approximate,
    collection,
    compaction,
    exact,
    mending,
    reduction,
    sources,
    storing,
    whitening,
)
from gluon_cgd.retrieval import index as pictures
from gluon_cgd.retrieval.filling import fill
from gluon_cgd.retrieval.manifest import NAME
from gluon_cgd.retrieval.model import open_model, remembered_by

log = logging.getLogger(__name__)


def add_command(p):
    """The flags of `index`."""
    p.description = (
        "Embeds the pictures in --images that are new or changed since the last time, and prints how many they were. "
        "An interrupted `index` keeps what it has embedded. --engine builds a faster search over the index."
    )
    help_text = "the folder of pictures, its subfolders included, or a list of them: .txt, a path a line, or .csv"
    p.add_argument("--images", type=name, metavar="DIR_OR_LIST", help=help_text)
    p.add_argument("--out", required=True, type=name, metavar="IDX", help="the folder of the index")
    help_text = (
        "remove pictures from the index whose files are gone; those of a folder that has no picture left, as on a disk "
        "that is not mounted, only with `--prune all`"
    )
    p.add_argument("--prune", nargs="?", const="gone", choices=("gone", "all"), metavar="all", help=help_text)
    p.add_argument("--skip-bad", action="store_true", help="skip what cannot be read and name it (default: stop)")
    p.add_argument("--compact", action="store_true", help="free the disk space of replaced and removed pictures")
    help_text = "learn PCA-whitening from the pictures of the index and apply it to them and to queries"
    p.add_argument("--whiten", action="store_true", help=help_text)
    help_text = "keep only D numbers of each embedding, by PCA that is learned from a sample; says what that costs"
    p.add_argument("--reduce", type=int, metavar="D", help=help_text)
    help_text = "store the numbers of embeddings in 2 bytes or in one; says what that costs"
    p.add_argument("--store", choices=("float16", "int8"), help=help_text)
    index_shards.add_flags(p)
    help_text = "the share of the true 10 nearest that --kind auto, disksq and diskpq have to find (default 0.95)"
    p.add_argument("--recall", type=float, default=0.95, metavar="R", help=help_text)
    help_text = "the memory that searching may use, for the same kinds (default: half of what is free)"
    p.add_argument("--memory", type=float, metavar="GB", help=help_text)
    add_engine(p, f"the model of the index; for a new one {OWN_RUN}")
    p.set_defaults(run=command)


def command(options):
    """Bring an index up to date with a folder of pictures, then its engine, and print what was done."""
    engine, wanted = engine_of(options), wanted_of(options)
    if options.shards is not None or options.shard is not None or options.join:
        if not index_shards.command(options):
            return
    elif options.images:
        say(update(options))
    elif options.engine == "exact" and not (
        options.compact or options.whiten or options.store or options.reduce is not None
    ):
        raise ValueError("there is nothing to do: name the folder of pictures with --images")
    if options.whiten:
        say(whiten(options.out))
    if options.reduce is not None:
        say(reduce(options.out, options.reduce))
    if options.store:
        say(store(options.out, options.store))
    if options.compact:
        say(f"{compaction.compact(options.out):,} rows of replaced and removed pictures gave their room back")
    snapshot = collection.read(options.out)
    if options.engine == "exact":
        return
    with task(options.engine, snapshot.count, "img") as bar:
        built = approximate.build(snapshot, *engine, bar.at, **wanted)
    if built is None:
        say(f"{printable(options.out)} is searched exactly: {approximate.chosen(snapshot)['why']}")
        return
    if hasattr(built, "sentence"):  # it has been compared
        say(built.sentence())
        if built.state.tuned.recall < options.recall:
            log.warning("that is below --recall %g, which no way of searching reached", options.recall)
        return
    with contextlib.closing(built), task("comparing with the exact search"):
        share, queries = exact.recall(snapshot, built)
    say(f"{built.name}: recall@10 against exact {share:.3f}, on {queries} pictures of the index")


def wanted_of(options):
    """What an engine on the disk has to reach, and with what. Raises ValueError for what cannot be."""
    if not 0 < options.recall <= 1:
        raise ValueError(f"--recall {options.recall:g} must be above 0 and at most 1: 0.95 finds 95 % of the nearest")
    if options.memory is not None and not 0 < options.memory < 1e6:
        raise ValueError(f"--memory {options.memory:g} must be above 0, in GB: 4 allows searching 4,000,000,000 bytes")
    free = hardware.available() or 8e9
    return dict(target=options.recall, memory=1e9 * options.memory if options.memory else free / 2)


def update(options):
    """Embed what is new or changed; returns a sentence that says what was done."""
    mending.mend(options.out)
    before = collection.read(options.out) if os.path.lexists(os.path.join(options.out, NAME)) else None
    remembered = None if before is None else remembered_by(options.out, before.manifest)
    if pictures.has_pictures(options.images, before, options.prune):
        done = embed(options, remembered)
    else:  # all that is left to do needs no model
        with collection.writing(options.out, before.dim, remembered) as writer:
            *_, done = pictures.update(writer, options.images, None, 0, options.prune)
    if done.left_out.line():
        log.warning("%s: %s", options.images, done.left_out.line())
    words = [f"{done.added:,} added", f"{done.changed:,} changed", f"{done.same:,} as before"]
    words += [f"{done.moved:,} moved"] * bool(done.moved)
    words += [f"{len(done.bad):,} left out that cannot be read"] * bool(done.bad)
    words += [f"{done.removed:,} removed that are gone"] * bool(options.prune)
    remains, kept = done.gone - sum(done.kept.values()), sum(done.kept.values())
    words += [f"{remains:,} still in the index that are gone (--prune removes them)"] * bool(remains)
    if kept:
        folder, others = printable(next(iter(done.kept))), ", for one," * (len(done.kept) > 1)
        words.append(
            f"{kept:,} still in the index whose folder has no picture left: {folder}{others} is empty, gone or on a "
            "disk that is not mounted (--prune all removes them)"
        )
    return f"{done.found:,} pictures in {printable(options.images)}: {', '.join(words)}"


def whiten(folder):
    """Whiten an index; returns a sentence that says what was done."""
    said = whitening.whiten(folder)
    if said is None:
        return f"{printable(folder)} is whitened as before; index into another folder to learn it anew"
    return f"whitened along {said['axes']:,} directions, learned from {said['pictures']:,} pictures"


def reduce(folder, dim):
    """Reduce the embeddings of an index; returns a sentence that says what was done."""
    said = reduction.reduce(folder, dim)
    if said is None:
        return f"{printable(folder)} has {dim:,} numbers of each embedding as before"
    return (
        f"reduced to {dim:,} numbers, learned from {said['pictures']:,} pictures: {100 * said['kept']:.1f} % of the "
        f"squares stay, and {100 * said['recall']:.1f} % of the 10 nearest of {said['queries']} pictures are still "
        "among their 10 nearest"
    )


def store(folder, kind):
    """Store the embeddings of an index in fewer bytes; returns a sentence that says what was done."""
    said = storing.store(folder, kind)
    if said is None:
        return f"{printable(folder)} is stored as {kind} as before"
    return (
        f"stored as {kind}: {said['after']:,} bytes of each embedding instead of {said['before']:,}, and "
        f"{100 * said['recall']:.1f} % of the 10 nearest of {said['queries']} pictures are still among their 10 nearest"
    )


def embed(options, remembered):
    """Embed what is new or changed and update the index, and return the Changes. remembered: the model, if any."""
    if remembered is None:
        choose_model(options)
    model = open_model(options.out, remembered, **model_of(options))
    warn_of_boxes(model.trained)
    total = sum(1 for _ in sources.pictures_of(options.images, options.skip_bad))
    with task("indexing", total, "img") as bar:
        for done in fill(options.out, options.images, model, options.prune, options.skip_bad):
            bar.at(done.same + done.added + done.changed + done.moved + len(done.bad))
    return done
