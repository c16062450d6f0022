"""`python -m gluon_cgd doctor`: what of this machine is ready to train, and what to do about what is not.

It changes nothing and asks no network. It has to work where nothing else does: without NumPy, with another Python.
"""

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
    """The report, [findings.Finding]; where another interpreter would be used, this process goes on with that.

    data: the folder that the datasets should be in.
    """
    typed = {name: value for name, value in os.environ.items() if name not in prepare.CHOSEN}
    problem = obstacle()
    python = elsewhere() if problem else None
    if python:
        go_on(python, problem, typed)
    return environment(problem, typed) + examine(data, typed)


def obstacle():
    """Why the project's commands do not run in this Python, a sentence, or "" where they do."""
    try:
        prepare.make_ready()
        prepare.check_mxnet()
    except Exception as error:  # of a broken NumPy, anything
        return process.sentence(error)
    return ""


def cause(problem):
    """The part of the sentence `problem` before the remedy, without what stands in brackets."""
    return re.sub(r" \(.*?\)", "", problem).partition(": ")[0]


def elsewhere():
    """The interpreter with which commands typed here go on, as env.sh would choose; None where that is this, or none.

    That is the active environment, if it has MXNet, else the project's own, if it was set up to the end.
    """
    if os.environ.get(process.ENTERED):
        return None
    active = os.environ.get("VIRTUAL_ENV") or os.environ.get("CONDA_PREFIX")
    has_mxnet = "import sys; from importlib.util import find_spec; sys.exit(find_spec('mxnet') is None)"
    for folder, question in ((active and Path(active), has_mxnet), (VENV, "pass")):
        if not folder or (folder == VENV and not (VENV / "installed").is_file()):
            continue
        python = folder / "bin" / "python"
        try:
            good = subprocess.call([str(python), "-c", question], stderr=subprocess.DEVNULL) == 0
        except OSError:
            good = False
        if good:
            here = os.path.realpath(sys.prefix) == os.path.realpath(str(folder))
            return None if here else python
    return None


def go_on(python, problem, environment):
    """Replace this process by the same command in the interpreter `python`, which will say why."""
    print(f"gluon_cgd: {cause(problem)}; going on with {python}", file=sys.stderr, flush=True)
    path = os.pathsep.join(filter(None, [str(facts.PACKAGES), environment.get("PYTHONPATH")]))
    reason = f"{sys.executable}, which cannot train ({cause(problem)})"
    changed = {process.ENTERED: reason, "PYTHONPATH": path, "VIRTUAL_ENV": str(python.parents[1])}
    os.execve(str(python), [str(python), "-m", "gluon_cgd", *sys.argv[1:]], dict(environment, **changed))


def environment(problem, typed):
    """The line of the Python that the report is about. typed: the variables with which the command was started."""
    reason = typed.get(process.ENTERED, "")
    if not problem:
        came = f", where commands typed with {reason} go on" if len(reason) > 1 else ""
        return [ok("environment", f"{sys.executable}{came}")]
    setup = facts.setup()
    says = f"{sys.executable} cannot train ({cause(problem)})"
    if not facts.SETUP.is_file():  # an installed package has no environment of its own
        return [wrong("environment", says, setup)]
    if sys.prefix in (typed.get("VIRTUAL_ENV"), typed.get("CONDA_PREFIX")) and sys.prefix != str(VENV):
        return [wrong("environment", says, f"mend it (below), or leave it (deactivate), and {setup}")]
    if sys.prefix == str(VENV):
        return [wrong("environment", says, f"rm -r {VENV}, and {setup} makes it anew")]
    state = "was not set up to the end" if VENV.is_dir() else "is not there yet"
    answer = setting_up()
    says += f", and the project's own environment, {VENV}, {state}"
    if answer.startswith("gluon_cgd: "):  # env.sh would refuse
        return [wrong("environment", f"{says}, nor can it be made", answer[len("gluon_cgd: ") :])]
    room = shutil.disk_usage(str(facts.PROJECT)).free / 1e9
    needs = f"a package index and 0.7 GB of disk (CUDA: 6.3 GB); {room:.1f} GB are free"
    remedy = f"{setup} makes it with {answer or 'the Python that it finds'}; it needs {needs}"
    return [wrong("environment", says, remedy)]


def setting_up():
    """Which interpreter env.sh would set the environment up with, or its refusal; "" where it cannot be asked."""
    try:
        functions = facts.SETUP.read_text().rpartition("\ncgd_enter")[0]  # all but the last line
        script = functions + "\ncgd_interpreter"
        asked = subprocess.Popen(["bash", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except OSError:
        return ""
    answer, refusal = (output.decode(errors="replace").strip() for output in asked.communicate())
    return answer or refusal


def examine(data, typed):
    """Every other line of the report. data: the folder that the datasets should be in, or None."""
    if sys.version_info[:2] < interpreter.PYTHONS[0]:
        return interpreter.python()  # the modules below would not even be read
    from gluon_cgd.doctor import hardware, supplies

    look = findings.looked
    versions, tried = interpreter.distributions(), interpreter.probe()
    lines = look("Python", interpreter.python)
    for name in ("numpy", "mxnet", "gluoncv", "opencv", "others"):
        lines += look(name, getattr(interpreter, name), tried, versions)
    lines = follow_numpy(lines)
    importable = findings.ready(lines)
    lines += look("libraries", libraries.lines, interpreter.build(versions))
    lines += look("threads", hardware.threads, typed)
    lines += look("processor", hardware.vectors)
    lines += look("GPU driver", hardware.driver, interpreter.build(versions))
    lines += look("GPUs of MXNet", interpreter.seen_by_mxnet, tried, versions)
    lines += look("memory", hardware.memory)
    lines += look("cache", lambda: hardware.disk(supplies.official() if importable else {}))
    if importable:  # these import the project's modules, and those the packages
        lines += look("datasets", supplies.benchmarks, data or facts.PROJECT / "data", bool(data))
        lines += look("weights", supplies.imagenet)
        lines += look("fonts", supplies.fonts)
    else:
        says = "not looked for before the packages are mended"
        lines.append(note("datasets, weights, fonts", says, "mend what is WRONG above, and ask again"))
    return lines + look("extras", supplies.extras, versions) + look("Slurm", supplies.slurm)


def follow_numpy(lines):
    """`lines`; where NumPy's is wrong, that alone is the remedy for the packages that cannot be imported."""
    if all(line.name != "NumPy" or line.state != "wrong" for line in lines):
        return lines
    first = "mend the line of NumPy first, and ask again"
    follows = [line.name != "NumPy" and "cannot be imported" in line.says for line in lines]
    return [line._replace(remedy=first) if after else line for line, after in zip(lines, follows)]
