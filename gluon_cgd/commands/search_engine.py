"""Flags of the commands that search in an index: the model, and what searches."""

from urllib.parse import urlsplit

from gluon_cgd.commands.options import add_ctx, add_model, name
from gluon_cgd.retrieval.approximate import ENGINES
from gluon_cgd.retrieval.milvus import TOKEN


def add_engine(p, model="the model of the index"):
    """Add the flags of the model and of what searches. model: which model is the default, in words."""
    add_model(p, default=model)
    add_ctx(p, exported=True)
    help_text = "what searches: every picture, or an approximate index that `index` built (default exact)"
    p.add_argument("--engine", choices=("exact", *ENGINES), default="exact", help=help_text)
    kinds_of = {"exact": (), **{name: engine.kinds for name, engine in ENGINES.items()}}
    p.set_defaults(kinds_of=kinds_of)  # for `effects`
    defaults = ", ".join(f"{own[0]} for {engine}" for engine, own in kinds_of.items() if own)
    help_text = (
        "the engine's index. FAISS: auto chooses, disksq and diskpq stay on the disk, others are in memory. diskann is "
        f"Milvus's (default {defaults}, or the one that is there)"
    )
    p.add_argument("--kind", choices=tuple(dict.fromkeys(sum(kinds_of.values(), ()))), help=help_text)
    p.add_argument("--uri", type=name, metavar="FILE_OR_URL", help="Milvus's place: a .db file, or http://...")


def engine_of(options):
    """(engine, kind, uri) that `options` name. Raises ValueError for what the engine does not have, and for milvus
    without --uri.
    """
    chosen, kind, uri = options.engine, options.kind, options.uri
    if chosen == "exact":
        return chosen, kind, uri
    engine = ENGINES[chosen]
    if engine.place and not uri:
        raise ValueError(f"--engine {chosen} needs --uri: {engine.place}")
    if uri and not engine.place:
        raise ValueError(f"--uri {uri} is for an engine that is elsewhere, and --engine {chosen} is not: leave it out")
    if uri and "://" in uri and "@" in urlsplit(uri).netloc:
        raise ValueError(
            "--uri holds a user and a password, which would be written beside the index: leave them out, and put "
            f"USER:PASSWORD into the variable {TOKEN}"
        )
    return chosen, kind, uri
