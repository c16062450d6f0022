"""What the documents say of open details is so: numbers are computed, flags are tried, and the code is asked."""

import inspect
import re
from dataclasses import fields

import pytest
from scipy import stats

from gluon_cgd import losses, model
from gluon_cgd.__main__ import parser
from gluon_cgd.datasets import OFFICIAL
from gluon_cgd.experiment import WITHOUT_BATCH_NORM, Experiment
from gluon_cgd.machine.facts import PROJECT
from reproduce import student
from reproduce.documents import ledger
from reproduce.tables import TABLES

ROWS = {row.detail: row for row in ledger.read()}
REPRODUCE = (PROJECT / "REPRODUCE.md").read_text(encoding="utf-8")
CARS = OFFICIAL["cars196"][0][0]  # training pictures


def experiment_of(command):
    """The Experiment that `train` makes of the flags in `command`."""
    typed = vars(parser().parse_args(["train", "--out", "x", *command.split()]))
    return Experiment(**{field.name: typed[field.name] for field in fields(Experiment) if field.name in typed})


def flags_in(text):
    """The flags of `train` in a cell of the ledger: every piece of code with a value."""
    return [flags for flags in re.findall(r"`(--[^`]+)`", text) if not re.match("--(seeds|compare)", flags)]


@pytest.mark.parametrize("detail", ROWS)
def test_every_other_reading_has_flags_that_train_takes(detail):
    for flags in flags_in(ROWS[detail].others):
        if flags.count(" ") or flags.startswith(("--no-", "--frozen")):
            assert experiment_of(flags).changes(), flags


def drops(experiment):
    """(iterations at which the rate falls, all iterations) on CARS196."""
    steps = experiment.iterations(CARS)
    return [round(at * steps) for at in experiment.decay_at], steps


def test_the_schedules_of_others_are_theirs():
    papers, *others = (Experiment(), *map(experiment_of, flags_in(ROWS["schedule"].others)))
    assert papers.iterations(OFFICIAL["cub200"][0][0]) == 1500
    assert [round(1500 * at) for at in papers.decay_at] == [400, 800]
    theirs, defaults, readme = others
    assert (theirs.passes, theirs.decay_at, theirs.decay_factor) == (20, (0.6, 0.8), 0.1)
    assert drops(defaults) == ([240, 480, 960, 1920], 120_000)
    assert drops(readme) == ([9_600, 19_200, 28_800, 38_400], 96_000)
    assert defaults.decay_factor == readme.decay_factor == 0.5
    for number in ("240, 480, 960 and 1,920 of 120,000", "9,600, 19,200, 28,800 and 38,400 of 96,000"):
        assert number in ROWS["schedule"].others


def test_both_readings_of_a_batch_are_offered_with_their_source():
    row = ROWS["classes and pictures in a batch of 128"]
    assert row.source == "[T] 32 x 4"
    assert row.others.startswith("[L] by its defaults 4 x 32, ")
    few = experiment_of(*flags_in(row.others))
    assert (few.batch_classes, few.batch_images, few.batch_size) == (4, 32, 128)
    for name in ("leftthomas/CGD", "embedding-expansion"):
        assert name in (PROJECT / "docs/training.md").read_text(encoding="utf-8")
        assert name in Experiment.__dataclass_fields__["batch_classes"].metadata["meaning"]


def test_the_cutoffs_of_the_margin_loss_are_the_codes():
    row, loss = ROWS["sampling of the margin loss"], losses.MarginLoss()
    assert f"below {loss.cutoff} count as {loss.cutoff}; negatives at {loss.nonzero_cutoff} or farther" in row.ours
    assert loss.nonzero_cutoff == pytest.approx(loss.margin + loss.boundary)
    parameters = inspect.signature(losses.negative_probabilities).parameters
    assert (parameters["cutoff"].default, parameters["nonzero_cutoff"].default) == (loss.cutoff, loss.nonzero_cutoff)
    assert "1.4" in row.others


def test_the_fc_layers_of_the_branches_have_no_bias_and_the_classifier_has_one(small_experiment):
    net = model.from_experiment(small_experiment, 5)
    names = list(net._collect_params_with_prefix())
    assert any(name.startswith("classifier") and name.endswith("bias") for name in names)
    assert not any(name.startswith("reductions") and name.endswith("bias") for name in names)
    assert ROWS["bias of the branches' FC layers"].ours == "none"


def test_gluoncv_has_no_network_that_is_called_resnet50():
    from gluoncv import model_zoo

    with pytest.raises(ValueError, match="resnet50"):
        model_zoo.get_model("resnet50")
    assert "no network that is called `resnet50`" in ROWS["ResNet-50"].source


def test_what_is_ours_is_not_said_to_be_another_s():
    assert ROWS["ties in Recall@K"].source.startswith("ours")
    assert "tie" not in ROWS["evaluation"].ours
    assert "[E]" not in ROWS["classes of SOP and In-shop"].source.partition(";")[0]  # its lists are of CUB200 alone
    for text in ("Figure 1 is ambiguous", "M wide"):
        assert text in ROWS["batch norm before the classifier"].source


def test_one_run_is_above_the_median_as_often_as_is_said():
    median = TABLES["table5"].rows[5].published["Combined"].mean
    single = next(
        row.published["CARS196 R@1"].mean
        for row in TABLES["table7"].rows
        if row.name == "CGD ResNet-50‡ 1536" and "CARS196 R@1" in row.published
    )
    spreads = {TABLES["table2"].rows[3].published["R@1"].std, TABLES["table6"].rows[1].published["R@1"].std}
    assert (single, median, spreads) == (94.7, 94.5, {0.2})
    chance = stats.norm.sf((single - 0.05 - median) / spreads.pop())
    said = " ".join(REPRODUCE.split())
    assert f"{single}, is above Table 5's median of the same configuration, {median}." in said
    assert f"one run prints {single} or more with a probability of {chance:.2f}, if runs spread by 0.2" in said


def test_two_recalls_of_the_student_report_are_no_multiples():
    recalls = [
        text
        for _, _, columns, rows in student.TABLES
        for numbers in rows.values()
        for column, text in zip(columns, numbers.split())
        if column.startswith("R@")
    ]
    multiples = {f"{int(1000 * k / 176 + 0.5) / 10:.1f}" for k in range(177)}
    assert [text for text in recalls if text not in multiples] == ["14.7", "32.9"]
    assert "but for two of M's, 14.7\nand 32.9" in student.__doc__


def test_the_wide_network_has_no_batch_norms_and_the_student_report_says_so():
    from gluon_cgd import backbones

    names = list(backbones.build("wide_resnet50").collect_params())
    assert "wide_resnet50" in WITHOUT_BATCH_NORM
    assert not any(re.search("batchnorm|gamma|beta|running", name) for name in names)
    assert any(name.endswith("conv0_bias") for name in names)
    assert "wrn50_2, has no batch norms" in "\n".join(student.header(False, "last"))


WRONG = re.compile(
    r"GluonCV's default|probably (the|a) best|is a best run|read it as a best run|All its\s+recalls are|"
    r"passes 100 --decay-at|by the paper's criterion|32 times 4 is the paper's|the paper's 32\b|"
    r"\[L\] 32 classes|Everything is as in the paper|Defaults are the paper's\.|Figure 1 draws it"
)


def test_what_is_not_known_is_said_nowhere():
    folders = ("docs", "gluon_cgd", "reproduce", "visualize", "benchmarks")
    files = [*PROJECT.glob("*.md"), *(file for folder in folders for file in (PROJECT / folder).rglob("*"))]
    texts = [file for file in files if file.suffix in (".md", ".py", ".sh", ".jinja", ".html")]
    assert len(texts) > 150
    for file in texts:
        wrong = WRONG.search(" ".join(file.read_text(encoding="utf-8").split()))
        assert not wrong, f"{file}: {wrong[0]}"
