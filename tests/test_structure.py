"""Who may import whom, and what every module promises."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = sorted((ROOT / "gluon_cgd").rglob("*.py"))
# Beside each other, the files of the paper import these rooms alone; nothing but commands imports commands
BELOW_THE_HALL = {"datasets", "engines", "extensions", "fetch", "files", "machine", "networks", "runs"}
# They import nothing of ours, but for what they name here, which imports nothing of ours either
ALONE = {"experiment": "runs.fields", "recall": "", "similarity": "extensions.places"}


def imported(file):
    """The modules that `file` imports, at its top or within, as paths: ("gluon_cgd", "datasets", "records")."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file} imports relatively: name the whole path"
            for alias in node.names:
                yield (*node.module.split("."), alias.name)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield tuple(alias.name.split("."))


@pytest.mark.parametrize("file", LIBRARY, ids=lambda file: str(file.relative_to(ROOT)))
def test_arrows_run_down_only(file):
    room = file.relative_to(ROOT / "gluon_cgd").parts[0] if file.parent.name != "gluon_cgd" else None
    for top, *path in imported(file):
        assert top not in ("reproduce", "visualize", "benchmarks", "tests"), "the library needs none of these"
        if top != "gluon_cgd" or not path:
            continue
        to = path[0] if (ROOT / "gluon_cgd" / path[0]).is_dir() else None
        assert to != "commands" or room == "commands"
        if room is None and file.stem not in ("__init__", "__main__"):
            assert to is None or to in BELOW_THE_HALL, f"the hall may not import {to}"
            assert ".".join(path).startswith(ALONE.get(file.stem, ".".join(path)) or "nothing")
        if room == "extensions":
            assert to == room, "an extension imports nothing of ours but extensions"
        if room == "files":
            assert to in ("files", "machine")


def test_no_two_files_of_tests_have_one_name():
    """Without packages pytest imports them by their names alone, and refuses the second."""
    names = [file.name for file in (ROOT / "tests").rglob("*.py") if file.name not in ("__init__.py", "conftest.py")]
    assert sorted(names) == sorted(set(names))


def test_only_commands_parse_print_and_know_options():
    for file in LIBRARY:
        if "commands" in file.parts or file.name == "__main__.py":
            continue
        assert ("argparse",) not in set(imported(file)), file
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            assert not (isinstance(node, ast.arg) and node.arg == "options"), f"{file}:{node.lineno}"
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print":
                told_to_stderr = any(keyword.arg == "file" for keyword in node.keywords)
                assert told_to_stderr, f"{file}:{node.lineno}"


def test_every_module_and_public_function_has_a_docstring():
    for file in [file for folder in ("gluon_cgd", "reproduce", "visualize") for file in (ROOT / folder).rglob("*.py")]:
        tree = ast.parse(file.read_text(encoding="utf-8"))
        assert ast.get_docstring(tree), file
        for node in tree.body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
                assert ast.get_docstring(node), f"{file.stem}.{node.name}"


def public_functions(body):
    """The functions and methods in `body`, and in its classes, that others call by name."""
    for node in body:
        if getattr(node, "name", "_").startswith("_") or node.name == "hybrid_forward":  # MXNet calls that
            continue
        if isinstance(node, ast.FunctionDef):
            yield node
        elif isinstance(node, ast.ClassDef):
            yield from public_functions(node.body)


def test_public_functions_of_the_paper_and_of_what_it_imports_carry_type_hints():
    rooms = [ROOT / "gluon_cgd" / room for room in ("datasets", "machine", "runs")]
    files = [*(ROOT / "gluon_cgd").glob("[a-z]*.py"), *(file for room in rooms for file in room.rglob("*.py"))]
    for file in files:
        for node in public_functions(ast.parse(file.read_text(encoding="utf-8")).body):
            hinted = [argument.annotation for argument in node.args.args if argument.arg not in ("self", "cls")]
            assert None not in (*hinted, node.returns), f"{file.name}: {node.name}"


def test_the_hall_is_the_paper():
    hall = {file.stem for file in (ROOT / "gluon_cgd").glob("[a-z]*.py")}
    paper = "experiment descriptors backbones model losses sampler learner train evaluate recall similarity choose"
    assert hall == set(paper.split())
