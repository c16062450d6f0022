"""`python -m gluon_cgd doctor`: whether this machine is ready to train. It works even if nothing else does."""

import json
import sys

from gluon_cgd.commands.output import say
from gluon_cgd.commands.parser import name
from gluon_cgd.doctor import findings, report


def add_command(p):
    """The flags of `doctor`."""
    p.add_argument(
        "--data", type=name, metavar="DIR", help="the folder that holds the datasets (default: data, of the project)"
    )
    p.add_argument("--json", action="store_true", help="print JSON")
    p.set_defaults(run=command)


def command(options):
    """Print the report; returns 0 if everything that training needs is there, else 2."""
    lines = report.lines(options.data)
    if options.json:
        print(json.dumps(dict(findings.as_dict(lines), python=sys.executable), indent=1))
    else:
        say(findings.text(lines))
    return 0 if findings.ready(lines) else 2
