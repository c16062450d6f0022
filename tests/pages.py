"""The pages of the project as tests see them: their blocks, the commands in those, and what parses and runs each.

A block is ```bash, ```python or ```text (what the block before it prints). It runs, unless the words behind its
language say what it needs: ```bash needs: gpu. Then its commands are only parsed, by their own programs.
"""

import argparse
import contextlib
import importlib
import importlib.util
import re
import shlex
import subprocess
from pathlib import Path
from typing import NamedTuple, Tuple

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
NEEDS = {
    "checkout": "it writes into the project's own files",
    "cluster": "it starts jobs of Slurm",
    "data": "one of the paper's datasets",
    "gpu": "a GPU",
    "milvus": "Milvus",
    "minutes": "more than some seconds",
    "network": "a download",
    "server": "it runs until somebody stops it",
}
SHELL = ("cp", "mkdir", "rm")  # run as they are
TYPED = (".ci/run", "apt-get", "cd", "git", "gluon-cgd", "pip", "pre-commit", "source")  # known, and not run here


class Block(NamedTuple):
    """A fenced block of a page. needs: what has to be there to run it; line: its number in the page."""

    language: str
    needs: Tuple[str, ...]
    text: str
    line: int


def blocks(page):
    """[Block, ...] of the file `page`."""
    text = page.read_text(encoding="utf-8")
    fenced = []
    for match in re.finditer(r"^```(\w*)([^\n]*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        needs = tuple(re.findall(r"\w+", match[2].replace("needs:", "")))
        fenced.append(Block(match[1], needs, match[3], text[: match.start()].count("\n") + 1))
    return fenced


def commands(text):
    """[[word, ...], ...]: the lines of a block, continued ones as one, each split as a shell does."""
    lines = [shlex.split(line, comments=True) for line in text.replace("\\\n", " ").splitlines()]
    return [line for line in lines if line]


def inline_commands(page):
    """[[word, ...], ...]: the commands that stand between backticks in the sentences of `page`."""
    prose = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    quoted = [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", prose)]
    quoted = [f"{code} --help" if code == "python -m gluon_cgd" else code for code in quoted]
    return [shlex.split(code) for code in quoted if re.match(r"(python|bash|gluon-cgd) \S", code)]


class Parsed(BaseException):
    """Raised by a program's parser in place of going on."""


def program(words):
    """(the module with its main, its arguments) of a command that starts Python; None for one that does not."""
    first, *rest = words
    if first == "gluon-cgd":
        return "gluon_cgd.__main__", rest
    if first == "bash" and rest[0].startswith("reproduce/"):
        return "reproduce.command", [Path(rest[0]).stem, *rest[1:]]
    if first == "bash" and rest[0] == "benchmarks/run.sh":
        return "benchmarks.__main__", ["--peers", "python", *rest[1:]]
    if first != "python" or not rest:
        return None
    if rest[0] == "-m":
        module = {"gluon_cgd": "gluon_cgd.__main__", "reproduce": "reproduce.command"}.get(rest[1], rest[1])
        return {"benchmarks": "benchmarks.__main__"}.get(module, module), rest[2:]
    return rest[0][: -len(".py")].replace("/", "."), rest[1:]


def without_variables(words):
    """`words` less the NAME=value before the program."""
    while re.match(r"[A-Z_]+=", words[0]):
        words = words[1:]
    return words


def check(words, monkeypatch):
    """Have the command `words` parsed by its own program; fails for one that does not exist or refuses the words."""
    words = without_variables(words)
    for word in words:
        if word.endswith((".sh", "requirements-extra.txt")) or word == ".ci/run":
            assert (ROOT / word).is_file(), f"{word} does not exist"
    started = program(words)
    if started is None or started[0] == "pip":
        known = (*SHELL, *TYPED, "bash", "python")
        assert words[0] in known, f"{words[0]} is unknown: teach tests/pages.py to check it"
        return
    module, arguments = started
    assert importlib.util.find_spec(module), f"{module} does not exist"
    parse = argparse.ArgumentParser.parse_args

    def parsed(self, args=None, namespace=None):
        try:
            parse(self, args, namespace)
        except SystemExit as error:
            if error.code:  # --help ends with 0
                raise AssertionError(f"{' '.join(words)} is refused by {module}") from error
        raise Parsed

    with monkeypatch.context() as patch, contextlib.suppress(Parsed):
        patch.setattr(argparse.ArgumentParser, "parse_args", parsed)
        importlib.import_module(module).main(arguments)
        raise AssertionError(f"{module} parses nothing")


def run(words):
    """Run the command `words` in this process, in the present folder; fails where it does."""
    words = without_variables(words)
    started = program(words)
    assert words[0] != "bash", f"{' '.join(words)}: a script takes minutes; write ```bash needs: minutes"
    if words[0] in SHELL:
        subprocess.run(words, check=True)
    elif started and started[0] != "pip" and words[0] == "python":
        status = importlib.import_module(started[0]).main(started[1])
        assert status == 0 or words[3] == "doctor", f"{' '.join(words)}: status {status}"


def runs(block, slow=False):
    """Whether a test can run the block."""
    return block.language in ("bash", "python") and not set(block.needs) - ({"minutes"} if slow else set())


def run_page(page, capsys, slow=False):
    """Run the blocks of `page` that can run, in order, in the present folder, and compare what they print.

    slow: those that need minutes too. Returns {command: [what each call printed, ...]} of `python -m gluon_cgd`.
    """
    names, printed, output, ran = {}, {}, "", False
    for block in blocks(page):
        place = f"{page.name}:{block.line}"
        if block.language == "text":
            assert not ran or re.fullmatch(pattern(block.text), plain(output)), f"{place} prints today:\n{output}"
            continue
        ran, output = runs(block, slow), ""
        capsys.readouterr()
        if ran and block.language == "python":
            exec(compile(block.text, place, "exec"), names)
            output = capsys.readouterr().out
        for words in commands(block.text) if ran and block.language == "bash" else ():
            run(words)
            own = capsys.readouterr().out
            output += own
            if words[:3] == ["python", "-m", "gluon_cgd"]:
                printed.setdefault(words[3], []).append(own)
    return printed


def plain(output):
    """`output` with its columns one space apart; the pages show letters of glyphs where tests have a folder, photos."""
    return "\n".join(
        " ".join(line.split())
        for line in output.strip().replace("glyphs_mini", "photos").replace("glyphs", "photos").splitlines()
    )


def pattern(text):
    """A pattern of what a command prints like `text`: words with digits or a / may differ, a line ... is any lines."""
    lines = []
    for line in plain(text).splitlines():
        words = [r"\S+" if re.search(r"[\d/]", word) else re.escape(word) for word in line.split()]
        lines.append(r"(?:.*\n)*.*" if line.strip() == "..." else " ".join(words))
    return "\n".join(lines)
