"""Linear pieces on the two sides of a line: Householder activations, sorting by `where`, and near misses."""

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from jacobian import outputs, probes
from lipschitz_convs import Householder
from sample_kind import Call
from small_graph import bound_of, checked_bound, lifted, op_names, raw_graph
from torch import nn

from lipaudit.analyze import analyze
from lipaudit.certify.attack import Ascent, ascend
from lipaudit.certify.forward_error import with_error
from lipaudit.passes import simplify
from lipaudit.passes.half_planes import LARGEST_JUMP, _constants

SHAPE = (1, 4, 2, 2)
THETA = torch.tensor([1.2, 2.9], dtype=torch.float32)[:, None, None]


def parts_of(x, off=0.0):
    """The two halves, the side they lie on, and their reflection, with sines in float32."""
    a, b = x.chunk(2, 1)
    s, c = torch.sin(THETA).to(x), torch.cos(THETA).to(x)
    half_s, half_c = torch.sin(THETA / 2 + off).to(x), torch.cos(THETA / 2 + off).to(x)
    return a, b, half_s * a - half_c * b, c * a + s * b, s * a - c * b


def masked(x):
    a, b, side, c, d = parts_of(x)
    return torch.cat([a * (side <= 0) + c * (side > 0), b * (side <= 0) + d * (side > 0)], 1)


def by_where(x):
    a, b, side, c, d = parts_of(x)
    return torch.cat([torch.where(side <= 0, a, c), torch.where(side <= 0, b, d)], 1)


def turned(x):
    a, b, side, c, d = parts_of(x)
    return torch.cat([torch.where(-side < 0, c, a), torch.where(side > 0, d, b)], 1)


def negated(x):
    a, b, side, c, d = parts_of(x)
    keep = ~(side > 0)
    return torch.stack([torch.where(keep, b, d), torch.where(keep, a, c)], 2).flatten(1, 2)


def complemented(x):
    a, b, side, c, d = parts_of(x)
    up = (side > 0).to(x.dtype)
    return torch.cat([a * (1 - up) + c * up, b * (1 - up) + d * up], 1)


def neighbours(x):
    y = x.reshape(1, 2, 2, 2, 2).transpose(1, 2).reshape(x.shape)
    return by_where(y).reshape(1, 2, 2, 2, 2).transpose(1, 2)


HOUSEHOLDER = {f.__name__: f for f in (masked, by_where, turned, negated, complemented, neighbours)}


def halves(function):
    return lambda x: torch.cat(function(*x.chunk(2, 1)), 1)


def sorted_by(greater):
    return halves(lambda a, b: [torch.where(greater(a, b), a, b), torch.where(greater(a, b), b, a)])


SORTED = {
    "a > b": sorted_by(torch.gt),
    "a ≤ b": sorted_by(torch.le),
    "a − b ≥ 0": sorted_by(lambda a, b: a - b >= 0),
    "b < a and a < b": halves(lambda a, b: [torch.where(b < a, a, b), torch.where(a < b, a, b)]),
    "by products": halves(lambda a, b: [a * (a >= b) + b * (a < b), a * (a < b) + b * (a >= b)]),
}


@pytest.mark.parametrize("name", HOUSEHOLDER)
def test_householder_activations_are_isometries_up_to_their_constants(name):
    function = HOUSEHOLDER[name]
    graph = simplify(raw_graph(function, *SHAPE))
    assert "half_planes" in op_names(graph)
    assert 1 <= checked_bound(function, graph).value <= 1 + 2e-7
    assert any("continuous" in note for note in graph.notes)


@pytest.mark.parametrize("name", SORTED)
def test_sorting_by_where_is_exact_and_needs_no_note(name):
    graph = simplify(raw_graph(SORTED[name], *SHAPE))
    assert "half_planes" in op_names(graph)
    assert checked_bound(SORTED[name], graph).value == 1
    assert not graph.notes


def on_the_line(count=40, size=1.0):
    """Pairs of points a hair apart, on the two sides of the line of the first half-angle."""
    generator = torch.Generator().manual_seed(0)
    s, c = torch.sin(THETA / 2).double(), torch.cos(THETA / 2).double()
    along = size * torch.randn(count, 1, 2, 2, dtype=torch.float64, generator=generator)
    here = torch.cat([along * c, along * s], 1)
    step = 1e-15 * size * torch.cat([s, -c]) * torch.ones(1, 4, 2, 2)
    return here - step, here + step


@pytest.mark.parametrize("size", [1e-30, 1.0, 1e30])
def test_the_jump_is_there_and_the_forward_error_covers_it(size):
    graph = simplify(raw_graph(by_where, *SHAPE))
    low, high = on_the_line(size=size)
    rise = (outputs(Call(by_where), low) - outputs(Call(by_where), high)).norm(dim=1)
    run = (low - high).flatten(1).norm(dim=1)
    bound = bound_of(graph).value
    assert float((rise / run).max()) > 1e3
    errors = lifted(graph)(low)[1] + lifted(graph)(high)[1]
    assert bool((rise <= bound * run + errors).all())
    assert bool((errors <= 1e-6 * (low.flatten(1).norm(dim=1) + high.flatten(1).norm(dim=1))).all())


def test_no_ascent_climbs_above_the_bound():
    graph = simplify(raw_graph(nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), Householder(0, 4)), *SHAPE))
    layers = analyze(graph)
    found = ascend(with_error(graph, layers), probes(SHAPE)[:6], Ascent(3, 20))
    assert 0.5 * bound_of(graph).value < found.value <= bound_of(graph).value


def keeping(side, a, b, c, d):
    return torch.cat([torch.where(side, a, c), torch.where(side, b, d)], 1)


def near(change, **options):
    """A Householder activation with one thing changed, as a function of x."""
    return lambda x: change(*parts_of(x, **options))


NOTHING = torch.zeros(2, 2, 2, dtype=torch.float64)
JUMPS = {
    "another angle": near(lambda a, b, s, c, d: keeping(s <= 0, a, b, c, d), off=1e-3),
    "the other sign": near(lambda a, b, s, c, d: keeping(s <= 0, a, b, -c, -d)),
    "one piece doubled": near(lambda a, b, s, c, d: keeping(s <= 0, 2 * a, 2 * b, c, d)),
}
BROKEN = {
    "zero on the line": near(
        lambda a, b, s, c, d: torch.cat([a * (s < 0) + c * (s > 0), b * (s < 0) + d * (s > 0)], 1)
    ),
    "both on the line": near(
        lambda a, b, s, c, d: torch.cat([a * (s <= 0) + c * (s >= 0), b * (s <= 0) + d * (s >= 0)], 1)
    ),
    "a sum for a side": near(lambda a, b, s, c, d: keeping(s + 1e-3 * a <= 0, a, b, c, d)),
    "a shifted line": near(lambda a, b, s, c, d: keeping(s <= 0.5, a, b, c, d)),
    "an offset": near(lambda a, b, s, c, d: keeping(s <= 0, a, b, c + 1, d)),
    "a constant piece": near(lambda a, b, s, c, d: keeping(s <= 0, a, b, 0 * c + NOTHING, d)),
    "a constant": near(lambda a, b, s, _, d: keeping(s <= 0, a, b, NOTHING, d)),
    "two lines": near(
        lambda a, b, s, c, d: torch.cat([torch.where(s <= 0, a, c), torch.where(a <= b, b, d)], 1)
    ),
    "pieces of other pairs": near(lambda a, b, s, c, d: keeping(s <= 0, a, b.flip(1), c, d)),
    "the side of another pair": near(lambda a, b, s, c, d: keeping(s.flip(1) <= 0, a, b, c, d)),
    "a side that is no line": near(lambda a, b, s, c, d: keeping(torch.tanh(s) * s <= 0, a, b, c, d)),
    "equality": near(lambda a, b, s, c, d: keeping(s == 0, a, b, c, d)),
    "a count": near(lambda a, b, s, c, d: keeping(s <= 0, a, b, c + (s > 0), d)),
    "parts of a pair twice": near(
        lambda a, b, s, c, d: torch.cat([keeping(s <= 0, a, b, c, d), torch.where(s <= 0, a, c)], 1)
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_not_of_this_form_is_refused(name):
    assert bound_of(simplify(raw_graph(BROKEN[name], *SHAPE))).value == math.inf


@pytest.mark.parametrize("name", JUMPS)
def test_a_jump_is_refused_with_this_reason(name):
    graph = simplify(raw_graph(JUMPS[name], *SHAPE))
    assert bound_of(graph).value == math.inf
    assert "jump" in bound_of(graph).note
    points = probes(SHAPE)
    torch.testing.assert_close(graph.run(points).flatten(1), outputs(Call(JUMPS[name]), points))


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_the_largest_jump_divides_what_is_taken(factor):
    # b is changed by ε·b where a > 0: D = [[0, 0], [0, ε]], of which nothing vanishes on the line a = 0.
    eps = factor * LARGEST_JUMP

    def function(x):
        a, b = x.chunk(2, 1)
        side = a + 0 * b
        return torch.cat([a, torch.where(side > 0, b * (1 + eps), b)], 1)

    def both(x):
        a, b = x.chunk(2, 1)
        side = a + 0 * b
        return torch.cat([torch.where(side > 0, a, a), torch.where(side > 0, b * (1 + eps), b)], 1)

    assert bound_of(simplify(raw_graph(function, 1, 4))).value == math.inf
    assert math.isfinite(bound_of(simplify(raw_graph(both, 1, 4))).value) == (factor < 1)


def pairs(t, below, above):
    """One pair (a, b) per row of t: `below` or `above` times it."""

    def function(x):
        a, b = x.chunk(2, 1)
        low, high = ([m[:, i, 0] * a + m[:, i, 1] * b for i in range(2)] for m in (below, above))
        up = t[:, 0] * a + t[:, 1] * b > 0
        return torch.cat([torch.where(up, high[i], low[i]) for i in range(2)], 1)

    return function


@pytest.mark.parametrize("seed", range(8))
def test_continuous_pairs_have_the_larger_norm_of_their_pieces(seed):
    generator = torch.Generator().manual_seed(seed)

    def whole(*shape):
        return torch.randint(-4, 5, shape, generator=generator).double()

    t, below, w = whole(3, 2), whole(3, 2, 2), whole(3, 2)
    t[t.eq(0).all(1)] = 1.0
    above = below + w[:, :, None] * t[:, None, :]
    graph = simplify(raw_graph(pairs(t, below, above), 1, 6))
    expected = max(float(torch.linalg.matrix_norm(m, ord=2)) for m in (*below, *above))
    assert op_names(graph) == ["half_planes"]
    assert checked_bound(pairs(t, below, above), graph).value == pytest.approx(expected, rel=1e-14)
    assert not graph.notes


NUMBER = st.floats(-2, 2, allow_subnormal=False)


@given(st.lists(NUMBER, min_size=10, max_size=10), st.integers(0, 2**31))
def test_the_function_is_continuous_up_to_the_jump(entries, seed):
    # The same formulas in float64, by other code: pairs of points, many of them near the line.
    assume(entries[0] ** 2 + entries[1] ** 2 > 1e-6)
    constant, jump, _ = _constants(*map(Fraction, entries))
    numbers = torch.tensor(entries, dtype=torch.float64)
    t, a, b = numbers[:2], numbers[2:6].reshape(2, 2), numbers[6:].reshape(2, 2)
    points = torch.randn(40, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    along = torch.stack([-t[1], t[0]])
    points = torch.cat([points, along * points[:20, :1] + 1e-7 * points[20:]])
    values = torch.where((points @ t > 0)[:, None], points @ b.T, points @ a.T)
    rise, run = ((v[:, None] - v).norm(dim=2) for v in (values, points))
    sizes = points.norm(dim=1)
    allowed = constant * run + jump * (sizes[:, None] + sizes)
    assert bool((rise <= allowed * (1 + 1e-12) + 1e-12).all())
    # … and neither number could be much smaller.
    rank_one = torch.outer((b - a) @ t, t) / (t @ t)
    assert jump == pytest.approx(float((b - a - rank_one).norm()), rel=1e-9, abs=1e-12)
    norms = [float(torch.linalg.matrix_norm(m, ord=2)) for m in (a, a + rank_one, b, b - rank_one)]
    assert constant == pytest.approx(min(max(norms[:2]), max(norms[2:])), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("scale", [1e-40, 1e40])
def test_factors_that_may_under_or_overflow_are_not_read(scale):
    def function(x):
        a, b = x.chunk(2, 1)
        side = scale * a - scale * b
        return torch.cat([torch.where(side > 0, a, b), torch.where(side > 0, b, a)], 1)

    assert bound_of(simplify(raw_graph(function, 1, 4))).value == math.inf
