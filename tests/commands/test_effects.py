"""A flag that has no effect with the others is refused, by every command and script; so is an empty name."""

import re

import pytest
from PIL import Image

from gluon_cgd.__main__ import COMMANDS, main, parser
from gluon_cgd.commands import effects
from reproduce import flags
from visualize import configurations, embedding, ranking, similarity

# The flags that have an effect whatever the others are, except those that the opener of models refuses (--which of a
# file, --runtime of a checkpoint, PRETRAINED) and those of Experiment that RULES do not name. A new flag belongs here
# or in RULES.
PRETRAINED = {"pretrained", "weights", "input_size"}
TRAINER = {"engine", "precision", "deterministic"}  # `engines.choice` says what does not go together
ALWAYS = {
    "doctor": {"data", "json"},
    "data": {"dataset"},
    "train": {"out", "seed", "ctx", "checkpoint_every", "parts", *TRAINER},
    "choose": {"out", "seeds", "ctx", "checkpoint_every", "parts", *TRAINER},
    "evaluate": {"checkpoint", "model", "symbol", "which", "runtime", "epoch", "ctx", "dataset", "json", *PRETRAINED},
    "card": {"checkpoint", "which", "ctx", "out"},
    "publish": {"checkpoint", "which", "out"},
    "export": {"checkpoint", "which", "onnx", "features", "int8", *PRETRAINED},
    "embed": {"checkpoint", "model", "which", "runtime", "ctx", "images", "out", "skip_bad", *PRETRAINED},
    "index": {"out", "shard", "join"},
    "check": {"dataset", "checkpoint", "model", "which", "runtime", "ctx", "json", *PRETRAINED},
    "duplicates": {"index", "likeness", "figure", "json"},
    "serve": {"index", "host", "port", "engine", "checkpoint", "model", "which", "runtime", "ctx", *PRETRAINED},
    "search": {
        *("index", "query", "k", "box", "figure", "json", "engine", "threshold", "by_folder"),
        *("checkpoint", "model", "which", "runtime", "ctx"),
        *PRETRAINED,
    },
}
DATA = {"data", "allow_partial"}  # `check_data` looks at them where the model names the dataset


@pytest.mark.parametrize("command", COMMANDS)
def test_every_flag_is_known_to_have_an_effect_or_has_a_rule(command):
    from gluon_cgd.experiment import Experiment

    sub = parser([command])._subparsers._group_actions[0].choices[command]
    there = {action.dest for action in sub._actions} - {"help"}
    if command in ("train", "choose"):
        there -= set(vars(Experiment())) | {"weights"}
    ruled = {flag for rule in effects.RULES.get(command, ()) for flag in rule.flags}
    assert there - ruled - ALWAYS[command] - DATA == set()


def check(arguments):
    effects.check(parser(arguments[:1]).parse_args(arguments))


TRAIN = ["train", "--out", "r"]
WITHOUT_EFFECT = [
    (["index", "--images", "p", "--out", "i", "--kind", "ivf"], "--kind ivf is for --engine faiss: name both, or"),
    (["index", "--out", "i", "--compact", "--engine", "milvus", "--uri", "m.db", "--kind", "pq"], "--kind pq is for"),
    (["index", "--images", "p", "--out", "i", "--kind", "hnsw"], "--kind hnsw is for"),  # the default, typed
    (["index", "--images", "p", "--out", "i", "--uri", "m.db"], "--uri m.db is for --engine milvus"),
    (["index", "--out", "i", "--shards", "3"], "--shards 3 needs pictures that are embedded: name their folder"),
    (["index", "--out", "i", "--shard", "3", "--images", "p"], "--images p: --shards was told already, leave it out"),
    (["index", "--out", "i", "--join", "--images", "p"], "--images p: --shards was told already"),
    (["index", "--out", "i", "--join", "--ctx", "cpu"], "--ctx need pictures that are embedded"),
    (["index", "--out", "i", "--join", "--prune"], "--prune is for an index that is there, and --shards makes a new"),
    (["index", "--images", "p", "--out", "i", "--shards", "3", "--compact"], "--compact is for an index that is there"),
    (["index", "--out", "i", "--shard", "3", "--whiten"], "--whiten comes after all shards are joined: leave it out"),
    (["index", "--out", "i", "--shard", "3", "--model", "m"], "--model: a shard takes the model of all, leave it out"),
    (["index", "--images", "p", "--out", "i", "--backend", "slurm"], "--backend slurm is for --shards N: name both"),
    (
        ["index", "--images", "p", "--out", "i", "--shards", "3", "--slurm", "time=1"],
        "--slurm works only with --backend",
    ),
    (
        ["index", "--images", "p", "--out", "i", "--shards", "3", "--backend", "slurm", "--ctx", "cpu"],
        "--ctx cpu has no effect with --backend slurm, whose jobs take the devices that they get",
    ),
    (["index", "--out", "i", "--compact", "--prune"], "--prune need pictures that are embedded"),
    (["index", "--out", "i", "--compact", "--prune", "all", "--ctx", "cpu"], "--prune, --ctx need pictures"),
    (["index", "--out", "i", "--engine", "faiss", "--recall", "0.9"], "--recall 0.9 is for --engine faiss with --kind"),
    (
        ["index", "--out", "i", "--engine", "faiss", "--kind", "hnsw", "--memory", "4"],
        "--memory 4.0 is for --engine faiss",
    ),
    (["index", "--out", "i", "--reduce", "8", "--whiten"], "--whiten and --reduce: one of the two is possible"),
    (["index", "--out", "i", "--shard", "1", "--store", "int8"], "--store comes after all shards are joined"),
    (["index", "--out", "i", "--shard", "1", "--reduce", "8"], "--reduce comes after all shards are joined"),
    (["search", "i", "q", "--kind", "flat"], "--kind flat is for --engine faiss"),
    (["search", "i", "q", "--uri", "u", "--engine", "faiss"], "--uri u is for --engine milvus"),
    (["search", "i", "q", "--rerank", "alpha-qe", "--threshold"], "--rerank alpha-qe changes the order of the cosines"),
    (["search", "i", "q", "--heatmaps"], "--heatmaps are drawn into a figure: name one with --figure"),
    (["data", "cub200", "--verify"], "--verify: name the folder of cub200 too, with --root"),
    (["data", "sop_mini", "--prepare", "--allow-partial"], "--prepare, --allow-partial: name the folder of sop_mini"),
    (["data", "inshop", "--input-size", "224"], "--input-size 224: name the folder"),
    (["data", "glyphs", "--input-size", "64"], "--input-size 64 is for --prepare"),
    (["data", "glyphs", "--allow-partial"], "--allow-partial is for pictures that can be missing"),
    (["data", "OWN", "--root", "r"], "--root r is for a benchmark, and OWN is a folder or a list of your own"),
    ([*TRAIN, "--dataset", "OWN", "--data", "d"], "--data d is for a benchmark, and OWN is"),
    ([*TRAIN, "--dataset", "glyphs", "--allow-partial"], "--allow-partial is for pictures that can be missing"),
    ([*TRAIN, "--split", "images"], "--split images: cars196 says itself which pictures are for the test"),
    (
        [*TRAIN, "--dataset", "glyphs", "--held-out", "0.5", "--split-seed", "0"],
        "--held-out 0.5, --split-seed 0: glyphs",
    ),
    ([*TRAIN, "--dataset", "DIVIDED", "--held-out", "0.3"], "--held-out 0.3: DIVIDED says itself"),
    ([*TRAIN, "--hap2s-sigma", "0.5"], "--hap2s-sigma 0.5 is for --loss hap2s_e"),
    ([*TRAIN, "--loss", "hap2s_e", "--hap2s-alpha", "9"], "--hap2s-alpha 9.0 is for --loss hap2s_p"),
    ([*TRAIN, "--margin-boundary", "1"], "--margin-boundary 1.0 is for --loss margin"),
    ([*TRAIN, "--loss", "soft_margin", "--margin", "0.2"], "--margin 0.2 has no effect"),
    ([*TRAIN, "--no-classification", "--smoothing", "0"], "--smoothing 0.0 is for the classification loss"),
    ([*TRAIN, "--no-classification", "--no-classifier-batch-norm"], "--no-classifier-batch-norm is for the classif"),
    ([*TRAIN, "--decay-at", "--decay-factor", "0.5"], "--decay-factor 0.5 needs a --decay-at"),
    ([*TRAIN, "--descriptors", "SM", "--gem-p", "4"], "--gem-p 4.0 is for --descriptors with G"),
    ([*TRAIN, "--backbone", "squeezenet1.1", "--frozen-batch-norm"], "since backbone squeezenet1.1 has no batch norms"),
    ([*TRAIN, "--no-pretrained", "--weights", "w"], "--weights and --no-pretrained contradict each other"),
    (["choose", "--out", "r", "--loss", "margin", "--hap2s-sigma", "1"], "--hap2s-sigma 1.0 is for"),
]
WITH_EFFECT = [
    ["index", "--images", "p", "--out", "i", "--engine", "faiss", "--kind", "ivf", "--prune"],
    ["index", "--images", "p", "--out", "i", "--shards", "3", "--model", "m", "--ctx", "cpu", "--skip-bad", "--whiten"],
    ["index", "--images", "p", "--out", "i", "--shards", "3", "--backend", "slurm", "--slurm", "partition=gpu"],
    ["index", "--out", "i", "--shard", "3", "--ctx", "gpu1", "--skip-bad"],
    ["index", "--out", "i", "--join", "--whiten", "--engine", "faiss", "--kind", "pq"],
    ["index", "--out", "i", "--engine", "faiss", "--kind", "auto", "--recall", "0.9", "--memory", "4"],
    ["search", "i", "q", "--engine", "milvus", "--uri", "u", "--figure", "f.png", "--heatmaps"],
    ["data", "cub200"],
    ["data", "cub200", "--root", "r", "--verify", "--prepare", "--input-size", "64", "--allow-partial"],
    ["data", "OWN", "--verify", "--prepare", "--input-size", "64", "--allow-partial"],
    ["data", "glyphs", "--root", "r"],
    [*TRAIN, "--dataset", "OWN", "--split", "images", "--held-out", "0.3", "--split-seed", "1"],
    [*TRAIN, "--loss", "hap2s_e", "--hap2s-sigma", "1", "--margin", "0.2", "--gem-p", "2", "--weights", "w"],
    [
        *TRAIN,
        "--loss",
        "margin",
        "--margin-boundary",
        "1",
        "--smoothing",
        "0",
        "--decay-at",
        "0.5",
        "--decay-factor",
        "1",
    ],
    ["choose", "--out", "r", "--gem-p", "2"],
]


@pytest.fixture
def places(tmp_path):
    """{word of the examples: a folder of classes, or one of train and test}."""
    for name in ("own/a/1", "own/a/2", "own/b/1", "divided/train/a/1", "divided/test/a/2"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / f"{name}.png")
    return {"OWN": str(tmp_path / "own"), "DIVIDED": str(tmp_path / "divided")}


@pytest.mark.parametrize(("arguments", "message"), WITHOUT_EFFECT)
def test_a_flag_without_effect_is_refused(arguments, message, places):
    for word, place in places.items():
        message = message.replace(word, place)
    with pytest.raises(ValueError, match=re.escape(message)):
        check([places.get(word, word) for word in arguments])


@pytest.mark.parametrize("arguments", WITH_EFFECT)
def test_a_flag_with_an_effect_is_not(arguments, places):
    check([places.get(word, word) for word in arguments])


def test_data_flags_are_refused_where_the_model_names_the_dataset(places):
    options = parser(["evaluate"]).parse_args(["evaluate", "--checkpoint", "r", "--data", "d", "--allow-partial"])
    with pytest.raises(ValueError, match="--data d is for a benchmark"):
        effects.check_data(options, places["OWN"])
    with pytest.raises(ValueError, match="--allow-partial is for pictures that can be missing"):
        effects.check_data(options, "glyphs")
    effects.check_data(options, "cars196")


@pytest.mark.parametrize("flag", ["--input-size", "--epoch"])
def test_a_flag_of_a_symbol_is_refused_with_another_model_even_if_it_is_zero(flag, capsys):
    assert main(["evaluate", "--checkpoint", "r", flag, "0"]) == 2
    assert "--epoch and --input-size are for a --symbol: leave them out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("script", "arguments", "message"),
    [
        (
            similarity,
            ["a", "b", "--difference", "--box", "1,2,3,4"],
            "--difference is for whole pictures: leave it out",
        ),
        (similarity, ["a", "b", "--difference", "--point", "1,2"], "--difference is for whole pictures"),
    ],
)
def test_a_flag_of_a_script_without_effect_is_refused(script, arguments, message, capsys):
    assert script.main(arguments) == 2
    assert message in capsys.readouterr().err


REPRODUCE = [
    (["table1", "--query", "3"], "--query 3 has no effect on training"),
    (["table1", "--report", "--ctx", "cpu"], "--ctx cpu has no effect on --report"),
    (["table1", "--json", "--backend", "local"], "--backend local has no effect on --json"),
    (["table1", "--report", "--json"], "--report and --json are different things to do: choose one"),
    (["--plan", "--html"], "--plan and --html are different things to do: choose one"),
    (["--plan", "--ctx", "cpu"], "--ctx cpu has no effect on --plan"),
    (["--plan", "--weights", "w"], "--weights w has no effect on --plan"),
    (["--html", "--rows", "*"], "--rows * has no effect on --html"),
    (["--write", "--mini"], "--mini has no effect on --write"),
    (["--figures", "--mini"], "--mini has no effect on --figures"),
    (["--mini"], "--mini has no effect on the list of all tables (name one)"),
    (["efficiency", "--seeds", "2"], "--seeds 2 has no effect on efficiency"),
    (["figure4", "--compare", "last"], "--compare last has no effect on figure4"),
    (["figure4", "--report", "--weights", "w"], "--weights w has no effect on figure4 --report"),
    (["table1", "--mini", "--data", "d"], "--data d has no effect with --mini"),
    (["table1", "--backend", "slurm", "--ctx", "cpu"], "--ctx cpu has no effect with --backend slurm"),
    (["report", "--dataset", "p", "--data", "d"], "--data d is for the paper's datasets"),
]


@pytest.mark.parametrize(("arguments", "message"), REPRODUCE)
def test_a_flag_of_reproduce_without_effect_is_refused(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        flags.check(flags.parser("").parse_args(arguments))


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["table1", "--mini", "--seeds", "2", "--rows", "R*", "--ctx", "cpu", "--parts", "2", "--weights", "w"],
        ["table1", "--data", "d", "--backend", "slurm", "--slurm", "partition=gpu", "--compare", "best"],
        ["--plan", "--measure", "--ctx", "cpu", "--seeds", "1"],
        ["--json", "--runs", "r"],
        ["--write"],
        ["--figures", "--runs", "r"],
        ["figure4", "--query", "3", "--report", "--ctx", "cpu"],
        ["efficiency", "--mini", "--ctx", "cpu"],
        ["report", "--dataset", "p", "--plan"],
    ],
)
def test_flags_of_reproduce_with_an_effect_are_not(arguments):
    flags.check(flags.parser("").parse_args(arguments))


EMPTY = [
    *(
        (main, [*words, ""])
        for words in (["doctor", "--data"], ["index", "--out"], ["index", "--out", "i", "--images"])
    ),
    *((main, ["search", "i", "q", flag, ""]) for flag in ("--box", "--figure", "--ctx", "--uri", "--model")),
    *((main, ["embed", "--model", "m", flag, ""]) for flag in ("--images", "--out")),
    *((main, ["export", "--checkpoint", "c", flag, ""]) for flag in ("--onnx", "--int8")),
    *((main, [*TRAIN, flag, ""]) for flag in ("--ctx", "--data", "--weights")),
    (similarity.main, ["", "b"]),
    *((similarity.main, ["a", "b", flag, ""]) for flag in ("--out", "--point", "--box", "--runs", "--ctx", "--model")),
    *(
        (script.main, [flag, ""])
        for script in (ranking, embedding)
        for flag in ("--out", "--runs", "--dataset", "--data")
    ),
    (configurations.main, [""]),
    (configurations.main, ["r", "--out", ""]),
]


@pytest.mark.parametrize(("command", "arguments"), EMPTY)
def test_an_empty_name_is_refused_by_every_flag_that_takes_one(command, arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        command(arguments)
    assert "an empty name" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["serch", "i", "q"], "serch: did you mean search?"),
        (["evalaute"], "evalaute: did you mean evaluate?"),
        (["Train"], "Train: did you mean train?"),
        (["search", "i", "q", "--engine", "fiass"], "fiass: did you mean faiss?"),
        (["index", "--out", "i", "--prune", "al"], "al: did you mean all?"),
    ],
)
def test_a_misspelt_word_is_answered_with_the_one_that_is_meant(arguments, told, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert told in capsys.readouterr().err


def test_a_misspelt_table_is_answered_with_the_one_that_is_meant(capsys):
    from reproduce.command import main as reproduce

    assert reproduce(["tabel1", "--report"]) == 2
    assert "efficiency, pretrain, report; did you mean table1?" in capsys.readouterr().err
    assert reproduce(["xyzzy", "--report"]) == 2
    assert "did you mean" not in capsys.readouterr().err


@pytest.mark.slow
def test_the_backbones_without_batch_norms_are_those():
    from mxnet.gluon import nn

    from gluon_cgd import backbones
    from gluon_cgd.experiment import WITHOUT_BATCH_NORM

    found = []
    for backbone in backbones.BACKBONES:
        norms = []
        backbones.build(backbone).apply(lambda block, norms=norms: norms.append(isinstance(block, nn.BatchNorm)))
        found += [backbone] * (not any(norms))
    assert tuple(found) == WITHOUT_BATCH_NORM


def test_what_was_typed_does_not_control_the_terminal(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["search", "i", "q", "--\x1b[31m"])
    assert "\x1b" not in capsys.readouterr().err


def test_a_query_behind_threshold_is_not_taken_for_its_value(tmp_path, capsys):
    query = tmp_path / "query.jpg"
    query.write_bytes(b"x")
    for typed in (["i", "--threshold", str(query)], ["--threshold", str(tmp_path), str(query)]):
        with pytest.raises(SystemExit, match="2"):
            main(["search", *typed])
        assert "is a file or a folder: write --threshold behind the query" in capsys.readouterr().err
    for typed, value in (([], ""), (["20%"], "20%"), (["0.8"], "0.8")):
        assert parser(["search"]).parse_args(["search", "i", "q", "--threshold", *typed]).threshold == value


def test_a_word_that_is_like_none_is_answered_with_all(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["xyzzy"])
    said = capsys.readouterr().err
    assert "did you mean" not in said
    assert "'train'" in said


def test_a_parser_knows_what_was_typed_this_time():
    index = parser(["index"])
    typed = index.parse_args(["index", "--out", "i", "--kin", "hnsw", "--uri=u", "--prune"]).given
    assert {"out", "kind", "uri", "prune"} <= typed
    assert not {"images", "engine", "compact"} & typed
    assert "kind" not in index.parse_args(["index", "--out", "i"]).given
