import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import numpy as np
import pytest

from gluon_cgd.machine import devices, facts, prepare, process, progress


def test_another_numpy_is_refused_with_the_command_that_mends_it():
    for version in ("1.22.4", "1.24.0", "2.1.3"):
        with pytest.raises(ImportError, match=rf"NumPy {version} .*pip install --no-deps numpy=="):
            prepare.check_numpy(version)
    prepare.check_numpy(np.__version__)


def copy_of_numpy(folder, **files):
    """A NumPy in `folder` that is this environment's but for `files`, {name: text}."""
    (folder / "numpy").mkdir(parents=True)
    for file in Path(np.__file__).parent.iterdir():
        if file.name not in files:
            (folder / "numpy" / file.name).symlink_to(file)
    for name, text in files.items():
        (folder / "numpy" / name).write_text(text)
    return folder


def test_another_numpy_in_pythonpath_is_named_with_the_remedy_that_helps(tmp_path):
    """Neither pip nor another environment helps: each would take the same NumPy."""
    version = "version = short_version = full_version = __version__ = '1.99.1'\ngit_revision, release = '', True\n"
    other = copy_of_numpy(tmp_path / "a folder", **{"version.py": version})
    path = os.pathsep.join([str(facts.PROJECT), str(other)])
    command = [sys.executable, "-m", "gluon_cgd", "train", "--out", str(tmp_path / "run"), "--dataset", "glyphs"]
    for entered in ({}, {process.ENTERED: "1"}):
        variables = dict(os.environ, PYTHONPATH=path, **entered)
        run = subprocess.run(command, env=variables, capture_output=True, text=True, check=False, cwd=tmp_path)
        assert run.returncode == 2
        assert re.fullmatch(
            rf"NumPy 1\.99\.1 is taken from {other}/numpy/__init__.py, but MXNet 1.9.1 on Python 3.\d+ needs "
            rf"NumPy 1.2\d.x: take {other} out of PYTHONPATH, or `unset PYTHONPATH`\n",
            run.stderr,
        )


def test_a_numpy_of_another_python_is_a_sentence(tmp_path):
    text = r"raise ImportError('\n\nIMPORTANT:\n\nThe numpy C-extensions\nOriginal error was: it is broken\n')"
    other = copy_of_numpy(tmp_path / "other", **{"__init__.py": text})
    variables = dict(os.environ, PYTHONPATH=os.pathsep.join([str(facts.PROJECT), str(other)]))
    command = [sys.executable, "-m", "gluon_cgd", "search", "index", "picture.jpg"]
    run = subprocess.run(command, env=variables, capture_output=True, text=True, check=False, cwd=tmp_path)
    remedy = f"take {other} out of PYTHONPATH, or `unset PYTHONPATH`"
    assert run.stderr == f"{other}/numpy/__init__.py cannot be imported (it is broken): {remedy}\n"
    assert run.returncode == 2


def test_what_is_taken_from_elsewhere_is_recognised(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}/a{os.pathsep}{tmp_path}/b/{os.pathsep}{sys.prefix}/lib")
    assert prepare.foreign(f"{tmp_path}/b/numpy/__init__.py").startswith(f"take {tmp_path}/b out of PYTHONPATH")
    for file in ("", np.__file__, f"{tmp_path}/bc/numpy/__init__.py", f"{sys.prefix}/lib/numpy.py"):
        assert prepare.foreign(file) == ""
    monkeypatch.setenv("HOME", str(tmp_path))
    own = f"{tmp_path}/.local/lib/python3.11/site-packages/numpy/__init__.py"
    assert "PYTHONNOUSERSITE=1" in prepare.foreign(own)
    monkeypatch.chdir(tmp_path)  # the home folder
    for path in (None, "", str(tmp_path)):
        monkeypatch.setenv("PYTHONPATH", path) if path is not None else monkeypatch.delenv("PYTHONPATH")
        assert "PYTHONNOUSERSITE=1" in prepare.foreign(own)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}/.local/lib")
    assert f"take {tmp_path}/.local/lib out of PYTHONPATH" in prepare.foreign(own)


@pytest.mark.parametrize("home", [None, "/dev/null"])
def test_without_a_home_the_cache_must_be_named(home, tmp_path, monkeypatch):
    monkeypatch.delenv("GLUON_CGD_CACHE", raising=False)
    if home is None:
        monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    else:
        monkeypatch.setenv("HOME", home)
    with pytest.raises((ValueError, OSError), match="cache.*: set GLUON_CGD_CACHE to a folder that you can write to"):
        facts.made(facts.cache_folder() / "pictures")


def test_removed_numpy_names_come_back_and_present_ones_stay():
    class Module:
        float = "its own"

    prepare.restore_numpy_names(Module)
    assert Module.bool is bool
    assert Module.float == "its own"


def test_mxnet_gets_every_core_unless_told_otherwise():
    code = "import os, gluon_cgd; print(os.environ['OMP_NUM_THREADS'])"
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": "", "PYTHONPATH": ":".join(sys.path)},
    )
    assert run.stdout.strip() == str(facts.cores())


def test_importing_the_package_does_not_import_mxnet():
    modules = "gluon_cgd, gluon_cgd.experiment, gluon_cgd.evaluate, gluon_cgd.recall"
    code = f"import sys, {modules}; sys.exit('mxnet' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_interpreter_without_numpy_is_told_how_to_start(tmp_path):
    code = "import sys; sys.path.insert(0, sys.argv[1]); import gluon_cgd, mxnet"
    run = subprocess.run(
        [sys.executable, "-S", "-c", code, str(facts.PROJECT)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert f"has no NumPy: `source {facts.SETUP}` first" in run.stderr


def test_the_cuda_libraries_are_looked_for_only_beside_a_cuda_build(tmp_path):
    (tmp_path / "nvidia").mkdir()
    assert prepare.load_cuda_libraries(tmp_path) == []
    (tmp_path / "mxnet_cu112-1.9.1.dist-info").mkdir()
    with pytest.raises(ImportError, match="requirements-cpu.txt"):
        prepare.load_cuda_libraries(tmp_path)


def test_a_device_that_is_not_there_is_refused():
    assert devices.context("cpu").device_type == "cpu"
    for name in ("gpu7", "tpu", "gpu"):
        with pytest.raises(ValueError, match=name):
            devices.context(name)


def test_several_devices_are_named_with_commas(monkeypatch):
    import mxnet as mx

    assert devices.contexts("cpu") == [mx.cpu()]
    assert devices.contexts("cpu0,cpu1") == [mx.cpu(0), mx.cpu(1)]
    assert devices.contexts(None) == [mx.cpu()]
    monkeypatch.setattr(mx.context, "num_gpus", lambda: 2)
    assert devices.contexts("gpu1,gpu0") == [mx.gpu(1), mx.gpu(0)]
    assert devices.contexts(None) == [mx.gpu(0)]
    with pytest.raises(ValueError, match="device gpu2 is not there: MXNet can use 2 GPUs"):
        devices.contexts("gpu0,gpu2")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "device '' is unknown"),
        ("cpu0,", "--ctx 'cpu0,' has an empty part"),
        ("cpu0,,cpu1", "'cpu0,,cpu1' has an empty part"),
        ("cpu,cpu0", r"the devices cpu\(0\), cpu\(0\) have one twice"),
        ("cpu0,gpu0", r"the devices cpu\(0\), gpu\(0\) are of two kinds"),
        ("cpu0,tpu1", "device 'tpu1' is unknown: --ctx takes cpu, gpu0"),
        ("cpu100", "device 'cpu100' is unknown"),
    ],
)
def test_devices_that_do_not_go_together_are_refused(name, message, monkeypatch):
    import mxnet as mx

    monkeypatch.setattr(mx.context, "num_gpus", lambda: 1)
    with pytest.raises(ValueError, match=message):
        devices.contexts(name)


def test_where_one_device_is_used_several_are_refused():
    with pytest.raises(ValueError, match="--ctx cpu0,cpu1 names 2 devices where one is used: take cpu0"):
        devices.context("cpu0,cpu1")


def test_a_command_in_a_wrong_environment_is_answered_in_a_sentence():
    root = str(facts.PROJECT)
    for package in (["gluon_cgd", "train", "--help"], ["reproduce"]):
        run = subprocess.run(
            [sys.executable, "-S", "-m", *package],
            cwd=root,
            capture_output=True,
            text=True,
            check=False,
            env=dict(os.environ, GLUON_CGD_ENTERED="1"),  # as if it already stood in the project's environment
        )
        assert run.returncode == 2
        assert run.stderr.count("\n") == 1
        assert f"`source {facts.SETUP}` first" in run.stderr


@pytest.mark.parametrize(
    "typed",
    [["-m", "gluon_cgd", "evaluate", "--help"], ["-m", "reproduce", "--help"], ["visualize/similarity.py", "-h"]],
)
def test_a_command_typed_with_a_bare_python_goes_on_in_the_projects_environment(tmp_path, typed):
    root = facts.PROJECT
    project, bare = tmp_path / "project", tmp_path / "bare"
    for folder in ("gluon_cgd", "reproduce", "visualize"):
        shutil.copytree(root / folder, project / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (project / "env.sh").write_text(f"export PATH={Path(sys.executable).parent}:$PATH PYTHONPATH={project}\n")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(bare)], check=True)
    run = subprocess.run(
        [str(bare / "bin" / "python"), *typed],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
        env={key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")},
    )
    assert run.returncode == 0, run.stderr
    assert "has no NumPy; going on in the project's own environment" not in run.stderr.splitlines()[1:]
    assert "going on in the project's own environment" in run.stderr
    assert run.stdout.startswith("usage: ")


def test_a_command_about_an_exported_model_is_told_what_else_it_needs():
    def command():
        raise ModuleNotFoundError("No module named 'portalocker'", name="portalocker")

    remedy = "has no portalocker: .*python -m pip install numpy opencv-python-headless pillow tqdm portalocker"
    with pytest.raises(prepare.WrongEnvironment, match=remedy):
        process.exit_status(command)


def test_a_package_that_the_project_does_not_need_is_an_error_like_others(capsys):
    def command():
        raise ModuleNotFoundError("No module named 'strange'", name="strange")

    assert process.exit_status(command) == 2
    assert capsys.readouterr().err == "No module named 'strange'\n"


def test_the_gate_refuses_mxnet_where_numpy_is_another(tmp_path):
    """In the project's sentence, and whatever the program that imports the package is told."""
    code = "import numpy; numpy.__version__ = '1.24.0'; import gluon_cgd; print('imported'); import mxnet"
    run = subprocess.run([sys.executable, "-c", code], cwd=facts.PROJECT, capture_output=True, text=True, check=False)
    assert run.stdout == "imported\n"
    assert "WrongEnvironment: NumPy 1.24.0 is installed, but MXNet 1.9.1" in run.stderr


def test_a_package_that_imports_the_library_runs_its_own_code(tmp_path):
    """`python -m shop doctor` is the shop's, although this project has a doctor too."""
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop/__init__.py").write_text("import gluon_cgd\n")
    (tmp_path / "shop/__main__.py").write_text("import sys\nprint('shop', *sys.argv[1:])\n")
    path = dict(os.environ, PYTHONPATH=str(facts.PROJECT))
    for python in ([sys.executable], [sys.executable, "-S"]):  # also where nothing is installed
        command = [*python, "-m", "shop", "doctor", "--json"]
        run = subprocess.run(command, cwd=tmp_path, env=path, capture_output=True, text=True, check=False)
        assert (run.returncode, run.stdout, run.stderr) == (0, "shop doctor --json\n", "")


@pytest.mark.slow
@pytest.mark.parametrize("after", [0.1, 0.3, 0.6, 1.2])
def test_an_interrupt_while_libraries_are_imported_is_one_line(after):
    command = [sys.executable, "-m", "gluon_cgd", "train", "--out", "/nonexistent/run", "--ctx", "gpu9"]
    start = subprocess.Popen(command, cwd=facts.PROJECT, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    time.sleep(after)
    start.send_signal(signal.SIGINT)
    _, error = start.communicate()
    assert "Traceback" not in error
    assert "going on" not in error
    assert error.count("\n") == 1
    # To a shell 130 and -SIGINT are one; 2: it was faster, and refused the GPU, perhaps a moment before the signal
    assert start.returncode in ((130, -signal.SIGINT) if "interrupted" in error else (2, -signal.SIGINT))


@pytest.mark.parametrize(("number", "words"), [(signal.SIGTERM, "ended by a signal"), (signal.SIGHUP, "terminal was")])
def test_the_other_signals_that_end_a_command_are_one_line_too(number, words, capsys):
    def command():
        signal.raise_signal(number)

    handlers = [signal.getsignal(one) for one in process.SIGNALS]
    assert process.run(lambda: process.exit_status(command), []) == 128 + number
    error = capsys.readouterr().err
    assert words in error
    assert error.endswith("the same command goes on from the last checkpoint\n")
    assert error.count("\n") == 1
    assert [signal.getsignal(one) for one in process.SIGNALS] == handlers


def test_a_command_under_nohup_survives_its_terminal(monkeypatch):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert process.run(lambda: signal.raise_signal(signal.SIGHUP) or 0, []) == 0
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_second_interrupt_while_the_first_is_handled_is_still_one_line(capsys):
    def command():
        try:
            signal.raise_signal(signal.SIGINT)
        finally:
            signal.raise_signal(signal.SIGINT)  # while files are closed and workers ended

    assert process.run(lambda: process.exit_status(command), []) == 130
    assert capsys.readouterr().err == process.INTERRUPTED + "\n"


def test_an_interrupt_that_a_library_swallows_ends_the_command_at_its_next_step(capsys):
    """As C code does that calls Python: it prints the exception, and goes on."""
    done = []

    def command():
        class Swallows:
            def __del__(self):
                signal.raise_signal(signal.SIGINT)

        Swallows()
        done.append("went on")
        with progress.task("training", 3) as doing:
            doing.update()
        done.append("trained")

    hooks = sys.excepthook, sys.unraisablehook
    assert process.run(lambda: process.exit_status(command), []) == 130
    assert done == ["went on"]
    assert capsys.readouterr().err == process.INTERRUPTED + "\n"
    assert (sys.excepthook, sys.unraisablehook) == hooks
    with progress.task("again", 1) as doing:  # in a program that goes on after `run`
        doing.update()


COMMANDS = {
    "train": "-m gluon_cgd train --dataset glyphs --out {}/run --backbone cifar_resnet10 --no-pretrained --dim 32",
    "data": "-m gluon_cgd data glyphs --root {} --verify",
    "search": "-m gluon_cgd search {} {}/picture.png",
    "reproduce": "reproduce/__main__.py table5 --mini --runs {}/runs",
}


@pytest.mark.slow  # 20 starts of Python
@pytest.mark.parametrize("name", COMMANDS)
def test_a_signal_at_any_moment_of_the_first_seconds_is_one_line(name, tmp_path):
    moments = np.random.default_rng(list(COMMANDS).index(name)).uniform(0.02, 4, 5)
    for after, number in zip(moments, [signal.SIGINT, signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGINT]):
        command = [sys.executable, *COMMANDS[name].replace("{}", str(tmp_path)).split()]
        start = subprocess.Popen(command, cwd=facts.PROJECT, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        time.sleep(after)
        start.send_signal(number)
        _, error = start.communicate(timeout=60)
        if "Traceback" in error and start.returncode != 128 + number:  # before Python reached our first line
            assert "init_import_site" in error or 'gluon_cgd/__init__.py", line 3' in error or "runpy" in error, error
            continue
        assert "going on" not in error
        lines = [line for line in error.splitlines() if "goes on from the last" in line or "not an index" in line]
        assert len(lines) == 1 or start.returncode == -number, (after, error)
        assert start.returncode in (128 + number, -number, 2), (after, error)


def test_an_interrupt_that_a_library_turns_into_another_error_is_one_line_too(capsys):
    """NumPy's import makes an ImportError of twenty lines of it."""

    def command():
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        raise ImportError("IMPORTANT: PLEASE READ THIS")

    assert process.run(lambda: process.exit_status(command), []) == 130
    assert capsys.readouterr().err == process.INTERRUPTED + "\n"
    assert process.run(lambda: process.exit_status(lambda: 0), []) == 0


@pytest.mark.slow
def test_modules_of_the_hall_do_not_read_the_command_line():
    hall = [f"gluon_cgd.{file.stem}" for file in (facts.PACKAGES / "gluon_cgd").glob("[a-z]*.py")]
    code = f"import sys; sys.argv = None; import importlib; [importlib.import_module(name) for name in {hall}]"
    run = subprocess.run([sys.executable, "-c", code], cwd=facts.PROJECT, capture_output=True, text=True, check=False)
    assert len(hall) > 10
    assert run.returncode == 0, run.stderr


def test_a_remedy_can_be_typed_whatever_the_name_of_the_project(tmp_path, monkeypatch):
    setup = tmp_path / "it's a project" / "env.sh"
    setup.parent.mkdir()
    setup.write_text("")
    monkeypatch.setattr(facts, "SETUP", setup)
    monkeypatch.setattr(sys, "executable", "/my env/bin/python")
    words = shlex.split(facts.setup().strip("`"))
    assert words == ["source", str(setup)]
    assert shlex.split(facts.install("requirements.txt"))[:3] == ["/my env/bin/python", "-m", "pip"]
    with pytest.raises(ImportError, match="run `'/my env/bin/python' -m pip install"):
        prepare.check_numpy("2.1.3")


@pytest.mark.parametrize(("given", "threads"), [("4,2", "4"), (" 3 , 2,1", "3"), ("5", "5"), (",2", None), ("", None)])
def test_the_first_of_several_numbers_of_threads_counts(given, threads, monkeypatch):
    """OpenMP takes a number for each level; MXNet ended the process ("terminate called after ...")."""
    monkeypatch.setenv("OMP_NUM_THREADS", given)
    prepare.prepare()
    assert os.environ["OMP_NUM_THREADS"] == (threads or str(len(os.sched_getaffinity(0))))


@pytest.mark.parametrize("threads", ["x", "-1", "1.5", "0x4", "5000", "99999999999", "٣"])
def test_a_number_of_threads_that_would_end_the_process_is_refused(threads, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    with pytest.raises(ImportError, match=f"OMP_NUM_THREADS is '{threads}', .*: `unset OMP_NUM_THREADS`"):
        prepare.make_ready()


def test_python_without_docstrings_is_refused(monkeypatch):
    monkeypatch.setattr(sys, "flags", types.SimpleNamespace(optimize=2))
    with pytest.raises(ImportError, match="without docstrings .*: leave out -OO, or `unset PYTHONOPTIMIZE`"):
        prepare.make_ready()


def test_warnings_that_are_errors_are_a_sentence(capsys):
    def command():
        raise DeprecationWarning("the old name is deprecated")

    assert process.exit_status(command) == 2
    text = "DeprecationWarning: the old name is deprecated: warnings of libraries end the command (-W error, PYTHON"
    assert capsys.readouterr().err.startswith(text)


def test_an_interrupt_that_c_code_prints_and_discards_is_one_line_too(capsys):
    """As in the import of a module of C++ code, which calls Python."""
    hooks = sys.excepthook, sys.unraisablehook

    def command():
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt as error:
            told = (type(error), error, error.__traceback__)
            sys.excepthook(*told)
            sys.unraisablehook(types.SimpleNamespace(exc_type=told[0], exc_value=error, err_msg=None, object=None))
        raise ImportError("numpy failed to import")

    assert process.run(lambda: process.exit_status(command), []) == 130
    assert capsys.readouterr().err == process.INTERRUPTED + "\n"
    assert hooks == (sys.excepthook, sys.unraisablehook)
    assert process.run(lambda: process.exit_status(lambda: 0), []) == 0


def test_a_module_of_the_environment_is_not_foreign_in_a_project_that_pythonpath_names(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "prefix", str(tmp_path / ".venv"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert prepare.foreign(str(tmp_path / ".venv/lib/numpy/__init__.py")) == ""
    assert str(tmp_path) in prepare.foreign(str(tmp_path / "numpy/__init__.py"))
