"""Every command, every block and every link of every page: see pages.py for what a block may be."""

import argparse
import pydoc
import re
import shutil

import pytest
from PIL import Image

from gluon_cgd import __version__, backbones, datasets, descriptors, experiment, losses
from gluon_cgd.commands import options
from gluon_cgd.datasets import glyphs
from gluon_cgd.experiment import Experiment
from gluon_cgd.extensions import attention
from gluon_cgd.machine import facts
from gluon_cgd.retrieval import approximate
from gluon_cgd.train import fit
from reproduce import recorded, tables
from reproduce.report import comparison, formats
from reproduce.training import plan
from tests import pages

README = pages.ROOT / "README.md"
QUERIES = ("query.jpg", "result.jpg")
LETTERS = tuple(range(0, 136, 17))  # some of those that docs/own-pictures.md draws
TABLE1_RUN = "runs/glyphs_mini-small_resnet-SM-192-562ddea963/r3-seed0"  # as reproduce/table1.sh --mini names its best
named = pytest.mark.parametrize("page", pages.PAGES, ids=lambda page: page.name)
# These take seconds to run
LONG = ("README", "own-pictures", "search", "export", "similarity", "troubleshooting", "training", "gpus")
RUNNING = [
    pytest.param(page, marks=pytest.mark.slow if page.stem in LONG else ())
    for page in pages.PAGES
    if any(map(pages.runs, pages.blocks(page)))
]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder with what the pages speak of: photos, two more, two models of a few steps, and this project's figures.

    Also what Table 1 leaves behind: its model, here as small as the others.
    """
    folder = tmp_path_factory.mktemp("world")
    for letter in LETTERS:
        for number in range(8):
            file = folder / "photos" / f"letter {letter}" / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(glyphs.picture(letter, number, seed=7)).save(file)
    for name in QUERIES:
        shutil.copy(file, folder / name)
    shutil.copytree(pages.ROOT / "figures", folder / "figures")
    small = dict(backbone="small_resnet", pretrained=False, input_size=32, descriptors="SM", dim=8, split="images")
    short = dict(passes=2, batch_classes=4, batch_images=2, evaluations=1, learning_rate=1e-3)
    photos = Experiment(dataset=str(folder / "photos"), **small, **short)
    for seed, name in enumerate(("first", "photos")):
        fit(photos, datasets.split_of(photos), folder / "runs" / name, seed, cache=folder / "cache")
    shutil.copytree(folder / "runs" / "photos", folder / TABLE1_RUN)
    return folder


@pytest.fixture
def in_world(world, tmp_path, monkeypatch):
    """A copy of the world is the present folder, and the project's for commands that look for runs there."""
    for name in ("photos", "figures", "runs"):
        shutil.copytree(world / name, tmp_path / name)
    for name in QUERIES:
        shutil.copy(world / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    for module in (facts, options):
        monkeypatch.setattr(module, "PROJECT", tmp_path)
    monkeypatch.setattr(options, "PRETRAINED", "small_resnet")  # its parameters are here
    return tmp_path


@pytest.fixture(autouse=True)
def as_before(monkeypatch):
    """What docs/extending.md adds to is as before after a test."""
    monkeypatch.setattr(descriptors, "DESCRIPTORS", dict(descriptors.DESCRIPTORS))
    monkeypatch.setattr(backbones, "BACKBONES", dict(backbones.BACKBONES))
    monkeypatch.setattr(losses, "RANKING", dict(losses.RANKING))
    monkeypatch.setattr(losses, "CLASSIFICATION", dict(losses.CLASSIFICATION))
    monkeypatch.setattr(experiment, "DESCRIPTOR_NAMES", dict(experiment.DESCRIPTOR_NAMES))
    monkeypatch.setattr(experiment, "CLASSIFICATION_LOSSES", experiment.CLASSIFICATION_LOSSES)
    monkeypatch.setattr(experiment, "LOSSES", experiment.LOSSES)
    monkeypatch.setattr(experiment, "ATTENTIONS", experiment.ATTENTIONS)
    monkeypatch.setattr(attention, "ATTENTION", dict(attention.ATTENTION))
    monkeypatch.setitem(tables.TABLES, "table6", tables.TABLE6)
    monkeypatch.setattr(approximate, "ENGINES", dict(approximate.ENGINES))


@named
def test_every_command_is_taken_by_its_own_program(page, monkeypatch):
    inline = pages.inline_commands(page)
    fenced = [words for block in pages.blocks(page) if block.language == "bash" for words in pages.commands(block.text)]
    for words in inline + fenced:
        pages.check(words, monkeypatch)
    if page.name in ("README.md", "REPRODUCE.md"):
        assert fenced


@named
def test_every_block_says_what_it_is_and_python_compiles(page):
    text = page.read_text(encoding="utf-8")
    assert len(re.findall(r"^ *```", text, re.MULTILINE)) == 2 * len(pages.blocks(page)), "a block is not closed"
    assert not re.search(r"\n\n    (python|bash|source) ", text), "an indented command is not tested: use ```bash"
    for block in pages.blocks(page):
        typed = re.search(r"^(\$ )?(python|bash|source|pip|gluon-cgd) ", block.text, re.MULTILINE)
        allowed = ("bash", "python") if typed else ("bash", "python", "text", "")
        assert block.language in allowed, f"{page.name}:{block.line}"
        assert set(block.needs) <= set(pages.NEEDS), f"{page.name}:{block.line}: of {', '.join(pages.NEEDS)}"
        if block.language == "python":
            compile(block.text, page.name, "exec")
            imports = [line for line in block.text.splitlines() if re.match(r"(import|from) ", line)]
            exec("\n".join(imports), {})


@pytest.mark.parametrize("page", RUNNING, ids=lambda page: page.name)
def test_blocks_run_in_order_and_print_what_the_page_shows(page, in_world, capsys):
    pages.run_page(page, capsys)


@named
def test_every_link_leads_somewhere(page):
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    links = re.findall(r"\]\(([^)]+)\)", text)
    for link in links:
        if re.match(r"https?://", link):
            continue
        name, _, anchor = " ".join(link.split()).partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), f"{page.name}: {link}"
        assert not anchor or anchor in anchors(target), f"{page.name}: {link}: of {sorted(anchors(target))}"


@named
def test_every_file_and_module_that_a_sentence_names_is_there(page):
    for code in re.findall(r"`([^`\n]+)`", page.read_text(encoding="utf-8")):
        was = page.name == "CHANGELOG.md" and "/" in code  # of an older version
        if re.fullmatch(r"(gluon_cgd|reproduce|visualize|benchmarks|tests|docs|figures)/[\w./-]+", code) and not was:
            assert (pages.ROOT / code).exists(), f"{page.name}: {code}"
        if re.fullmatch(r"(gluon_cgd|reproduce|visualize)(\.\w+)+", code) and not code.endswith((".py", ".sh")):
            assert pydoc.locate(code) is not None, f"{page.name}: {code}"


def anchors(page):
    """What a link into the file `page` can name: its headings as GitHub writes them, and its own anchors."""
    text = page.read_text(encoding="utf-8")
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    slugs = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
    return slugs | set(re.findall(r'<a id="([^"]+)">', text))


@named
def test_every_flag_in_a_sentence_is_one_of_a_command(page, flags):
    prose = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for code in re.findall(r"`([^`]+)`", prose):
        for flag in re.findall(r"(?<![\w-])--[a-z][a-z-]*", code):
            assert flag in flags, f"{page.name}: {flag} is no flag of this project"


@pytest.fixture(scope="module")
def flags():
    """Every flag of every command that the pages name, as its parser has it."""
    known = {"--no-deps", "--version"}  # of pip, and of every Python program
    add = argparse.ArgumentParser.add_argument
    with pytest.MonkeyPatch.context() as patch:

        def added(self, *names, **more):
            action = add(self, *names, **more)
            known.update(action.option_strings)
            return action

        patch.setattr(argparse._ActionsContainer, "add_argument", added)
        for page in pages.PAGES:
            fenced = [block.text for block in pages.blocks(page) if block.language == "bash"]
            for words in [words for text in fenced for words in pages.commands(text)] + pages.inline_commands(page):
                pages.check(words, patch)
    return known


def test_the_readme_is_one_screen_and_the_index_of_the_pages():
    text = README.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    assert len(text.encode()) <= 9000
    for page in (pages.ROOT / "docs").glob("*.md"):
        assert f"](docs/{page.name})" in text, f"the README does not link to {page.name}"
    for file in (pages.ROOT / "gluon_cgd").glob("[a-z]*.py"):
        assert f"](gluon_cgd/{file.name})" in text, f"the README's map lacks {file.name}"


def test_versions_are_the_same_everywhere():
    def read(name):
        return (pages.ROOT / name).read_text(encoding="utf-8")

    assert re.search(r"^version: (\S+)$", read("CITATION.cff"), re.MULTILINE)[1] == __version__
    assert re.search(r"^## (\S+)$", read("CHANGELOG.md"), re.MULTILINE)[1] == __version__
    hook = re.search(r"rev: v(\S+)", read(".pre-commit-config.yaml"))[1]
    assert f"ruff=={hook}\n" in read("requirements-test.txt")
    assert "bash .ci/run\n" in read(".github/workflows/tests.yml")


def test_the_readmes_table_is_that_of_the_recorded_runs():
    block = next(block for block in pages.blocks(README) if block.text.startswith("Table1"))
    first = comparison.entries(tables.TABLES["table1"], lambda experiment: recorded.read(experiment)[:1], True, "last")
    assert block.text in formats.as_text(tables.TABLES["table1"], first, True, "last")


@pytest.mark.parametrize("name", [table.name for table in tables.EVERYTHING])
def test_a_scripts_header_counts_its_runs(name):
    script = (pages.ROOT / "reproduce" / f"{name}.sh").read_text(encoding="utf-8")
    table = {table.name: table for table in tables.EVERYTHING}[name]
    real, small = (len(plan.wanted([table], None, mini, recorded.FOLDER)) for mini in (False, True))
    assert re.search(rf"^# Trains {real} ", script, re.MULTILINE)
    assert f"# --mini: {small} runs" in script


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("python -m gluon_cgd train --no-such-flag 1", "refused"),
        ("python -m gluon_cgd no-such-command", "refused"),
        ("bash reproduce/table9.sh --mini", "does not exist"),
        ("python visualize/nothing.py", "does not exist"),
        ("frobnicate photos", "unknown"),
    ],
)
def test_a_wrong_command_in_a_page_is_caught(command, message, monkeypatch):
    with pytest.raises(AssertionError, match=message):
        pages.check(command.split(), monkeypatch)


def test_output_that_has_changed_is_caught():
    shown = "untrained  R@1 11.46  R@2 16.67\n...\nWritten: found.png"
    assert re.fullmatch(pages.pattern(shown), pages.plain("untrained R@1 3.0 R@2 9.1\nmore\nWritten: found.png\n"))
    assert not re.fullmatch(pages.pattern(shown), pages.plain("untrained R@1 3.0\nmore\nWritten: found.png\n"))
    assert not re.fullmatch(pages.pattern(shown), pages.plain("untrained R@1 3.0 R@2 9.1\nDrawn: found.png\n"))
