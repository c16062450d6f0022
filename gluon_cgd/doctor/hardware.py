"""The doctor's lines on this machine: cores, GPUs, memory, disk, Slurm."""

import contextlib
import ctypes
import os
import re
import shutil
import tempfile
from pathlib import Path

from gluon_cgd.doctor import pytorch
from gluon_cgd.doctor.findings import info, note, ok, wrong
from gluon_cgd.experiment import Experiment
from gluon_cgd.machine import facts, gpus, prepare

TO_CPU = "the CPU build instead: GLUON_CGD_BUILD=cpu, and `source env.sh`"
OLDEST_DRIVER = "450.80.02"  # of those that run CUDA 11 (NVIDIA's table of minor version compatibility)
# Bytes that training needs: FIXED and A_PICTURE for each picture of a batch. From the peak memory that
# reproduce.efficiency measured on a CPU for ResNet-50 as in Table 1 at 224 x 224: 1.683 GB for 8 pictures, 2.628 for
# 16, 4.507 for 32, 8.318 for 64
FIXED, A_PICTURE = 0.74e9, 0.1185e9
LEAST = 4  # pictures in the smallest batch: two classes with two pictures each
GLYPHS = 0.1e9  # bytes of disk that the embedded benchmark needs, with its pictures in the cache
CGROUPS = Path("/sys/fs/cgroup")
UNITS = {"AVX2": "avx2", "AVX-512": "avx512f", "VNNI": "avx512_vnni", "AMX": "amx_tile"}  # flags in /proc/cpuinfo
SLURM = ("sbatch", "srun", "squeue", "scontrol")


def _read(file):
    try:
        return Path(file).read_text()
    except OSError:
        return ""


def quota():
    """The number of cores that the container may use (2.5 is two and a half), None without a limit."""
    limit, _, period = _read(CGROUPS / "cpu.max").partition(" ")
    if not limit:
        limit, period = _read(CGROUPS / "cpu/cpu.cfs_quota_us"), _read(CGROUPS / "cpu/cpu.cfs_period_us")
    if not limit.strip().isdigit() or not period.strip().isdigit():  # "max", or -1
        return None
    return int(limit) / int(period)


def threads(environment):
    """The lines of the variables that set MXNet's threads: OMP_NUM_THREADS, OMP_WAIT_POLICY, OPENBLAS_CORETYPE if set.

    environment: the variables before this project set its own.
    """
    cores, granted, value = facts.cores(), quota(), environment.get("OMP_NUM_THREADS", "")
    count = int(value) if value.isdigit() else cores
    usable = min(cores, int(granted) or 1) if granted else cores
    says = f"{count} threads ({f'OMP_NUM_THREADS={value}' if value else 'OMP_NUM_THREADS is not set'}) on {cores} cores"
    says += f", of which this container may use {granted:g}" if usable < cores else ""
    remedy = f"export OMP_NUM_THREADS={usable}" if usable < cores else "unset OMP_NUM_THREADS"
    if value and not value.isdigit():
        lines = [note("threads", f"OMP_NUM_THREADS is {value!r}, but must be a whole number", remedy)]
    elif count != usable:
        effect = "more threads than cores slow each other down" if count > usable else "some cores are not used"
        lines = [note("threads", f"{says}; {effect}", remedy)]
    else:
        lines = [ok("threads", says)]
    policy, kernels = environment.get("OMP_WAIT_POLICY", ""), environment.get("OPENBLAS_CORETYPE")
    if policy.upper() in ("", "PASSIVE"):
        lines.append(ok("waiting threads", f"OMP_WAIT_POLICY={policy or 'PASSIVE'}: they sleep"))
    else:
        says = f"OMP_WAIT_POLICY={policy}: they keep their cores busy, so two runs at once are very slow"
        lines.append(note("waiting threads", says, "unset OMP_WAIT_POLICY"))
    if kernels:
        says = f"OPENBLAS_CORETYPE={kernels} sets MXNet's matrix kernels, hence the speed and the last bits of results"
        lines.append(note("OpenBLAS", says, "unset OPENBLAS_CORETYPE, and OpenBLAS chooses by the processor"))
    return lines


def units():
    """{name in UNITS: whether the processor has it}; {} if the system does not tell."""
    flags = re.search(r"^flags\s*:(.*)$", _read("/proc/cpuinfo"), re.M)
    return {name: flag in flags[1].split() for name, flag in UNITS.items()} if flags else {}


def vectors():
    """The line of the processor and its instructions for matrices."""
    has = ", ".join(f"{name} {'yes' if there else 'no'}" for name, there in units().items())
    return [info("processor", f"{facts.machine('cpu')}; {has or 'its instructions are not known'}")]


def driver_there():
    """Whether the driver's library can be loaded."""
    with contextlib.suppress(OSError):
        return bool(ctypes.CDLL(prepare.DRIVER))
    return False


def driver(build):
    """The line of the GPU driver, and one for each GPU. build: that of MXNet, "cpu" or "cuda"."""
    devices = gpus.listed()
    if build == "cuda" and not driver_there():
        says = f"MXNet's CUDA build is installed, but {prepare.DRIVER} of the driver cannot be loaded"
        return [wrong("GPU driver", says, f"install the NVIDIA driver, or take {TO_CPU}")]
    if not devices:
        if build == "cuda":
            says = f"{prepare.DRIVER} is installed, but nvidia-smi lists no GPU"
            return [note("GPU driver", says, "check what nvidia-smi prints")]
        return [info("GPU driver", "nvidia-smi lists no GPU: the CPU does the work")]
    version = devices[0]["driver_version"]
    if gpus.numbers(version) < gpus.numbers(OLDEST_DRIVER):
        says = f"{version}, but MXNet's CUDA build needs {OLDEST_DRIVER} or newer"
        if build == "cuda":
            return [wrong("GPU driver", says, f"update it, or take {TO_CPU}")]
        return [note("GPU driver", says, "update it to train on the GPU")]
    usable = [gpu["index"] for gpu in devices if gpus.mxnet_runs(gpu)]
    return [ok("GPU driver", version), *(_gpu(gpu, build, usable) for gpu in devices)]


def _gpu(gpu, build, usable):
    title, capability = f"GPU {gpu['index']}", gpu["compute_cap"]
    says = f"{gpu['name']}, compute capability {capability or 'unknown'}"
    if not capability:
        return note(title, says, "update the driver: a newer nvidia-smi tells it (--query-gpu=compute_cap)")
    if not gpus.mxnet_runs(gpu):
        says += ", not one of the 5.0 to 8.9 that MXNet 1.9.1 has code for"
        other = f". {pytorch.way(gpu)}" if gpus.is_newer(gpu) else ""
        if build == "cpu":
            return info(title, f"{says}: {other[2:] or 'the CPU does the work'}")
        if usable:
            return note(title, says + other, f"take --ctx gpu{usable[0]}")
        return wrong(title, says + other, f"take {TO_CPU}")
    if build == "cpu":
        says += " could train, but MXNet's CPU build is installed"
        return note(title, says, "GLUON_CGD_BUILD=cuda, and `source env.sh` outside this environment")
    free = gpu["memory.free"]
    return _memory(title, says, 2**20 * int(free), note) if free.isdigit() else ok(title, says)


def available():
    """Bytes of main memory that a new process can use: what the system says is free, or a container's limit if less."""
    free = re.findall(r"^MemAvailable:\s*(\d+) kB", _read("/proc/meminfo"), re.M)
    limits = [_read(CGROUPS / name).strip() for name in ("memory.max", "memory/memory.limit_in_bytes")]
    bounds = [int(limit) for limit in limits if limit.isdigit()] + [1024 * int(count) for count in free]
    return min(bounds) if bounds else None


def batch_of(free):
    """The largest batch, a multiple of 4, on which ResNet-50 can train at 224 x 224 in `free` bytes."""
    return max(0, int((free - FIXED) / A_PICTURE) // 4 * 4)


def memory():
    """The line of main memory, compared with the need of the paper's batch."""
    free = available()
    if free is None:
        return [info("memory", "this system does not tell how much is free")]
    return [_memory("memory", "main memory", free, wrong)]


def _memory(title, what, free, too_small):
    size = Experiment().batch_size
    needed, fits = FIXED + A_PICTURE * size, batch_of(free)
    says = f"{what}, {free / 1e9:.1f} GB free"
    rule = f"ResNet-50 at 224 x 224 takes about {needed / 1e9:.0f} GB for the paper's batch of {size}"
    if fits >= size:
        return ok(title, f"{says}; {rule}")
    if fits < LEAST:
        says = f"{says}; {rule}, and {(FIXED + A_PICTURE * LEAST) / 1e9:.1f} GB for the smallest batch, {LEAST}"
        return too_small(title, says, "stop other programs, or use a machine or device with more")
    smaller = f"a batch of {fits} fits (--batch-classes {max(2, fits // 4)} --batch-images {2 if fits < 8 else 4})"
    return note(title, f"{says}; {rule}", f"{smaller}, which is not the paper's experiment; --mini fits")


def pictures(counts):
    """[(pictures, bytes), ...] of one benchmark's files in the cache. counts: a value of `datasets.OFFICIAL`."""
    default = Experiment()
    sides = (default.resize, *[default.input_size] * (len(counts) - 1))
    return [(count, 3 * side**2 * count) for side, (count, _) in zip(sides, counts)]


def disk(official):
    """The lines of the cache folder: whether it can be read and written, and whether the resized pictures fit.

    official: `datasets.OFFICIAL`, or {} if it cannot be imported. Pictures that are in the cache need no more room.
    """
    there, other = None, "name another folder in GLUON_CGD_CACHE"
    try:
        folder = facts.cache_folder()
    except ValueError as error:  # no home folder
        return [wrong("cache", *str(error).split(": ", 1))]
    try:
        there = next(place for place in (folder, *folder.parents) if place.exists())
        os.listdir(there)
        kept = {file.stat().st_size for file in (folder / "pictures").glob("*.uint8")}
        with tempfile.TemporaryFile(dir=str(there)):
            pass
    except OSError as error:
        reason = f"{error.strerror}: {error.filename or there}"
        says = f"{folder} cannot be {'used' if there == folder else 'made'} ({reason})"
        return [wrong("cache", says, f"change its permissions, or {other}")]
    free = shutil.disk_usage(str(there)).free
    says = f"{free / 1e9:.1f} GB free for {folder}"
    if free < GLYPHS:
        says += f", but even the embedded benchmark needs {GLYPHS / 1e9:.1f} GB"
        return [wrong("cache", says, f"free some space, or {other}")]
    lines = [ok("cache", says)]
    needed = {name: sum(size for _, size in pictures(counts) if size not in kept) for name, counts in official.items()}
    if needed:
        each = [f"{name} {f'{size / 1e9:.1f} GB' if size else 'prepared'}" for name, size in needed.items()]
        says = f"pictures at 252 and 224 need: {', '.join(each)}"
        large = [name for name, size in needed.items() if size > free] or ["all together"]
        short = sum(needed.values()) > free
        remedy = f"free some space, or {other}"
        lines.append(note("disk", f"{says}; no room for {', '.join(large)}", remedy) if short else ok("disk", says))
    return lines


def slurm():
    """The line of the programs that --backend slurm calls."""
    missing = [program for program in SLURM if not shutil.which(program)]
    if missing:
        return [info("Slurm", f"not installed ({', '.join(missing)}): runs train on this machine")]
    return [info("Slurm", f"{shutil.which('sbatch')}: python -m reproduce --backend slurm trains with it")]
