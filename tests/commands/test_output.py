"""What people read on a terminal holds no character that controls it; JSON is exactly JSON."""

import ast
import re
from pathlib import Path

from gluon_cgd.commands.output import say

ROOT = Path(__file__).resolve().parents[2]


def test_control_characters_are_shown_and_lines_are_kept(capsys):
    say("a\x1b[31m\n\tb\u202e\udcff", flush=True)
    say("\x9b", to_stderr=True)
    printed = capsys.readouterr()
    assert printed.out == "a\\x1b[31m\n\tb\\u202e\\xff\n"
    assert printed.err == "\\x9b\n"


def test_every_other_print_of_a_command_or_script_is_of_json():
    files = [*ROOT.glob("gluon_cgd/commands/*.py"), *ROOT.glob("visualize/*.py"), ROOT / "reproduce" / "command.py"]
    for file in files:
        source = file.read_text()
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print" and file.name != "output.py":
                assert re.match(r"print\(json.dumps\((?!.*ensure_ascii)", ast.get_source_segment(source, node)), (
                    f"{file}: {node.lineno}"
                )
