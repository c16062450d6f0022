"""Flags of the commands that search in an index: the model, and what searches."""

from gluon_cgd.commands.options import add_ctx, add_model, name
from gluon_cgd.retrieval import approximate


def add_engine(p, model="the model of the index"):
    """Add the flags of the model and of what searches. model: which model is the default, in words."""
    add_model(p, default=model)
    add_ctx(p, exported=True)
    help_text = "what searches: every picture, or an approximate index that `index` built (default exact)"
    p.add_argument("--engine", choices=("exact", "faiss", "milvus"), default="exact", help=help_text)
    help_text = (
        "FAISS's index: auto chooses, disksq and diskpq stay on the disk, others are held in memory (default hnsw)"
    )
    p.add_argument("--kind", choices=approximate.KINDS, default="hnsw", help=help_text)
    p.add_argument("--uri", type=name, metavar="FILE_OR_URL", help="Milvus's place: a .db file, or http://...")


def engine_of(options):
    """(engine, kind, uri) that `options` name. Raises ValueError for milvus without --uri."""
    if options.engine == "milvus" and not options.uri:
        raise ValueError("--engine milvus needs --uri: a file for Milvus Lite (pictures.db), or a cluster's http://...")
    return options.engine, options.kind, options.uri
