"""`python -m gluon_cgd doctor`: whether this machine is ready to train, and what to do if it is not.

The doctor changes nothing and uses no network. It must work even in a broken environment: without NumPy, or in a Python
that MXNet does not run on.
"""

import contextlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from gluon_cgd.doctor import findings, interpreter, libraries
from gluon_cgd.doctor.findings import note, ok, wrong
from gluon_cgd.machine import facts, prepare, process

VENV = facts.PROJECT / ".venv"


def lines(data=None):
    """The report, a list of findings.Line.

    If commands would go on in another interpreter, this function does not return: that interpreter makes the report.
    data: the folder of the datasets, None for the default.
    """
    typed = {name: value for name, value in os.environ.items() if name not in prepare.CHOSEN}
    problem = obstacle()
    python = elsewhere() if problem and not prepare.foreign(prepare.numpy_file()) else None
    if python:
        go_on(python, problem, typed)
    return environment(problem, typed) + examine(data, typed)


def obstacle():
    """The sentence that says why the project's commands do not run in this Python, "" if they do."""
    try:
        prepare.make_ready()
        prepare.check_mxnet()
    except Exception as error:  # a broken NumPy raises anything
        return prepare.broken(error)
    return ""


def cause(problem):
    """The sentence `problem` without its remedy and without what is in brackets."""
    return re.sub(r" \(.*?\)", "", problem).partition(": ")[0]


def elsewhere():
    """The interpreter in which commands typed here go on, the one that env.sh chooses; None if this is it or none is.

    That is the active environment if it has MXNet, else the project's own if its set-up was completed.
    """
    if os.environ.get(process.ENTERED):
        return None
    active = os.environ.get("VIRTUAL_ENV") or os.environ.get("CONDA_PREFIX") or VENV
    has_mxnet = "import sys; from importlib.util import find_spec; sys.exit(find_spec('mxnet') is None)"
    for folder, question in ((Path(active), has_mxnet), (VENV, "pass")):
        if folder == VENV and not (VENV / "installed").is_file():
            continue
        python = folder / "bin" / "python"
        with contextlib.suppress(OSError):
            if subprocess.call([str(python), "-c", question], stderr=subprocess.DEVNULL) == 0:
                return None if os.path.realpath(sys.prefix) == os.path.realpath(str(folder)) else python
    return None


def go_on(python, problem, environment):
    """Replace this process by the same command in the interpreter `python`, whose report will say why."""
    print(f"gluon_cgd: {cause(problem)}; going on with {python}", file=sys.stderr, flush=True)
    path = os.pathsep.join(filter(None, [str(facts.PACKAGES), environment.get("PYTHONPATH")]))
    reason = f"{sys.executable}, which cannot train ({cause(problem)})"
    changed = {process.ENTERED: reason, "PYTHONPATH": path, "VIRTUAL_ENV": str(python.parents[1])}
    os.execve(str(python), [str(python), "-m", "gluon_cgd", *sys.argv[1:]], dict(environment, **changed))


def environment(problem, typed):
    """The line of the Python that the report is about. typed: the variables before this project set its own."""
    reason = typed.get(process.ENTERED, "")
    if not problem:
        instead = f", used in place of {reason}" if len(reason) > 1 else ""
        return [ok("environment", f"{sys.executable}{instead}")]
    setup = facts.setup()
    says = f"{sys.executable} cannot train ({cause(problem)})"
    remedy = prepare.foreign(prepare.numpy_file())
    if remedy and problem.endswith(remedy):  # every other interpreter would take the same NumPy
        return [wrong("environment", says, remedy)]
    if not facts.SETUP.is_file():  # an installed package has no environment of its own
        return [wrong("environment", says, setup)]
    if sys.prefix == str(VENV):
        return [wrong("environment", says, f"delete it, rm -r {facts.quoted(VENV)}, and {setup} makes it again")]
    if sys.prefix in (typed.get("VIRTUAL_ENV"), typed.get("CONDA_PREFIX")):
        return [wrong("environment", says, f"fix it as the lines below say, or leave it (deactivate), and {setup}")]
    says += f", and the project's own environment, {VENV}, {'is incomplete' if VENV.is_dir() else 'does not exist yet'}"
    answer = ask_setup()
    if answer.startswith("gluon_cgd: "):  # env.sh would refuse
        return [wrong("environment", f"{says} and cannot be made", answer[len("gluon_cgd: ") :])]
    room = shutil.disk_usage(str(facts.PROJECT)).free / 1e9
    needs = f"this needs a package index and 0.7 GB of disk (CUDA: 6.3 GB); {room:.1f} GB are free"
    return [wrong("environment", says, f"{setup} makes it with {answer or 'a Python that it looks for'}; {needs}")]


def ask_setup():
    """The interpreter that env.sh would make the environment with, or its refusal; "" if it cannot be asked."""
    try:
        functions = facts.SETUP.read_text().rpartition("\ncgd_enter")[0]  # all but the last line
        command = ["bash", "-c", functions + "\ncgd_interpreter"]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    except OSError:
        return ""
    return (done.stdout or done.stderr).strip()


def examine(data, typed):
    """The other lines of the report. Arguments: see `lines` and `environment`."""
    if sys.version_info[:2] < interpreter.PYTHONS[0]:
        return interpreter.python()  # this Python cannot import the modules below
    from gluon_cgd.doctor import hardware, pytorch

    check = findings.run_check
    versions, tried = interpreter.distributions(), interpreter.probe()
    lines = check("Python", interpreter.python)
    for name in ("numpy", "mxnet", "gluoncv", "opencv", "others"):
        lines += check(name, getattr(interpreter, name), tried, versions)
    lines = follow_numpy(lines)
    importable = findings.ready(lines)
    if importable:
        from gluon_cgd import datasets
        from gluon_cgd.doctor import supplies
    lines += check("libraries", libraries.lines, interpreter.build(versions))
    lines += check("threads", hardware.threads, typed)
    lines += check("processor", hardware.vectors)
    lines += check("GPU driver", hardware.driver, interpreter.build(versions))
    lines += check("GPUs of MXNet", interpreter.seen_by_mxnet, tried, versions)
    lines += check("PyTorch", pytorch.environment)
    lines += check("memory", hardware.memory)
    lines += check("cache", hardware.disk, datasets.OFFICIAL if importable else {})
    if importable:
        lines += check("datasets", supplies.benchmarks, data or facts.PROJECT / "data", bool(data))
        lines += check("weights", supplies.imagenet)
        lines += check("weights", supplies.package)
        lines += check("fonts", supplies.fonts)
    else:
        says = "not checked, because packages are missing or broken"
        lines.append(note("datasets, weights, fonts", says, "fix what is WRONG above, and start the doctor again"))
    return lines + check("extras", interpreter.extras, versions) + check("Slurm", hardware.slurm)


def follow_numpy(lines):
    """`lines`; if NumPy's is wrong, packages that cannot be imported get the remedy to fix NumPy first."""
    if all(line.name != "NumPy" or line.state != "wrong" for line in lines):
        return lines
    follow = [line.name != "NumPy" and "cannot be imported" in line.says for line in lines]
    remedy = "fix NumPy first, and start the doctor again"
    return [line._replace(remedy=remedy) if follows else line for line, follows in zip(lines, follow)]
