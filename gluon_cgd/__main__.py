"""Train and use CGD, image retrieval by a combination of global descriptors (arXiv 1903.10663).

Exit status: 0 done, 2 refused with a sentence on stderr, 130 interrupted.
"""

import contextlib
import os
import sys
from importlib import import_module

COMMANDS = {  # name: (module in commands, function there that adds its flags, what it does)
    "doctor": ("doctor", "add_command", "check what this machine has ready for training, and say how to mend the rest"),
    "data": ("data", "add_command", "download, check and prepare a dataset"),
    "train": ("train", "add_train", "train one experiment"),
    "evaluate": ("evaluate", "add_evaluate", "print the recall of a trained model"),
    "card": ("card", "add_command", "write card.md and card.png of a finished run again"),
    "choose": ("train", "add_choose", "find out which descriptors to combine on a dataset (section 3.4)"),
    "publish": ("evaluate", "add_publish", "write a trained model as one file, to give to others"),
    "export": ("export", "add_command", "write a trained model as an ONNX file, which needs no MXNet"),
    "embed": ("embed", "add_command", "write the embeddings of a folder of pictures as a NumPy file"),
    "index": ("index", "add_command", "embed a folder of pictures, so that it can be searched"),
    "duplicates": ("duplicates", "add_command", "find the pictures of an index that are the same"),
    "check": ("check", "add_command", "find what is doubtful in a labelled collection"),
    "search": ("search", "add_command", "find the pictures of an index that are most similar to a picture"),
    "serve": ("serve", "add_command", "search an index in the browser"),
}


def parser(names=COMMANDS):
    """The parser of the command line; only the modules of the commands `names` are imported, and have their flags."""
    p = import_module("gluon_cgd.commands.parser").Parser(prog="python -m gluon_cgd", description=__doc__)
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
        if not arguments:
            parser(()).print_help(sys.stderr)
            return 2
        with process.shown(arguments[0], "gluon_cgd"):  # before the imports, which can take long on a busy machine
            options = parser(arguments[:1]).parse_args(arguments)
            import_module("gluon_cgd.commands.effects").check(options)
            return options.run(options) or 0

    return process.exit_status(command)


def leave_present_folder():
    """Let Python take no module from the present folder, as it does after -m: it may hold a user's numpy.py."""
    here = sys.path[0] or os.curdir
    found_there = os.path.abspath(__file__).startswith(os.path.join(os.path.abspath(here), "gluon_cgd", ""))
    if os.path.samefile(here, os.curdir) and not found_there:
        del sys.path[0]


def program():
    """`python -m gluon_cgd`, and `gluon-cgd` where the package is installed; returns the exit status."""
    try:
        with contextlib.suppress(OSError):  # the present folder is deleted
            leave_present_folder()
        from gluon_cgd.machine import process  # here and not at the top: from now on Ctrl-C is one line
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return process.last(process.run(main, ["-m", "gluon_cgd"]))


if __name__ == "__main__":
    sys.exit(program())
