"""The matrix inequality: what it proves is true of the finite maps, and multipliers that fail are refused."""

import math
from functools import cache

import pytest
import torch
from random_blocks import Block, dense_of
from small_graph import raw_graph

from lipaudit.blocks.multiplier import search
from lipaudit.blocks.pencil import Pencil, layout
from lipaudit.blocks.region import region
from lipaudit.blocks.wiring import wiring
from lipaudit.graph.graph import INPUT
from lipaudit.passes import simplify

SEEDS = range(40)
SOME = SEEDS[::3]
"""Of all kinds: dense, one and two axes, circular, strided, with and without a skip."""


@cache
def planned(seed):
    module = Block(seed)
    graph = simplify(raw_graph(module, *module.shape))
    wires = wiring(graph, region(graph, INPUT, graph.output, 100))
    return wires, layout(wires)


@cache
def searched(seed):
    """What the search finds for that block; it takes most of these tests' time."""
    return search(planned(seed)[1], 1e9)


def finite_form(wires, multipliers, rho):
    """The quadratic form (1) of the finite maps as a matrix, from matrices written out cell by cell."""
    matrices = dense_of(wires)
    sizes = [math.prod(wires.shape_of(a)) for a in range(len(wires.hidden) + 1)]
    starts = [sum(sizes[:a]) for a in range(len(sizes) + 1)]
    total = torch.zeros(starts[-1], starts[-1], dtype=torch.float64)
    total[: sizes[0], : sizes[0]] = rho * torch.eye(sizes[0], dtype=torch.float64)
    out = torch.zeros(math.prod(wires.output.shape), starts[-1], dtype=torch.float64)
    for (to, atom), matrix in matrices.items():
        columns = slice(starts[atom], starts[atom + 1])
        if to == len(wires.hidden):
            out[:, columns] = matrix
            continue
        rows = slice(starts[to + 1], starts[to + 2])
        weights = multipliers[to].repeat_interleave(sizes[to + 1] // len(multipliers[to]))
        total[rows, columns] -= weights[:, None] * matrix
        total[columns, rows] -= (weights[:, None] * matrix).T
    for unit, multiplier in enumerate(multipliers):
        weights = multiplier.repeat_interleave(sizes[unit + 1] // len(multiplier))
        rows = slice(starts[unit + 1], starts[unit + 2])
        total[rows, rows] += 2 * torch.diag(weights)
    return total - out.T @ out


@pytest.mark.parametrize("seed", SEEDS[::2])
def test_what_is_proved_on_the_grid_holds_for_the_finite_maps(seed):
    wires, plan = planned(seed)
    if plan is None:
        assert wires is not None
        return
    found = searched(seed)
    assert found is not None
    form = finite_form(wires, found.multipliers, found.rho)
    scale = form.diagonal().abs().clamp(min=1e-300).rsqrt()
    values = torch.linalg.eigvalsh(scale[:, None] * form * scale)
    assert float(values.min()) >= -1e-9


def test_most_blocks_fit_one_grid():
    assert sum(planned(seed)[1] is not None for seed in SEEDS) >= 36


@pytest.mark.parametrize("seed", SOME)
def test_nothing_is_proved_below_the_best_rho(seed):
    _, plan = planned(seed)
    if plan is None:
        return
    found = searched(seed)
    for factor in (0.5, 0.9, 0.999, 1 - 1e-5):
        claim = Pencil(plan, found.multipliers, found.rho * factor)
        holds = claim.proved(plan.points)
        S, F = claim.parts(plan.symbols(plan.points))
        least = torch.linalg.eigvalsh(S - F @ F.mH)[:, 0]
        assert not bool((holds & (least < -1e-9)).any())
    far = Pencil(plan, found.multipliers, found.rho * 0.5).proved(plan.points)
    assert not bool(far.all())


def test_the_error_covers_what_float64_loses():
    """Against the same sums in another order, by complex exponentials: either is within the bound."""
    for seed in range(10):
        _, plan = planned(seed)
        if plan is None or not plan.grid:
            continue
        multipliers = [torch.full((h,), 0.7, dtype=torch.float64) for h in channels(plan)]
        pencil = Pencil(plan, multipliers, 3.0)
        S, F = pencil.parts(plan.symbols(plan.points))
        exact_S, exact_F = exact_parts(plan, multipliers, 3.0)
        M, wanted = S - F @ F.mH, exact_S - exact_F @ exact_F.mH
        assert float(torch.linalg.matrix_norm(M - wanted, ord=2).max()) <= 2 * pencil.error()


def channels(plan):
    return [plan.wires.channels(h.pre.shape) for h in plan.wires.hidden]


def exact_parts(plan, multipliers, rho):
    """The same matrices by complex exponentials, tap by tap, scaled by the same powers of two."""
    weights = plan.per_row(multipliers)
    scale = torch.where(plan.is_output, 1.0, torch.exp2(-torch.round(torch.log2(2 * weights) / 2)))
    starts = [sum(plan.sizes[:i]) for i in range(len(plan.sizes) + 1)]
    count = len(plan.points)
    Q = torch.zeros(count, plan.rows, plan.rows, dtype=torch.complex128)
    F = torch.zeros(count, plan.rows, plan.columns, dtype=torch.complex128)
    for to, atom, offset, matrix in plan.blocks:
        rows = slice(starts[to], starts[to + 1])
        parts = torch.tensor(offset, dtype=torch.float64) / torch.tensor(plan.grid, dtype=torch.float64)
        turn = torch.exp(2j * math.pi * (plan.points.double() @ parts))[:, None, None]
        left = torch.where(plan.is_output, -1.0, weights)[rows, None] * scale[rows, None]
        if atom:
            columns = slice(starts[atom - 1], starts[atom])
            Q[:, rows, columns] -= turn * (left * matrix * scale[columns])
        else:
            F[:, rows] -= turn * (left * matrix / math.sqrt(rho))
    diagonal = torch.where(plan.is_output, 1.0, 2 * weights * scale * scale)
    return Q + Q.mH + torch.diag(diagonal), F
