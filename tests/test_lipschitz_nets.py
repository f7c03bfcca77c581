"""The families of 1-Lipschitz layers that tests build keep what they promise, and load in every way."""

import math

import pytest
import torch
from jacobian import jacobian, largest_slope, probes
from lipschitz_broken import broken
from lipschitz_nets import CPL_CONV_SPELLINGS, conv_norm, cpl_conv
from lipschitz_zoo import layers, networks
from small_graph import bound_of, exported_graph, raw_graph

from lipaudit import audit
from lipaudit.passes import simplify

ALL = {net.name: net for net in layers() + networks()}
TRAINED = {net.name: net for net in layers(4) + networks(4)}
NETWORKS = {net.name: net for net in networks(2)}
BROKEN = {case.name: case for case in broken()}
FLOAT32 = 1e-5
"""How far rounded weights are from what the formulas say."""


def points_of(net):
    points = probes(net.shape, count=1)
    # At ties torch spreads the slopes of a sort.
    return points + 1e-9 * torch.arange(points[0].numel()).reshape(points[0].shape)


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_no_slope_exceeds_what_the_family_promises(name):
    judge(ALL[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINED)
def test_training_keeps_the_promise(name):
    judge(TRAINED[name])


def judge(net):
    module = net.make().double()
    slope = largest_slope(module, points_of(net)[::2])
    assert slope <= net.most * (1 + FLOAT32)
    bound = bound_of(simplify(raw_graph(module, *net.shape))).value
    assert bound >= slope * (1 - 1e-12)
    assert not net.plain or bound <= net.most * 1.001


@pytest.mark.parametrize("name", [n for n in ALL if ALL[n].isometry])
def test_isometries_shrink_nothing(name):
    net = ALL[name]
    values = torch.linalg.svdvals(jacobian(net.make().double(), points_of(net)[:1]))
    assert float(values.min()) >= 1 - FLOAT32


@pytest.mark.parametrize("name", ALL)
def test_weights_are_those_of_float32(name):
    module = ALL[name].make()
    assert not module.training
    assert all(value.dtype == torch.float32 for value in module.state_dict().values())
    assert not any(value.requires_grad for value in module.parameters())


def test_training_moves_the_weights():
    one, other = cpl_conv(0).get_parameter("w"), cpl_conv(0, steps=4).get_parameter("w")
    assert float((one - other).norm() / one.norm()) > 0.1


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_networks_load_from_onnx(name, tmp_path):
    net, path = NETWORKS[name], tmp_path / "network.onnx"
    module = net.make()
    torch.onnx.export(module, (torch.zeros(net.shape),), path, dynamo=True, verbose=False)
    bound = audit(path, dataset="none").evidence.global_.upper.value
    assert bound >= largest_slope(module.double(), points_of(net)[:2]) * (1 - 1e-6)
    assert bound <= net.most * 1.001


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_networks_load_as_exported_programs(name):
    net = NETWORKS[name]
    module = net.make()
    bound = bound_of(simplify(exported_graph(module, *net.shape))).value
    assert bound >= largest_slope(module, points_of(net)[:2]) * (1 - 1e-12)


# Negative controls


@pytest.mark.parametrize("name", BROKEN)
def test_broken_layers_stretch(name):
    assert BROKEN[name].slope() > 1 + 1e-9


@pytest.mark.parametrize("spelling", CPL_CONV_SPELLINGS)
def test_a_factor_for_another_image_gives_the_constant_its_formula_says(spelling):
    # s = 2/‖W‖² with the norm on 3×3 images, on 6×6 ones: s‖W‖² − 1.
    case = BROKEN[f"{spelling}: CPL normalised for 3×3 images"]
    weight = cpl_conv(1, norm=3).get_parameter("w").double()
    factor = 2 / conv_norm(weight, 3, padding=1) ** 2
    expected = factor * conv_norm(weight, 6, padding=1) ** 2 - 1
    assert case.slope() == pytest.approx(float(expected), rel=1e-6)


def test_gelu_really_leaves_the_interval_of_slopes():
    assert BROKEN["gelu"].slope() == pytest.approx(2 * 1.128904145 - 1, rel=1e-8)
    assert math.isclose(BROKEN["gelu"].slope(), 1 + 2 * 0.128904145, rel_tol=1e-8)
