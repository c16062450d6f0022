"""The arrows between modules, and what scripts and documents promise."""

import ast
import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ORDER = [  # a module imports only from lines above its own
    {"devices", "checksum", "fusion", "grid", "recall"},
    {
        "runtime",
        "experiment",
        "descriptors",
        "losses",
        "sampler",
        "records",
        "download",
        "atomic",
        "complexity",
        "symbol",
        "runfolder",
        "similarity",
        "findings",
        "elf",
    },
    {"glyphs", "weights", "images", "benchmarks", "folders", "installed", "hardware"},
    {"datasets", "backbones", "evaluate", "cache", "collection", "engines", "learner", "onnx_graph", "onnx_model"},
    {"supplies", "approximate", "onnx_int8", "defaults", "confusion"},
    {"doctor"},
    {"model"},
    {"model_zoo"},
    {"checkpoint"},
    {"index", "embedder"},
    {"search"},
    {"train", "trained"},
    {"embed", "export", "card"},
    {"choose"},
    {"__main__"},
]


def imported(file):
    """The modules of this project that `file` imports, at its top or within."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            if node.level:
                found |= {node.module.split(".")[0]} if node.module else {alias.name for alias in node.names}
            elif node.module.split(".")[0] in ("gluon_cgd", "reproduce", "tests"):
                found |= {node.module.split(".")[0]}
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names} & {"gluon_cgd", "reproduce", "tests"}
    return found


@pytest.mark.parametrize("file", sorted((ROOT / "gluon_cgd").glob("*.py")), ids=lambda file: file.stem)
def test_a_module_of_the_library_imports_only_what_comes_before_it(file):
    if file.stem == "__init__":
        assert imported(file) == {"runtime", "model_zoo", "doctor"}  # the latter two when they are asked for
        return
    level = next(i for i, modules in enumerate(ORDER) if file.stem in modules)
    assert imported(file) <= set().union(*ORDER[:level]), "tests/test_structure.py lists the order"


def test_experiment_imports_nothing_of_ours():
    assert imported(ROOT / "gluon_cgd" / "experiment.py") == set()


def test_the_library_never_imports_the_reproduction():
    for file in (ROOT / "gluon_cgd").glob("*.py"):
        assert not imported(file) & {"reproduce", "tests", "gluon_cgd"}


def test_every_module_has_a_test_and_every_public_function_a_docstring():
    folders = ("gluon_cgd", "reproduce", "visualize")
    for file in [file for folder in folders for file in (ROOT / folder).glob("*.py")]:
        tree = ast.parse(file.read_text(encoding="utf-8"))
        assert ast.get_docstring(tree), file
        for node in tree.body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
                assert ast.get_docstring(node), f"{file.stem}.{node.name}"
    tested = {file.stem[5:] for file in (ROOT / "tests").glob("test_*.py")} | {"records"}  # with datasets
    assert {file.stem for file in (ROOT / "gluon_cgd").glob("[a-z]*.py")} <= tested


@pytest.mark.parametrize("name", ["README.md", "REPRODUCE.md"])
def test_commands_of_the_documents_exist(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    for script in re.findall(r"bash (\S+\.sh)", text):
        assert (ROOT / script).is_file(), script
    from gluon_cgd.__main__ import parser

    commands = re.findall(r"^python -m gluon_cgd ((?:.*\\\n)*.*)$", text, re.MULTILINE)
    assert commands
    for command in commands:
        parser().parse_args(shlex.split(command.replace("\\\n", " "), comments=True))
