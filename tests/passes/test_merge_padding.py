"""Pads that become a convolution's own, and pads that stay."""

import pytest
import torch
from sample_kind import Call
from small_graph import bound_of, checked_bound, op_names, raw_graph
from torch import nn
from torch.nn import functional as F  # noqa: N812 - torch's own convention

from lipaudit.passes import simplify
from lipaudit.passes.merge_padding import merge_padding


class Padded(nn.Module):
    def __init__(self, pad, **conv):
        super().__init__()
        self.pad, self.conv = pad, nn.Conv2d(2, 3, 3, **conv).double()

    def forward(self, x):
        return self.conv(self.pad(x))


MERGED = {
    "zeros": (lambda x: F.pad(x, (1, 2, 0, 1)), {}),
    "crop": (lambda x: F.pad(x, (-1, 2, 0, -1)), {"stride": 2}),
    "circular": (lambda x: F.pad(x, (1, 1, 2, 2), "circular"), {"dilation": 2}),
    "reflect": (lambda x: F.pad(x, (1, 2, 3, 0), "reflect"), {"groups": 1}),
    "replicate": (lambda x: F.pad(x, (1, 2, 3, 0), "replicate"), {"stride": 2}),
    "one axis": (lambda x: F.pad(x, (1, 2)), {}),
}
SEPARATE = {
    "a fill": (lambda x: F.pad(x, (1, 1, 1, 1), value=2.0), {}),
    "a small fill": (lambda x: F.pad(x, (1, 1, 1, 1), value=1e-3), {}),
    "padded twice": (lambda x: F.pad(x, (1, 1, 1, 1), "circular"), {"padding": 1}),
    "new channels": (lambda x: F.pad(x[:, :1], (0, 0, 0, 0, 0, 1)), {}),
    "both modes": (lambda x: F.pad(x, (1, 1, 0, 0), "reflect") + 0.0, {}),
}


@pytest.mark.parametrize("name", MERGED)
def test_a_pad_before_a_convolution_becomes_its_own(name):
    torch.manual_seed(0)
    module = Padded(Call(MERGED[name][0]), **MERGED[name][1])
    raw = raw_graph(module, 1, 2, 5, 6)
    graph = merge_padding(raw)
    assert len(graph.nodes) == 1
    assert checked_bound(module, graph).value <= bound_of(raw).value * (1 + 1e-9)


@pytest.mark.parametrize("name", SEPARATE)
def test_a_pad_that_is_no_padding_of_the_convolution_stays(name):
    torch.manual_seed(0)
    module = Padded(Call(SEPARATE[name][0]), **SEPARATE[name][1])
    graph = merge_padding(raw_graph(module, 1, 2, 5, 6))
    assert "pad" in op_names(graph)
    checked_bound(module, graph)
    checked_bound(module, simplify(graph))


def test_a_pad_that_something_else_reads_stays():
    torch.manual_seed(0)
    conv = nn.Conv2d(2, 2, 3, padding=1).double()

    def function(x):
        wide = F.pad(x, (1, 1, 1, 1), "circular")
        return conv(wide) + wide

    graph = merge_padding(raw_graph(function, 1, 2, 4, 4))
    assert "pad" in op_names(graph)
    checked_bound(function, simplify(graph))
