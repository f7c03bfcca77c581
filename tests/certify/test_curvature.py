"""Radii of second order: Hessians by autograd, gradients, boundaries by search; what is recognised."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from smooth_nets import Scaled, certified, curved, decided, dense_net, smooth_net
from torch import nn

from lipaudit.analyze import analyze
from lipaudit.certify.curvature import bent_radius, curvature
from lipaudit.certify.radius import certified_radii
from lipaudit.compose import compose


def margin_of(net, y, t):
    """z_y − z_t of one flat input; with one logit it leads or trails 0."""

    def margin(flat, shape):
        z = net(flat.reshape(shape))[0]
        z = torch.cat([torch.zeros_like(z), z]) if len(z) == 1 else z
        return z[y] - z[t]

    return margin


def pairs_of(bent):
    classes = len(bent.table)
    return [(y, t) for y in range(classes) for t in range(classes) if y != t]


@pytest.mark.parametrize("seed", range(10))
def test_no_hessian_reaches_below_what_is_claimed(seed):
    net, shape = smooth_net(seed)
    _, bent = curved(net, shape)
    generator = torch.Generator().manual_seed(seed)
    for y, t in pairs_of(bent)[:4]:
        worst = 0.0
        for size in (0.1, 1.0, 3.0):
            x = size * torch.randn(math.prod(shape), generator=generator, dtype=torch.float64)
            hessian = torch.func.hessian(lambda v, y=y, t=t: margin_of(net, y, t)(v, shape))(x)
            worst = max(worst, -float(torch.linalg.eigvalsh(hessian)[0]))
        assert worst <= bent.table[y, t] * (1 + 1e-9) + 1e-12


@pytest.mark.parametrize("seed", range(10))
def test_gradients_are_as_far_off_as_is_said_at_most(seed):
    net, shape = smooth_net(seed)
    _, bent = curved(net, shape)
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(6, *shape[1:], generator=generator, dtype=torch.float64)
    pairs = torch.tensor((pairs_of(bent) * 6)[:6])
    slopes = bent.slopes(x, pairs)
    for row, (y, t) in enumerate(pairs.tolist()):
        exact = torch.func.grad(lambda v, y=y, t=t: margin_of(net, y, t)(v, shape))(x[row].flatten())
        apart = torch.linalg.vector_norm(exact - slopes.gradient[row].flatten())
        assert apart <= 2 * slopes.off[row]  # autograd rounds, too
        assert slopes.off[row] <= 1e-9 * (1 + torch.linalg.vector_norm(exact))


@pytest.mark.parametrize("seed", [0, 1, 3])
def test_a_float32_gradient_would_not_pass_for_exact(seed):
    net, shape = smooth_net(seed)
    _, bent = curved(net, shape)
    x = torch.randn(4, *shape[1:], generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    slopes = bent.slopes(x, torch.tensor(pairs_of(bent)[:1] * 4))
    single = slopes.gradient.float().double()
    apart = (single - slopes.gradient).flatten(1).norm(dim=1)
    assert (apart > slopes.off).any()


def crossing(net, x, label, start, steps=40):
    """The distance of a rival on the way from x to each start, by bisection; inf where there is none."""
    crosses = decided(net, x + start) != label
    low, high = torch.zeros(len(start), dtype=x.dtype), torch.ones(len(start), dtype=x.dtype)
    column = [-1, *[1] * (x.dim() - 1)]
    for _ in range(steps):
        middle = (low + high) / 2
        other = decided(net, x + middle.reshape(column) * start) != label
        high, low = torch.where(other, middle, high), torch.where(other, low, middle)
    lengths = start.flatten(1).norm(dim=1) * high
    return torch.where(crosses, lengths, math.inf)


def nearest_rival(net, x, label, seed, descent=30):
    """The least distance at which a rival was found: random directions, then descent along the boundary."""
    generator = torch.Generator().manual_seed(seed)
    starts = torch.randn(300, *x.shape[1:], generator=generator, dtype=torch.float64)
    best = crossing(
        net, x, label, 30 * starts / starts.flatten(1).norm(dim=1).reshape(-1, *[1] * (x.dim() - 1))
    )
    distance = float(best.min())
    if not math.isfinite(distance):
        return distance
    delta = starts[best.argmin()][None]
    delta = delta / delta.norm() * distance
    for step in range(descent):
        point = (x + delta).requires_grad_()
        z = net(point)
        z = torch.cat([torch.zeros_like(z), z], dim=1) if z.shape[1] == 1 else z
        rest = z.clone()
        rest[0, label] = -math.inf
        (normal,) = torch.autograd.grad((z[0, label] - rest.max()), point)
        if not normal.norm() > 0:
            break
        aim = -normal / normal.norm() * distance
        share = 0.5 if step % 2 else 0.1
        tried = (delta * (1 - share) + aim * share).detach()
        found = float(crossing(net, x, label, 1.5 * tried).min())
        if found < distance:
            distance = found
            delta = tried / tried.norm() * found
    return distance


@pytest.mark.parametrize(
    "seed", [1, 3, 4, 9, *(pytest.param(k, marks=pytest.mark.slow) for k in range(10, 90))]
)
def test_no_rival_is_found_within_a_radius(seed):
    net, shape = smooth_net(seed)
    x = torch.randn(2, *shape[1:], generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    run = certified(net, x)
    labels = decided(net, x)
    for row in range(len(x)):
        radius = float(run.both.radii.radius[row])
        assert nearest_rival(net, x[row : row + 1], int(labels[row]), seed) >= radius * (1 - 1e-9)
    assert (run.both.radii.radius >= run.plain.radii.radius).all()
    assert (run.patient.radii.radius >= run.both.radii.radius).all()
    assert (run.both.radii.bent == (run.both.radii.radius > run.plain.radii.radius)).all()


def test_where_curvature_is_small_the_dual_finds_the_boundary_itself():
    torch.manual_seed(4)
    net = nn.Sequential(nn.Linear(3, 20), nn.Softplus(), nn.Linear(20, 3)).double()
    x = 0.3 * torch.randn(5, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    run = certified(net, x)
    labels = decided(net, x)
    tight = 0
    for row in range(len(x)):
        found = nearest_rival(net, x[row : row + 1], int(labels[row]), row, 50)
        tight += bool(run.both.radii.radius[row] > 0.99 * found)
    assert tight >= 3


@settings(max_examples=8, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    exponent=st.sampled_from((-150, -40, -3, 0, 2, 30, 140)),
    classes=st.integers(1, 4),
    units=st.integers(1, 6),
)
def test_scales_ties_and_saturation_break_nothing(seed, exponent, classes, units):
    net = dense_net(seed, 3, units, classes)
    scale = 2.0**exponent
    with torch.no_grad():
        net[0].weight.mul_(scale)
        if seed % 5 == 0:
            net[2].weight.zero_()
        if seed % 7 == 0:
            net[0].weight.zero_()
        if seed % 3 == 0 and classes > 1:
            net[2].weight[1] = net[2].weight[0]
            net[2].bias[1] = net[2].bias[0]
    x = torch.randn(3, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    run = certified(net, x)
    radii = run.both.radii
    assert not radii.radius.isnan().any()
    assert (radii.radius >= run.plain.radii.radius).all()
    if seed % 3 == 0 and classes > 1:
        tied = radii.predicted <= 1
        assert (radii.radius[tied] == 0).all()
    labels = decided(net, x)
    for row in range(len(x)):
        reach = min(float(radii.radius[row]), 1e6) * (1 - 1e-9)
        directions = torch.randn(64, 3, generator=torch.Generator().manual_seed(row), dtype=torch.float64)
        directions = directions / directions.norm(dim=1, keepdim=True)
        if reach > 0:
            assert (decided(net, x[row] + reach * directions) == labels[row]).all()


def test_a_longer_search_finds_what_was_told_where_scores_share_a_large_offset():
    net = dense_net(3, 6, 12, 4)
    net[2].bias.add_(1e8)
    x = torch.rand(20, 6, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    run = certified(net, x)
    assert run.both.radii.bent.any()
    assert (run.patient.radii.radius >= run.both.radii.radius).all()


def test_answers_that_are_no_numbers_have_no_radius():
    net = dense_net(0)
    x = torch.randn(3, 5, dtype=torch.float64)
    x[1] = math.inf
    x[2] = math.nan
    run = certified(net, x)
    assert run.both.radii.radius[0] > 0
    assert (run.both.radii.radius[1:] == 0).all()
    assert not run.both.radii.bent[1:].any()


@pytest.mark.parametrize(
    ("slack", "slope", "bend", "radius"),
    [
        (2.0, 0.0, 1.0, 2.0),
        (2.0, 4.0, 0.0, 0.5),
        (1.5, 1.0, 1.0, 1.0),
        (0.0, 1.0, 1.0, 0.0),
        (-1.0, 1.0, 1.0, 0.0),
        (1.0, math.inf, 1.0, 0.0),
        (1.0, 1.0, math.inf, 0.0),
        (math.nan, 1.0, 1.0, 0.0),
        (1e308, 1e-300, 0.0, 0.0),
        (1e-320, 1e-310, 0.0, 0.0),
    ],
)
def test_the_closed_form_errs_downward(slack, slope, bend, radius):
    found = bent_radius(*(torch.tensor([v], dtype=torch.float64) for v in (slack, slope, bend)))
    assert radius * (1 - 1e-13) <= found.item() <= radius or (radius == 0 and found.item() < 1e-150)


def recognised(net, *shape):
    return curved(net.double().eval(), (1, *shape))[1] is not None


def test_what_is_a_network_of_one_hidden_layer():
    linear, conv = nn.Linear, nn.Conv2d
    assert recognised(
        nn.Sequential(Scaled(2, 1, 1), conv(2, 3, 3), nn.SiLU(), nn.Flatten(), linear(12, 2)), 2, 4, 4
    )
    assert recognised(nn.Sequential(linear(3, 4), nn.Tanh(), linear(4, 2), nn.Softmax(1)), 3)
    for other in (
        nn.Sequential(linear(3, 4), nn.ReLU(), linear(4, 2)),
        nn.Sequential(linear(3, 4), linear(4, 2)),
        nn.Sequential(linear(3, 4), nn.Tanh(), linear(4, 4), nn.Tanh(), linear(4, 2)),
        nn.Sequential(linear(3, 4), nn.Tanh(), nn.ReLU(), linear(4, 2)),
        nn.Sequential(linear(3, 4), nn.Softplus(), nn.LayerNorm(4), linear(4, 2)),
    ):
        assert not recognised(other, 3)
    assert not recognised(Residual(), 3)


class Residual(nn.Module):
    """A second way around the activation."""

    def __init__(self):
        super().__init__()
        self.inner, self.outer = nn.Linear(3, 3), nn.Linear(3, 2)

    def forward(self, x):
        return self.outer(x + torch.tanh(self.inner(x)))


def test_units_that_speak_for_the_class_cost_nothing_where_the_activation_is_convex():
    net = nn.Sequential(nn.Linear(2, 3), nn.Softplus(), nn.Linear(3, 2)).double()
    with torch.no_grad():
        net[2].weight.copy_(torch.tensor([[1.0, 2.0, 0.5], [0.0, 0.0, 0.0]]))
    _, bent = curved(net, (1, 2))
    assert bent.table[0, 1] < 1e-10 < bent.table[1, 0]


def test_weights_by_unit_are_never_worse_than_the_largest():
    net = dense_net(0, 6, 30, 4)
    graph, bent = curved(net, (1, 6))
    c = net[2].weight[:, None] - net[2].weight
    plain = (-c).clamp(min=0).amax(2) / 4 * torch.linalg.matrix_norm(net[0].weight, 2) ** 2
    assert (bent.table <= plain * (1 + 1e-6) + 1e-12).all()
    assert (bent.table < 0.95 * plain)[0, 1]
    layers = analyze(graph)
    assert curvature(graph, layers, compose(graph, layers)).largest == bent.largest


def test_radii_without_curvature_are_as_ever():
    logits = torch.tensor([[3.0, 1.0, 0.0]], dtype=torch.float64)
    radii = certified_radii(
        logits, torch.zeros(1, dtype=torch.float64), torch.tensor([0]), torch.full((3, 3), 2.0).double()
    )
    assert not radii.bent.any()
    assert 0.999 < radii.radius.item() <= 1


@pytest.mark.parametrize("seed", [7, 10])
def test_a_longer_search_finds_no_less(seed):
    """Seed 10 makes plain steps swing: the last point of many was worse than the last of few."""
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(2, 5), nn.LogSigmoid(), nn.Linear(5, 3)).double().requires_grad_(False)
    net[0].weight.mul_(1000)
    net[0].bias.mul_(3)
    found = certified(net, torch.randn(12, 2, dtype=torch.float64) * (0.003, 0.009)[seed % 2])
    assert (found.patient.radii.radius >= found.both.radii.radius).all()
