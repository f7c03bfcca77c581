"""A layer's weights are a stored tensor if the program reads it there, as it is, and nowhere else."""

import numpy as np
import pytest
import repair_models as models
import torch
from onnx import helper
from safetensors.torch import save_file

from lipaudit.clock import Clock
from lipaudit.load.translate import translate
from lipaudit.repair import following
from lipaudit.repair.following import followed
from lipaudit.repair.opened import open_model
from lipaudit.repair.sources import find_sources
from lipaudit.repair.stored import match

ARCH = """
import torch
from torch import nn
from torch.nn import functional as F

class Net(nn.Module):
    def __init__(self, second):
        super().__init__()
        self.fc, self.mid, self.out, self.second = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 3), second
    def forward(self, x):
        x = F.relu(self.mid(self.fc(x)))
        w = self.fc.weight
        if self.second == "norm":
            return F.linear(x, self.out.weight / w.norm() ** 2, self.out.bias)
        if self.second == "bias":
            return self.out(x + w[0])
        return self.out(x * w.sign()[0])

def normed():
    return nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)), nn.ReLU(), nn.Linear(4, 3))
"""


def weights(tmp_path, arch):
    (tmp_path / "arch.py").write_text(ARCH)
    names = {}
    exec(ARCH, names)  # noqa: S102 - the text above
    torch.manual_seed(0)
    network = names["normed"]() if arch == "normed" else names["Net"](arch)
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    factory = "normed" if arch == "normed" else f'Net{{"second": "{arch}"}}'
    options = {"arch": f"{tmp_path / 'arch.py'}:{factory}", "input_shape": (4,)}
    return open_model(tmp_path / "w.safetensors", options, Clock(None))


@pytest.mark.parametrize(
    "second", ["norm", *(pytest.param(way, marks=pytest.mark.slow) for way in ("bias", "sign"))]
)
def test_a_second_reader_is_seen_whatever_it_does(tmp_path, second):
    opened = weights(tmp_path, second)
    raw = translate(opened.loaded.program, opened.loaded.titles)
    layers, _ = match(opened.subject.graph, raw, opened.weights.tensors, ())  # as if nobody counted readers
    before = {layer.name for layer in layers}
    assert "fc" in before
    sure, _, left = followed(opened, raw, layers)
    assert [alone.name for alone in left] == ["fc"]
    assert {layer.name for layer in sure} == before - {"fc"}
    found = find_sources(opened, opened.subject.graph, biases=True)
    assert {layer.name for layer in found.layers} == before - {"fc"}


def test_a_normalised_weight_that_equals_the_stored_one_is_computed(tmp_path):
    opened = weights(tmp_path, "normed")
    found = find_sources(opened, opened.subject.graph, biases=False)
    assert [layer.name for layer in found.layers] == ["2"]
    (alone,) = found.left
    assert "computed" in alone.why
    assert "original1" in alone.why


@pytest.mark.parametrize("shape", [(1, 4, 4), (16,), pytest.param((2, 8), marks=pytest.mark.slow)])
@pytest.mark.parametrize("transposed", [False, True])
def test_symmetric_matrices_of_any_shape_are_read_as_the_program_reads_them(tmp_path, shape, transposed):
    square = models.numbers(4, 4)
    nodes = [
        helper.make_node("Reshape", ["w", "size"], ["v"]),
        helper.make_node("Gemm", ["x", "v"], ["y"], name="fc", transB=int(transposed)),
    ]
    held = {"w": (square + square.T).reshape(shape), "size": np.array([4, 4])}
    path = models.write_graph(tmp_path / "net.onnx", nodes, held, shape=(4,))
    opened = open_model(path, {}, Clock(None))
    (layer,) = find_sources(opened, opened.subject.graph, biases=False).layers
    new = torch.arange(16.0).reshape(4, 4)
    read = (new if transposed else new.T).double()
    assert torch.equal(layer.as_weight(new.reshape(shape)), read)
    assert torch.equal(layer.rounded(layer.factors * read)[0], new.reshape(shape))


def test_a_tensor_of_equal_numbers_is_no_bias(tmp_path):
    bias = np.arange(5, dtype=np.float32)
    nodes = [
        helper.make_node("Constant", [], ["b"], value_floats=bias.tolist()),
        helper.make_node("Gemm", ["x", "w"], ["a"], name="one"),
        helper.make_node("Add", ["a", "b"], ["c"], name="add"),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("Gemm", ["d", "v", "e"], ["y"], name="two"),
    ]
    held = {
        "w": models.numbers(5, 5),
        "v": models.numbers(5, 5, seed=1),
        "unused": bias,
        "e": models.numbers(5, seed=2),
    }
    opened = open_model(models.write_graph(tmp_path / "net.onnx", nodes, held), {}, Clock(None))
    found = find_sources(opened, opened.subject.graph, biases=True)
    assert [layer.key for layer in found.layers] == ["w", "v"]
    assert [one.key for one in found.biases] == ["e"]


def test_a_network_that_cannot_be_loaded_with_other_numbers_proves_nothing(tmp_path, monkeypatch):
    opened = weights(tmp_path, "norm")
    raw = translate(opened.loaded.program, opened.loaded.titles)
    layers, _ = match(opened.subject.graph, raw, opened.weights.tensors, ())
    tried = []

    def refuse(_, tensors):
        tried.append(set(tensors))
        raise following.LipauditError("no")

    monkeypatch.setattr(following, "_with", refuse)
    sure, _, left = followed(opened, raw, layers)
    assert not sure
    assert {alone.name for alone in left} == {layer.name for layer in layers}
    assert min(map(len, tried)) == 1
