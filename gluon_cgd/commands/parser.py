"""The parser of every command line of this project. Standard library only, for the doctor."""

import argparse
import difflib
import re
import sys

from gluon_cgd.files.printable import printable


def name(text):
    """`text`, a name given on the command line. Raises ArgumentTypeError if it is empty."""
    if not text:
        raise argparse.ArgumentTypeError("an empty name")
    return text


class Parser(argparse.ArgumentParser):
    """A parser that refuses unknown flags with its own usage, that of the subcommand, and names the nearest flag.

    Its options hold `given`: the names of the arguments that were typed, whatever their values.
    """

    typed = ()  # the arguments that are parsed

    def __init__(self, *arguments, **how):
        super().__init__(*arguments, **how)
        self.given = set()

    def _get_values(self, action, arg_strings):
        self.given.add(action.dest)
        return super()._get_values(action, arg_strings)

    def parse_known_args(self, args=None, namespace=None):
        """The options, and []: a subcommand, too, refuses what it does not know."""
        self.typed, self.given = list(sys.argv[1:] if args is None else args), set()
        options, unknown = super().parse_known_args(self.typed, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        options.given = frozenset(self.given) | getattr(options, "given", frozenset())
        return options, unknown

    def error(self, message):
        """Print the usage and `message`, with what is nearest to a misspelt flag or word, and exit with status 2."""
        flags = re.findall(r"--[a-z0-9][\w.-]*", self.format_usage())
        for typed in (word.split("=")[0] for word in self.typed if re.match(r"--\w", word)):
            known = any(flag.startswith(form) for flag in flags for form in (typed, typed.replace("--no-", "--", 1)))
            near = difflib.get_close_matches(typed, flags, 1)
            if near and not known:
                message = f"{message}\n{typed}: did you mean {near[0]}?"
        wrong = re.search(r"invalid choice: '?(.*?)'? \(choose from (.*)\)$", message)
        if wrong:
            near = difflib.get_close_matches(wrong[1].lower(), re.findall(r"[\w.-]+", wrong[2]), 1)
            message = f"{message}\n{wrong[1]}: did you mean {near[0]}?" if near else message
        # A value of thousands of letters would hide what is said of it
        message = re.sub(r"\S{200,}", lambda long: f"{long[0][:80]}... ({len(long[0]):,} characters)", message)
        super().error(printable(message, lines=True))
