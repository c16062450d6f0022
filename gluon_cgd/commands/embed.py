"""`python -m gluon_cgd embed`: write the embeddings of the pictures in a folder to a NumPy file."""

import sys
from pathlib import Path

from gluon_cgd.commands.options import OWN_RUN, add_ctx, add_model, choose_model, model_of, name
from gluon_cgd.commands.output import say
from gluon_cgd.datasets.folders import pictures_in
from gluon_cgd.datasets.training_part import warn_of_boxes
from gluon_cgd.files.whole import check_target
from gluon_cgd.models.opened import open_model
from gluon_cgd.retrieval.embed import embed_files, save


def add_command(p):
    """The flags of `embed`."""
    p.description = (
        "Embeds the pictures in --images and its subfolders. Writes the embeddings, float32 (N, D) of unit length, to "
        "--out, and the path of each row to a .txt file of the same name. Prints their number."
    )
    add_model(p, default=OWN_RUN)
    add_ctx(p, exported=True)
    p.add_argument("--images", required=True, type=name, metavar="DIR", help="the folder of pictures")
    p.add_argument("--out", required=True, type=name, metavar="FILE", help="the file to write, for example vectors.npy")
    p.add_argument("--skip-bad", action="store_true", help="skip what cannot be read and name it (default: stop)")
    p.set_defaults(run=command)


def command(options):
    """Embed a folder's pictures, write the embeddings and print their number."""
    out = Path(options.out)
    if out.suffix != ".npy":
        raise ValueError(f"--out {options.out!r} must end in .npy, the suffix of NumPy's files")
    for file in (out, out.with_suffix(".txt")):
        check_target(file)
    paths = pictures_in(options.images, skip_bad=options.skip_bad)
    choose_model(options)
    model = open_model(**model_of(options))
    warn_of_boxes(model.trained)
    vectors, paths = embed_files(model.embed, paths, model.input_size, options.skip_bad, sys.stderr.isatty())
    save(out, vectors, paths)
    numbers = f"{len(vectors):,} embeddings of {vectors.shape[1]:,} numbers"
    say(f"{out}: {numbers}; pictures: {out.with_suffix('.txt')}")
