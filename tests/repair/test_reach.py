"""Limits near the smallest numbers: reached, or refused by name; never by weights that are all 0."""

from dataclasses import replace

import numpy as np
import pytest
import repair_models as models
import torch
from onnx import TensorProto, helper

from lipaudit.analyze import Plan
from lipaudit.clock import Clock
from lipaudit.errors import Unreached
from lipaudit.repair.methods import METHODS, method_called
from lipaudit.repair.network import Network
from lipaudit.repair.opened import open_model
from lipaudit.repair.reach import cap_layers, reach
from lipaudit.repair.sources import find_sources
from lipaudit.spectral.method import DEFAULT
from lipaudit.spectral.select import BALANCED

KINDS = ("float32", "float64")
SMALLEST = 1.4e-45
"""Of float32."""


@pytest.fixture(scope="module", params=KINDS)
def found(request, tmp_path_factory):
    """Two dense layers with a relu between them: the network, its layers, their type."""
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["a"], name="one", transB=1),
        helper.make_node("Relu", ["a"], ["b"], name="relu"),
        helper.make_node("Gemm", ["b", "v"], ["y"], name="two", transB=1),
    ]
    held = {name: models.numbers(5, 5, seed=i, dtype=np.dtype(request.param)) for i, name in enumerate("wv")}
    kind = TensorProto.FLOAT if request.param == "float32" else TensorProto.DOUBLE
    path = models.write_graph(tmp_path_factory.mktemp("reach") / "net.onnx", nodes, held, kind)
    opened = open_model(path, {}, Clock(None))
    network = Network.of(opened.subject.graph, Plan.of(["auto"], BALANCED, DEFAULT.memory))
    layers = find_sources(opened, network.graph, biases=False).layers
    return network, layers, request.param


@pytest.mark.parametrize("how", [method.name for method in METHODS])
@pytest.mark.parametrize("limit", [1e-30, 1e-200, 1e-320, 5e-324])
def test_a_tiny_bound_is_reached_or_refused(found, how, limit):
    network, layers, kind = found
    if kind == "float32" and limit < SMALLEST**2:
        with pytest.raises(Unreached, match=f"too small for type {kind}"):
            reach(network, layers, limit, method_called(how), None, Clock(None))
        return
    changes = reach(network, layers, limit, method_called(how), None, Clock(None))
    assert all(change.tensor.any() for change in changes.values())
    assert network.with_changes(changes).bound.total.value <= limit


@pytest.mark.parametrize("how", [method.name for method in METHODS])
@pytest.mark.parametrize(("limit", "refused"), [(1e-30, ()), (1e-60, ("float32",)), (1e-320, KINDS)])
def test_a_tiny_norm_is_reached_or_refused(found, how, limit, refused):
    network, layers, kind = found
    if kind in refused:
        with pytest.raises(Unreached, match=f"too small for type {kind}"):
            cap_layers(network, layers, limit, method_called(how), Clock(None))
        return
    changes = cap_layers(network, layers, limit, method_called(how), Clock(None))
    assert all(change.tensor.any() for change in changes.values())
    assert all(change.proved.upper.value <= limit for change in changes.values())


@pytest.mark.parametrize("limit", [0.1, 0.5, 1.0, 1.5])
def test_the_coarsest_type_reaches_a_bound(found, limit):
    network, layers, _ = found
    coarse = [replace(layer, stored=layer.stored.bfloat16()) for layer in layers]
    changes = reach(network, coarse, limit, method_called("fastclip"), None, Clock(None))
    assert all(change.tensor.dtype == torch.bfloat16 for change in changes.values())
    assert 0.97 * limit <= network.with_changes(changes).bound.total.value <= limit
