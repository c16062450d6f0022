"""The parser of every command line of this project. Standard library only, for the doctor."""

import argparse
import difflib
import re
import sys


class Parser(argparse.ArgumentParser):
    """A parser that refuses unknown flags with its own usage, that of the subcommand, and names the nearest flag."""

    typed = ()  # the arguments that are parsed

    def parse_known_args(self, args=None, namespace=None):
        """The options, and []: a subcommand, too, refuses what it does not know."""
        self.typed = list(sys.argv[1:] if args is None else args)
        options, unknown = super().parse_known_args(self.typed, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return options, unknown

    def error(self, message):
        """Print the usage and `message`, with the flag that is nearest to a misspelt one, and exit with status 2."""
        flags = re.findall(r"--[a-z0-9][\w.-]*", self.format_usage())
        for typed in (word.split("=")[0] for word in self.typed if re.match(r"--\w", word)):
            known = any(flag.startswith(form) for flag in flags for form in (typed, typed.replace("--no-", "--", 1)))
            near = difflib.get_close_matches(typed, flags, 1)
            if near and not known:
                message = f"{message}\n{typed}: did you mean {near[0]}?"
        super().error(message)
