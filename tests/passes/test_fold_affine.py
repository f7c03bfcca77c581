"""Diagonal maps: what folds, what must not, and what folding may round."""

from fractions import Fraction

import pytest
import torch
from sample_kind import Call
from small_graph import bound_of, checked_bound, op_names, raw_graph
from torch import nn
from torch.nn import functional as F  # noqa: N812 - torch's own convention

from lipaudit.passes import simplify
from lipaudit.passes.fold_affine import fold_affine


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


LINEAR = (1, 4)
FILLED = [
    lambda x: F.pad(x * 2 + 1, (1, -1), value=5.0),
    lambda x: F.pad(x * 2 + 1, (-1, 1), value=0.0),
    lambda x: F.pad(x * 2 + 1, (-2, 2)),
]


@pytest.mark.parametrize("before", FILLED)
def test_a_pad_that_crops_as_much_as_it_adds_is_no_permutation(before):
    torch.manual_seed(1)
    module = nn.Sequential(Call(before), nn.Linear(4, 3)).double()
    checked_bound(module, simplify(raw_graph(module, *LINEAR)))


FOLDED = {
    "scale, linear": lambda: nn.Sequential(Call(lambda x, c: x * c + c, c=drawn(4)), nn.Linear(4, 3)),
    "linear, scale": lambda: nn.Sequential(nn.Linear(4, 3), Call(lambda x, c: c - x * c, c=drawn(3))),
    "without bias": lambda: nn.Sequential(
        nn.Linear(4, 3, bias=False), Call(lambda x, c: x / c, c=drawn(1, 3))
    ),
    "chain": lambda: nn.Sequential(Call(lambda x: ((x * 2 - 1) / 3 + 4) * -0.1), nn.Linear(4, 3)),
    "past a reshape": lambda: nn.Sequential(
        Call(lambda x: (x - 0.3) / 0.7),
        Call(lambda x: x.reshape(1, 2, 2).permute(0, 2, 1)),
        nn.Flatten(),
        nn.Linear(4, 3),
    ),
    "diagonal past a flip": lambda: nn.Sequential(
        Call(lambda x, c: x * c + 1, c=drawn(4)), Call(lambda x: x.flip(1)), nn.Linear(4, 3)
    ),
}


@pytest.mark.parametrize("name", FOLDED)
def test_diagonal_maps_fold_into_dense_ones(name):
    torch.manual_seed(2)
    module = FOLDED[name]().double()
    raw = raw_graph(module, *LINEAR)
    graph = simplify(raw)
    assert op_names(graph).count("linear") == 1
    assert not any(
        name in op_names(graph) for name in ("affine", "add constant", "mul constant", "div constant")
    )
    bound = checked_bound(module, graph).value
    matrix = torch.autograd.functional.jacobian(module, torch.zeros(1, 4, dtype=torch.float64)).reshape(3, 4)
    assert bound == pytest.approx(float(torch.linalg.matrix_norm(matrix, 2)), rel=1e-8)


CONVS = {
    "plain": lambda: nn.Conv2d(4, 6, 3, padding=1),
    "groups": lambda: nn.Conv2d(4, 6, 3, padding=1, groups=2),
    "no bias": lambda: nn.Conv2d(4, 6, 3, stride=2, bias=False),
    "circular": lambda: nn.Conv2d(4, 6, 3, padding=2, padding_mode="circular"),
    "reflect": lambda: nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect", groups=2),
    "transposed": lambda: nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1),
    "transposed groups": lambda: nn.ConvTranspose2d(4, 6, 3, groups=2, dilation=2),
    "transposed without bias": lambda: nn.ConvTranspose2d(4, 6, 2, stride=2, bias=False, groups=2),
}


@pytest.mark.parametrize("kind", CONVS)
def test_channel_maps_fold_into_convolutions(kind):
    torch.manual_seed(3)
    before, after = nn.BatchNorm2d(4), nn.BatchNorm2d(6)
    for norm in (before, after):
        for value in norm.state_dict().values():
            if value.is_floating_point():
                value.copy_(torch.rand(value.shape) + 0.2)
    module = nn.Sequential(before, CONVS[kind](), after).double().eval()
    raw = raw_graph(module, 1, 4, 5, 4)
    graph = simplify(raw)
    assert len(graph.nodes) == 1
    assert checked_bound(module, graph).value <= bound_of(raw).value * (1 + 1e-9)


@pytest.mark.parametrize(
    "shape", [(1,), (4,), (5, 1), (4, 1, 1), (4, 5, 4), (1, 4, 1, 1), (1, 4, 5, 4), (1, 5, 4)]
)
@pytest.mark.parametrize("order", ["before", "after"])
def test_scales_and_shifts_of_every_shape_keep_the_function(shape, order):
    torch.manual_seed(4)
    diagonal = Call(lambda x, a, b: a * x + b, a=drawn(*shape), b=drawn(*shape, seed=1))
    parts = [diagonal, nn.Conv2d(4, 4, 3, padding=1)]
    module = nn.Sequential(*(parts if order == "before" else parts[::-1])).double()
    raw = raw_graph(module, 1, 4, 5, 4)
    assert checked_bound(module, simplify(raw)).value <= bound_of(raw).value * (1 + 1e-9)


def test_a_shift_under_padding_of_its_own_is_not_moved_into_a_bias_per_channel():
    torch.manual_seed(5)
    module = nn.Sequential(Call(lambda x: x + 10), nn.Conv2d(1, 1, 3, padding=2)).double()
    checked_bound(module, simplify(raw_graph(module, 1, 1, 4, 4)))


def test_broadcasting_is_not_folded_away():
    grow = Call(lambda x, c: x * c, c=drawn(3, 4))
    module = nn.Sequential(grow, nn.Linear(4, 2)).double()
    checked_bound(module, simplify(raw_graph(module, 1, 4)))
    module = nn.Sequential(nn.Linear(4, 1), Call(lambda x, c: x * c, c=drawn(5))).double()
    checked_bound(module, simplify(raw_graph(module, 1, 4)))


def test_what_two_nodes_read_is_not_folded():
    torch.manual_seed(6)
    linear = nn.Linear(4, 4).double()

    def function(x):
        y = 3 * x + 1
        return torch.cat([linear(y), y], 1)

    graph = fold_affine(raw_graph(function, 1, 4))
    assert "mul constant" in op_names(graph)
    checked_bound(function, graph)


def test_the_output_itself_is_not_folded_away():
    def function(x):
        return 2 * x + 1

    checked_bound(function, simplify(raw_graph(function, 1, 4)))


EXTREME = {
    "underflow": ([1e-200, 1e-200, 1e300], 1e-100),
    "underflow twice": ([1e-160, 1e-160, 1e-300, 1e300, 1e300], 1e-20),
    "overflow": ([1e200, 1e200, 1e-300], 1e100),
    "to zero": ([1e-300, 1e-300], 0.0),
    "subnormal": ([1e-310, 1e300], 1e-10 * (1 - 1e-13)),
}


@pytest.mark.parametrize("name", EXTREME)
@pytest.mark.parametrize("layer", [None, 0, -1])
def test_products_of_extreme_factors_stay_bounds(name, layer):
    factors, true = EXTREME[name]
    parts = [Call(lambda x, c: x * c, c=torch.tensor(c, dtype=torch.float64)) for c in factors]
    if layer is not None:
        eye = nn.Linear(2, 2).double()
        eye.weight.data.copy_(torch.eye(2))
        eye.bias.data.fill_(0.0)
        parts.insert(len(parts) if layer == -1 else 1, eye)
    graph = simplify(raw_graph(nn.Sequential(*parts), 1, 2))
    bound = bound_of(graph).value
    if true:
        # Running products that underflow are rounded up to the smallest number: loose, and true.
        assert true <= bound


def test_a_long_chain_of_constants_is_no_recursion():
    def function(x):
        for _ in range(1010):
            x = x + 1.0
        return x

    graph = simplify(raw_graph(function, 1, 2))
    assert bound_of(graph).value == pytest.approx(1, rel=1e-9)


def test_adding_a_constant_is_an_isometry_to_the_last_bit():
    assert bound_of(simplify(raw_graph(lambda x: x + 0.1, 1, 3))).value == 1.0


@pytest.mark.parametrize("reader", ["output", "branch"])
def test_a_diagonal_map_that_two_read_does_not_trade_places_with_a_move(reader):
    torch.manual_seed(7)
    linear = nn.Linear(4, 4).double()
    scale, shift = drawn(4), drawn(4, seed=1)

    def function(x):
        y = torch.add(shift, x * scale, alpha=3)
        z = linear(y.flip(1))
        return z + y if reader == "branch" else torch.cat([y, z], 1)

    graph = simplify(raw_graph(function, 1, 4))
    checked_bound(function, graph)


@pytest.mark.parametrize("order", ["before", "behind"])
@pytest.mark.parametrize(("kind", "shape"), [(nn.Linear, (1, 4)), (nn.Conv2d, (1, 4, 5, 5))])
def test_products_of_float32_numbers_are_exact(kind, shape, order):
    """24 bits times 24 bits are 48, and the fold says that it rounded nothing."""
    weight = drawn(3, 4, *[3] * (len(shape) - 2), seed=1).float().double()
    factors = drawn(4 if order == "before" else 3, *[1] * (len(shape) - 2), seed=2).float().double()
    call = F.linear if kind is nn.Linear else F.conv2d

    def ulps_of(a):
        module = Call(
            (lambda x, a, w: call(a * x, w)) if order == "before" else (lambda x, a, w: a * call(x, w)),
            a=a,
            w=weight,
        )
        (node,) = simplify(raw_graph(module, *shape))
        return node.op.ulps, (node.op.weight if kind is nn.Linear else node.op.map.weight)

    ulps, folded = ulps_of(factors)
    assert ulps == 0
    row = factors.flatten() if order == "before" else factors.flatten()[:, None]
    row = row.reshape(*row.shape, *[1] * (len(shape) - 2))
    pairs = zip(
        folded.flatten().tolist(),
        weight.flatten().tolist(),
        row.expand_as(weight).flatten().tolist(),
        strict=True,
    )
    assert all(Fraction(product) == Fraction(w) * Fraction(a) for product, w, a in pairs)
    assert ulps_of(factors * (1 + 2.0**-40))[0] > 0
