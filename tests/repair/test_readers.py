"""Which stored tensors are read more than once, or computed with."""

import onnx
import pytest
import repair_models as models
import torch
from onnx import TensorProto, helper
from torch import nn

from lipaudit.repair.readers import several_in_graph, several_in_program


def several(nodes, held, **more):
    stored = [onnx.numpy_helper.from_array(value, name) for name, value in held.items()]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("x", "y")]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("my", 1)]
    graph = helper.make_graph(nodes, "net", ends[:1], ends[1:], stored)
    return several_in_graph(helper.make_model(graph, opset_imports=opsets, **more))


@pytest.mark.parametrize("op", ["Identity", "Transpose"])
@pytest.mark.parametrize("readers", [1, 2])
@pytest.mark.parametrize("step", [1, -1])
def test_a_tie_is_followed_through_what_only_hands_on_in_any_order(op, readers, step):
    nodes = [
        helper.make_node(op, ["w"], ["v"]),
        helper.make_node("Identity", ["v"], ["u"]),
        helper.make_node("MatMul", ["x", "u"], ["a"]),
    ]
    nodes.append(helper.make_node("Add", ["a", "u" if readers == 2 else "b"], ["y"]))
    found = several(nodes[::step], {"w": models.numbers(5, 5), "b": models.numbers(5)})
    assert ("w" in found) == (readers == 2)


@pytest.mark.parametrize("factor", ["Neg", "Abs"])
def test_what_is_computed_with_counts_as_read_twice(factor):
    nodes = [helper.make_node(factor, ["w"], ["v"]), helper.make_node("MatMul", ["x", "v"], ["y"])]
    assert several(nodes, {"w": models.numbers(5, 5)}) == {"w"}


@pytest.mark.parametrize("twice", [True, False])
def test_local_functions_are_looked_into(twice):
    body = [
        helper.make_node("MatMul", ["p", "q"], ["t"]),
        helper.make_node("Mul", ["t", "q" if twice else "t"], ["r"]),
    ]
    function = helper.make_function("my", "F", ["p", "q"], ["r"], body, [helper.make_opsetid("", 17)])
    outer = helper.make_function(
        "my", "G", ["p", "q"], ["r"], [helper.make_node("F", ["p", "q"], ["r"], domain="my")],
        [helper.make_opsetid("", 17), helper.make_opsetid("my", 1)],
    )  # fmt: skip
    nodes = [helper.make_node("G", ["x", "w"], ["y"], domain="my")]
    found = several(nodes, {"w": models.numbers(5, 5)}, functions=[function, outer])
    assert ("w" in found) == twice


def test_subgraphs_are_looked_into_however_deep():
    def branch(*nodes):
        ends = [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)]
        return helper.make_graph(list(nodes), "branch", [], ends)

    deep = branch(helper.make_node("MatMul", ["x", "w"], ["z"]))
    inner = helper.make_node("If", ["c"], ["z"], then_branch=deep, else_branch=deep)
    nodes = [helper.make_node("If", ["c"], ["y"], then_branch=branch(inner), else_branch=branch(inner))]
    assert "w" in several(nodes, {"w": models.numbers(5, 5)})


class Shared(nn.Module):
    """One weight read in a way of its own, the other by its layer alone."""

    def __init__(self, second):
        super().__init__()
        self.one, self.two, self.second = nn.Linear(4, 4), nn.Linear(4, 4), second

    def forward(self, x):
        w = self.one.weight
        ways = {
            "scaled": lambda y: nn.functional.linear(y, 0.5 * w.T),
            "elementwise": lambda y: y * w,
            "norm": lambda y: y / w.norm(),
            "view": lambda y: y + w.reshape(-1)[:4],
            "sign": lambda y: y + (w > 0),
            "none": lambda y: y,
        }
        return self.two(ways[self.second](self.one(x)))


@pytest.mark.parametrize("second", ["scaled", "elementwise", "norm", "view", "sign", "none"])
def test_every_use_in_a_program_counts(second):
    module = Shared(second).eval()
    program = torch.export.export(module, (torch.zeros(1, 4),)).run_decompositions({})
    assert several_in_program(program, module.state_dict()) == {
        key for key in ("one.weight",) if second != "none"
    }


class Cast(nn.Module):
    """A layer whose weights take the input's type, or another one."""

    def __init__(self, way):
        super().__init__()
        self.one, self.way = nn.Linear(4, 4), way

    def forward(self, x):
        w, b = self.one.weight, self.one.bias
        ways = {
            "to": lambda: nn.functional.linear(x, w.to(x.dtype), b.to(x.dtype)),
            "float": lambda: nn.functional.linear(x, w.float(), b),
            "double": lambda: nn.functional.linear(x.double(), w.double(), b.double()),
            "to, again": lambda: nn.functional.linear(x, w.to(x.dtype), b) + x @ w.to(x.dtype),
            "double, again": lambda: nn.functional.linear(x, w.double().float(), b) + x @ w,
        }
        return ways[self.way]()


@pytest.mark.parametrize("way", ["to", "float", "double", "to, again", "double, again"])
def test_casts_are_looked_through(way):
    module = Cast(way).eval()
    program = torch.export.export(module, (torch.zeros(1, 4),)).run_decompositions({})
    assert any("_assert_tensor_metadata" in str(node.target) for node in program.graph.nodes)
    assert several_in_program(program, module.state_dict()) == {
        key for key in ("one.weight",) if "again" in way
    }
