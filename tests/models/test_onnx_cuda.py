"""Exported models with --ctx cuda0, on a machine without a GPU: the module onnxruntime has a double, at its boundary.

The double computes with the real one on the CPU, and behaves as onnxruntime-gpu 1.19.2 and 1.31.1 were seen to, where
CUDA's libraries, the driver or the GPU are missing.
"""

import os
import re
import sys
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest

from gluon_cgd.__main__ import main
from gluon_cgd.models import onnx_cuda, onnx_model
from gluon_cgd.models.opened import open_model

CPU, CUDA = "CPUExecutionProvider", onnx_cuda.PROVIDER
LOG = (
    b"[E:onnxruntime:Default, provider_bridge_ort.cc:2458 operator()] FAIL : Failed to load library providers_cuda.so "
    b"with error: libcublasLt.so.13: cannot open shared object file: No such file or directory\n"
)


def pictures(count=3):
    return np.random.default_rng(5).integers(0, 256, (count, 16, 16, 3), np.uint8)


@pytest.fixture
def gpu(monkeypatch):
    """A machine with `count` GPUs and a working onnxruntime-gpu; a test changes what goes wrong, and sees `opened`.

    provides: the providers that a session has.  off: what the GPU adds to the right embeddings.  fails: what a session
    raises.  breaks: what a run raises, from the run of number `breaks_at` on.
    """
    this = SimpleNamespace(
        count=2, available=[CUDA, CPU], provides=[CUDA, CPU], off=0.0, fails=None, breaks=None, breaks_at=0
    )
    this.opened, this.runs = [], 0

    class Session:
        def __init__(self, data, options, providers, **more):
            if providers == [CPU]:
                self.real, self.providers = onnxruntime.InferenceSession(data, options, providers=[CPU]), [CPU]
                return
            this.opened.append((providers, more))
            if this.fails:
                raise this.fails
            if CUDA not in this.provides:
                os.write(2, LOG)
            self.real = onnxruntime.InferenceSession(data, options, providers=[CPU])
            self.providers = this.provides

        def get_providers(self):
            return self.providers

        def run(self, outputs, inputs):
            values = self.real.run(outputs, inputs)
            if CUDA not in self.providers:
                return values
            this.runs += 1
            if this.breaks and this.runs > this.breaks_at:
                raise this.breaks
            return [values[0] + np.float32(this.off)]

        def __getattr__(self, name):
            return getattr(self.real, name)

    def preload_dlls():
        print("Failed to load libcurand.so.10: something")

    double = SimpleNamespace(
        __version__="1.31.1",
        cuda_version="13.0",
        SessionOptions=onnxruntime.SessionOptions,
        InferenceSession=Session,
        get_available_providers=lambda: this.available,
        preload_dlls=preload_dlls,
    )
    this.module = double
    monkeypatch.setitem(sys.modules, "onnxruntime", double)
    monkeypatch.setattr(onnx_cuda, "count_gpus", lambda: this.count)
    return this


def test_the_gpu_computes_in_float32_and_never_falls_back_by_itself(exported, gpu, caplog, capfd):
    caplog.set_level("INFO")
    model = onnx_model.load_exported(exported / "model.onnx", ctx="cuda1")
    assert model.device == "cuda1"
    ((provider, how), cpu), more = gpu.opened[0]
    assert (provider, cpu, more) == (CUDA, CPU, {"enable_fallback": 0})
    assert (how["device_id"], how["use_tf32"]) == ("1", "0")
    compared = gpu.runs
    expected = onnx_model.load_exported(exported / "model.onnx").embed(pictures())
    np.testing.assert_allclose(model.embed(pictures()), expected, atol=1e-6)
    assert (compared, gpu.runs) == (1, 2)
    assert "cuda1 computes" in caplog.text
    assert "its embeddings are within 0e+00 of the CPU's" in caplog.text
    assert capfd.readouterr() == ("", "")  # what preload_dlls prints would be taken for the answer of a command


@pytest.mark.parametrize(
    ("change", "because"),
    [
        (dict(available=["AzureExecutionProvider", CPU]), "onnxruntime 1.31.1 is the build without CUDA: .*uninstall"),
        (
            dict(count=None),
            r"there is no working NVIDIA driver \(libcuda.so.1 cannot be loaded\): check what nvidia-smi",
        ),
        (dict(count=0), r"there is no working NVIDIA driver \(it shows no GPU\)"),
        (
            dict(provides=[CPU]),
            r"cannot use CUDA \(libcublasLt.so.13 is not there\): install the .*, of CUDA 13.0, with",
        ),
        (
            dict(fails=RuntimeError("bridge.cc:122 CudaCall CUDA failure 35: driver version is insufficient; GPU=0")),
            r"cannot use CUDA \(CUDA failure 35: driver version is insufficient; GPU=0\)",
        ),
        (dict(fails=RuntimeError("")), r"cannot use CUDA \(Failed to load libcurand.so.10: something\)"),
        (dict(off=2e-4), "random pictures differ there by 2.0e-04, more than 0.0001"),
        (dict(off=np.nan), "random pictures differ there by nan, more than 0.0001"),
        (
            dict(breaks=RuntimeError("out of memory\nand more")),
            r"the GPU cannot compute it \(out of memory\): free its",
        ),
    ],
    ids=["no CUDA", "no driver", "no GPU", "no library", "old driver", "no words", "different", "NaN", "no memory"],
)
def test_where_the_gpu_cannot_be_used_one_line_says_why_and_the_cpu_computes(
    exported, gpu, caplog, capfd, change, because
):
    vars(gpu).update(change)
    model = onnx_model.load_exported(exported / "model.onnx", ctx="cuda0")
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    line = record.getMessage()
    assert line.startswith(f"cuda0 is not used and the CPU computes {exported / 'model.onnx'}, because ")
    assert line.endswith("or take --ctx cpu")
    assert "\n" not in line
    assert re.search(because, line), line
    assert model.device == "cpu"
    assert np.isfinite(model.embed(pictures())).all()
    assert capfd.readouterr() == ("", "")


def test_a_difference_that_is_small_enough_is_said_and_kept(exported, gpu, caplog):
    caplog.set_level("INFO")
    gpu.off = 5e-5
    model = onnx_model.load_exported(exported / "model.onnx", ctx="cuda0")
    assert model.device == "cuda0"
    assert "its embeddings are within 5e-05 of the CPU's" in caplog.text


def test_a_number_that_no_gpu_has_is_refused(exported, gpu):
    with pytest.raises(ValueError, match="device cuda2 is not there: the driver shows 2 GPUs; take cuda0 to cuda1, or"):
        onnx_model.load_exported(exported / "model.onnx", ctx="cuda2")
    gpu.count = 1
    with pytest.raises(
        ValueError, match="device cuda9 is not there: the driver shows 1 GPU; take cuda0, or take --ctx"
    ):
        onnx_model.load_exported(exported / "model.onnx", ctx="cuda9")
    assert not gpu.opened


def test_a_gpu_that_fails_later_is_a_sentence(exported, gpu):
    gpu.breaks, gpu.breaks_at = RuntimeError("CUDNN failure 4: CUDNN_STATUS_ALLOC_FAILED"), 1
    model = onnx_model.load_exported(exported / "model.onnx", ctx="cuda0")
    with pytest.raises(ValueError, match=r"on cuda0 \(CUDNN failure 4.*\): free the GPU's memory, or take --ctx cpu"):
        model.embed(pictures())


def test_an_older_onnxruntime_has_neither_preload_dlls_nor_a_version_of_cuda(exported, gpu, caplog):
    del gpu.module.preload_dlls, gpu.module.cuda_version
    assert onnx_model.load_exported(exported / "model.onnx", ctx="cuda0").device == "cuda0"
    gpu.provides = [CPU]
    assert onnx_model.load_exported(exported / "model.onnx", ctx="cuda0").device == "cpu"
    assert "install the libraries that it needs, with cuDNN 9" in caplog.text


@pytest.mark.parametrize("ctx", ["gpu0", "mps", "cuda0,cuda1", "cpu2", "gpu", ""])
def test_a_device_of_another_library_is_refused(exported, gpu, ctx):
    with pytest.raises(ValueError, match="--ctx"):
        onnx_model.load_exported(exported / "model.onnx", ctx=ctx)
    with pytest.raises(ValueError, match="--ctx cuda0 is no device of OpenVINO, which takes cpu"):
        onnx_model.load_exported(exported / "model.onnx", "openvino", ctx="cuda0")


def test_mxnet_does_not_take_cuda0_and_the_message_says_what_does(exported):
    with pytest.raises(
        ValueError, match="--ctx cuda0 is no device of MXNet, .* for an exported --model .* export writes"
    ):
        open_model(str(exported / "run"), ctx="cuda0")


def test_without_a_driver_none_is_counted_and_a_broken_one_has_no_gpus(monkeypatch):
    def driver(*answers):
        init, count = answers

        def get(pointer):
            pointer._obj.value = 3
            return count

        return lambda name: SimpleNamespace(cuInit=lambda flags: init, cuDeviceGetCount=get)

    def none(name):
        raise OSError(name)

    for load, expected in ((none, None), (driver(0, 0), 3), (driver(999, 0), 0), (driver(0, 100), 0)):
        monkeypatch.setattr(onnx_cuda.ctypes, "CDLL", load)
        assert onnx_cuda.count_gpus() == expected


def test_embed_index_and_search_take_it(exported, gpu, glyph_folder, tmp_path, capfd):
    model, vectors, index = (str(tmp_path / name) for name in ("model.onnx", "vectors.npy", "idx"))
    os.link(exported / "model.onnx", model)
    images, ctx = ["--images", str(glyph_folder)], ["--ctx", "cuda0"]
    assert main(["embed", "--model", model, *images, "--out", vectors, *ctx]) == 0
    first = len(gpu.opened)
    assert main(["index", "--model", model, *images, "--out", index, *ctx]) == 0
    assert main(["search", index, str(glyph_folder / "0/0.png"), "-k", "1", *ctx]) == 0  # the index knows the model
    assert (first, len(gpu.opened)) == (1, 3)
    out, _ = capfd.readouterr()
    assert out.splitlines()[-1] == f"  1  1.0000  {glyph_folder / '0/0.png'}  (the query itself)"
    assert len(np.load(vectors)) == 48
