"""A faulty conversion is refused, and the first node that went wrong is named."""

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper

from lipaudit.errors import ConversionMismatch
from lipaudit.load import convert, load_model

WIDTH = 5


@pytest.fixture
def chain(tmp_path):
    """Matrix, sigmoid, matrix, sigmoid, …, and a branch that joins at the end."""
    random = np.random.default_rng(0)
    nodes, weights, last = [], [], "x"
    for i in range(4):
        weights.append(
            numpy_helper.from_array(random.standard_normal((WIDTH, WIDTH)).astype(np.float32), f"w{i}")
        )
        nodes.append(helper.make_node("MatMul", [last, f"w{i}"], [f"m{i}"], name=f"matrix{i}"))
        nodes.append(helper.make_node("Sigmoid", [f"m{i}"], [f"s{i}"], name=f"sigmoid{i}"))
        last = f"s{i}"
    nodes.append(helper.make_node("Add", [last, "s0"], ["y"], name="join"))
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", WIDTH])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", WIDTH])],
        weights,
    )
    path = tmp_path / "chain.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


class Shifted(torch.nn.Module):
    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, *xs):
        return self.module(*xs) + 0.25


NODES = [*(f"{kind}{i}" for i in range(4) for kind in ("matrix", "sigmoid")), "join"]


def calls_of(network):
    return [call for call in network.graph.nodes if call.op == "call_module"]


@pytest.mark.parametrize("node", NODES)
def test_the_first_wrong_node_is_named(chain, monkeypatch, node):
    wire = convert._wire

    def faulty(graph, modules, name):
        network = wire(graph, modules, name)
        target = calls_of(network)[NODES.index(node)].target
        network.set_submodule(target, Shifted(network.get_submodule(target)))
        return network

    monkeypatch.setattr(convert, "_wire", faulty)
    monkeypatch.setattr(convert, "check_nodes", lambda *_: None)
    with pytest.raises(ConversionMismatch, match=rf"the first node that differs is \w+ '{node}'"):
        load_model(chain)


def test_a_wrong_wire_is_found(chain, monkeypatch):
    """Every node is right, but one reads another value."""
    wire = convert._wire

    def crossed(graph, modules, name):
        network = wire(graph, modules, name)
        calls = dict(zip(NODES, calls_of(network), strict=True))
        calls["matrix2"].args = (calls["sigmoid0"], *calls["matrix2"].args[1:])
        network.graph.lint()
        network.recompile()
        return network

    monkeypatch.setattr(convert, "_wire", crossed)
    monkeypatch.setattr(convert, "check_nodes", lambda *_: None)
    with pytest.raises(ConversionMismatch, match=r"the first node that differs is MatMul 'matrix2'"):
        load_model(chain)


def test_the_chain_itself_is_fine(chain):
    assert load_model(chain).conversion["max_relative_difference"] < 1e-5
