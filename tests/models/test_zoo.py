import json

import mxnet as mx
import numpy as np
import pytest

import gluon_cgd
from gluon_cgd import backbones, model
from gluon_cgd.commands.export import history
from gluon_cgd.evaluate import embed
from gluon_cgd.experiment import CONFIGURATIONS
from gluon_cgd.files.whole import digest
from gluon_cgd.models import zoo
from gluon_cgd.models.opened import load_trained


@pytest.fixture
def small():
    mx.random.seed(0)
    return gluon_cgd.get_model("cgd_sg_cifar_resnet10_64", classes=7, input_size=32)


def test_every_name_of_the_list_is_a_configuration_a_backbone_and_a_dimension():
    names = gluon_cgd.get_model_list()
    assert "cgd_sg_resnet50_1536" in names
    assert "cgd_mg_se_resnet50_1536" in names
    assert len(set(names)) == len(names) == len(backbones.BACKBONES) * (9 * 4 + 3)  # 3 branches divide only 1536
    assert {name.split("_")[1] for name in names} == {c.lower() for c in CONFIGURATIONS}


def test_a_model_is_ready_for_pictures_and_has_what_its_name_says(small):
    embedding, logits, branches = small(mx.nd.random.uniform(shape=(2, 3, 32, 32)))
    assert embedding.shape == (2, 64)
    assert logits.shape == (2, 7)
    assert [branch.shape for branch in branches] == [(2, 32)] * 2


def test_choices_of_the_experiment_go_through(small):
    kept = gluon_cgd.get_model("cgd_m_cifar_resnet10_24", keep_stride=True, input_size=32)
    assert kept.backbone(mx.nd.zeros((1, 3, 32, 32))).shape == (1, 128, 4, 4)
    assert small.backbone(mx.nd.zeros((1, 3, 32, 32))).shape == (1, 128, 8, 8)


def test_the_backbone_starts_from_a_file_of_its_parameters(tmp_path):
    random = backbones.BACKBONES["squeezenet1.1"].make(64)[0]
    random.initialize()
    random(mx.nd.zeros((1, 3, 224, 224)))
    file = tmp_path / "own.params"
    random.save_parameters(str(file))
    for named in (file, str(file)):
        net = gluon_cgd.get_model("cgd_smg_squeezenet1.1_24", pretrained_base=named, input_size=64)
        expected = random.features[0].weight.data().asnumpy()
        np.testing.assert_array_equal(net.backbone[0].weight.data().asnumpy(), expected)
    with pytest.raises(ValueError, match="own.params does not hold the parameters of efficientnet_lite0"):
        gluon_cgd.get_model("cgd_smg_efficientnet_lite0_24", pretrained_base=file, input_size=64)
    with pytest.raises(ValueError, match="none.params, the file of .* does not exist"):
        gluon_cgd.get_model("cgd_smg_squeezenet1.1_24", pretrained_base=tmp_path / "none.params")
    with pytest.raises(ValueError, match=r"pretrained_base 1.5 must be True, False or the path"):
        gluon_cgd.get_model("cgd_smg_squeezenet1.1_24", pretrained_base=1.5)


@pytest.mark.parametrize(
    "name",
    [
        *("resnet50", "cgd_sg_resnet51_1536", "cgd_x_resnet50_1536", "cgd_sg_resnet50", "cgd_ss_resnet50_8"),
        *("cgd-product_sg_resnet50_8", "cgd-a-b_sg_resnet50_8", "cgd-_sg_resnet50_8"),
    ],
)
def test_an_unknown_name_is_answered_with_how_names_are_made(name):  # fmt: skip
    with pytest.raises(ValueError, match=f"model '{name}' is unknown: names are cgd_CONFIGURATION_BACKBONE_DIM"):
        gluon_cgd.get_model(name)


def test_a_dimension_that_the_branches_do_not_divide_is_refused():
    with pytest.raises(ValueError, match="dim 64 must be divisible by the 3 branches of SMG: 63 and 66 are"):
        gluon_cgd.get_model("cgd_smg_cifar_resnet10_64")


def test_nobody_published_a_trained_model_and_we_say_so():
    with pytest.raises(ValueError, match="no trained cgd_sg_resnet50_1536 has been published"):
        gluon_cgd.get_model("cgd_sg_resnet50_1536", pretrained=True)


def test_a_saved_model_comes_back_with_its_experiment(small, tmp_path):
    experiment = gluon_cgd.experiment.Experiment(
        backbone="cifar_resnet10", dim=64, pretrained=False, input_size=32, dataset="glyphs"
    )
    file = zoo.save(small, experiment, tmp_path, recall={"R@1": 0.5})
    assert file.name == f"cgd_sg_cifar_resnet10_64-{digest(file, 'sha1')[:8]}.params"
    assert zoo.save(small, experiment, tmp_path, recall={"R@1": 0.5}) == file  # the same bytes, the same name
    described = json.loads(file.with_suffix(".json").read_text())
    assert described["recall"] == {"R@1": 0.5}
    assert described["classes"] == 7
    assert len(list(tmp_path.iterdir())) == 2
    pictures = mx.nd.random.uniform(shape=(2, 3, 32, 32))
    for net, stored in (zoo.load_published(file), load_trained(file)):
        assert stored == experiment
        np.testing.assert_allclose(net(pictures)[0].asnumpy(), small(pictures)[0].asnumpy(), atol=1e-6)
    for ctx in (mx.cpu(1), [mx.cpu(1), mx.cpu(2)]):
        net, _ = zoo.load_published(file, ctx)
        found = net(pictures.as_in_context(mx.cpu(1)))[0]
        assert found.context == mx.cpu(1)
        np.testing.assert_allclose(found.asnumpy(), small(pictures)[0].asnumpy(), atol=1e-6)
    named = gluon_cgd.get_model("cgd_sg_cifar_resnet10_64", pretrained=file)
    np.testing.assert_allclose(named(pictures)[0].asnumpy(), small(pictures)[0].asnumpy(), atol=1e-6)
    with pytest.raises(ValueError, match="holds a cgd_sg_cifar_resnet10_64 and not a cgd_mg_cifar_resnet10_64"):
        gluon_cgd.get_model("cgd_mg_cifar_resnet10_64", pretrained=file)


def test_a_changed_or_lonely_file_is_refused(small, tmp_path):
    experiment = gluon_cgd.experiment.Experiment(backbone="cifar_resnet10", dim=64, pretrained=False, input_size=32)
    file = zoo.save(small, experiment, tmp_path)
    whole, beside = file.read_bytes(), file.with_suffix(".json")
    file.write_bytes(whole[:-4] + b"\0\0\0\0")
    with pytest.raises(ValueError, match=r"is not the file that .*json describes \(its SHA-1 is another\)"):
        zoo.load_published(file)
    file.write_bytes(whole)
    text = beside.read_text()
    for broken in ("", "{}", text.replace('"SG"', '"XY"'), text.replace('"margin"', '"gap"')):
        beside.write_text(broken)
        with pytest.raises(ValueError, match="json does not describe a trained model"):
            zoo.load_published(file)
    for change in (dict(classes=10**9), dict(seed="0"), dict(recall={"R@1": 7}), dict(sha1=5), dict(versions=[])):
        beside.write_text(json.dumps({**json.loads(text), **change}))
        with pytest.raises(ValueError, match=r"json does not describe a trained model \(it has"):
            zoo.load_published(file)
        with pytest.raises(ValueError, match=r"json does not describe a trained model \(it has"):
            history(str(file), "last")
    beside.write_text(json.dumps({**json.loads(text), "classes": 10**7}))
    with pytest.raises(ValueError, match="it is too small for 10,000,000 classes"):
        zoo.load_published(file)
    beside.unlink()
    with pytest.raises(FileNotFoundError, match="a trained model is a .params with its .json beside it"):
        zoo.load_published(file)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(classes=5), "holds a model with 7 classes"),
        (dict(keep_stride=True), "holds a model with keep_stride None"),
        (dict(classes=0), "classes 0 must be a whole number of at least 1"),
        (dict(foo=3), "foo is not an argument of get_model"),
        (dict(dim=3), "dim is said by the name cgd_sg_cifar_resnet10_64: leave that argument out, or change the name"),
        (dict(backbone="resnet50"), "backbone is said by the name"),
    ],
)
def test_a_file_that_is_not_what_was_asked_for_is_refused(small, tmp_path, arguments, message):
    experiment = gluon_cgd.experiment.Experiment(backbone="cifar_resnet10", dim=64, pretrained=False, input_size=32)
    file = zoo.save(small, experiment, tmp_path)
    with pytest.raises(ValueError, match=message):
        gluon_cgd.get_model("cgd_sg_cifar_resnet10_64", pretrained=file, **arguments)


def test_other_architectures_have_names_of_their_own():
    named = [
        zoo.name_of(gluon_cgd.experiment.Experiment(**change))
        for change in ({}, {"architecture": "B"}, {"combine": "sum"})
    ]
    assert named == ["cgd_sg_resnet50_1536", "cgd-b_sg_resnet50_1536", "cgd-sum_sg_resnet50_1536"]


@pytest.mark.parametrize(
    "change",
    [
        {"architecture": "A"},
        {"architecture": "B", "attention": "se", "whiten": True},
        {"combine": "sum", "attention": "cbam"},
    ],
    ids=lambda change: "-".join(map(str, change.values())),
)
def test_a_model_comes_back_by_the_name_that_it_was_saved_with(change, tmp_path):
    small = dict(backbone="cifar_resnet10", dim=8, input_size=32)
    experiment = gluon_cgd.experiment.Experiment(pretrained=False, **small, **change)
    net = gluon_cgd.get_model("cgd_sg_cifar_resnet10_8", 3, ctx="cpu", input_size=32, **change)
    file, name = zoo.save(net, experiment, tmp_path), zoo.name_of(experiment)
    assert name.count("-") == len(change)
    new = gluon_cgd.get_model(name.upper().replace("CIFAR_RESNET10", "cifar_resnet10"), 3, input_size=32)
    assert set(new._collect_params_with_prefix()) == set(net._collect_params_with_prefix())
    gluon_cgd.get_model(name, pretrained=file)
    with pytest.raises(ValueError, match=f"holds a {name} and not a cgd_sg_cifar_resnet10_8"):
        gluon_cgd.get_model("cgd_sg_cifar_resnet10_8", pretrained=file)
    field = next(iter(change))
    with pytest.raises(ValueError, match=f"{field} is said by the name {name}"):
        gluon_cgd.get_model(name, **{field: change[field]})


SMALL = ("shufflenet_v2", "squeezenet1.1", "cifar_resnet10")


@pytest.mark.parametrize(
    "backbone", [pytest.param(name, marks=[pytest.mark.slow] * (name not in SMALL)) for name in backbones.BACKBONES]
)
def test_a_loaded_model_whose_layers_are_fused_gives_what_the_plain_one_gives(backbone, tmp_path):
    experiment = gluon_cgd.experiment.Experiment(
        backbone=backbone, descriptors="SMG", dim=24, pretrained=False, input_size=64
    )
    mx.random.seed(0)
    net = model.from_experiment(experiment, 4)
    rng = np.random.default_rng(0)
    for name, parameter in net.collect_params().items():  # as after a training: a batch norm that does something
        if name.endswith(("running_mean", "beta")):
            parameter.set_data(mx.nd.array(rng.normal(0, 0.1, parameter.shape)))
        elif name.endswith(("running_var", "gamma")):
            parameter.set_data(mx.nd.array(rng.uniform(0.5, 1.5, parameter.shape)))
    pictures = rng.integers(0, 256, (5, 8, 8, 3), np.uint8).repeat(8, axis=1).repeat(8, axis=2)
    expected = embed(net, pictures, mx.cpu(), 5)
    loaded = zoo.load_published(zoo.save(net, experiment, tmp_path))[0]
    for batch_size in (4, 1, 8):  # another shape is another graph
        np.testing.assert_allclose(embed(loaded, pictures, mx.cpu(), batch_size), expected, atol=2e-6)
