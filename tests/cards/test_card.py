"""The card of a trained model: its text, its picture, and the command that makes it."""

import json
import re
import shlex
from collections import Counter

import pytest
from PIL import Image

from gluon_cgd import datasets
from gluon_cgd.__main__ import main, parser
from gluon_cgd.cards import text as card
from gluon_cgd.cards.picture import LARGEST, draw, wrapped
from gluon_cgd.datasets.records import Record, Split
from gluon_cgd.experiment import Experiment
from tests import miniatures

SMALL = ["--backbone", "cifar_resnet10", "--no-pretrained", "--input-size", "16", "--dim", "8", "--passes", "1"]


@pytest.fixture
def run(tmp_path, capsys):
    """A run on a folder whose classes have names that Markdown would take for something else."""
    data = miniatures.folder(tmp_path / "my photos", classes=3, images=8)
    (data / "class 1").rename(data / "a|b *c*")
    assert main(["train", "--dataset", str(data), "--out", str(tmp_path / "run"), *SMALL]) == 0
    assert f"Written: {tmp_path}/run/card.md, {tmp_path}/run/card.png" in capsys.readouterr().out
    return tmp_path / "run"


def rows(text, head):
    """The lines of the Markdown table under the line `head`, as lists of cells."""
    lines = text[text.index(head) :].splitlines()
    body = lines[2 : lines.index("")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in body]


def test_training_leaves_a_card_that_says_what_the_result_says(run):
    text, result = (run / "card.md").read_text(), json.loads((run / "result.json").read_text())
    assert text.startswith("# cgd_sg_cifar_resnet10_8 on my photos\n")
    assert "18 training pictures of 3 classes and 6 test pictures of 3 classes" in text
    assert "| split | 20 % of the pictures of each class for testing, drawn with seed 0 |" in text
    recalls = {line[0]: line[1:] for line in rows(text, "|  | R@1 | R@2 | R@4 | R@8 |")}
    assert set(recalls) == {
        "untrained",
        "last",
        f"best (step {result['best_iteration']})",
        "last, SPoC alone",
        "last, GeM alone",
    }
    for stage in ("untrained", "last"):
        assert recalls[stage] == [f"{100 * value:.1f}" for value in result[stage].values()]
    gem = result["branches"]["last"]["GeM"]
    assert recalls["last, GeM alone"] == [f"{100 * value:.1f}" for value in gem.values()]
    changes = {line[0].strip("`"): line[1:] for line in rows(text, "| choice | here | default |")}
    experiment = Experiment.from_dict(result["experiment"])
    assert set(changes) == set(experiment.changes()) - {"dataset"}
    assert changes["pretrained"] == ["no", "yes"]
    assert changes["batch_classes"] == ["3", "32"]
    for value in (result["parameters_sha256"], result["data"], result["machine"]):
        assert value in text
    right = round(result["last"]["R@1"] * 6)
    assert f"the nearest other picture has the right class for {right} of 6 test pictures" in text
    for line in re.findall(r"^\|.*\|$", text, re.MULTILINE):  # no cell is cut by a name
        assert len(re.split(r"(?<!\\)\|", line)) - 2 in (2, 3, 4, 5), line


def test_the_commands_on_the_card_are_commands_and_its_recalls_theirs(run, capsys):
    block = re.search(r"```\n(.*?)```", (run / "card.md").read_text(), re.DOTALL)[1]
    commands = [shlex.split(line)[3:] for line in block.splitlines()]
    assert [command[0] for command in commands] == ["evaluate", "index", "search", "export"]
    for command in commands:
        parser().parse_args(command)
    assert main([*commands[0], "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    recall, whole = printed["recall"], printed["in_collection"]
    assert recall == json.loads((run / "result.json").read_text())["last"]
    # With a split by images the card says both recalls
    text = (run / "card.md").read_text()
    ways = {line[0]: line[1:] for line in rows(text, "| test pictures are searched | R@1 | R@2 | R@4 | R@8 |")}
    assert ways == {
        "among the 6 test pictures (the paper's protocol)": [f"{100 * value:.1f}" for value in recall.values()],
        "among all 24 pictures, as a search finds them": [f"{100 * value:.1f}" for value in whole["recall"].values()],
    }
    precisions = {line[0]: line[1:] for line in rows(text, "| test pictures are searched | among the 6")}
    assert precisions == {
        name: [
            "{:.1f} ({:.1f} to {:.1f})".format(*(100 * way[name][part] for part in ("value", "low", "high")))
            for way in (printed["precision"], whole["precision"])
        ]
        for name in ("mAP@R", "R-precision", "P@1", "P@2", "P@4", "P@8")
    }
    right = round(6 * whole["recall"]["R@1"])
    assert f"among all 24 pictures, as a search finds them, it has for {right} of 6 (" in text


def test_the_picture_is_one(run):
    with Image.open(run / "card.png") as picture:
        assert picture.format == "PNG"
        assert picture.width > 1000


@pytest.mark.slow
def test_a_card_is_made_once_and_anew_when_asked_for(run, capsys):
    first = (run / "card.md").read_text()
    (run / "card.md").write_text("mine")
    dataset = str(run.parent / "my photos")
    assert main(["train", "--dataset", dataset, "--out", str(run), *SMALL]) == 0  # done already
    assert "Written" not in capsys.readouterr().out
    assert (run / "card.md").read_text() == "mine"
    assert main(["card", "--checkpoint", str(run)]) == 0
    assert (run / "card.md").read_text() == first
    assert main(["card", "--checkpoint", str(run), "--which", "best"]) == 0
    assert "With the best parameters" in (run / "card.md").read_text()


def test_what_has_no_card_is_refused_in_a_sentence(run, tmp_path, capsys):
    def refused(*arguments):
        assert main(["card", *arguments]) == 2
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        assert not said.out
        return said.err.strip().splitlines()[-1]

    assert "holds no finished run" in refused("--checkpoint", str(tmp_path / "none"))
    assert "is a published file and has no log" in refused("--checkpoint", "a.params")
    (tmp_path / "file").touch()
    assert "file/card.md does not exist, because" in refused("--checkpoint", str(run), "--out", str(tmp_path / "file"))
    (run.parent / "my photos/class 0/0.jpg").unlink()
    assert "my photos has changed since" in refused("--checkpoint", str(run))
    for folder in (run.parent / "my photos").iterdir():
        folder.rename(tmp_path / folder.name)
    assert "has 0 classes with pictures" in refused("--checkpoint", str(run))


def test_what_spoils_the_recall_is_on_the_card():
    recall = {"R@1": 0.5}
    part = dict(pictures=9, tested=4, copies=2, twins=1, boxes=0, test_hash="", hashes="")
    result = {"seed": 3, "untrained": recall, "last": recall, "best": recall, "training": part}
    split = Split([Record("a", 0)] * 4, [Record("b", 7, (0, 0, 4, 4)), Record("c", 8, (0, 0, 4, 4))])
    text = card.markdown("runs/x", result, Experiment(), split, Counter({(7, 8): 1, (8, 8): 1}), str)
    assert "\n2 of 4 test pictures are copies of training pictures, so the recall is too high: remove the" in text
    assert "\n1 of 4 test pictures have a copy among the test pictures, which any model finds, so the recall" in text
    assert "cut out by boxes. `index` takes whole pictures, which" in text
    assert "as a search finds them" not in text


def test_a_benchmark_has_a_card_with_numbers_for_names():
    recall = {"R@1": 0.5, "R@10": 0.75}
    result = {"seed": 3, "untrained": recall, "last": recall, "best": recall}  # as little as an older run has
    split = Split([Record("a", 0)] * 4, [Record("b", 7), Record("c", 8)])
    text = card.markdown("runs/x", result, Experiment(), split, Counter({(7, 8): 1, (8, 8): 1}), str)
    assert "| split | that of the benchmark |" in text
    assert "Everything is the default: the paper's or, where it has none, ours." in text
    assert "| 7 | 1 | 0 % | 8 (1) |" in text
    assert "| last | 50.0 | 75.0 |" in text
    assert "evaluate --checkpoint runs/x\n" in text
    assert "attention" not in text
    other = Experiment(attention="cbam", erasing=0.5, colour_jitter=0.4)
    more = card.markdown("runs/x", result, other, split, Counter({(8, 8): 2}), str)
    assert "# cgd-cbam_sg_resnet50_1536 on cars196" in more
    assert "| attention | `cbam`, in front of all descriptors |" in more
    for line in ("| `attention` | cbam | none |", "| `erasing` | 0.5 | 0 |", "| `colour_jitter` | 0.4 | 0 |"):
        assert line in more
    more = card.markdown("runs/x", result, Experiment(), split, Counter({(8, 8): 2}), str, flags=["--data", "my data"])
    assert "evaluate --checkpoint runs/x --data 'my data'\n" in more
    assert "worst" not in more


@pytest.mark.parametrize(
    ("changes", "began"),
    [
        ({}, "parameters learned on ImageNet (or in the file of --weights)"),
        ({"backbone": "small_se_resnet"}, "parameters learned on letters (or in the file of --weights)"),
        ({"backbone": "onnx:net.onnx"}, "the parameters in that file (or in the file of --weights)"),
        (
            {"backbone": "gluoncv2:resnet20_cub"},
            "the parameters that gluoncv2 has for it (or in the file of --weights)",
        ),
        ({"pretrained": False}, "random parameters"),
    ],
)
def test_the_card_says_what_the_backbone_started_from(changes, began):
    recall = {"R@1": 0.5}
    result = {"seed": 3, "untrained": recall, "last": recall, "best": recall, "weights": "ab12"}
    split, experiment = Split([Record("a", 0)], [Record("b", 7)]), Experiment(classification=False, **changes)
    text = card.markdown("runs/x", result, experiment, split, Counter({(7, 8): 1}), str)
    assert f"`{experiment.backbone}`, started from {began}, pictures of 224 x 224 |" in text
    assert "| parameters it started from (hash) | `ab12` |" in text
    assert "| descriptors | SG: SPoC + GeM |\n" in text  # no classifier learns
    assert text.count("ImageNet") == began.count("ImageNet")


def test_a_ranking_loss_without_a_value_at_one_point_is_compared_with_none():
    recall, losses = {"R@1": 0.5}, {"ranking": 0.4}
    history = [{"iteration": 9, "recall": recall, "spread": {"same": 0.8, "other": 0.1}, "losses": losses}]
    result = dict(seed=3, history=history, untrained=recall, last=recall, best=recall)
    split = Split([Record("a", 0)], [Record("b", 7)])
    for loss in ("batch_hard", "multi_similarity"):
        text = card.markdown("runs/x", result, Experiment(loss=loss), split, Counter({(7, 8): 1}), str)
        assert ("; a ranking loss that is not below 0.1 (the margin)" in text) is (loss == "batch_hard")
        assert "is the lower one" in text
        assert "not below 0 " not in text


def test_the_card_shows_the_spread_and_warns_of_a_collapse():
    before, after = {"R@1": 0.283}, {"R@1": 0.2}
    cosines, ranking = {"same": 0.9912, "other": 0.9876}, {"ranking": 0.1021}
    history = [{"iteration": 0, "recall": before, "spread": {"same": 0.6, "other": None}}]
    history.append({"iteration": 9, "recall": after, "spread": cosines, "losses": ranking})
    recalls = dict(untrained=before, last=after, best=after, best_iteration=9)
    result, split = dict(seed=3, history=history, **recalls), Split([Record("a", 0)], [Record("b", 7)])
    arguments = ("runs/x", result, Experiment(), split, Counter({(7, 8): 1}), str)
    text = card.markdown(*arguments)
    assert rows(text, "|  | same class | other classes | ranking loss |") == [
        ["untrained", "0.6000", "-", "-"],
        ["last", "0.9912", "0.9876", "0.1021"],
        ["best", "0.9912", "0.9876", "0.1021"],
    ]
    warning = "\n".join(line for line in text.splitlines() if line.startswith("> "))
    for part in (
        "**Warning:** R@1 after training, 20.00 %",
        "28.30 %",
        "collapsed",
        "0.1 (the margin)",
        "> Usual remed",
    ):
        assert part in warning
    history[1].update(spread={"same": 0.8, "other": 0.1}, recall={"R@1": 0.4})
    result.update(last={"R@1": 0.4}, best={"R@1": 0.4})
    assert "Warning" not in card.markdown(*arguments)
    del history[0]["spread"], history[1]["spread"]
    assert "## Spread" not in card.markdown(*arguments)


@pytest.mark.parametrize(
    ("rankings", "told", "warns"),
    [
        ((0.104, 0.101, 0.1), "he ranking loss never left its margin: its lowest mean, 0.1000 at iteration 1500", True),
        ((0.104, 0.03, 0.02), "he ranking loss left its margin only after the first decay of the learning rate", True),
        ((0.03, 0.03, 0.02), "he ranking loss left its margin at iteration 400 (the first mean below 0.05", False),
    ],
)
def test_the_card_says_whether_the_ranking_loss_left_its_margin(rankings, told, warns):
    before, after, spread = {"R@1": 0.2}, {"R@1": 0.4}, {"same": 0.8, "other": 0.1}
    history = [{"iteration": step, "recall": recall, "spread": spread} for step, recall in ((0, before), (1500, after))]
    result = dict(seed=3, history=history, untrained=before, last=after, best=after, best_iteration=1500)
    result.update(iterations=1500, curve={"iteration": [400, 1000, 1500], "ranking": list(rankings)})
    split = Split([Record("a", 0)], [Record("b", 7)])
    text = card.markdown("runs/x", result, Experiment(), split, Counter({(7, 8): 1}), str)
    assert f"\n\nT{told}" in text
    assert (f"> **Warning:** T{told}" in text) is warns
    assert ("Usual remedies" in text) is warns


@pytest.mark.slow
@pytest.mark.parametrize("classes", [2, LARGEST, LARGEST + 1])
def test_few_classes_are_a_map_and_many_are_bars(tmp_path, classes):
    counted = Counter({(label, label): 3 for label in range(classes)})
    counted.update({(label, (label + 1) % classes): 1 for label in range(classes)})
    history = [{"iteration": at, "recall": {"R@1": 0.2}, "branches": {}} for at in (0, 10)]
    draw({10: {"ranking": 0.3}}, history, counted, lambda label: f"$ phở 漢 {label}" * 4, tmp_path / "card.png")
    draw({}, [], Counter({(0, 0): 1}), str, tmp_path / "bare.png")  # nothing is known of the way
    for name in ("card.png", "bare.png"):
        with Image.open(tmp_path / name) as picture:
            assert picture.height > 500


def test_a_long_name_is_broken_into_lines_and_not_cut_in_its_middle():
    name = "Aston Martin V8 Vantage Convertible 2012"
    assert wrapped(name) == "Aston Martin V8 Vantage\nConvertible 2012"
    assert wrapped("phở") == "phở"
    assert wrapped("x" * 60) == "\n".join(["x" * 26, "x" * 26, "x" * 8])
    words = wrapped("word " * 99).split("\n")
    assert len(words) == 3
    assert words[-1].endswith(" …")
    assert max(map(len, words)) <= 26


@pytest.fixture
def figures(monkeypatch):
    """The figures that would have been saved."""
    saved = []
    monkeypatch.setattr("gluon_cgd.cards.picture.save", lambda figure, file: saved.append(figure))
    return saved


def test_a_map_of_twenty_classes_has_its_numbers_and_whole_names(figures):
    name = "Aston Martin V8 Vantage Convertible {}".format
    counted = Counter({(label, label): 3 for label in range(20)})
    counted[3, 4] = 1
    draw({}, [], counted, name, "never written")
    (axes,) = (axes for axes in figures[0].axes if axes.images)
    shares = {(row, column): text for text in axes.texts for column, row in [text.get_position()]}
    assert {place: text.get_text() for place, text in shares.items() if place[0] == 3} == {(3, 3): "75", (3, 4): "25"}
    assert len(shares) == 21
    assert [label.get_text().replace("\n", " ") for label in axes.get_yticklabels()] == [name(i) for i in range(20)]
    figures[0].draw_without_rendering()
    boxes = [label.get_window_extent() for label in axes.get_yticklabels()]
    assert all(lower.y1 <= upper.y0 + 1 for upper, lower in zip(boxes, boxes[1:]))  # no name lies on the next


@pytest.mark.parametrize("classes", [2, LARGEST + 1])
def test_what_controls_a_terminal_in_a_name_is_drawn_as_its_escape(figures, classes):
    counted = Counter({(label, (label + 1) % classes): 1 for label in range(classes)})
    draw({}, [], counted, "caf\udce9\x1b[31m{}".format, "never written")
    figures[0].draw_without_rendering()  # matplotlib writes the labels anew
    labels = [label.get_text() for label in figures[0].axes[2].get_yticklabels()]
    assert labels
    assert all(label.startswith("caf\\xe9\\x1b[31m") for label in labels)


@pytest.mark.parametrize("evaluations", [2, 3])
def test_two_evaluations_are_dots_and_three_are_a_curve(figures, evaluations):
    history = [{"iteration": at, "recall": {"R@1": 0.2}} for at in range(evaluations)]
    losses = {at: {"ranking": 0.3} for at in range(evaluations)}
    draw(losses, history, Counter({(0, 0): 1}), str, "never written")
    lines = [line for axes in figures[0].axes[:2] for line in axes.get_lines()]
    assert [line.get_marker() for line in lines] == ["o", "o"]
    assert [line.get_linestyle() for line in lines] == ["None" if evaluations == 2 else "-"] * 2


def test_the_card_of_a_tiny_collection_says_what_was_tested(tmp_path, monkeypatch):
    data = miniatures.folder(tmp_path / "two", classes=2, images=2)
    split = datasets.load(str(data), split="images")
    recall = {"R@1": 0.5}
    result = {"seed": 3, "untrained": recall, "last": recall, "best": recall}
    text = card.markdown("runs/x", result, Experiment(str(data), split="images"), split, Counter(), str)
    assert "| split | one picture of each class for testing, drawn with seed 0 and searched in the others |" in text
    monkeypatch.chdir(data)
    text = card.markdown("runs/x", result, Experiment(".", split="images"), split, Counter(), str)
    assert text.startswith("# cgd_sg_resnet50_1536 on .\n")  # the folder has no other name


def test_the_card_states_the_ceiling_of_recall():
    recall = {"R@1": 0.25}
    result = {"seed": 3, "untrained": recall, "last": recall, "best": recall}
    records = [Record("b", 7), Record("c", 8), Record("d", 8), Record("e", 9)]
    text = card.markdown("runs/x", result, Experiment(), Split([Record("a", 0)] * 4, records), Counter(), str)
    told = "no Recall@K can be above 50.00 %: 2 of 4 test pictures have no other picture of their class to be found."
    assert f"Whatever the model, {told}\n\n|  | R@1 |" in text
    text = card.markdown("runs/x", result, Experiment(), Split([Record("a", 0)] * 4, records[1:3]), Counter(), str)
    assert "Whatever the model" not in text
    assert '"best" is the evaluation with the highest Recall@1 on them.\n\n|  | R@1 |' in text
