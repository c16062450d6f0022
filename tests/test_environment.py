"""env.sh: which interpreter and which build it takes, tried with stand-ins for pythons and nvidia-smi."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FAKE_PYTHON = """#!/bin/bash
case "$2" in
    *version_info*) echo {version} ;;
    *ensurepip*) {venv} ;;
    *) exit 1 ;;
esac
"""


def shell(call, folder, **variables):
    """Run a function of env.sh with nothing but `folder` and the system's own tools on the PATH."""
    text = (ROOT / "env.sh").read_text().rsplit("\ncgd_enter", 1)[0]
    environment = {"HOME": str(folder), "PATH": f"{folder}:{folder}/tools", **variables}
    return subprocess.run(
        ["/bin/bash", "-c", f"{text}\n{call}"], env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture
def machine(tmp_path):
    """A folder to put stand-ins for programs into."""

    def program(name, text):
        file = tmp_path / name
        file.write_text(text)
        file.chmod(0o755)

    def python(name, version, venv="exit 0"):
        program(name, FAKE_PYTHON.format(version=version, venv=venv))

    (tmp_path / "tools").mkdir()
    for tool in ("dirname", "cat"):
        (tmp_path / "tools" / tool).symlink_to(
            next(f for f in (f"/usr/bin/{tool}", f"/bin/{tool}") if os.path.exists(f))
        )
    program.python, program.folder = python, tmp_path
    return program


@pytest.mark.parametrize(
    ("present", "chosen"),
    [
        ({"python3.8": "3.8", "python3.11": "3.11", "python3.12": "3.12"}, "python3.11"),
        ({"python3.12": "3.12", "python3.9": "3.9", "python3": "3.13"}, "python3.9"),
        ({"python3": "3.12", "python3.13": "3.13"}, "python3"),
        ({"python": "3.10"}, "python"),
    ],
)
def test_the_best_interpreter_present_is_taken(machine, present, chosen):
    for name, version in present.items():
        machine.python(name, version)
    run = shell("cgd_interpreter", machine.folder)
    assert run.stdout.strip() == str(machine.folder / chosen)


def test_only_a_newer_python_is_answered_with_what_to_install(machine):
    machine.python("python3", "3.13")
    run = shell("cgd_interpreter", machine.folder)
    assert run.returncode == 2
    assert re.search(r"runs on Python 3\.8 to 3\.12, and this machine has 3\.13: install 3\.11", run.stderr)
    assert len(run.stderr.strip().splitlines()) == 1
    assert "this machine has none" in shell("cgd_interpreter", machine.folder / "tools").stderr


def test_a_python_without_venv_is_answered_with_the_package(machine):
    machine.python("python3.11", "3.11", venv="exit 1")
    run = shell("cgd_interpreter", machine.folder)
    assert run.returncode == 2
    assert "apt-get install python3.11-venv" in run.stderr
    machine.python("python3.10", "3.10")
    assert shell("cgd_interpreter", machine.folder).stdout.strip().endswith("python3.10")


def test_the_interpreter_can_be_named(machine):
    machine.python("python3.11", "3.11")
    machine.python("mine", "3.9")
    run = shell("cgd_interpreter", machine.folder, PYTHON=str(machine.folder / "mine"))
    assert run.stdout.strip().endswith("mine")


def test_an_interpreter_that_is_named_and_cannot_be_taken_is_told_by_its_name(machine):
    """What else the machine has would not help: the name comes first."""
    machine.python("python3.11", "3.11")
    machine.python("new", "3.13")
    machine.python("bare", "3.11", venv="exit 1")
    for name, fault in (("new", "which is Python 3.13"), ("none", "which cannot be started as a Python")):
        run = shell("cgd_interpreter", machine.folder, PYTHON=f"{machine.folder}/{name}")
        rule = "but MXNet 1.9.1 runs on Python 3.8 to 3.12: name another one, or unset PYTHON."
        assert (run.returncode, run.stderr) == (2, f"gluon_cgd: PYTHON is {machine.folder}/{name}, {fault}, {rule}\n")
    run = shell("cgd_interpreter", machine.folder, PYTHON=f"{machine.folder}/bare")
    assert "apt-get install python3.11-venv" in run.stderr


@pytest.mark.parametrize(
    ("present", "chosen"),
    [
        ({"python3.8": "3.8", "python3.12": "3.12", "python3.13": "3.13"}, "python3.12"),
        ({"python3": "3.9", "python": "3.13"}, "python"),
        ({"python3.10": "3.10", "python3.11": "3.11"}, "python3.11"),
    ],
)
def test_the_environment_of_pytorch_takes_the_best_interpreter_that_runs_it(machine, present, chosen):
    for name, version in present.items():
        machine.python(name, version)
    mxnets = str(machine.folder / "python3.8")  # PYTHON is for the other environment
    assert shell("cgd_interpreter_of_torch", machine.folder, PYTHON=mxnets).stdout.strip() == str(
        machine.folder / chosen
    )


def test_the_interpreter_of_pytorch_can_be_named_and_an_older_one_is_told_what_to_install(machine):
    machine.python("mine", "3.10")
    machine.python("old", "3.9")
    named = shell("cgd_interpreter_of_torch", machine.folder, PYTHON_TORCH=str(machine.folder / "mine"))
    assert named.stdout.strip().endswith("mine")
    old = shell("cgd_interpreter_of_torch", machine.folder, PYTHON_TORCH=str(machine.folder / "old"))
    assert old.returncode == 2
    rule = "PyTorch 2.13.0 runs on Python 3.10 to 3.13"
    remedy = "name another one, or unset PYTHON_TORCH.\n"
    assert old.stderr == f"gluon_cgd: PYTHON_TORCH is {machine.folder}/old, which is Python 3.9, but {rule}: {remedy}"
    machine.python("python3", "3.9")
    old = shell("cgd_interpreter_of_torch", machine.folder)
    assert f"{rule}, and this machine has 3.9: install 3.11" in old.stderr
    assert "PYTHON_TORCH=/path/to/python" in old.stderr


@pytest.mark.parametrize(
    ("capabilities", "build"),
    [
        (None, "cpu"),
        ("", "cpu"),
        ("6.1", "cuda"),
        ("8.9", "cuda"),
        ("7.5\n8.6", "cuda"),
        ("9.0", "cpu"),
        ("8.6\n9.0", "cpu"),
        ("12.0", "cpu"),
    ],
)
def test_the_cuda_build_is_for_gpus_that_mxnet_has_code_for(machine, capabilities, build):
    if capabilities is not None:
        machine("nvidia-smi", f"#!/bin/bash\necho '{capabilities}'\n")
    run = shell("cgd_build", machine.folder)
    assert run.stdout.strip() == build
    assert ("installing the CPU build" in run.stderr) == (capabilities in ("9.0", "8.6\n9.0", "12.0"))


def test_a_driver_that_does_not_answer_means_the_cpu_build(machine):
    machine("nvidia-smi", "#!/bin/bash\necho 'NVIDIA-SMI has failed'\nexit 9\n")
    assert shell("cgd_build", machine.folder).stdout.strip() == "cpu"


SETTING_UP = """#!/bin/bash
# A python3.11 whose venvs are copies of itself, and which writes down what it is asked
echo "$@" >> {log}
case "$*" in
    *version_info*) echo 3.11 ;;
    --version) echo Python 3.11.7 ;;
    *_base_executable*) echo "{base}" ;;
    "-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" && cp "$0" "$3/bin/python3.11" ;;
    *"pip install"*) {pip} ;;
esac
"""


SOURCED = '. "$0/env.sh" && command -v python'
SHELLS = [
    (shutil.which(name) or name, *flags) for name in ("bash", "zsh") for flags in ([], ["-eu"], ["-o", "pipefail"])
]
SHELLS = [
    pytest.param(
        shell, marks=pytest.mark.skipif(not os.path.isabs(shell[0]), reason=f"no {shell[0]}"), id=" ".join(shell)
    )
    for shell in SHELLS
]


@pytest.fixture
def project(machine):
    """A copy of the project's set-up files on a machine with a python3.11; call it to start a script."""
    root, log = machine.folder / "a project", machine.folder / "log"
    root.mkdir()
    for name in ("env.sh", "constraints.txt", *(file.name for file in ROOT.glob("requirements*.txt"))):
        (root / name).write_text((ROOT / name).read_text())
    for tool in ("cksum", "rm", "mkdir", "cp"):
        (machine.folder / "tools" / tool).symlink_to(shutil.which(tool))

    def start(pip="true", shell=("/bin/bash",), line=SOURCED, **variables):
        machine("python3.11", SETTING_UP.format(log=log, pip=pip, base=machine.folder / "python3.11"))
        log.write_text("")
        environment = {"HOME": str(machine.folder), "PATH": f"{machine.folder}:{machine.folder}/tools", **variables}
        environment = {name: value for name, value in environment.items() if value is not None}
        command = [*shell, "-c", line, str(start.root)]
        run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=machine.folder)
        return run, log.read_text()

    start.root = root
    return start


def test_the_first_start_installs_and_the_second_does_nothing(project):
    run, log = project()
    assert run.stdout.strip() == str(project.root / ".venv/bin/python")
    assert "pip install" in log
    assert "requirements-cpu.txt" in log
    run, log = project()
    assert run.returncode == 0
    assert not log
    assert not run.stderr
    (project.root / "constraints.txt").write_text("numpy==1.23.4\n")  # a new version of the project
    assert "pip install" in project()[1]


def test_pip_does_not_take_what_pythonpath_holds_for_installed(project):
    """It left that out, and without PYTHONPATH an environment that counts as whole lacked it."""
    pip = 'case $* in *" -I "*|"-I "*) ;; *) [ -z "$PYTHONPATH" ] || { echo left out >&2; exit 1; } ;; esac'
    run, log = project(pip=pip, PYTHONPATH="/opt/packages")
    assert run.returncode == 0, run.stderr
    assert "-I -m pip install" in log


def test_an_installation_that_failed_is_told_and_tried_again(project):
    run, _ = project(pip="exit 1")
    assert run.returncode == 2
    assert "the installation failed" in run.stderr
    run, log = project()
    assert run.returncode == 0
    assert "pip install" in log


def test_the_active_environment_of_an_older_version_does_not_make_its_successor(project):
    """It is removed first, and its interpreter with it."""
    project()
    (project.root / "constraints.txt").write_text("numpy==1.23.4\n")
    active = project.root / ".venv"
    path = f"{active}/bin:{project.root.parent}:{project.root.parent}/tools"
    run, log = project(VIRTUAL_ENV=str(active), PATH=path)
    assert run.returncode == 0, run.stderr
    assert "pip install" in log
    (project.root / "constraints.txt").write_text("numpy==1.23.3\n")
    assert project(PYTHON=f"{active}/bin/python")[0].returncode == 0


def test_the_build_can_be_named(project):
    assert "requirements.txt" in project(GLUON_CGD_BUILD="cuda")[1]
    assert not project(GLUON_CGD_BUILD="cuda")[1]
    assert not project()[1]
    assert "GLUON_CGD_BUILD is cu: it must be cpu or cuda" in project(GLUON_CGD_BUILD="cu")[0].stderr
    assert "requirements-cpu.txt" in project(GLUON_CGD_BUILD="cpu")[1]
    run, log = project(GLUON_CGD_BUILD="tpu")
    assert run.returncode == 2
    assert "GLUON_CGD_BUILD is tpu: it must be cpu or cuda" in run.stderr


def test_an_active_environment_with_mxnet_is_used_as_it_is(project):
    run, log = project(VIRTUAL_ENV=sys.prefix)
    assert run.stdout.strip() == f"{sys.prefix}/bin/python"
    assert not log
    run, log = project(VIRTUAL_ENV="/nonexistent")  # one that lacks MXNet is left alone
    assert run.stdout.strip() == str(project.root / ".venv/bin/python")


def test_every_version_is_pinned_and_the_builds_differ_in_mxnet_alone():
    pins = {
        name: (ROOT / name).read_text()
        for name in ("constraints.txt", *(file.name for file in ROOT.glob("requirements*.txt")))
    }
    versions = {}
    torch = pins.pop("requirements-torch.txt")  # of an environment of its own, with a newer NumPy
    for line in torch.splitlines():
        assert line.startswith("#") or re.match(r"[\w-]+==[\w.]+(\s+#.*|)$", line), line
    assert "torch==2.13.0 " in torch
    assert "mxnet" not in "".join(line.partition("#")[0] for line in torch.splitlines())
    for name, text in pins.items():
        for line in text.splitlines():
            if line.strip() and not line.startswith(("#", "-r constraints.txt")):
                assert re.match(r"[\w-]+==[\w.]+( ;.*|\s+#.*|)$", line), f"{name}: {line}"
                pin, _, condition = line.partition("#")[0].partition(";")
                module, version = pin.strip().split("==")
                named = versions.setdefault((module, condition.strip()), version)
                assert named == version, f"{name}: {line}, and {named} in another file"
    assert "mxnet==1.9.1" in pins["requirements-cpu.txt"]
    assert "mxnet-cu112==1.9.1" in pins["requirements.txt"]
    assert 'numpy==1.23.5 ; python_version < "3.12"' in pins["constraints.txt"]


@pytest.mark.parametrize("shell", SHELLS)
def test_bash_and_zsh_can_source_it_with_any_flags_and_from_any_folder(project, shell):
    run, log = project(shell=shell)
    assert (run.returncode, run.stdout.strip()) == (0, str(project.root / ".venv/bin/python")), run.stderr
    assert "pip install" in log
    run, log = project(shell=shell, HOME=None)
    assert (run.returncode, run.stderr, log) == (0, "", "")
    # a `cd` that prints where it went, as many people have it
    noisy = 'chpwd() { echo here; }; cd() { builtin cd "$@" && pwd; }; CDPATH=/:.; '
    run, _ = project(shell=shell, line=noisy + '. "a project/env.sh" && command -v python')
    assert run.stdout.strip().endswith(".venv/bin/python"), run.stdout + run.stderr


@pytest.mark.parametrize("shell", SHELLS)
def test_the_first_start_finds_an_interpreter_without_a_home(project, shell):
    for home in (None, "/", "/nonexistent"):
        shutil.rmtree(project.root / ".venv", ignore_errors=True)
        run, log = project(shell=shell, HOME=home)
        assert run.returncode == 0, run.stderr
        assert "pip install" in log
        assert run.stderr.count("\n") == 1  # that it sets up


@pytest.mark.parametrize("shell", SHELLS)
def test_a_failure_is_a_sentence_and_status_2_in_every_shell(project, shell):
    run, _ = project(shell=shell, line='. "$0/env.sh" || exit $?', GLUON_CGD_BUILD="tpu")
    assert run.returncode == 2
    assert run.stderr.splitlines() == ["gluon_cgd: GLUON_CGD_BUILD is tpu: it must be cpu or cuda."]


@pytest.mark.parametrize("shell", ["dash", "ksh"])
def test_another_shell_is_told_which_one_to_take(project, shell):
    if not shutil.which(shell):
        pytest.skip(f"no {shell}")
    run, _ = project(shell=(shutil.which(shell),))
    assert run.returncode == 2
    assert "env.sh needs bash or zsh" in run.stderr
    assert run.stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["it's", 'a "b" $HOME `c`', "Projekt für größere Bilder", "-dash", "a*b?[c]"])
def test_the_project_may_have_any_name(project, name):
    project.root = project.root.rename(project.root.with_name(name))
    for _ in range(2):
        run, _ = project()
        assert (run.returncode, run.stdout.strip()) == (0, str(project.root / ".venv/bin/python")), run.stderr


def test_a_folder_that_cannot_stand_in_the_path_is_named(project):
    project.root = project.root.rename(project.root.with_name("a:b"))
    run, log = project()
    assert run.returncode == 2
    assert (
        run.stderr
        == f"gluon_cgd: the folder {project.root} has a colon in its name, which PATH cannot hold: rename it.\n"
    )
    assert not log


def test_a_whole_environment_is_entered_where_nothing_can_be_written(project):
    project()
    lock = project.root / ".venv.lock"
    lock.unlink()
    lock.mkdir()  # so that not even root can open it to write
    run, log = project()
    assert (run.returncode, run.stderr, log) == (0, "", "")
    (project.root / "constraints.txt").write_text("numpy==1.23.4\n")
    run, log = project()
    assert run.returncode == 2
    assert "cannot be written to make it anew: let its owner source env.sh, or copy the project" in run.stderr
    assert run.stderr.count("\n") == 1
    assert not log
    assert (project.root / ".venv/bin/python").exists()


@pytest.mark.skipif(os.getuid() != 0 or not shutil.which("setpriv"), reason="needs two users")
def test_another_user_enters_the_environment_of_its_owner(project):
    project()
    (project.root / ".venv.lock").chmod(0o600)
    for folder in project.root.parents:  # pytest closes its folders to others
        if folder.stat().st_uid == os.getuid() and folder.name.startswith(("pytest-", "popen-", "test_")):
            folder.chmod(folder.stat().st_mode | 0o055)
    other = [shutil.which("setpriv"), "--reuid=65534", "--regid=65534", "--clear-groups", "/bin/bash"]
    run, log = project(shell=other)
    assert (run.returncode, run.stderr, log) == (0, "", "")
    (project.root / ".venv/installed").unlink()
    run, _ = project(shell=other)
    assert run.returncode == 2
    assert "let its owner source env.sh" in run.stderr


@pytest.mark.parametrize("shell", SHELLS)
def test_the_first_start_works_where_stderr_is_closed(project, shell):
    run, _ = project(shell=shell, line='exec 2>&-; . "$0/env.sh" && command -v python')
    assert (run.returncode, run.stdout.strip()) == (0, str(project.root / ".venv/bin/python"))


SCRIPTS = sorted(file.relative_to(ROOT).as_posix() for file in ROOT.glob("[brt]*/*.sh"))


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_finds_its_project_whatever_cd_does(machine, script):
    root = machine.folder / "project"
    folder, name = script.split("/")
    (root / folder).mkdir(parents=True)
    (root / script).write_text((ROOT / script).read_text())
    (root / "env.sh").write_text("echo entered; exit\n")
    (machine.folder / "other" / folder).mkdir(parents=True)
    shell = ["bash", "-c", 'cd() { builtin cd "$@" && pwd; }; export -f cd; exec bash "$@"', "-", script]
    variables = dict(os.environ, CDPATH=f"{machine.folder}/other:.")
    run = subprocess.run(shell, cwd=root, env=variables, capture_output=True, text=True, check=False)
    assert (run.stdout, run.stderr) == ("entered\n", "")
