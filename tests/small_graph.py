"""From a module or a function to its layer graph and its bound, for tests."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jacobian import largest_slope, outputs, probes
from sample_kind import Call
from torch import Tensor, nn

from lipaudit.analyze import Plan, analyze
from lipaudit.blocks import find_claims
from lipaudit.bound import Bound
from lipaudit.certify.forward_error import with_error
from lipaudit.compose import NetworkBound, compose
from lipaudit.graph.graph import LayerGraph
from lipaudit.load.export import export_module
from lipaudit.load.translate import translate
from lipaudit.passes import simplify

__all__ = [
    "bound_of",
    "bounded",
    "checked_bound",
    "exported_graph",
    "lifted",
    "op_names",
    "raw_graph",
    "seeded_like",
    "simplified",
]


def raw_graph(module: nn.Module | Callable[..., Tensor], *shape: int, **buffers: Tensor) -> LayerGraph:
    """The graph as translated, in float64; `shape` has its leading 1.

    The program is not decomposed (fifteen times faster; the samples of `ops` are), so no in-place calls here.
    """
    made = (module if isinstance(module, nn.Module) else Call(module, **buffers)).double().eval()
    with torch.no_grad():
        return translate(torch.export.export(made, (torch.zeros(shape, dtype=torch.float64),)))


def exported_graph(module: nn.Module | Callable[..., Tensor], *shape: int, **buffers: Tensor) -> LayerGraph:
    """The graph as the program gets it: exported, decomposed, translated."""
    made = module if isinstance(module, nn.Module) else Call(module, **buffers)
    return translate(export_module(made.double().eval(), torch.zeros(shape, dtype=torch.float64), "test"))


def simplified(module: nn.Module | Callable[..., Tensor], *shape: int, **buffers: Tensor) -> LayerGraph:
    """The graph after all passes."""
    return simplify(raw_graph(module, *shape, **buffers))


def bounded(graph: LayerGraph, profile: str = "balanced") -> NetworkBound:
    """The network's bound with everything that an audit uses, its structure included."""
    plan = Plan(profile=profile)
    layers = analyze(graph, plan)
    return compose(graph, layers, find_claims(graph, layers, plan))


def bound_of(graph: LayerGraph) -> Bound:
    """The network's bound."""
    return bounded(graph).total


def op_names(graph: LayerGraph) -> list[str]:
    """What the graph consists of."""
    return [node.op.name for node in graph]


def lifted(graph: LayerGraph) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """Outputs and error bounds for a batch (n, *shape[1:])."""
    layers = analyze(graph)
    evaluate = with_error(graph, layers, find_claims(graph, layers, Plan()))
    return torch.vmap(lambda x: evaluate(x.unsqueeze(0)))


def seeded_like(graph: LayerGraph, count: int, seed: int = 0, spread: float = 1.0) -> Tensor:
    """Normal inputs for a graph."""
    generator = torch.Generator().manual_seed(seed)
    shape = (count, *graph.input_shape[1:])
    return spread * torch.randn(shape, generator=generator, dtype=torch.float64)


def checked_bound(function: nn.Module | Callable[..., Tensor], graph: LayerGraph, count: int = 2) -> Bound:
    """The bound, after checking that the graph computes the function and that no Jacobian beats it."""
    module = function if isinstance(function, nn.Module) else Call(function)
    points = probes(graph.input_shape, count=count)
    wanted = outputs(module, points)
    found, error = lifted(graph)(points)
    assert bool(((wanted - found).norm(dim=1) <= 2 * error + 1e-12 * (1 + wanted.norm(dim=1))).all())
    bound = bound_of(graph)
    points = points + 1e-9 * torch.arange(points[0].numel()).reshape(points[0].shape)
    assert largest_slope(module, points) * (1 - 1e-7) <= bound.value
    return bound
