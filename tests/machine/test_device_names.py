"""The names that --ctx takes, without MXNet and without any device."""

import re

import pytest

from gluon_cgd.machine.device_names import KINDS, Device, parse


@pytest.mark.parametrize(
    ("text", "library", "devices"),
    [
        ("cpu", "MXNet", [("cpu", 0)]),
        ("gpu3", "MXNet", [("gpu", 3)]),
        ("gpu0,gpu1", "MXNet", [("gpu", 0), ("gpu", 1)]),
        ("cpu0,cpu1", "MXNet", [("cpu", 0), ("cpu", 1)]),
        ("cpu", "PyTorch", [("cpu", 0)]),
        ("cuda1,cuda0", "PyTorch", [("cuda", 1), ("cuda", 0)]),
        ("mps", "PyTorch", [("mps", 0)]),
        ("cuda12", "ONNX Runtime", [("cuda", 12)]),
        ("cpu0", "ONNX Runtime", [("cpu", 0)]),
        ("cpu", "OpenVINO", [("cpu", 0)]),
    ],
)
def test_each_library_takes_its_names(text, library, devices):
    assert parse(text, library) == devices
    assert ",".join(device.name for device in parse(text, library)) == text.replace("cpu0", "cpu", 1)


@pytest.mark.parametrize(
    ("text", "library", "message"),
    [
        ("tpu", "MXNet", "device 'tpu' is unknown: --ctx takes cpu, gpu0, gpu1, ..., or several: gpu0,gpu1"),
        ("", "ONNX Runtime", "device '' is unknown: --ctx takes cpu, cuda0, cuda1, ..."),
        ("cuda", "PyTorch", "device 'cuda' is unknown: --ctx takes cpu, cuda0, cuda1, ..., mps, or several: cuda0,"),
        ("cuda:0", "ONNX Runtime", "device 'cuda:0' is unknown"),
        ("CUDA0", "ONNX Runtime", "device 'CUDA0' is unknown"),
        ("gpu-1", "MXNet", "device 'gpu-1' is unknown"),
        ("cuda²", "PyTorch", "device 'cuda²' is unknown"),
        (
            "cuda0",
            "MXNet",
            "--ctx cuda0 is no device of MXNet, which takes cpu, gpu0, gpu1, ...; cuda0, cuda1, ... are",
        ),
        ("mps", "MXNet", "--ctx mps is no device of MXNet, which takes cpu, gpu0, gpu1, ...; mps is for training with"),
        ("gpu0", "ONNX Runtime", "--ctx gpu0 is no device of ONNX Runtime, which takes cpu, cuda0, cuda1, ...; gpu0,"),
        (
            "gpu0",
            "PyTorch",
            "no device of PyTorch, which takes cpu, cuda0, cuda1, ..., mps; gpu0, gpu1, ... are for MX",
        ),
        ("cuda0", "OpenVINO", "--ctx cuda0 is no device of OpenVINO, which takes cpu; cuda0, cuda1, ... are for an"),
        ("cpu1", "ONNX Runtime", "--ctx cpu1: to ONNX Runtime all cores are one CPU; take cpu"),
        ("cuda0,cuda1", "ONNX Runtime", "names 2 devices where ONNX Runtime computes on one: take cuda0"),
        ("cuda0,cuda0", "PyTorch", "the devices cuda(0), cuda(0) have one twice: name each once"),
        ("cpu,cuda0", "PyTorch", "the devices cpu(0), cuda(0) are of two kinds: take only GPUs or only CPUs"),
        ("cuda0,", "PyTorch", "--ctx 'cuda0,' has an empty part: put one comma between two devices, as in cuda0,cuda1"),
        ("gpu0,,gpu1", "MXNet", "has an empty part: put one comma between two devices, as in gpu0,gpu1"),
    ],
)
def test_a_wrong_name_is_answered_with_the_right_ones(text, library, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        parse(text, library)


def test_every_kind_that_only_some_libraries_take_is_explained_to_the_others():
    for library, kinds in KINDS.items():
        for kind in {kind for others in KINDS.values() for kind in others} - set(kinds):
            name = kind if kind == "mps" else f"{kind}0"
            with pytest.raises(ValueError, match=f"--ctx {name} is no device of {library}, .*; {name}.* (are|is) for"):
                parse(name, library)
    assert str(Device("cuda", 1)) == "cuda(1)"
