"""`python -m gluon_cgd embed`: the embeddings of a folder's pictures, as a file of NumPy."""

import sys
from pathlib import Path

from gluon_cgd.commands.options import add_ctx, add_model, model_of
from gluon_cgd.datasets.folders import pictures_in
from gluon_cgd.models.opened import open_model
from gluon_cgd.retrieval.embed import embed_files, save


def add_command(p):
    """The flags of `embed`."""
    add_model(p)
    add_ctx(p)
    p.add_argument("--images", required=True, metavar="DIR", help="the folder, searched through to its depth")
    p.add_argument("--out", required=True, metavar="FILE", help="vectors.npy say; the paths go into vectors.txt")
    p.add_argument("--skip-bad", action="store_true", help="leave out pictures that cannot be read, and say which")
    p.set_defaults(run=command)


def command(options):
    """Write what the command line asks for, and print how much it is."""
    out = Path(options.out)
    if out.suffix != ".npy":
        raise ValueError(f"--out {options.out!r} must end in .npy, by which NumPy knows such files")
    paths = pictures_in(options.images)
    model = open_model(**model_of(options))
    vectors, paths = embed_files(model.embed, paths, model.input_size, options.skip_bad, sys.stderr.isatty())
    save(out, vectors, paths)
    print(f"{out}: {len(vectors):,} embeddings of {vectors.shape[1]:,} numbers; pictures: {out.with_suffix('.txt')}")
