"""Seven hundred bad inputs, over every command and script: each is answered by a sentence and exit status 2.

No case ends in a traceback, hangs, prints what controls a terminal, or writes anything where it should not.
"""

import contextlib
import importlib
import io
import logging
import os
import re
import shlex
import signal
import subprocess
import sys
import traceback
from pathlib import Path

import bad_things
import pytest

from gluon_cgd.files.printable import UNSAFE
from gluon_cgd.machine import facts

pytestmark = pytest.mark.slow
CASES = [
    line.split(" => ") for line in (Path(__file__).parent / "bad_inputs.txt").read_text().splitlines() if " => " in line
]
FLAGS = {"S": bad_things.SMALL, "C": bad_things.SMALL.replace("--descriptors SM ", "")}
LIMIT = 60  # seconds; far more than any case needs on a busy machine
# What a refused command may leave in the folder that it was told to write to: its log, or the rows that are done
LEFT = {"train": {"r", "r/lock", "r/train.log"}, "choose": {"r"}, "index": re.compile("i(/.*)?")}


class Hang(BaseException):
    """A case took longer than LIMIT."""


@pytest.fixture(scope="module")
def things(tmp_path_factory):
    """{name: path} of good and bad things."""
    folder = tmp_path_factory.mktemp("things")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLUON_CGD_CACHE", str(folder / "cache"))
        return bad_things.make(folder / "made")


def words_of(case, things):
    """The words of the command line `case`, with the paths of `things`."""
    line = re.sub(r"\{([SC])\}", lambda match: FLAGS[match[1]], case)
    return [re.sub(r"\{([^}]*)\}", lambda match: str(things[match[1]]), word) for word in shlex.split(line)]


def run(words):
    """(exit status, stdout, stderr) of a command line in this process."""
    name, *arguments = words
    modules = {"reproduce": "reproduce.command"}
    own = name == "reproduce" or name.startswith("visualize.")
    main = importlib.import_module(modules.get(name, name) if own else "gluon_cgd.__main__").main
    out, err = io.StringIO(), io.StringIO()

    def hang(number, frame):
        raise Hang

    before = signal.signal(signal.SIGALRM, hang)
    signal.alarm(LIMIT)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = main(arguments if own else words)
    except SystemExit as ended:
        status = ended.code
    except Hang:
        status = f"no end after {LIMIT} seconds"
    except BaseException:
        status = traceback.format_exc()
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        logging.getLogger().handlers.clear()  # they write to `err`
    return status, out.getvalue(), err.getvalue()


def files_in(folder):
    """{path: (size, time of change)} of all files under `folder`, and {path: ()} of folders."""
    found = {}
    for file in Path(folder).rglob("*"):
        about = file.lstat()
        found[str(file.relative_to(folder))] = (about.st_size, about.st_mtime_ns) * (not file.is_dir())
    return found


def faults(case, fragment, things, here):
    """Sentences on what is wrong with the answer to `case`, run in the empty folder `here`."""
    status, out, err = run(words_of(case, things))
    expected = re.sub(r"\{([^}]*)\}", lambda match: str(things[match[1]]), fragment)
    sentences = [line for line in err.split("error: ")[-1].splitlines() if not line.startswith("  - ")]
    allowed = LEFT.get(case.split()[0], set())
    if isinstance(allowed, set):
        left = set(files_in(here)) - allowed
    else:
        left = {name for name in files_in(here) if not allowed.fullmatch(name)}
    return [
        *([f"status {status}"] if status != 2 else []),
        *([f"{expected!r} is not in the answer"] if expected not in err else []),
        *(["a traceback, or an error's number"] if re.search(r"Traceback|\[Errno", out + err) else []),
        *(["control characters"] if re.search(f"[{UNSAFE}]", out + err) else []),
        *([f"{len(sentences)} lines"] if len(sentences) > 6 else []),
        *([f"left {sorted(left)}"] if left else []),
    ]


def group(case):
    """The command of a case."""
    return case.split()[0].split(".")[0]


@pytest.mark.parametrize("command", sorted({group(case) for case, _ in CASES}))
def test_each_bad_input_is_answered_by_a_sentence(command, things, tmp_path, monkeypatch):
    made = things["photos"].parent
    before, project, wrong = files_in(made), set(os.listdir(facts.PROJECT)), []
    for number, (case, fragment) in enumerate(case for case in CASES if group(case[0]) == command):
        (tmp_path / str(number)).mkdir()
        monkeypatch.chdir(tmp_path / str(number))
        found = faults(case, fragment, things, tmp_path / str(number))
        after = files_in(made)
        changed = (name for name in {*before, *after} if before.get(name) != after.get(name))
        found += [f"changed {name}" for name in changed if os.path.basename(name) not in ("lock", "train.log")]
        before = after
        wrong += [f"{case}: {'; '.join(found)}"] * bool(found)
    assert not wrong, "\n".join(wrong)
    assert set(os.listdir(facts.PROJECT)) == project


def test_there_are_cases_of_every_command_and_script():
    from gluon_cgd.__main__ import COMMANDS

    named = {case.split()[0] for case, _ in CASES}
    scripts = {f"visualize.{name}" for name in ("similarity", "ranking", "embedding", "configurations")}
    assert named >= {*COMMANDS, *scripts, "reproduce"}
    assert len({case for case, _ in CASES}) == len(CASES) > 700


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("search {idx} {fifo}", "is a named pipe"),
        ("data {fifo.csv}", "is unknown"),
        ("search {idx} {bytes}", "cannot be read"),
        ("data {escape_photos} --verify", "1 picture of"),
        ("evaluate --checkpoint {absent} 2>&-", ""),
        ("evaluate --checkpoint {absent} >&- <&-", "holds no finished run"),
        ("TMPDIR={absent} export --checkpoint {absent} --onnx m.onnx", "holds no finished run"),
        ("GLUON_CGD_CACHE={text} data {photos} --prepare", "set GLUON_CGD_CACHE to a folder that you can write to"),
        ("MXNET_HOME={text} train --out r --dataset {photos}", "resnet50"),
    ],
)
def test_bad_inputs_of_a_process(line, message, things, tmp_path):
    settings, _, command = re.fullmatch(r"((?:[A-Z_]+=\S+ )*)()(.*)", line).groups()
    line = re.sub(
        r"\{([^}]*)\}", lambda match: shlex.quote(str(things[match[1]])), f'{settings} exec "$0" -m gluon_cgd {command}'
    )
    environment = dict(os.environ, PYTHONPATH=str(facts.PROJECT), GLUON_CGD_ENTERED="1")
    done = subprocess.run(
        ["bash", "-c", line, sys.executable],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        timeout=2 * LIMIT,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert message.encode() in done.stderr
    assert b"Traceback" not in done.stderr + done.stdout
    assert b"\x1b" not in done.stderr + done.stdout
    done.stderr.decode()  # what is no text in a name is escaped
