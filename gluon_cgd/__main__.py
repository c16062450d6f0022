"""`python -m gluon_cgd train`, `choose`, `evaluate`, ... Exit status: 0 done, 2 refused, with a sentence on stderr."""

import sys
from importlib import import_module

COMMANDS = {  # name: (its module in commands, what adds it to the command line, what it does)
    "doctor": ("doctor", "add_command", "what of this machine is ready, and what to do about it"),
    "data": ("data", "add_command", "get, check and prepare a dataset"),
    "train": ("train", "add_train", "train one experiment"),
    "evaluate": ("evaluate", "add_evaluate", "recall of a trained model"),
    "card": ("card", "add_command", "write card.md and card.png of a finished run again"),
    "choose": ("train", "add_choose", "which descriptors to combine on a dataset"),
    "publish": ("evaluate", "add_publish", "write a trained model as a file to hand to somebody else"),
    "export": ("export", "add_command", "write a trained model as an ONNX file, which needs no MXNet"),
    "embed": ("embed", "add_command", "the embeddings of a folder's pictures, as a NumPy file"),
    "index": ("search", "add_index", "embed a folder of pictures, to search in it"),
    "search": ("search", "add_search", "the pictures of an index that are most like a given one"),
}


def parser(names=COMMANDS):
    """The parser of the command line; only the modules of the commands `names` are imported, and have their flags."""
    import argparse

    p = argparse.ArgumentParser(prog="python -m gluon_cgd", description=__doc__.splitlines()[0])
    commands = p.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in COMMANDS:
        module, add, meaning = COMMANDS[name]
        command = commands.add_parser(name, help=meaning)
        if name in names:
            getattr(import_module(f"gluon_cgd.commands.{module}"), add)(command)
    return p


def main(arguments=None):
    """Run a command line, by default that of this process; returns the exit status."""
    from gluon_cgd.machine import process

    arguments = sys.argv[1:] if arguments is None else list(arguments)

    def command():
        options = parser(arguments[:1]).parse_args(arguments)
        with process.shown("gluon_cgd"):
            return options.run(options) or 0

    return process.exit_status(command)


def program():
    """`python -m gluon_cgd`, and `gluon-cgd` where the package is installed; returns the exit status."""
    try:
        from gluon_cgd.machine import process  # here and not at the top: from now on Ctrl-C is one line
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return process.run(main, ["-m", "gluon_cgd"])


if __name__ == "__main__":
    sys.exit(program())
