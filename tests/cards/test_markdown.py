"""Hostile names and values are shown on the card, and are nothing but text there."""

import re
import shlex
import subprocess

import pytest

from gluon_cgd.cards import text
from gluon_cgd.cards.markdown import code, markdown, shell
from gluon_cgd.datasets import Record, Split
from gluon_cgd.experiment import Experiment

HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "<script>x</script>",
    "\x1b[31mred",
    "![x](http://h/x.png)",
    "[x](javascript:x)",
    "a | b",
    "`code` ```",
    "line\n\n# heading\n```\n<b>",
    "&lt;b&gt;",
    "*a* _b_ ~c~ $d$",
    "\u202eright to left",
    "<!-- x",
    "\\",
]


def harmless(card):
    """No tag, link, picture or control character is in the Markdown `card`, apart from the card's own picture."""
    assert not re.search(r"(?<!\\)<", card)
    outside = re.sub(r"^```$.*?^```$", "", card, flags=re.MULTILINE | re.DOTALL)  # in a code block nothing is a link
    assert not re.search(r"(?<!\\)\]\(", outside.replace("![Losses, recall, and nearest classes](card.png)", ""))
    assert all(character.isprintable() or character == "\n" for character in card)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_text(name):
    for cell in (markdown(name), code(name)):
        harmless(cell)
        assert "\n" not in cell
        assert not re.search(r"(?<!\\)\|", cell)
    assert markdown(markdown(name)) == markdown(name)


def test_ordinary_names_are_as_they_were():
    for name in ("cgd_sg_resnet50_1536", "Tiramisu 2", "R@1", "crème brûlée", "32.7", "a-b (c), d"):
        assert markdown(name) == name
        assert code(name) == f"`{name}`"
    assert markdown(3) == "3"


@pytest.mark.parametrize("name", [*HOSTILE, "plain", "my photos", "it's", b"\xff".decode("utf-8", "surrogateescape")])
def test_a_path_in_a_command_is_that_path_in_a_shell_and_nothing_else_on_the_card(name):
    word = shell(name)
    harmless(f"```\n{word}\n```")
    assert "\n" not in word
    assert "`" not in word
    done = subprocess.run(["bash", "-c", f"printf %s {word}"], capture_output=True, check=True)
    assert done.stdout == name.encode("utf-8", "surrogateescape")
    if name in ("plain", "my photos", "it's"):
        assert word == shlex.quote(name)


@pytest.mark.parametrize("name", HOSTILE)
def test_no_value_of_a_result_and_no_name_of_a_class_is_more_than_text_on_the_card(tmp_path, name):
    recall = {f"R@1 {name}": 0.5}
    result = dict.fromkeys(("untrained", "last", "best"), recall)
    result.update(branches={"last": {f"{name} 1": recall, f"{name} 2": recall}}, seed=name, machine=name)
    result.update(commit=name, data=name, weights=name, parameters_sha256=name, versions={name: name})
    result.update(best_iteration=name, iterations=name)
    experiment = Experiment(dataset=f"photos {name}", backbone=f"onnx:net {name}", dim=8, descriptors="SG")
    records = [Record(f"{tmp_path}/{n}.png", n) for n in range(4)]
    where = (tmp_path / name, result, experiment, Split(records[:2], records[2:]), {(0, 1): 2, (1, 1): 1, (0, 0): 1})
    card = text.markdown(*where, lambda label: name, "last", ["--data", name])
    harmless(card)
    assert len(re.findall(r"^```$", card, re.MULTILINE)) == 2
    assert len(re.findall("^#", card, re.MULTILINE)) == 5
    for line in re.findall(r"^\|.*$", card, re.MULTILINE):
        assert len(re.split(r"(?<!\\)\|", line)) - 2 in (2, 3, 4), line
