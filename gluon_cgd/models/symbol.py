"""Models in the format of the paper's authors (naver/cgd): a symbol and its parameters."""

import glob
import re
from pathlib import Path

import mxnet as mx
from mxnet.gluon import SymbolBlock


def load_symbol(prefix, epoch=None, ctx=None):
    """The model of `prefix`-symbol.json and `prefix`-0000.params: a function of pictures (B, 3, H, W) -> [embedding].

    The symbol's input is `data`, its first output the embedding (B, D); other outputs are left out.
    epoch: the number in the name of the parameters' file; None if there is only one such file.
    Raises FileNotFoundError for a missing file and ValueError for files of something else.
    """
    graph, parameters = f"{prefix}-symbol.json", _parameters_file(prefix, epoch)
    if not Path(graph).is_file():
        raise FileNotFoundError(f"{graph} does not exist: --symbol takes the part of the name before -symbol.json")
    try:
        embedding = mx.sym.load(graph)[0]
        values = mx.nd.load(parameters)
        values = {
            name.partition(":")[2]: value for name, value in values.items()
        }  # names are "arg:fc_weight", "aux:..."
    except Exception as error:  # MXNet raises many kinds for a broken file
        raise ValueError(f"{graph} or {parameters} is not a whole file of MXNet: get both again") from error
    needed = {*embedding.list_arguments(), *embedding.list_auxiliary_states()}
    if "data" not in needed:
        raise ValueError(f"{graph} has no input named data: it is not a model of pictures")
    missing = sorted(needed - set(values) - {"data"})
    if missing:
        raise ValueError(f"{parameters} lacks {missing[0]}, which {graph} needs: they do not belong together")
    block = SymbolBlock(embedding, mx.sym.var("data"))
    for name, parameter in block.collect_params().items():
        parameter._load_init(values[name], ctx or mx.cpu())
    block.hybridize(static_alloc=True, static_shape=True)
    return lambda pictures: [block(pictures)]


def _parameters_file(prefix, epoch):
    """The only `prefix`-NNNN.params, or the one with the number `epoch`."""
    if epoch is not None:
        file = f"{prefix}-{epoch:04d}.params"
        if not Path(file).is_file():
            raise FileNotFoundError(f"{file} does not exist: check --symbol and --epoch")
        return file
    files = [name for name in glob.glob(f"{glob.escape(prefix)}-*.params") if re.search(r"-\d{4,}\.params$", name)]
    if len(files) != 1:
        remedy = "name its number with --epoch" if files else "--symbol takes the part of the name before -0000.params"
        raise FileNotFoundError(f"{len(files)} files are named {prefix}-NNNN.params, where one is needed: {remedy}")
    return files[0]
