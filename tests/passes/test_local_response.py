"""Local response normalisation: recognised, bounded above every Jacobian, and nothing else taken for it."""

import math

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from sample_kind import Call

from lipaudit.analyze import analyze
from lipaudit.compose import compose
from lipaudit.load.export import export_module
from lipaudit.load.translate import translate
from lipaudit.passes import simplify
from lipaudit.passes.local_response import LocalResponse

SHAPES = {"map": (1, 7, 3, 2), "line": (1, 5, 4), "box": (1, 4, 2, 3, 2)}


def graph_of(function, shape):
    module = function if isinstance(function, torch.nn.Module) else Call(function)
    return simplify(translate(export_module(module, torch.zeros(shape, dtype=torch.float64), "m")))


def recognised(graph):
    return [node.op for node in graph if isinstance(node.op, LocalResponse)]


def norm_at(function, x):
    matrix = torch.autograd.functional.jacobian(function, x).reshape(x.numel(), x.numel())
    return float(torch.linalg.matrix_norm(matrix, ord=2))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", [1, 3, 9])
@pytest.mark.parametrize(("alpha", "beta", "k"), [(3.0, 0.75, 2.0), (50.0, 0.1, 1e-3)])
def test_no_jacobian_exceeds_the_bound(shape, size, alpha, beta, k):
    check_jacobians(shape, size, alpha, beta, k)


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", [1, 2, 3, 5, 9])
@pytest.mark.parametrize(
    ("alpha", "beta", "k"), [(1e-4, 0.75, 1.0), (3.0, 0.75, 2.0), (1.0, 2.5, 0.3), (50.0, 0.1, 1e-3)]
)
def test_no_jacobian_of_any_shape_exceeds_the_bound(shape, size, alpha, beta, k):
    check_jacobians(shape, size, alpha, beta, k)


def check_jacobians(shape, size, alpha, beta, k):
    """Jacobians' norms at points of every size, against the closed form."""
    module = torch.nn.LocalResponseNorm(size, alpha, beta, k)
    graph = graph_of(module, SHAPES[shape])
    (op,) = recognised(graph)
    assert op.windows == min(size, SHAPES[shape][1])
    wanted = k**-beta * (1 + 2 * math.sqrt(op.windows) * (beta / (beta + 1)) ** (beta + 1))
    assert op.slope == pytest.approx(wanted, rel=1e-9)
    assert op.slope >= wanted * (1 - 1e-15)
    generator = torch.Generator().manual_seed(size)
    best = 0.0
    for scale in (0.0, 0.1, 1.0, 10.0):
        x = (
            scale
            * math.sqrt(k / alpha)
            * torch.randn(SHAPES[shape], generator=generator, dtype=torch.float64)
        )
        best = max(best, norm_at(module, x))
    assert k**-beta * (1 - 1e-9) <= best <= op.slope


def test_ascent_finds_nothing_above():
    module = torch.nn.LocalResponseNorm(3, 1.0, 0.75, 1.0)
    (op,) = recognised(graph_of(module, (1, 3, 1, 1)))
    x = torch.randn(3, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    optimizer = torch.optim.Adam([x], lr=0.05)
    for _ in range(150):
        matrix = torch.autograd.functional.jacobian(
            lambda z: module(z.reshape(1, 3, 1, 1)).flatten(), x, create_graph=True
        )
        norm = torch.linalg.matrix_norm(matrix, ord=2)
        assert float(norm.detach()) <= op.slope
        optimizer.zero_grad()
        (-norm).backward()
        optimizer.step()


def test_outputs_stay_and_the_network_is_bounded():
    module = torch.nn.Sequential(
        torch.nn.Conv2d(3, 6, 3), torch.nn.LocalResponseNorm(4), torch.nn.ReLU()
    ).double()
    graph = graph_of(module, (1, 3, 6, 6))
    x = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    torch.testing.assert_close(graph.run(x).reshape(2, -1), module(x).flatten(1), rtol=1e-12, atol=1e-12)
    assert math.isfinite(compose(graph, analyze(graph)).total.value)


def by_hand(*, windows=3, alpha=1.0, k=1.0, beta=0.75, other=None, lead=1, spatial=1):
    """The same steps, each of which a case may bend."""

    def run(x):
        squares = (x * (x if other is None else other(x))).unsqueeze(1)
        padded = F.pad(squares, (0, 0, 0, 0, lead, windows - 1 - lead))
        pooled = F.avg_pool3d(padded, (windows, spatial, 1), stride=1).squeeze(1)
        return x / (pooled * alpha + k).pow(beta)

    return run


def test_written_by_hand_it_is_the_same():
    assert recognised(graph_of(by_hand(), (1, 5, 2, 2)))


def across(turn, back):
    """Windows over another axis, or over channels in another order."""
    return lambda x: x / (back(F.avg_pool2d(turn(x * x), (3, 1), 1, (1, 0))) + 1).pow(0.75)


@pytest.mark.parametrize(
    "bent",
    [
        by_hand(alpha=-0.01),
        by_hand(k=0.0),
        by_hand(k=-1.0),
        by_hand(beta=-0.75),
        by_hand(other=torch.relu),
        by_hand(other=lambda x: x.flip(1)),
        by_hand(lead=-1, windows=3),
        lambda x: (x + 1) / ((x * x).mean(1, keepdim=True) + 1).pow(0.75),
        lambda x: x / (F.avg_pool2d(x * x, 3, 1, 1) + 1).pow(0.75),
        across(lambda s: s.transpose(1, 2), lambda s: s.transpose(1, 2)),
        across(lambda s: s.roll(2, 1).permute(0, 2, 1, 3), lambda s: s.permute(0, 2, 1, 3)),
        lambda x: x / (1 - F.avg_pool3d((x * x).unsqueeze(1), (3, 1, 1), 1, (1, 0, 0)).squeeze(1)).pow(0.75),
    ],
)
def test_what_is_bent_is_not_taken_for_it(bent):
    assert not recognised(graph_of(bent, (1, 5, 5, 2)))
