"""Commands whose standard streams are closed, full, or of another encoding, and a terminal of no width."""

import errno
import os
import subprocess
import sys

import pytest

from gluon_cgd.machine import facts, process, streams

GOOD, BAD = "data cub200", "search /nonexistent picture.jpg"


def shell(line, module="gluon_cgd", cwd=None, **variables):
    """The finished `line` of bash, in which `cgd` is python -m MODULE."""
    command = ["bash", "-c", f'cgd() {{ "{sys.executable}" -m {module} "$@"; }}; {line}']
    environment = dict(os.environ, PYTHONPATH=str(facts.PROJECT), GLUON_CGD_ENTERED="1", **variables)
    return subprocess.run(command, env=environment, cwd=cwd, capture_output=True, timeout=60, check=False)


FULL, NO_INDEX = "because the disk is full: free some space", "/nonexistent is not an index"


@pytest.mark.slow  # 24 starts of Python
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    ("line", "status", "message"),
    [
        (f"cgd {GOOD} 2>&-", 0, ""),
        (f"cgd {BAD} 2>&-", 2, ""),
        (f"cgd {GOOD} >&-", 0, ""),
        (f"cgd {BAD} >&-", 2, NO_INDEX),
        (f"cgd {GOOD} <&- >&- 2>&-", 0, ""),
        (f"cgd {BAD} <&- >&- 2>&-", 2, ""),
        (f"cgd {GOOD} 2>/dev/full", 0, ""),
        (f"cgd {BAD} 2>/dev/full", 2, ""),
        (f"cgd {GOOD} >/dev/full", 2, FULL),
        (f"cgd {GOOD} | head -c 0; exit ${{PIPESTATUS[0]}}", 0, ""),
        (f"cgd {BAD} 2>&1 | head -c 0; exit ${{PIPESTATUS[0]}}", 2, ""),
        ("cgd --help | head -c 0; exit ${PIPESTATUS[0]}", 0, ""),
    ],
)
def test_streams_that_are_closed_or_full(line, status, message, unbuffered):
    run = shell(line, PYTHONUNBUFFERED=unbuffered)
    text = run.stderr.decode()
    assert run.returncode == status, text
    assert message in text
    assert text.count("\n") == bool(message)


def test_a_file_does_not_receive_what_is_written_to_a_closed_stream(tmp_path):
    """Without stderr a file of ours would become number 2, where MXNet's C++ code writes."""
    code = "import os, sys\nfrom gluon_cgd.machine import process\n"
    code += "def main():\n    file = open(sys.argv[1], 'w'); os.write(2, b'noise'); file.write('good')\n"
    code += "sys.exit(process.run(main, []))"
    file = tmp_path / "result.json"
    done = subprocess.run(
        ["bash", "-c", '"$@" 2>&-', "bash", sys.executable, "-c", code, str(file)], cwd=facts.PROJECT, check=False
    )
    assert (done.returncode, file.read_text()) == (0, "good")


@pytest.mark.slow
@pytest.mark.parametrize(
    "variables",
    [
        dict(PYTHONIOENCODING="ascii"),
        dict(PYTHONIOENCODING="latin-1"),
        dict(LC_ALL="C"),
        dict(LC_ALL="POSIX", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0"),
    ],
)
def test_letters_that_a_terminal_cannot_show_do_not_end_a_command(variables, tmp_path):
    run = shell("cgd table1 --report --runs runs-é漢", "reproduce", tmp_path, **variables)
    assert run.returncode == 1, run.stderr  # that cells are missing
    assert b"86.7 " in run.stdout
    assert b"codec" not in run.stderr
    assert b"Traceback" not in run.stderr
    run = shell("cgd data été漢", cwd=tmp_path, **variables)
    assert run.returncode == 2
    assert b"is unknown" in run.stderr
    assert b"codec" not in run.stderr


@pytest.mark.slow
@pytest.mark.parametrize("columns", ["0", "1", "7", "-3", "x", ""])
def test_a_terminal_may_have_any_width(columns):
    run = shell("cgd train --help && ! cgd search --wrong", COLUMNS=columns)
    assert run.returncode == 0
    assert b"Traceback" not in run.stderr


def test_a_folder_that_is_deleted_meanwhile(tmp_path):
    run = shell("mkdir gone && cd gone && rmdir ../gone && cgd index --images . --out idx", cwd=tmp_path)
    assert run.returncode == 2
    assert run.stderr.count(b"\n") == 1


def test_a_broken_pipe_that_is_not_the_output_is_an_error(capsys):
    def command():
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    assert process.exit_status(command) == 2
    assert "broken pipe" in capsys.readouterr().err


class Terminal:
    """A stream of Python with the fault `error` at each flush."""

    def __init__(self, error):
        self.error = error

    def fileno(self):
        raise OSError("no file")

    def flush(self):
        raise self.error


def test_output_that_does_not_arrive_is_an_error(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdout", Terminal(OSError(errno.ENOSPC, "No space left on device")))
    assert process.exit_status(lambda: 0) == 2
    assert capsys.readouterr().err.startswith("the output cannot be written, because the disk is full: ")
    with pytest.raises(OSError, match="the output"):  # --help too
        streams.with_output(lambda: sys.exit(0))
