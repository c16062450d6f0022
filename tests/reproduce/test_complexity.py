import mxnet as mx
import pytest
from mxnet.gluon import nn

from gluon_cgd import backbones, model
from reproduce.training.complexity import counts


def test_the_counts_of_two_layers_are_those_of_a_calculation_by_hand():
    net = nn.HybridSequential()
    net.add(nn.Conv2D(4, 3, strides=2, padding=1, groups=1, in_channels=3), nn.Conv2D(4, 3, padding=1, groups=2))
    net.add(nn.BatchNorm(), nn.Flatten(), nn.Dense(5))
    parameters, products = counts(net, 8)
    assert products == 16 * 4 * 3 * 9 + 16 * 4 * 2 * 9 + 64 * 5
    assert parameters == (4 * 3 * 9 + 4) + (4 * 2 * 9 + 4) + 2 * 4 + (64 * 5 + 5)


@pytest.mark.parametrize(
    ("keep_stride", "classes", "parameters", "products"),
    [
        (None, 98, 26_858_658, 6.210),
        (True, 98, 26_858_658, 4.090),
        (None, 11_318, 49.85e6, None),
        (None, 3_997, 34.85e6, None),
    ],
)
def test_the_full_cgd_on_resnet50_has_its_known_size(keep_stride, classes, parameters, products):
    net = model.CGD(backbones.build("resnet50", keep_stride=keep_stride), "SM", 1536, classes)
    found, work = counts(net)
    assert found == pytest.approx(parameters, rel=0 if isinstance(parameters, int) else 2e-4)
    if products:
        assert round(work / 1e9, 3) == products


def test_the_parameters_counted_are_those_that_training_changes():
    net = model.CGD(backbones.build("cifar_resnet10"), "SG", 8, 3)
    net.initialize()
    net(mx.nd.zeros((1, 3, 16, 16)))
    learned = [p for p in net.collect_params().values() if p.grad_req != "null"]
    assert counts(net, 16)[0] == sum(p.data().size for p in learned)
