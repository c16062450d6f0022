import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd

from gluon_cgd.datasets import images
from gluon_cgd.descriptors import DESCRIPTORS, GeM
from gluon_cgd.evaluate import features_of
from gluon_cgd.experiment import CONFIGURATIONS, Experiment
from gluon_cgd.model import from_experiment
from gluon_cgd.retrieval.reduction import Reduction
from gluon_cgd.retrieval.whitening import Whitening
from gluon_cgd.similarity import arguments, contributions, decompose, spread, weights_of


def maps(seed, shape=(6, 3, 4)):
    """A feature map after a ReLU: a third of it is 0, and one channel wholly."""
    x = np.maximum(np.random.default_rng(seed).normal(0.4, 1, size=shape), 0).astype(np.float32)
    x[2] = 0
    return x


def embedding_loop(features, projections, descriptors, combine, p=3):
    """The network's head in plain NumPy, without any splitting."""
    pooled = []
    for letter in descriptors:
        flat = features.reshape(len(features), -1).astype(np.float64)
        pooled.append(
            {"S": flat.mean(1), "M": flat.max(1), "G": (np.maximum(flat, 1e-6) ** p).mean(1) ** (1 / p)}[letter]
        )
    reduced = [matrix @ vector for matrix, vector in zip(projections, pooled)]
    if combine == "raw":
        whole = sum(reduced)
    else:
        units = [vector / np.linalg.norm(vector) for vector in reduced]
        whole = np.concatenate(units) if combine == "concat" else sum(units)
    return whole / np.linalg.norm(whole)


def random_projections(n, k=5, channels=6):
    return np.random.default_rng(7).normal(size=(n, k, channels))


@pytest.mark.parametrize("combine", ["concat", "sum", "raw"])
@pytest.mark.parametrize("descriptors", CONFIGURATIONS)
def test_both_maps_sum_to_the_cosine_and_the_branches_to_the_maps(descriptors, combine):
    one, two, projections = maps(1), maps(2, (6, 5, 2)), random_projections(len(descriptors))
    found = decompose(one, two, projections, descriptors, combine=combine)
    expected = embedding_loop(one, projections, descriptors, combine) @ embedding_loop(
        two, projections, descriptors, combine
    )
    assert found.cosine == pytest.approx(expected, abs=1e-9)
    assert found.map1.shape == (3, 4)
    assert found.map2.shape == (5, 2)
    assert found.map1.sum() == pytest.approx(expected, abs=1e-9)
    assert found.map2.sum() == pytest.approx(expected, abs=1e-9)
    for i in (0, 1):
        np.testing.assert_allclose(sum(branch[i] for branch in found.branches), (found.map1, found.map2)[i])


def test_the_branches_of_a_concatenation_sum_to_their_own_cosines_over_n():
    one, two, projections = maps(1), maps(2), random_projections(3)
    found = decompose(one, two, projections, "SMG")
    for i, letter in enumerate("SMG"):
        own = decompose(one, two, projections[i : i + 1], letter).cosine
        assert [m.sum() for m in found.branches[i]] == pytest.approx([own / 3] * 2, abs=1e-9)


@pytest.mark.parametrize("descriptor", "SMG")
def test_contributions_are_the_feature_times_the_derivative_and_sum_to_the_descriptor(descriptor):
    x = maps(3)
    inputs = mx.nd.array(x[None])
    inputs.attach_grad()
    pool = GeM() if descriptor == "G" else DESCRIPTORS[descriptor]()
    with autograd.record():
        pooled = pool(inputs)
    pooled.backward()
    share = contributions(x, descriptor)
    np.testing.assert_allclose(share.sum(axis=(1, 2)), pooled.asnumpy()[0], atol=2e-6)
    live = x.max(axis=(1, 2)) > 0  # a dead channel has a maximum everywhere: any share of 0 is right
    np.testing.assert_allclose(share[live], (x * inputs.grad.asnumpy()[0])[live], atol=2e-6)


def added_loop(features, projections, descriptors, combine, p=3):
    """What each position adds to the embedding, n x {(row, column): (D,)}, one position after the other."""
    whole, n, parts = embedding_loop(features, projections, descriptors, combine, p), len(descriptors), []
    unscaled = np.zeros(len(whole))
    for i, (letter, matrix) in enumerate(zip(descriptors, projections)):
        clamped, of_branch = np.maximum(features.astype(np.float64), 1e-6), {}
        for row, column in np.ndindex(features.shape[1:]):
            value = np.zeros(len(features))
            for c, channel in enumerate(features.astype(np.float64)):
                if letter == "S":
                    value[c] = channel[row, column] / channel.size
                elif letter == "M":
                    value[c] = (
                        channel.max() * (channel[row, column] == channel.max()) / (channel == channel.max()).sum()
                    )
                else:
                    mean = (clamped[c] ** p).mean() ** (1 / p)
                    value[c] = mean * clamped[c, row, column] ** p / (clamped[c] ** p).sum()
            of_branch[row, column] = matrix @ value
        reduced = sum(of_branch.values())
        for place, value in of_branch.items():
            if combine != "raw":
                value = value / np.linalg.norm(reduced)
            if combine == "concat":
                value = np.concatenate([value if i == j else 0 * value for j in range(n)])
            of_branch[place] = value
            unscaled = unscaled + value
        parts.append(of_branch)
    return [{place: value / np.linalg.norm(unscaled) for place, value in of_branch.items()} for of_branch in parts]


@pytest.mark.parametrize("combine", ["concat", "sum", "raw"])
@pytest.mark.parametrize("descriptors", CONFIGURATIONS)
def test_the_difference_is_that_of_a_loop_and_sums_to_one_minus_the_cosine(descriptors, combine):
    photos, projections = (maps(1), maps(2, (6, 5, 2))), random_projections(len(descriptors))
    embeddings = [embedding_loop(photo, projections, descriptors, combine) for photo in photos]
    similarity = decompose(*photos, projections, descriptors, combine=combine)
    difference = similarity.difference()
    assert difference.distance == pytest.approx(1 - embeddings[0] @ embeddings[1], abs=1e-12)
    for i in (0, 1):
        apart = embeddings[i] - embeddings[1 - i]
        for branch, added in zip(difference.branches, added_loop(photos[i], projections, descriptors, combine)):
            assert branch[i].shape == photos[i].shape[1:]
            for place, value in added.items():
                assert branch[i][place] == pytest.approx(value @ apart, abs=1e-12)
        whole = (difference.map1, difference.map2)[i]
        np.testing.assert_allclose(whole, sum(branch[i] for branch in difference.branches), atol=1e-15)
        assert whole.sum() == pytest.approx(difference.distance, abs=1e-12)
        # The complement: with the similarity it is how the picture is like itself
        itself = decompose(photos[i], photos[i], projections, descriptors, combine=combine)
        np.testing.assert_allclose(whole + (similarity.map1, similarity.map2)[i], itself.map1, atol=1e-12)
        for own, like, apart in zip(itself.branches, similarity.branches, difference.branches):
            np.testing.assert_allclose(like[i] + apart[i], own[0], atol=1e-12)


def test_what_only_one_picture_has_makes_all_of_the_difference():
    one, two = np.zeros((3, 4, 4)), np.zeros((3, 4, 4))
    one[0, 1, 3] = two[0, 2, 0] = 2  # what both have
    one[1, 0, 0] = two[2, 2, 2] = 2  # what only one of them has
    for descriptors in ("S", "M", "SM"):
        similarity = decompose(one, two, None, descriptors)
        difference = similarity.difference()
        assert difference.distance == pytest.approx(0.5)
        for heat, place in ((difference.map1, (0, 0)), (difference.map2, (2, 2))):
            assert heat[place] == pytest.approx(0.5)
            assert np.abs(heat).sum() == pytest.approx(0.5)


def test_a_picture_does_not_differ_from_itself_and_a_dead_one_has_no_difference_to_divide():
    alike = decompose(maps(1), maps(1), random_projections(2), "SG").difference()
    assert alike.distance == pytest.approx(0, abs=1e-12)
    assert not alike.map1.any()
    assert not alike.map2.any()
    dead = decompose(np.zeros((6, 3, 4)), maps(1), None, "S").difference()
    assert dead.map1.sum() == 0  # it has no length to split
    assert dead.map2.sum() == pytest.approx(dead.distance)
    assert dead.distance == pytest.approx(1)


def test_equal_maxima_share_what_the_maximum_gives():
    x = np.zeros((1, 2, 2))
    x[0, 0, 0] = x[0, 1, 1] = 3
    np.testing.assert_array_equal(contributions(x, "M")[0], [[1.5, 0], [0, 1.5]])


def test_without_fc_layers_spoc_gives_the_formula_of_stylianou_and_others():
    one, two = maps(4), maps(5)
    found = decompose(one, two, None, "S")
    mean1, mean2 = one.mean(axis=(1, 2)), two.mean(axis=(1, 2))
    expected = np.einsum("chw,c->hw", one, mean2) / 12 / (np.linalg.norm(mean1) * np.linalg.norm(mean2))
    np.testing.assert_allclose(found.map1, expected, rtol=1e-6)


@pytest.mark.parametrize("descriptors", ["S", "M", "G", "SMG"])
def test_one_patch_that_both_pictures_share_makes_all_of_their_similarity(descriptors):
    one, two = np.zeros((4, 5, 5)), np.zeros((4, 5, 5))
    one[0, 1, 3] = two[0, 4, 0] = 2  # the shared feature, elsewhere in each
    one[1, 0, 0] = two[2, 2, 2] = 2  # what only one of them has
    found = decompose(one, two, None, descriptors)
    assert found.map1[1, 3] == pytest.approx(found.cosine, abs=1e-5)  # GeM's minimum is above 0
    assert found.map2[4, 0] == pytest.approx(found.cosine, abs=1e-5)
    assert found.cosine > 0.4


@pytest.mark.parametrize("combine", ["concat", "sum", "raw"])
def test_a_region_is_answered_where_the_other_picture_matches_it(combine):
    one, two, projections = maps(1), maps(2, (6, 5, 2)), random_projections(2)
    whole = decompose(one, two, projections, "SG", combine=combine)
    region = np.zeros((3, 4))
    region[1, 2] = 1
    both = [whole.answer(mask) for mask in (region, 1 - region)]
    np.testing.assert_allclose(sum(both), whole.map2, atol=1e-12)
    assert both[0].sum() == pytest.approx(whole.map1[1, 2])
    answers = whole.answers(region)
    assert len(answers) == 2
    np.testing.assert_allclose(sum(answers), both[0], atol=1e-12)
    for branch, *parts in zip(whole.branches, answers, whole.answers(1 - region)):
        np.testing.assert_allclose(sum(parts), branch[1], atol=1e-12)
    one, two = np.zeros((4, 5, 5)), np.zeros((4, 5, 5))
    one[0, 1, 3] = two[0, 4, 0] = one[1, 0, 0] = two[1, 2, 2] = 2  # two shared patches
    region = np.zeros((5, 5))
    region[0, 0] = 1
    found = decompose(one, two, None, "S").answer(region)
    assert np.unravel_index(found.argmax(), found.shape) == (2, 2)
    assert found[4, 0] == pytest.approx(0)


@pytest.mark.parametrize(
    "change", [*({"descriptors": d} for d in CONFIGURATIONS), {"architecture": "B"}, {"combine": "sum"}], ids=str
)
def test_the_maps_of_a_network_sum_to_the_cosine_of_its_embeddings(change):
    mx.random.seed(2)
    experiment = Experiment(
        backbone="cifar_resnet10", pretrained=False, input_size=32, **{"descriptors": "SM", "dim": 24, **change}
    )
    net = from_experiment(experiment, 3)
    net.hybridize()
    for height, width in ((32, 32), (24, 40)):
        pictures = np.random.default_rng(0).integers(0, 256, (2, height, width, 3), dtype=np.uint8)
        embedding = net(images.normalise(pictures, mx.cpu()))[0].asnumpy()
        features = features_of(net, pictures, mx.cpu())
        found = decompose(*features, **arguments(weights_of(net), experiment))
        assert found.cosine == pytest.approx(float(embedding[0] @ embedding[1]), abs=1e-5)
        assert found.map1.sum() == pytest.approx(found.cosine, abs=1e-5)
        assert found.map2.sum() == pytest.approx(found.cosine, abs=1e-5)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ((np.zeros((3, 2, 2)), np.zeros((4, 2, 2))), r"shapes \(3, 2, 2\) and \(4, 2, 2\): \(C, h, w\) with one C"),
        ((np.zeros((3, 2)), np.zeros((3, 2))), "with one C is needed"),
        ((np.ones((3, 2, 2)), np.ones((3, 2, 2)), [np.ones((2, 3))], "SM"), "do not fit 2 descriptors of 3 channels"),
        ((np.ones((3, 2, 2)), np.ones((3, 2, 2)), [np.ones((2, 4))], "S"), r"\[\(2, 4\)\] do not fit 1 descriptors"),
        ((np.ones((3, 2, 2)), np.ones((3, 2, 2)), None, "X"), "descriptor 'X' is unknown"),
        ((np.ones((3, 2, 2)), np.ones((3, 2, 2)), None, "S", 3, "max"), "combine 'max' is unknown"),
    ],
)
def test_what_cannot_be_split_is_refused(asked, message):
    with pytest.raises(ValueError, match=message):
        decompose(*asked)
    with pytest.raises(ValueError, match=r"region has shape \(2, 3\)"):
        decompose(np.ones((3, 2, 2)), np.ones((3, 2, 2))).answer(np.ones((2, 3)))


def test_the_spread_of_one_position_of_all_and_of_half():
    one = np.zeros((4, 5))
    one[1, 2] = 3
    assert spread(one) == (0, 1 / 20)
    entropy, share = spread(np.full((4, 5), 0.1))
    assert entropy == pytest.approx(1)
    assert share == pytest.approx(18 / 20)
    half = np.zeros((4, 5))
    half[:2] = 1
    assert spread(half)[0] == pytest.approx(np.log(10) / np.log(20))
    assert spread(-one) == (0, 0)


@pytest.mark.parametrize("combine", ["concat", "sum", "raw"])
@pytest.mark.parametrize("layers", ["with FC layers", "without"])
def test_the_maps_of_whitened_embeddings_sum_to_their_cosine(combine, layers):
    """Without FC layers and with combine="concat" it is what --pretrained and --whiten make."""
    one, two = maps(1), maps(2, (6, 5, 2))
    projections = random_projections(3) if layers == "with FC layers" else None
    matrices = [np.eye(6)] * 3 if projections is None else projections
    rng, dim = np.random.default_rng(3), len(embedding_loop(one, matrices, "SMG", combine))
    mean, axes, gains = 0.1 * rng.normal(size=dim), np.linalg.qr(rng.normal(size=(dim, 4)))[0].T, [-0.9, -0.5, -0.2, 0]
    matrix = np.eye(dim) + axes.T @ np.diag(gains) @ axes
    whitened = [matrix @ (embedding_loop(x, matrices, "SMG", combine) - mean) for x in (one, two)]
    first, second = (vector / np.linalg.norm(vector) for vector in whitened)
    found = decompose(one, two, projections, "SMG", combine=combine, whitening=Whitening(mean, axes, np.array(gains)))
    assert found.cosine == pytest.approx(first @ second, abs=1e-9)
    for i in (0, 1):
        assert (found.map1, found.map2)[i].sum() == pytest.approx(first @ second, abs=1e-9)
        np.testing.assert_allclose(sum(branch[i] for branch in found.branches), (found.map1, found.map2)[i])
    apart = found.difference()
    for i in (0, 1):
        assert (apart.map1, apart.map2)[i].sum() == pytest.approx(1 - first @ second, abs=1e-9)
    halves = np.zeros((2, 3, 4))
    halves[0, :2], halves[1, 2:] = 1, 1
    np.testing.assert_allclose(sum(found.answer(half) for half in halves), found.map2, atol=1e-9)


def test_the_maps_of_reduced_embeddings_sum_to_the_cosine_of_what_stays():
    one, two = maps(1), maps(2, (6, 5, 2))
    axes = np.linalg.qr(np.random.default_rng(3).normal(size=(18, 5)))[0].T
    reduced = [axes @ embedding_loop(x, [np.eye(6)] * 3, "SMG", "concat") for x in (one, two)]
    cosine = reduced[0] @ reduced[1] / np.linalg.norm(reduced[0]) / np.linalg.norm(reduced[1])
    found = decompose(one, two, None, "SMG", whitening=Reduction(axes))
    assert found.cosine == pytest.approx(cosine, abs=1e-9)
    apart = found.difference()
    for i in (0, 1):
        assert (found.map1, found.map2)[i].sum() == pytest.approx(cosine, abs=1e-9)
        assert (apart.map1, apart.map2)[i].sum() == pytest.approx(1 - cosine, abs=1e-9)


def test_without_fc_layers_the_maps_are_those_of_identity_matrices():
    one, two = maps(1), maps(2)
    plain, identity = decompose(one, two, None, "SMG"), decompose(one, two, [np.eye(6)] * 3, "SMG")
    np.testing.assert_allclose(plain.map1, identity.map1, atol=1e-12)
    assert plain.cosine == pytest.approx(identity.cosine, abs=1e-12)
