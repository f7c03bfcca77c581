"""The normal form of a region is the region: its maps, written out as matrices, give the same differences."""

import pytest
import torch
from random_blocks import Block, dense_of
from small_graph import raw_graph

from lipaudit.blocks.region import region
from lipaudit.blocks.wiring import wiring
from lipaudit.graph.graph import INPUT
from lipaudit.passes import simplify


def wired(module, *, simple=True):
    graph = raw_graph(module, *module.shape)
    graph = simplify(graph) if simple else graph
    return graph, wiring(graph, region(graph, INPUT, graph.output, 100))


@pytest.mark.parametrize("simple", [True, False], ids=["simplified", "as exported"])
@pytest.mark.parametrize("seed", range(60))
def test_matrices_and_activations_give_the_regions_differences(seed, simple):
    module = Block(seed)
    graph, wires = wired(module, simple=simple)
    if module.circular and not simple:
        assert wires is None  # the pad stands by itself
        return
    assert wires is not None
    matrices = dense_of(wires)
    generator = torch.Generator().manual_seed(seed)
    x, y = torch.randn(2, *graph.input_shape, generator=generator, dtype=torch.float64)
    before, after = graph.values(x), graph.values(y)
    atoms = [(y - x).flatten()]
    for i, hidden in enumerate(wires.hidden):
        pre = sum(m @ atoms[a] for (to, a), m in matrices.items() if to == i)
        if hidden.linear:
            atoms.append(pre)
            continue
        atoms.append((after[hidden.name] - before[hidden.name]).flatten())
        # Slopes in [0, 1] between the pre-activations that the form claims.
        assert bool((pre * atoms[-1] >= -1e-9).all())
        assert bool((atoms[-1].abs() <= pre.abs() * (1 + 1e-9) + 1e-12).all())
    end = sum(m @ atoms[a] for (to, a), m in matrices.items() if to == len(wires.hidden))
    torch.testing.assert_close(end, (after[graph.output] - before[graph.output]).flatten())


@pytest.mark.parametrize(
    "phi", [torch.nn.GELU(), torch.nn.SiLU(), torch.nn.Hardswish(), torch.nn.ELU(2.0), torch.nn.Softmax(1)]
)
def test_other_activations_have_no_place_in_it(phi):
    module = Block(1)
    module.phi = phi
    assert wired(module)[1] is None


def test_reflecting_and_mixed_regions_have_no_normal_form():
    module = torch.nn.Sequential(torch.nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect"), torch.nn.ReLU())
    module.shape = (1, 2, 5, 5)
    assert wired(module)[1] is None
    module = torch.nn.Sequential(torch.nn.Conv2d(2, 2, 3), torch.nn.Flatten(), torch.nn.Linear(18, 3))
    module.shape = (1, 2, 5, 5)
    assert wired(module)[1] is None


class Faded(torch.nn.Module):
    """x + f(x), the skip by way of factors that leave float64 and come back; each is read twice."""

    shape = (1, 4)

    def __init__(self, power, count):
        super().__init__()
        self.inner, self.outer = torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)
        self.factor, self.count = 2.0**power, count

    def forward(self, x):
        y, t = self.outer(self.inner(x).relu()), x
        for factor in (self.factor, 1 / self.factor):
            for _ in range(self.count):
                t = t * factor
                y = y + 0.0 * t
        return y + t


@pytest.mark.parametrize(("power", "count"), [(-90, 12), (-300, 4), (90, 12), (-150, 2), (-150, 3)])
def test_factors_that_underflow_on_the_way_have_no_normal_form(power, count):
    assert (wired(Faded(power, count), simple=False)[1] is None) == (abs(power) * count > 300)


@pytest.mark.parametrize("size", [2.0**-1040, 2.0**-800, 2.0**800])
def test_weights_beyond_any_scale_are_not_tame(size):
    """A tiny weight between large factors is an ordinary number in the end, but lost bits on the way."""
    inner = torch.nn.Linear(3, 4).double()
    inner.weight.data *= size
    module = torch.nn.Sequential(inner, torch.nn.ReLU(), torch.nn.Linear(4, 3))
    module.shape = (1, 3)
    wires = wired(module)[1]
    assert not wires.hidden[0].pre.terms[0].is_tame
