"""Models in the format of the paper's authors (naver/cgd): a symbol and its parameters."""

import glob
import re
from pathlib import Path

import mxnet as mx
import numpy as np
from mxnet.gluon import SymbolBlock

from gluon_cgd.files.parameters import check_parameters
from gluon_cgd.machine.devices import listed
from gluon_cgd.models.symbol_file import WrongSymbol, check_shapes, first_line, read_symbol


def load_symbol(prefix, epoch=None, ctx=None, input_size=None):
    """The model of `prefix`-symbol.json and `prefix`-0000.params: a function of pictures (B, 3, H, W) -> [embedding].

    The symbol's input is `data`, its first output the embedding (B, D); other outputs are left out.
    epoch: the number in the name of the parameters' file; None if there is only one such file.
    input_size: the side of the pictures, if it is known: what cannot be computed with them is refused at once.
    Raises FileNotFoundError for a missing file and ValueError for files of something else; so does the function, for
    pictures of a size that the symbol cannot take.
    """
    graph, parameters = f"{prefix}-symbol.json", _parameters_file(prefix, epoch)
    if not Path(graph).is_file():
        raise FileNotFoundError(f"{graph} does not exist: --symbol takes the part of the name before -symbol.json")
    embedding, values = _read(read_symbol, graph), _read(_read_parameters, parameters)
    needed = {*embedding.list_arguments(), *embedding.list_auxiliary_states()}
    if "data" not in needed:
        raise ValueError(f"{graph} has no input named data: it is not a model of pictures")
    missing = sorted(needed - set(values) - {"data"})
    if missing:
        raise ValueError(f"{parameters} lacks {missing[0]}, which {graph} needs: they do not belong together")
    wrong = next((name for name in sorted(needed - {"data"}) if np.isnan(values[name].asnumpy()).any()), None)
    if wrong:  # a ReLU can make 0 of it, so that the embeddings do not show it
        raise ValueError(f"{parameters} holds NaN ({wrong}): the training diverged; take parameters of another epoch")
    shapes = {name: values[name].shape for name in needed - {"data"}}
    possible = set()  # shapes of batches

    def check(shape):
        if shape not in possible:
            try:
                check_shapes(embedding, {**shapes, "data": shape})
            except WrongSymbol as error:
                raise refusal(shape, error) from error
            possible.add(shape)

    def refusal(shape, error):
        return ValueError(
            f"{graph} with {parameters} cannot be computed for {shape[2]} x {shape[3]} pixels ({error}): check "
            "--input-size, or get both again"
        )

    block = SymbolBlock(embedding, mx.sym.var("data"))
    try:
        for name, parameter in block.collect_params().items():
            parameter._load_init(values[name], listed(ctx or mx.cpu()))
    except (AssertionError, ValueError) as error:  # of another type
        raise ValueError(f"{parameters} does not go with {graph} ({str(error)[:200]}): get both again") from error
    if input_size:
        shape = (3, 3, input_size, input_size)  # 3: as a number in a graph it would be noticed
        check(shape)
        try:
            block(mx.nd.zeros(shape, listed(ctx or mx.cpu())[0])).wait_to_read()
        except Exception as error:  # MXNet raises many kinds
            raise refusal(shape, first_line(error)) from error
    block.hybridize(static_alloc=True, static_shape=True)

    def embed(pictures):
        check(pictures.shape)
        return [block(pictures)]

    return embed


def _read(reader, file):
    """What `reader` makes of `file`. Raises ValueError with a sentence for a file that is not whole."""
    try:
        return reader(file)
    except Exception as error:  # MXNet raises many kinds for a broken file
        reason = str(error).replace(str(file), "").strip()[:500]
        raise ValueError(f"{file} is not a whole file of MXNet: get both again ({reason})") from error


def _read_parameters(file):
    """{name: array} of a .params file, where the names are "arg:fc_weight", "aux:..."."""
    check_parameters(file)
    return {name.partition(":")[2]: value for name, value in mx.nd.load(file).items()}


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
