"""Pretrained weights from servers on this machine, each broken in its own way; small networks stand for large ones."""

import http.server
import io
import logging
import multiprocessing
import os
import shutil
import threading
import zipfile
from types import SimpleNamespace

import gluoncv.model_zoo
import gluoncv.model_zoo.model_store
import mxnet as mx
import numpy as np
import pytest
from gluoncv.model_zoo import resnet50_v1b
from gluoncv2.models import model_store as gluoncv2_store
from safetensors.numpy import save_file

from gluon_cgd import backbones
from gluon_cgd.fetch import download, loading, timm, weights
from gluon_cgd.files.whole import digest


class Places(http.server.BaseHTTPRequestHandler):
    """Serves `server.files`; `server.broken` says what is wrong with a place, by the beginning of its path."""

    def do_HEAD(self):
        self.answer(with_body=False)

    def do_GET(self):
        self.answer(with_body=True)

    def answer(self, with_body):
        server = self.server
        server.requests.append((self.command, self.path))
        wrong = next((how for place, how in server.broken.items() if self.path.startswith(place)), None)
        body = server.files.get(self.path)
        if wrong == "hang":
            server.released.wait(20)
            return
        if wrong == "404" or body is None:
            self.send_error(404)
            return
        body = {"wrong bytes": b"<html>moved</html>", "half a file": body[: len(body) // 2]}.get(wrong, body)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        if self.path in server.etags:
            self.send_header("X-Linked-Etag", f'"{server.etags[self.path]}"')
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def places(monkeypatch):
    """A GluonCV repository at /gluon, gluoncv2's releases at /releases and timm's hub at /timm, on one server."""
    monkeypatch.setattr(download.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(download, "TIMEOUT", 10)
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Places)
    running.files, running.broken, running.requests, running.etags = {}, {}, [], {}
    running.released = threading.Event()
    address = f"http://127.0.0.1:{running.server_port}"
    monkeypatch.setenv("MXNET_GLUON_REPO", address + "/")
    monkeypatch.setenv("HF_ENDPOINT", address)
    monkeypatch.setattr(weights, "GLUONCV2", address)
    thread = threading.Thread(target=running.serve_forever)
    thread.start()
    yield running
    running.released.set()
    running.shutdown()
    running.server_close()
    thread.join()


def zipped(name, content):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr(name, content)
    return archive.getvalue()


@pytest.fixture(scope="module")
def resnet(tmp_path_factory):
    """ResNet-50 with random parameters: as GluonCV's .params and as timm's .safetensors, with the same values."""
    folder = tmp_path_factory.mktemp("resnet")
    net = resnet50_v1b()
    net.initialize(mx.init.Xavier())
    net(mx.nd.zeros((1, 3, 64, 64)))  # at 32 x 32 a later test crashes: see `model.from_experiment`
    rng = np.random.default_rng(0)
    for name, parameter in net._collect_params_with_prefix().items():
        if name.rpartition(".")[2] in ("gamma", "beta", "running_mean", "running_var"):
            parameter.set_data(mx.nd.array(rng.uniform(0.5, 1.5, parameter.shape)))
    net.save_parameters(str(folder / "own.params"))
    save_file(timm_tensors(net), str(folder / "timm.safetensors"))
    yield SimpleNamespace(net=net, params=folder / "own.params", safetensors=folder / "timm.safetensors")
    shutil.rmtree(folder)


def timm_tensors(net):
    """The parameters of GluonCV's ResNet-50 under the names that PyTorch's ResNet-50 has."""
    tensors = {}
    for name, parameter in net._collect_params_with_prefix().items():
        layer, _, kind = name.rpartition(".")
        tensors[f"{layer}.{ {'gamma': 'weight', 'beta': 'bias'}.get(kind, kind) }"] = parameter.data().asnumpy()
        if kind == "gamma":
            tensors[f"{layer}.num_batches_tracked"] = np.array(1000, np.int64)
    return tensors


@pytest.fixture
def published(places, resnet, monkeypatch):
    """Both of ResNet-50's places have it; returns them by name."""
    sha1 = digest(resnet.params, "sha1")
    monkeypatch.setitem(gluoncv.model_zoo.model_store._model_sha1, "resnet50_v1b", sha1)
    stem = f"resnet50_v1b-{sha1[:8]}"
    places.files[f"/gluon/models/{stem}.zip"] = zipped(f"{stem}.params", resnet.params.read_bytes())
    hub = "/timm/resnet50.gluon_in1k/resolve/main/model.safetensors"
    places.files[hub] = resnet.safetensors.read_bytes()
    places.etags[hub] = digest(resnet.safetensors)
    return {"GluonCV": "/gluon/", "timm": "/timm/"}


def first_weight(net):
    return net.conv1.weight.data().asnumpy()


def loaded(file):
    net = resnet50_v1b()
    loading.load_weights(net, file, "resnet50")
    return net


@pytest.mark.parametrize(
    ("left", "how"),
    [
        ("GluonCV", "404"),
        ("timm", "half a file"),
        *(
            pytest.param(left, how, marks=pytest.mark.slow)
            for left in ("GluonCV", "timm")
            for how in ("404", "wrong bytes", "hang", "half a file")
            if (left, how) not in {("GluonCV", "404"), ("timm", "half a file")}
        ),
    ],
)
def test_one_place_that_works_is_enough(places, published, resnet, tmp_path, how, left, monkeypatch):
    if how == "hang":
        monkeypatch.setattr(download, "TIMEOUT", 0.5)
    places.broken = {path: how for place, path in published.items() if place != left}
    file = weights.resolve("gluoncv", "resnet50_v1b", tmp_path)
    np.testing.assert_array_equal(first_weight(loaded(file)), first_weight(resnet.net))
    assert sorted(os.listdir(tmp_path)) == sorted([file.name, "resnet50_v1b.lock"])


def test_the_cache_is_enough_when_every_place_is_broken(places, published, tmp_path):
    file = weights.resolve("gluoncv", "resnet50_v1b", tmp_path)
    places.broken = {"/": "404"}
    places.requests.clear()
    assert weights.resolve("gluoncv", "resnet50_v1b", tmp_path) == file
    assert not places.requests


def test_a_file_by_hand_is_enough_when_all_else_is_broken(places, published, resnet):
    places.broken = {"/": "404"}
    backbone = backbones.build("resnet50", pretrained=True, weights=resnet.params)
    np.testing.assert_array_equal(backbone[0].weight.data().asnumpy(), first_weight(resnet.net))
    assert not places.requests


@pytest.mark.slow
@pytest.mark.parametrize("how", ["404", "wrong bytes", "half a file"])
def test_without_any_place_one_message_tells_of_each_and_what_to_fetch(places, published, tmp_path, how):
    places.broken = {"/": how}
    with pytest.raises(ValueError, match="cannot be had") as caught:
        weights.resolve("gluoncv", "resnet50_v1b", tmp_path)
    message = str(caught.value)
    name, _, url = weights.published("gluoncv", "resnet50_v1b")
    hub = "/timm/resnet50.gluon_in1k/resolve/main/model.safetensors"
    for part in (f"{tmp_path / name} is not there", url, f"{hub} as resnet50.gluon_in1k.safetensors", "--weights"):
        assert part in message
    assert message.count("\n  - ") == 4
    assert f"by hand into {tmp_path}" in message
    assert os.listdir(tmp_path) == ["resnet50_v1b.lock"]


def test_a_damaged_file_in_the_cache_is_replaced_and_never_used(places, published, tmp_path):
    name = weights.published("gluoncv", "resnet50_v1b")[0]
    (tmp_path / name).write_bytes(b"half")
    file = weights.resolve("gluoncv", "resnet50_v1b", tmp_path)
    assert file == tmp_path / name
    assert digest(file, "sha1") == weights.published("gluoncv", "resnet50_v1b")[1]
    file.write_bytes(b"half")
    places.broken = {"/": "404"}
    with pytest.raises(ValueError, match=f"{name} is not the file that was published"):
        weights.resolve("gluoncv", "resnet50_v1b", tmp_path)


def test_what_gluoncv_lacks_comes_from_the_releases_of_gluoncv2(places, tmp_path, monkeypatch):
    content = b"parameters"
    (tmp_path / "x").write_bytes(content)
    sha1 = digest(tmp_path / "x", "sha1")
    monkeypatch.setitem(gluoncv2_store._model_sha1, "bninception", ("0754", sha1, "v0.0.405"))
    name = f"bninception-0754-{sha1[:8]}.params"
    places.files[f"/releases/download/v0.0.405/{name}.zip"] = zipped(name, content)
    assert weights.resolve("gluoncv2", "bninception", tmp_path).read_bytes() == content


def fetch_in_a_process(root, results):
    results.put(str(weights.resolve("gluoncv", "resnet50_v1b", root)))


def test_two_processes_at_once_fetch_it_once(places, published, tmp_path):
    fork = multiprocessing.get_context("fork")
    results = fork.Queue()
    both = [fork.Process(target=fetch_in_a_process, args=(tmp_path, results)) for _ in range(2)]
    for process in both:
        process.start()
    files = {results.get(timeout=30) for _ in both}
    for process in both:
        process.join()
    assert len(files) == 1
    assert [command for command, _ in places.requests] == ["GET"]


def test_a_folder_that_cannot_be_written_is_named(places, published, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"file/models cannot be written \(Not a directory\)"):
        weights.resolve("gluoncv", "resnet50_v1b", tmp_path / "file" / "models")


def test_loading_says_how_much_was_set_and_from_what(resnet, caplog):
    with caplog.at_level(logging.INFO, logger="gluon_cgd"):
        loaded(resnet.params)
    assert f"(sha256 {digest(resnet.params)}): all of its 267 parameters are set" in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize("name", ["layer1.0.conv1.weight", "layer4.2.bn3.running_var", "fc.bias"])
@pytest.mark.parametrize("change", ["missing", "shape", "nan"])
@pytest.mark.parametrize("kind", ["params", "safetensors"])
def test_a_network_is_never_half_random(resnet, tmp_path, name, change, kind):
    values = {key: value.asnumpy() for key, value in mx.nd.load(str(resnet.params)).items()}
    if change == "missing":
        del values[name]
    elif change == "shape":
        values[name] = values[name][:-1]
    else:
        values[name] = values[name] * np.nan
    file = tmp_path / f"changed.{kind}"
    if kind == "params":
        mx.nd.save(str(file), {key: mx.nd.array(value) for key, value in values.items()})
    else:
        renamed = {k.replace("gamma", "weight").replace("beta", "bias"): v for k, v in values.items()}
        save_file({k: np.ascontiguousarray(v) for k, v in renamed.items()}, str(file))
    told = "shape incompatible" if change == "shape" else name
    with pytest.raises(ValueError, match=f"changed.{kind} does not hold the parameters of resnet50: .*{told}"):
        loaded(file)


@pytest.mark.parametrize("content", [b"", b"\x10\0\0\0\0\0\0\0{}", b"not tensors"])
def test_a_broken_safetensors_file_is_one_sentence(tmp_path, content):
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(
        ValueError, match="x.safetensors (is not a whole safetensors file|holds no tensors).*: download timm's again"
    ):
        loaded(tmp_path / "x.safetensors")


@pytest.mark.parametrize(
    "content", [[mx.nd.zeros(3)], {}, {"conv1.weight": mx.nd.zeros(3)}], ids=["list", "none", "one"]
)
def test_mxnet_files_of_something_else_are_refused(tmp_path, content):
    mx.nd.save(str(tmp_path / "x.params"), content)
    with pytest.raises(
        ValueError, match="x.params (does not hold the parameters|is not a whole parameter file) of resnet50"
    ):
        loaded(tmp_path / "x.params")


def test_the_file_of_a_larger_network_is_said_to_be_another(resnet, tmp_path):
    values = mx.nd.load(str(resnet.params))
    values["layer4.3.conv1.weight"] = mx.nd.zeros(3)
    mx.nd.save(str(tmp_path / "x.params"), values)
    with pytest.raises(ValueError, match="x.params does not hold the parameters of resnet50: .*layer4.3.conv1.weight"):
        loaded(tmp_path / "x.params")


def test_timms_names_and_shapes_are_complete_both_ways(resnet):
    converted = timm.from_timm(resnet.safetensors)
    own = {key: value.shape for key, value in resnet.net._collect_params_with_prefix().items()}
    assert {key: value.shape for key, value in converted.items()} == own
    assert sum(key.endswith(".num_batches_tracked") for key in timm_tensors(resnet.net)) == 53
    assert len(own) == 267


def test_timms_tensors_compute_what_plain_numpy_does_with_them(resnet):
    tensors = timm_tensors(resnet.net)
    net = loaded(resnet.safetensors)
    x = np.random.default_rng(1).uniform(-1, 1, (1, 3, 40, 40)).astype(np.float32)  # a last map of 2 x 2
    stage = mx.nd.array(x)
    for layer in (net.conv1, net.bn1, net.relu, net.maxpool, net.layer1):
        stage = layer(stage)
    expected = first_stage(tensors, x)
    np.testing.assert_allclose(stage.asnumpy(), expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())
    features = stage
    for layer in (net.layer2, net.layer3, net.layer4):
        features = layer(features)
    for stage_number in (2, 3, 4):
        expected = residual_stage(tensors, f"layer{stage_number}", expected, stride=2)
    assert features.asnumpy().mean() == pytest.approx(expected.mean(), rel=1e-3)
    assert features.asnumpy().std() == pytest.approx(expected.std(), rel=1e-3)


def first_stage(tensors, x):
    """Stem and first stage of ResNet-50 in NumPy, from tensors under timm's names."""
    x = np.maximum(norm(tensors, "bn1", convolve(x, tensors["conv1.weight"], 2)), 0)
    x = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    side = x.shape[2] - 2
    x = np.max([x[:, :, i : i + side : 2, j : j + side : 2] for i in range(3) for j in range(3)], axis=0)
    return residual_stage(tensors, "layer1", x, stride=1)


def residual_stage(tensors, name, x, stride):
    """The blocks of a stage; the first one's 3 x 3 convolution and shortcut have its stride."""
    block = 0
    while f"{name}.{block}.conv1.weight" in tensors:
        prefix, steps, shortcut = f"{name}.{block}", (1, stride if block == 0 else 1, 1), x
        if block == 0:
            shortcut = convolve(x, tensors[f"{prefix}.downsample.0.weight"], stride)
            shortcut = norm(tensors, f"{prefix}.downsample.1", shortcut)
        for number, step in zip((1, 2, 3), steps):
            x = norm(tensors, f"{prefix}.bn{number}", convolve(x, tensors[f"{prefix}.conv{number}.weight"], step))
            x = np.maximum(x, 0) if number < 3 else np.maximum(x + shortcut, 0)
        block += 1
    return x


def convolve(x, weight, stride):
    """A plain convolution, padded to keep the map: (B, C, H, W) with (O, C, k, k)."""
    k, (_, _, height, width) = weight.shape[2], x.shape
    border = k // 2
    x = np.pad(x, ((0, 0), (0, 0), (border, border), (border, border)))
    total = 0
    for i in range(k):
        for j in range(k):
            shifted = x[:, :, i : i + height : stride, j : j + width : stride]
            total = total + np.einsum("oc,bchw->bohw", weight[:, :, i, j], shifted)
    return total


def norm(tensors, name, x):
    """Batch norm with its running statistics."""
    scale, shift, mean, variance = (
        tensors[f"{name}.{kind}"][:, None, None] for kind in ("weight", "bias", "running_mean", "running_var")
    )
    return (x - mean) / np.sqrt(variance + 1e-5) * scale + shift


def test_gluoncvs_silently_random_shufflenet_does_not_pass_for_pretrained(places, tmp_path):
    nets = [gluoncv.model_zoo.get_model("shufflenet_v2", pretrained=True, root=str(tmp_path)) for _ in range(2)]
    parameter = next(iter(nets[0].collect_params().values()))
    with pytest.raises((RuntimeError, mx.gluon.parameter.DeferredInitializationError)):
        parameter.data()  # nothing was loaded: whoever initialises it trains from random parameters
    assert not places.requests
    places.broken = {"/": "404"}
    with pytest.raises(ValueError, match="shufflenetv2_w1's ImageNet parameters cannot be had"):
        backbones.build("shufflenet_v2", pretrained=True, root=str(tmp_path))


def test_every_backbone_with_parameters_names_a_published_file():
    for name, recipe in backbones.BACKBONES.items():
        if recipe.publisher in ("gluoncv", "gluoncv2"):
            file, sha1, url = weights.published(recipe.publisher, recipe.model)
            assert file.startswith(f"{recipe.model}-"), name
            assert len(sha1) == 40
            assert sha1[:8] in file
            assert url.endswith(".zip")


HUB = "/timm/resnet50.gluon_in1k/resolve/main/model.safetensors"


def changed(tensors, change):
    """The `tensors` of a whole .safetensors file that is not the one wanted."""
    name = "layer2.0.conv1.weight"
    if change == "missing":
        del tensors[name]
    elif change == "more":
        tensors["head.weight"] = np.zeros(3, np.float32)
    elif change == "shape":
        tensors[name] = tensors[name][:, :-1]
    elif change == "nan":
        tensors[name] = tensors[name] * np.nan
    elif change == "twice":
        tensors["bn1.gamma"] = tensors["bn1.weight"]
    elif change == "other":
        tensors = {"weight": np.zeros((3, 3), np.float32)}
    return {key: np.ascontiguousarray(value) for key, value in tensors.items()}


@pytest.mark.parametrize(
    "change",
    ["missing", *(pytest.param(c, marks=pytest.mark.slow) for c in ("more", "shape", "nan", "twice", "other"))],
)
def test_a_file_whose_hash_nobody_states_enters_the_cache_only_with_all_tensors(
    places, published, resnet, tmp_path, change
):
    save_file(changed(timm_tensors(resnet.net), change), str(tmp_path / "other"))
    places.files[HUB] = (tmp_path / "other").read_bytes()
    places.etags.clear()
    places.broken = {published["GluonCV"]: "404"}
    with pytest.raises(ValueError, match=r"cannot be had:(.|\n)*(does not hold the parameters|twice)"):
        weights.resolve("gluoncv", "resnet50_v1b", tmp_path / "cache")
    assert os.listdir(tmp_path / "cache") == ["resnet50_v1b.lock"]


@pytest.mark.slow
def test_a_whole_file_whose_hash_nobody_states_is_kept(places, published, resnet, tmp_path):
    places.etags.clear()
    places.broken = {published["GluonCV"]: "404"}
    file = weights.resolve("gluoncv", "resnet50_v1b", tmp_path)
    assert file.read_bytes() == resnet.safetensors.read_bytes()
    assert weights.kept("gluoncv", "resnet50_v1b", tmp_path) == file


def damaged(resnet, file, damage):
    """Write what is not, or not all of, timm's file."""
    whole = resnet.safetensors.read_bytes()
    if damage == "shape":
        save_file(changed(timm_tensors(resnet.net), "shape"), str(file))
    elif damage == "folder":
        file.mkdir()
    else:
        endless = (1 << 62).to_bytes(8, "little") + b"{"
        file.write_bytes({"cut": whole[:-1000], "no": b"", "page": b"<html>", "header": endless}[damage])


@pytest.mark.parametrize("damage", ["cut", "shape", "no", "page", "header", "folder"])
def test_a_file_in_the_cache_that_lacks_tensors_is_not_taken(resnet, tmp_path, damage):
    damaged(resnet, tmp_path / "resnet50.gluon_in1k.safetensors", damage)
    assert weights.kept("gluoncv", "resnet50_v1b", tmp_path) is None


def test_a_whole_file_in_the_cache_is_taken(resnet, tmp_path):
    file = tmp_path / "resnet50.gluon_in1k.safetensors"
    os.link(resnet.safetensors, file)
    assert weights.kept("gluoncv", "resnet50_v1b", tmp_path) == file


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["cut", "shape", "folder"])
def test_a_file_in_the_cache_that_lacks_tensors_is_replaced(places, published, resnet, tmp_path, damage):
    file = tmp_path / "resnet50.gluon_in1k.safetensors"
    damaged(resnet, file, damage)
    places.broken = {published["GluonCV"]: "404"}
    if damage == "folder":
        with pytest.raises(ValueError, match="resnet50.gluon_in1k.safetensors is not the file that was published"):
            weights.resolve("gluoncv", "resnet50_v1b", tmp_path)
    else:
        assert weights.resolve("gluoncv", "resnet50_v1b", tmp_path).read_bytes() == resnet.safetensors.read_bytes()


def test_what_killed_processes_left_in_the_cache_is_used_or_goes(places, published, tmp_path):
    name = weights.published("gluoncv", "resnet50_v1b")[0]
    (tmp_path / ".unpacking-12345678").mkdir()
    (tmp_path / f"{name}.zip").write_bytes(b"half")  # of a version that renamed it before it was compared
    places.broken = {published["timm"]: "404"}
    with pytest.raises(ValueError, match="cannot be unpacked"):
        weights.resolve("gluoncv", "resnet50_v1b", tmp_path)
    (tmp_path / f"{name}.zip.part").write_bytes(b"half")
    (tmp_path / "resnet50.gluon_in1k.safetensors.download.part").write_bytes(b"half")
    file = weights.resolve("gluoncv", "resnet50_v1b", tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted([file.name, "resnet50_v1b.lock"])


def test_a_cache_with_the_file_is_only_read(places, published, resnet, tmp_path, monkeypatch):
    file = tmp_path / "resnet50.gluon_in1k.safetensors"
    os.link(resnet.safetensors, file)
    before = os.stat(tmp_path).st_mtime_ns

    def waiting(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(weights, "waiting", waiting)
    assert weights.resolve("gluoncv", "resnet50_v1b", tmp_path) == file
    assert os.stat(tmp_path).st_mtime_ns == before
    file.unlink()
    with pytest.raises(ValueError, match=r"cannot be written \(Permission denied\)"):
        weights.resolve("gluoncv", "resnet50_v1b", tmp_path)
