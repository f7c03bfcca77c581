"""One network has one number of parameters, whatever its format, and takes as much memory."""

from pathlib import Path

import pytest
import torch
from torch import nn

from lipaudit.cost.parameters import count_parameters, count_read, read_tensors
from lipaudit.load import load_model
from lipaudit.load.export import export_module

SAMPLES = sorted((Path(__file__).parents[2] / "sample_models").glob("*/arch.py"))
QUICK = ("mnist_cayley", "mnist_soc")


class Tied(nn.Module):
    """One weight read three times, once transposed, beside numbers of the code."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(120, 120) / 30)
        self.bias = nn.Parameter(torch.randn(120))

    def forward(self, x):
        hidden = nn.functional.softplus(nn.functional.linear(x, self.weight, self.bias))
        hidden = nn.functional.linear(hidden / 3.7, self.weight)
        return x - nn.functional.linear(0.3 * hidden, self.weight.t())


class Resized(nn.Module):
    """Weights and sizes that are the operator's, not the network's."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(1, 2, 3)

    def forward(self, x):
        return nn.functional.interpolate(self.convolution(x), scale_factor=2.0, mode="bilinear").clamp(-3, 3)


def stored_bytes(program):
    """Of each memory that a program reads once; numbers without axes are the code's."""
    tensors = {t.untyped_storage().data_ptr(): t for t in read_tensors(program) if t.dim()}
    return sum(t.untyped_storage().nbytes() for t in tensors.values())


# The older exporter stores a transposed weight a second time: that file does hold more.
@pytest.mark.parametrize(
    ("make", "shape", "count", "dynamo"),
    [(Tied, (120,), 120 * 121, True), (Resized, (1, 6, 6), 20, True), (Resized, (1, 6, 6), 20, False)],
)
@pytest.mark.filterwarnings("ignore")  # the older exporter's own
def test_what_a_conversion_moves_or_adds_is_no_parameter(tmp_path, make, shape, count, dynamo):
    torch.manual_seed(0)
    network = make().eval()
    path = tmp_path / "net.onnx"
    more = {"external_data": False, "verbose": False} if dynamo else {}
    torch.onnx.export(network, (torch.zeros(1, *shape),), path, dynamo=dynamo, **more)
    assert count_parameters(load_model(path, input_shape=None)) == count
    assert count_read(export_module(network, torch.zeros(1, *shape), "net")) == count


@pytest.mark.parametrize(
    "arch",
    [
        pytest.param(p, marks=() if p.parent.name in QUICK else pytest.mark.slow, id=p.parent.name)
        for p in SAMPLES
    ],
)
def test_formats_of_a_sample_agree(arch):
    of_graph = load_model(arch.with_name("model.onnx"), input_shape=None)
    of_weights = load_model(arch.with_name("model.safetensors"), arch=f"{arch}:build", input_shape=None)
    assert count_parameters(of_graph) == count_parameters(of_weights)
    assert stored_bytes(of_graph.program) == stored_bytes(of_weights.program)
