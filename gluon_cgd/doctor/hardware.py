"""What this machine has of what training needs: cores, GPUs, memory, disk."""

import ctypes
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from gluon_cgd.doctor.findings import info, note, ok, wrong
from gluon_cgd.experiment import Experiment
from gluon_cgd.machine import facts, prepare

MAJORS = range(5, 9)  # compute capabilities 5.0 to 8.9: the wheel has code for 5.0, 6.0, 7.0, 8.0 and 8.6, and no PTX
OLDEST_DRIVER = "450.80.02"  # of those that run CUDA 11 (NVIDIA's table of minor version compatibility)
# Bytes that training takes, measured by reproduce.efficiency on a CPU: ResNet-50 as in Table 1, 224 x 224, the most
# that the process ever had: 1.683 GB for 8 pictures, 2.628 for 16, 4.507 for 32, 8.318 for 64
FIXED, A_PICTURE = 0.74e9, 0.1185e9
LEAST = 4  # pictures in a batch: two of each of two classes
GLYPHS = 0.1e9  # bytes of disk that the embedded benchmark takes, its pictures in the cache too
CGROUPS = Path("/sys/fs/cgroup")
UNITS = {"AVX2": "avx2", "AVX-512": "avx512f", "VNNI": "avx512_vnni", "AMX": "amx_tile"}  # as /proc/cpuinfo has them


def _read(file):
    try:
        return Path(file).read_text()
    except OSError:
        return ""


def quota():
    """How many cores' worth of time a container grants (2.0), or None without such a limit."""
    limit, _, period = _read(CGROUPS / "cpu.max").partition(" ")
    if not limit:
        limit, period = _read(CGROUPS / "cpu/cpu.cfs_quota_us"), _read(CGROUPS / "cpu/cpu.cfs_period_us")
    if not limit.strip().isdigit() or not period.strip().isdigit():  # "max", or -1
        return None
    return int(limit) / int(period)


def threads(environment):
    """The lines of OMP_NUM_THREADS, against the cores that there are, and of OMP_WAIT_POLICY, as a command would start.

    environment: the variables before this project set its own.
    """
    cores, granted, asked = facts.cores(), quota(), environment.get("OMP_NUM_THREADS", "")
    count = int(asked) if asked.isdigit() else cores
    usable = min(cores, int(granted) or 1) if granted else cores
    says = f"{count} threads ({f'OMP_NUM_THREADS={asked}' if asked else 'OMP_NUM_THREADS is not set'}) on {cores} cores"
    says += f", of which this container may use {granted:g}" if usable < cores else ""
    remedy = f"export OMP_NUM_THREADS={usable}" if usable < cores else "unset OMP_NUM_THREADS"
    if asked and not asked.isdigit():
        lines = [note("threads", f"OMP_NUM_THREADS is {asked!r} and should be a whole number", remedy)]
    elif count != usable:
        much = "more threads than cores wait for each other" if count > usable else "some cores are not used"
        lines = [note("threads", f"{says}; {much}", remedy)]
    else:
        lines = [ok("threads", says)]
    policy = environment.get("OMP_WAIT_POLICY", "")
    if policy.upper() not in ("", "PASSIVE"):
        spins = f"OMP_WAIT_POLICY={policy}: threads that wait keep their core busy, and two runs at once crawl"
        return [*lines, note("waiting threads", spins, "unset OMP_WAIT_POLICY")]
    return [*lines, ok("waiting threads", f"OMP_WAIT_POLICY={policy or 'PASSIVE'}, they sleep")]


def units():
    """{name in UNITS: whether the processor has it}; {} where it does not say."""
    flags = set(re.findall(r"\S+", next(iter(re.findall(r"^flags\s*:(.*)$", _read("/proc/cpuinfo"), re.M)), "")))
    return {name: flag in flags for name, flag in UNITS.items()} if flags else {}


def vectors():
    """The line of what the processor has for matrices."""
    has = ", ".join(f"{name} {'yes' if there else 'no'}" for name, there in units().items())
    return [info("processor", f"{facts.machine('cpu')}; {has or 'what it can is not said'}")]


def gpus():
    """What nvidia-smi says of each GPU, [{"index", "name", "compute_cap", "memory.free", "driver_version"}, ...].

    Numbers as text, memory in MiB; "compute_cap" is "" with a driver that does not tell it; None without a driver.
    """
    fields = ["index", "name", "memory.free", "driver_version", "compute_cap"]
    for asked in (fields, fields[:-1]):
        command = ["nvidia-smi", f"--query-gpu={','.join(asked)}", "--format=csv,noheader,nounits"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        except (OSError, subprocess.TimeoutExpired):
            return None
        if not done.returncode:
            rows = [[value.strip() for value in line.split(",")] for line in done.stdout.splitlines() if line.strip()]
            return [dict(zip(fields, [*row, ""])) for row in rows]
    return None


def driver_there():
    """Whether the driver's own library can be loaded."""
    try:
        ctypes.CDLL(prepare.DRIVER)
    except OSError:
        return False
    return True


def driver(build):
    """The line of the GPU driver, and one of each GPU. build: of MXNet, "cpu" or "cuda"."""
    found, loadable = gpus(), driver_there()
    to_cpu = "the CPU build instead: GLUON_CGD_BUILD=cpu, and `source env.sh`"
    if build == "cuda" and not loadable:
        says = f"MXNet's CUDA build is installed, and {prepare.DRIVER} of the driver cannot be loaded"
        return [wrong("GPU driver", says, f"install the NVIDIA driver, or take {to_cpu}")]
    if not found:
        if build == "cuda":
            remedy = "check what nvidia-smi prints"
            return [note("GPU driver", f"{prepare.DRIVER} is there, but nvidia-smi names no GPU", remedy)]
        return [info("GPU driver", "none that answers (nvidia-smi): the CPU does the work")]
    version = found[0]["driver_version"]
    if _numbers(version) < _numbers(OLDEST_DRIVER):
        says = f"{version}, where MXNet's CUDA build needs {OLDEST_DRIVER} or newer"
        if build == "cuda":
            return [wrong("GPU driver", says, f"update it, or take {to_cpu}")]
        return [note("GPU driver", says, "update it, if the GPU is to train")]
    lines, usable = [ok("GPU driver", version)], [gpu["index"] for gpu in found if runs(gpu)]
    for gpu in found:
        lines.append(_gpu(gpu, build, usable, to_cpu))
    return lines


def runs(gpu):
    """Whether the CUDA build has code for one of `gpus()`: compute capability 5.0 to 8.9."""
    major = gpu["compute_cap"].partition(".")[0]
    return major.isdigit() and int(major) in MAJORS


def _gpu(gpu, build, usable, to_cpu):
    title, capability = f"GPU {gpu['index']}", gpu["compute_cap"]
    says = f"{gpu['name']}, compute capability {capability or 'unknown'}"
    if not capability:
        return note(title, says, "nvidia-smi of a newer driver says it (--query-gpu=compute_cap): update the driver")
    if not runs(gpu):
        says += ", not one of the 5.0 to 8.9 that MXNet 1.9.1 has code for"
        if build == "cpu":
            return info(title, says + ": the CPU does the work")
        if usable:
            return note(title, says, f"take --ctx gpu{usable[0]}")
        return wrong(title, says, f"take {to_cpu}")
    if build == "cpu":
        says += " could train, but MXNet's CPU build is installed"
        return note(title, says, "GLUON_CGD_BUILD=cuda, and `source env.sh` outside of this environment")
    free = gpu["memory.free"]
    return _memory(title, says, 2**20 * int(free), note) if free.isdigit() else ok(title, says)


def _numbers(version):
    return [int(part) for part in re.findall("[0-9]+", version)]


def available():
    """Bytes of main memory that a process can still have, as the system says; less where a container has a limit."""
    free = re.findall(r"^MemAvailable:\s*(\d+) kB", _read("/proc/meminfo"), re.M)
    limits = [_read(CGROUPS / name).strip() for name in ("memory.max", "memory/memory.limit_in_bytes")]
    bounds = [int(limit) for limit in limits if limit.isdigit()] + [1024 * int(count) for count in free]
    return min(bounds) if bounds else None


def batch_of(free):
    """The largest batch of 224 x 224 pictures, a multiple of 4, that ResNet-50 can train on in `free` bytes."""
    return max(0, int((free - FIXED) / A_PICTURE) // 4 * 4)


def memory():
    """The line of main memory, against the paper's batch."""
    free = available()
    if free is None:
        return [info("memory", "this system does not say how much is free")]
    return [_memory("memory", "main memory", free, wrong)]


def _memory(title, what, free, too_small):
    size = Experiment().batch_size
    needed, fits = FIXED + A_PICTURE * size, batch_of(free)
    says = f"{what}, {free / 1e9:.1f} GB free"
    rule = f"ResNet-50 at 224 x 224 takes about {needed / 1e9:.0f} GB for the paper's batch of {size}"
    if fits >= size:
        return ok(title, f"{says}; {rule}")
    if fits < LEAST:
        says = f"{says}; {rule}, and {(FIXED + A_PICTURE * LEAST) / 1e9:.1f} GB for the least batch, {LEAST}"
        return too_small(title, says, "end what takes it, or take a machine or device with more")
    smaller = f"a batch of {fits} fits (--batch-classes {max(2, fits // 4)} --batch-images {2 if fits < 8 else 4})"
    return note(title, f"{says}; {rule}", f"{smaller}, which is another experiment than the paper's; --mini fits")


def pictures(counts):
    """[(pictures, bytes), ...] of the cache's files of one benchmark. counts: of `datasets.OFFICIAL`."""
    default = Experiment()
    sides = (default.resize, *[default.input_size] * (len(counts) - 1))
    return [(count, 3 * side**2 * count) for side, (count, _) in zip(sides, counts)]


def disk(official):
    """The lines of the cache folder, that it can be read and written, and of its room for the resized pictures.

    official: `datasets.OFFICIAL`, or {} where it cannot be had. What is prepared already needs no more room.
    """
    folder, there, other = facts.cache_folder(), None, "name another folder in GLUON_CGD_CACHE"
    try:
        there = next(place for place in (folder, *folder.parents) if place.exists())
        os.listdir(there)
        kept = {file.stat().st_size for file in (folder / "pictures").glob("*.uint8")}
        with tempfile.TemporaryFile(dir=str(there)):
            pass
    except OSError as error:
        reason = f"{error.strerror}: {error.filename or there}"
        says = f"{folder} cannot be {'used' if there == folder else 'made'} ({reason})"
        return [wrong("cache", says, f"give yourself the right to read and write it, or {other}")]
    free = shutil.disk_usage(str(there)).free
    says = f"{free / 1e9:.1f} GB free for {folder}"
    if free < GLYPHS:
        says += f", where even the embedded benchmark takes {GLYPHS / 1e9:.1f} GB"
        return [wrong("cache", says, f"free some, or {other}")]
    lines = [ok("cache", says)]
    needed = {name: sum(size for _, size in pictures(counts) if size not in kept) for name, counts in official.items()}
    if needed:
        each = [f"{name} {f'{size / 1e9:.1f} GB' if size else 'prepared'}" for name, size in needed.items()]
        says = f"pictures at 252 and 224 take: {', '.join(each)}"
        large = [name for name, size in needed.items() if size > free] or ["all together"]
        short = sum(needed.values()) > free
        remedy = f"free some, or {other}"
        lines.append(note("disk", f"{says}; no room for {', '.join(large)}", remedy) if short else ok("disk", says))
    return lines
