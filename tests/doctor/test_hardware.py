"""The lines of cores, GPUs, memory, disk and Slurm, each as it should be and otherwise."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from gluon_cgd import datasets
from gluon_cgd.doctor import hardware
from gluon_cgd.machine import facts, gpus, prepare

GB = 10**9


def only(lines, state):
    """The one of `lines`, whose state is `state`."""
    (line,) = lines
    assert line.state == state, line
    return line


@pytest.fixture
def four_cores(monkeypatch, tmp_path):
    """Four cores, and no container around them."""
    monkeypatch.setattr(facts, "cores", lambda: 4)
    monkeypatch.setattr(hardware, "CGROUPS", tmp_path / "cgroup")
    (tmp_path / "cgroup").mkdir()
    return tmp_path / "cgroup"


@pytest.mark.parametrize(
    ("value", "state", "says", "remedy"),
    [
        (None, "ok", "4 threads (OMP_NUM_THREADS is not set) on 4 cores", ""),
        ("4", "ok", "4 threads (OMP_NUM_THREADS=4) on 4 cores", ""),
        ("1", "note", "1 threads (OMP_NUM_THREADS=1) on 4 cores; some cores are not used", "unset OMP_NUM_THREADS"),
        ("64", "note", "64 threads (OMP_NUM_THREADS=64) on 4 cores; more threads than", "unset OMP_NUM_THREADS"),
        ("all", "note", "OMP_NUM_THREADS is 'all', but must be a whole number", "unset OMP_NUM_THREADS"),
    ],
)
def test_the_threads_are_compared_with_the_cores(four_cores, value, state, says, remedy):
    threads, waiting = hardware.threads({"OMP_NUM_THREADS": value} if value else {})
    assert threads.state == state
    assert threads.says.startswith(says)
    assert threads.remedy == remedy
    assert waiting.state == "ok"


@pytest.mark.parametrize("files", [{"cpu.max": "250000 100000\n"}, {"cpu/cpu.cfs_quota_us": "250000\n"}])
def test_a_container_may_grant_fewer_cores_than_there_are(four_cores, files):
    for name, text in files.items():
        (four_cores / name).parent.mkdir(exist_ok=True)
        (four_cores / name).write_text(text)
    (four_cores / "cpu").mkdir(exist_ok=True)
    (four_cores / "cpu/cpu.cfs_period_us").write_text("100000\n")
    assert hardware.quota() == 2.5
    line = hardware.threads({})[0]
    assert line.state == "note"
    assert "of which this container may use 2.5" in line.says
    assert line.remedy == "export OMP_NUM_THREADS=2"
    assert hardware.threads({"OMP_NUM_THREADS": "2"})[0].state == "ok"
    for name in files:
        (four_cores / name).write_text("max 100000\n" if name == "cpu.max" else "-1\n")
    assert hardware.quota() is None
    assert hardware.threads({})[0].state == "ok"


def test_threads_that_spin_are_told(four_cores):
    assert hardware.threads({"OMP_WAIT_POLICY": "passive"})[1].state == "ok"
    line = hardware.threads({"OMP_WAIT_POLICY": "ACTIVE"})[1]
    assert (line.state, line.remedy) == ("note", "unset OMP_WAIT_POLICY")


def test_kernels_that_somebody_chose_are_a_note(four_cores):
    assert len(hardware.threads({})) == 2
    line = hardware.threads({"OPENBLAS_CORETYPE": "Haswell"})[2]
    assert (line.state, line.name) == ("note", "OpenBLAS")
    assert line.says.startswith("OPENBLAS_CORETYPE=Haswell sets MXNet's matrix kernels")
    assert line.remedy.startswith("unset OPENBLAS_CORETYPE")


def test_what_the_processor_has_for_matrices_is_information(monkeypatch):
    monkeypatch.setattr(hardware, "_read", lambda file: "flags\t\t: fpu avx2 avx512f amx_tile\nflags\t\t: fpu\n")
    assert only(hardware.vectors(), "info").says.endswith("; AVX2 yes, AVX-512 yes, VNNI no, AMX yes")
    monkeypatch.setattr(hardware, "_read", lambda file: "")
    assert only(hardware.vectors(), "info").says.endswith("its instructions are not known")


SMI = """#!/bin/bash
[ {status} = 0 ] || {{ echo "NVIDIA-SMI has failed"; exit {status}; }}
case "$*" in *compute_cap*) [ -n "{knows}" ] || exit 2 ;; esac
printf '{rows}'
"""


@pytest.fixture
def smi(tmp_path, monkeypatch):
    """Call it to put a stand-in for nvidia-smi, with these GPUs, before all else; the driver's library is there."""

    def machine(*gpus, status=0, driver="535.104.05", knows=True):
        rows = "".join(f"{i}, {name}, {free}, {driver}, {cap}\\n" for i, (name, cap, free) in enumerate(gpus))
        if not knows:
            rows = rows.replace(", \\n", "\\n")
        (tmp_path / "nvidia-smi").write_text(SMI.format(status=status, knows="yes" * knows, rows=rows))
        (tmp_path / "nvidia-smi").chmod(0o755)

    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(hardware, "driver_there", lambda: True)
    return machine


@pytest.mark.parametrize("capability", ["5.0", "6.1", "7.5", "8.0", "8.9"])
def test_a_gpu_that_the_wheel_has_code_for_is_right(smi, capability):
    smi(("Good", capability, 40000))
    driver, gpu = hardware.driver("cuda")
    assert (driver.state, driver.says) == ("ok", "535.104.05")
    assert (gpu.name, gpu.state) == ("GPU 0", "ok")
    assert f"Good, compute capability {capability}, 41.9 GB free" in gpu.says


@pytest.mark.parametrize("capability", ["3.7", "9.0", "10.0", "12.0"])
def test_a_gpu_that_the_wheel_has_no_code_for_is_wrong_with_the_cuda_build(smi, capability):
    smi(("Other", capability, 140000))
    gpu = hardware.driver("cuda")[1]
    assert gpu.state == "wrong"
    assert f"compute capability {capability}, not one of the 5.0 to 8.9" in gpu.says
    assert "GLUON_CGD_BUILD=cpu" in gpu.remedy
    assert hardware.driver("cpu")[1].state == "info"


@pytest.mark.parametrize(
    ("capability", "way", "container"),
    [("3.7", False, False), ("9.0", True, True), ("10.0", True, False), ("12.0", True, False)],
)
def test_a_gpu_newer_than_mxnets_code_is_told_which_way_there_is(smi, capability, way, container):
    smi(("First", "3.7", 8000), ("Other", capability, 140000))
    for build in ("cpu", "cuda"):
        told = hardware.driver(build)[2].says
        assert ("PyTorch trains on it, --engine pytorch --ctx cuda1" in told) == way
        assert ("mxnet:24.06-py3, which has MXNet 1.9.1 with code for Hopper, untested" in told) == container
    assert ("the CPU does the work" in hardware.driver("cpu")[2].says) == (not way)


def test_beside_a_usable_gpu_another_is_to_be_left_out(smi):
    smi(("H100", "9.0", 80000), ("A100", "8.0", 80000))
    _, hopper, ampere = hardware.driver("cuda")
    assert (hopper.state, hopper.remedy) == ("note", "take --ctx gpu1")
    assert ampere.state == "ok"


def test_a_gpu_that_the_cpu_build_leaves_idle_is_told(smi):
    smi(("A100", "8.0", 80000))
    gpu = hardware.driver("cpu")[1]
    assert gpu.state == "note"
    assert "GLUON_CGD_BUILD=cuda" in gpu.remedy


def test_a_gpu_with_too_little_memory_says_what_fits(smi):
    smi(("Small", "7.5", 8000), ("Tiny", "7.5", 500))
    _, small, tiny = hardware.driver("cuda")
    assert small.state == tiny.state == "note"
    assert "a batch of 64 fits (--batch-classes 16 --batch-images 4)" in small.remedy
    assert "1.2 GB for the smallest batch, 4" in tiny.says


def test_a_driver_that_does_not_tell_what_it_drives_is_told(smi):
    smi(("Unknown", "", 8000), knows=False, driver="470.10")
    driver, gpu = hardware.driver("cuda")
    assert (driver.state, gpu.state) == ("ok", "note")
    assert "compute capability unknown" in gpu.says
    smi(("Old", "7.0", 8000), driver="418.87.01")
    for build, state in (("cuda", "wrong"), ("cpu", "note")):
        line = only(hardware.driver(build), state)
        assert "418.87.01, but MXNet's CUDA build needs 450.80.02 or newer" in line.says
        assert line.remedy.startswith("update it")


def test_without_a_driver_the_cuda_build_is_wrong_and_the_cpu_build_is_not(smi, monkeypatch):
    smi(status=9)
    assert "nvidia-smi lists no GPU" in only(hardware.driver("cuda"), "note").says
    assert "the CPU does the work" in only(hardware.driver("cpu"), "info").says
    monkeypatch.setattr(hardware, "driver_there", lambda: False)
    line = only(hardware.driver("cuda"), "wrong")
    assert line.remedy.startswith("install the NVIDIA driver, or take the CPU build instead")
    assert hardware.driver("cpu")[0].state == "info"
    monkeypatch.setenv("PATH", "/nonexistent")
    assert gpus.listed() is None


def test_the_drivers_library_is_there_if_it_can_be_loaded(monkeypatch):
    monkeypatch.setattr(prepare, "DRIVER", "libc.so.6")
    assert hardware.driver_there()
    monkeypatch.setattr(prepare, "DRIVER", "libnodriver.so.1")
    assert not hardware.driver_there()


def test_the_memory_of_the_papers_batch_is_what_was_measured():
    for pictures, measured in ((8, 1.683349504), (16, 2.628456448), (32, 4.507443200), (64, 8.317845504)):
        assert hardware.FIXED + hardware.A_PICTURE * pictures == pytest.approx(measured * GB, rel=0.02)
    assert hardware.batch_of(hardware.FIXED + 128.5 * hardware.A_PICTURE) == 128
    assert hardware.batch_of(hardware.FIXED + 127.5 * hardware.A_PICTURE) == 124
    assert hardware.batch_of(0) == 0


@pytest.mark.parametrize(
    ("free", "state", "remedy"),
    [
        (32 * GB, "ok", ""),
        (
            8 * GB,
            "note",
            "a batch of 60 fits (--batch-classes 15 --batch-images 4), which is not the paper's experiment",
        ),
        (
            1.3 * GB,
            "note",
            "a batch of 4 fits (--batch-classes 2 --batch-images 2), which is not the paper's experiment",
        ),
        (1 * GB, "wrong", "stop other programs, or use a machine or device with more"),
    ],
)
def test_main_memory_is_compared_with_what_the_papers_batch_takes(monkeypatch, free, state, remedy):
    monkeypatch.setattr(hardware, "available", lambda: free)
    line = only(hardware.memory(), state)
    assert line.says.startswith(f"main memory, {free / GB:.1f} GB free; ResNet-50 at 224 x 224 takes about 16 GB")
    assert line.remedy.startswith(remedy)
    assert bool(line.remedy) == bool(remedy)


def test_what_is_free_is_what_the_system_says_or_the_containers_limit(four_cores, monkeypatch):
    assert 10**8 < hardware.available() < 10**14
    (four_cores / "memory.max").write_text("max\n")
    assert hardware.available() > 10**8
    (four_cores / "memory.max").write_text("1000000\n")
    assert hardware.available() == 1000000
    monkeypatch.setattr(hardware, "_read", lambda file: "")
    assert hardware.available() is None
    assert only(hardware.memory(), "info").says == "this system does not tell how much is free"


@pytest.fixture
def free(monkeypatch):
    """Call it to say how many bytes of disk are free."""

    def bytes_of(count):
        monkeypatch.setattr(hardware.shutil, "disk_usage", lambda folder: SimpleNamespace(free=count))

    return bytes_of


def test_a_benchmarks_pictures_take_three_bytes_a_pixel():
    assert hardware.pictures(((5864, 100), (5924, 100))) == [(5864, 5864 * 3 * 252**2), (5924, 5924 * 3 * 224**2)]
    assert [count for count, _ in hardware.pictures(datasets.OFFICIAL["inshop"])] == [25882, 14218, 12612]


def test_there_is_room_for_all_for_some_or_for_no_pictures(free):
    free(76 * GB)
    cache, disk = hardware.disk(datasets.OFFICIAL)
    assert (cache.state, disk.state) == ("ok", "ok")
    assert cache.says == f"76.0 GB free for {facts.cache_folder()}"
    assert disk.says.endswith("cub200 2.0 GB, cars196 2.8 GB, sop 20.5 GB, inshop 9.0 GB")
    free(10 * GB)
    disk = hardware.disk(datasets.OFFICIAL)[1]
    assert disk.state == "note"
    assert disk.says.endswith("no room for sop")
    assert "GLUON_CGD_CACHE" in disk.remedy
    free(30 * GB)
    assert hardware.disk(datasets.OFFICIAL)[1].says.endswith("no room for all together")
    free(GB // 20)
    line = only(hardware.disk(datasets.OFFICIAL), "wrong")
    assert "0.1 GB free for" in line.says
    assert "the embedded benchmark needs 0.1 GB" in line.says
    free(76 * GB)
    assert only(hardware.disk({}), "ok").name == "cache"


def test_pictures_that_are_prepared_need_no_more_room(free):
    free(10 * GB)
    folder = facts.cache_folder() / "pictures"
    folder.mkdir(parents=True)
    for part, (_, size) in enumerate(hardware.pictures(datasets.OFFICIAL["sop"])):
        with open(folder / f"{part}.uint8", "wb") as file:
            file.truncate(size)  # takes no room
    disk = hardware.disk({name: datasets.OFFICIAL[name] for name in ("sop", "cub200")})[1]
    assert (disk.state, disk.says) == ("ok", "pictures at 252 and 224 need: sop prepared, cub200 2.0 GB")


def test_a_cache_folder_that_cannot_be_used_is_wrong(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GLUON_CGD_CACHE", str(tmp_path / "file"))
    line = only(hardware.disk({}), "wrong")
    assert line.says.startswith(f"{tmp_path / 'file'} cannot be used (Not a directory: ")
    assert line.remedy.endswith("name another folder in GLUON_CGD_CACHE")
    monkeypatch.setenv("GLUON_CGD_CACHE", str(tmp_path / "file" / "cache"))
    assert f"cannot be made (Not a directory: {tmp_path / 'file'})" in only(hardware.disk({}), "wrong").says
    monkeypatch.setenv("GLUON_CGD_CACHE", str(tmp_path))

    def refused(*arguments, **named):
        raise PermissionError(13, "Permission denied", str(tmp_path))

    for module, name in ((hardware.os, "listdir"), (hardware.tempfile, "TemporaryFile")):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, refused)
            assert "cannot be used (Permission denied: " in only(hardware.disk({}), "wrong").says
    assert hardware.disk({})[0].state == "ok"


def test_slurm_is_information(monkeypatch):
    monkeypatch.setattr(hardware.shutil, "which", lambda program: f"/usr/bin/{program}")
    assert hardware.slurm()[0].says.startswith("/usr/bin/sbatch: ")
    monkeypatch.setattr(hardware.shutil, "which", lambda program: None)
    says = "not installed (sbatch, srun, squeue, scontrol): runs train on this machine"
    assert only(hardware.slurm(), "info").says == says


@pytest.mark.slow
def test_a_picture_of_a_batch_takes_the_memory_that_is_said():
    code = (
        "import json; from gluon_cgd.experiment import Experiment; from reproduce.efficiency import costs_of; "
        "experiment = Experiment(pretrained=False, descriptors='SM'); "
        "print(json.dumps(costs_of('train', experiment, {}, 'cpu', rounds=1)['training_memory']))"
    )
    taken = []
    for batch in (8, 20):
        command = [sys.executable, "-c", code.format(batch)]
        environment = dict(os.environ, PYTHONPATH=os.pathsep.join([str(facts.PROJECT), *sys.path]))
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        taken.append(json.loads(done.stdout))
    assert (taken[1] - taken[0]) / 12 == pytest.approx(hardware.A_PICTURE, rel=0.1)
    assert taken[1] == pytest.approx(hardware.FIXED + 20 * hardware.A_PICTURE, rel=0.15)
