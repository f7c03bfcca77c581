"""Where each pass must fire, and where its premises fail and it must not."""

import math
import random

import pytest
import torch
from jacobian import largest_slope, outputs, probes
from networks import Branch, MaxMin
from sample_kind import Call
from small_graph import bound_of, exported_graph, lifted, op_names, raw_graph, simplified
from torch import nn
from torch.nn import functional as F  # noqa: N812 - torch's own convention

from lipaudit.passes import simplify
from lipaudit.passes.compose_activations import compose_activations
from lipaudit.passes.drop_identities import drop_identities
from lipaudit.passes.fold_affine import fold_affine
from lipaudit.passes.merge_moves import merge_moves
from lipaudit.passes.merge_padding import merge_padding
from lipaudit.passes.peel_softmax import peel_softmax
from lipaudit.passes.sort_pairs import sort_pairs


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def same(function, graph, *, count=2):
    """The graph computes the function, and nothing beats its bound."""
    module = function if isinstance(function, nn.Module) else Call(function)
    points = probes(graph.input_shape, count=count)
    wanted = outputs(module, points)
    found, error = lifted(graph)(points)
    assert bool(((wanted - found).norm(dim=1) <= 2 * error + 1e-12 * (1 + wanted.norm(dim=1))).all())
    bound = bound_of(graph)
    points = points + 1e-9 * torch.arange(points[0].numel()).reshape(points[0].shape)
    assert largest_slope(module, points) * (1 - 1e-7) <= bound.value
    return bound


# --- sort_pairs


def maxmin(a, b, x):
    a, b = a(x), b(x)
    return torch.cat([torch.maximum(a, b), torch.minimum(a, b)], 1)


def swapped(a, b):
    return torch.cat([torch.minimum(a, b), torch.maximum(b, a)], 1)


def stacked(a, b):
    return torch.stack([torch.maximum(a, b), torch.minimum(a, b)], 2).flatten(1)


def extremes(x, **options):
    return torch.cat([x.amax(1, **options), x.amin(1, **options)], 1)


SORTED = {
    "halves": lambda x: maxmin(lambda x: x[:, :3], lambda x: x[:, 3:], x),
    "every other": lambda x: maxmin(lambda x: x[:, ::2], lambda x: x[:, 1::2], x),
    "flipped half": lambda x: maxmin(lambda x: x[:, :3].flip(1), lambda x: x[:, 3:], x),
    "minimum first": lambda x: swapped(*x.chunk(2, 1)),
    "stacked": lambda x: stacked(*x.chunk(2, 1)),
    "view and reduce": lambda x: extremes(x.view(1, 2, 3)),
    "reduce with keepdim": lambda x: extremes(x.view(1, 2, 3), keepdim=True),
    "parts of a larger tensor": lambda x: maxmin(lambda x: x[:, 1:3], lambda x: x[:, 4:], x),
}
TWICE = {
    "slices": lambda x: torch.cat([torch.maximum(x[:, :3], x[:, 3:]), torch.minimum(x[:, :3], x[:, 3:])], 1),
    "views": lambda x: torch.cat([x.view(1, 2, 3).amax(1), x.view(1, 2, 3).amin(1)], 1),
}
UNSORTED = {
    "overlap": (lambda x: maxmin(lambda x: x[:, :4], lambda x: x[:, 2:], x), math.sqrt(2)),
    "overlap by one": (lambda x: maxmin(lambda x: x[:, :3], lambda x: x[:, 2:5], x), None),
    "copies": (lambda x: maxmin(lambda x: x[:, [0, 0]], lambda x: x[:, [1, 2]], x), math.sqrt(2)),
    "one against itself": (lambda x: maxmin(lambda x: x, lambda x: x, x), math.sqrt(2)),
    "broadcast": (lambda x: maxmin(lambda x: x[:, :1], lambda x: x[:, 1:], x), None),
    "two maxima": (
        lambda x: torch.cat([torch.maximum(x[:, :3], x[:, 3:]), torch.maximum(x[:, :3], x[:, 3:])], 1),
        math.sqrt(2),
    ),
    "other pairs": (
        lambda x: torch.cat(
            [torch.maximum(x[:, :3], x[:, 3:]), torch.minimum(x[:, :3], x[:, 3:].flip(1))], 1
        ),
        None,
    ),
    "scaled half": (lambda x: maxmin(lambda x: x[:, :3], lambda x: 3 * x[:, 3:], x), 3.0),
    "group of one": (lambda x: torch.cat([x[:, :, None].amax(2), x[:, :, None].amin(2)], 1), math.sqrt(2)),
    "other axes": (
        lambda x: torch.cat([x.view(1, 2, 3).amax(1), x.view(1, 2, 3).amin(2)], 1),
        None,
    ),
    "three parts": (
        lambda x: torch.cat(
            [torch.maximum(x[:, :3], x[:, 3:]), torch.minimum(x[:, :3], x[:, 3:]), x[:, :3]], 1
        ),
        None,
    ),
}


@pytest.mark.parametrize("name", SORTED)
def test_max_min_of_disjoint_cells_has_gain_one(name):
    graph = simplify(raw_graph(SORTED[name], 1, 6))
    assert "max_min" in op_names(graph)
    assert same(SORTED[name], graph).value == 1


@pytest.mark.parametrize("name", TWICE)
def test_slices_spelled_twice_are_one(name):
    assert same(TWICE[name], simplify(raw_graph(TWICE[name], 1, 6))).value == 1


DIFFERENT = {
    "fills": lambda x: torch.cat([F.pad(x, (1, 0), value=1.0), F.pad(x, (1, 0), value=2.0)], 1),
    "orders": lambda x: torch.cat([x[:, [0, 1, 2]], x[:, [0, 2, 1]]], 1),
    "sources": lambda x: torch.cat([x[:, :3], torch.tanh(x)[:, :3]], 1),
    "shapes": lambda x: torch.cat([x.view(1, 2, 3).sum(1), x.view(1, 3, 2).sum(2)], 1),
    "one shape, other axes": lambda x: torch.cat([x.view(1, 6).t().flatten()[:3], x[0, 3:]])[None],
    "chains": lambda x: torch.cat([x[:, 1:][:, 1:], x[:, 1:][:, :4], x[:, 1:][:, 1:]], 1),
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_moves_that_differ_stay_apart(name):
    raw = raw_graph(DIFFERENT[name], 1, 6)
    points = probes((1, 6), count=2)
    assert torch.equal(merge_moves(raw).run(points), raw.run(points))
    same(DIFFERENT[name], simplify(raw))


@pytest.mark.parametrize("name", UNSORTED)
def test_max_min_without_the_premises_is_no_permutation(name):
    function, least = UNSORTED[name]
    raw = raw_graph(function, 1, 6)
    graph = sort_pairs(raw)
    assert "max_min" not in op_names(graph)
    bound = same(function, simplify(raw))
    assert least is None or bound.value >= least * (1 - 1e-15)


def test_overlapping_pairs_really_exceed_one():
    function, _ = UNSORTED["overlap"]
    assert largest_slope(Call(function), torch.tensor([[0.0, 1.0, 5.0, 5.1, -3.0, -3.1]])) > 1.4


def test_a_maximum_that_is_read_twice_keeps_its_other_reader():
    def function(x):
        top = torch.maximum(x[:, :3], x[:, 3:])
        return torch.cat([torch.cat([top, torch.minimum(x[:, :3], x[:, 3:])], 1), top], 1)

    graph = simplify(raw_graph(function, 1, 6))
    assert same(function, graph).value >= math.sqrt(2)


# --- peel_softmax

PEELED = {
    "softmax": lambda x: x.softmax(1),
    "log_softmax": lambda x: x.log_softmax(-1),
    "sigmoid": torch.sigmoid,
    "softmax, then a view": lambda x: x.softmax(1).reshape(1, 2, 2),
}
KEPT = {
    "one entry": (lambda x: x[:, :1].softmax(1), (1, 4)),
    "each row": (lambda x: x.view(1, 2, 2).softmax(2), (1, 4)),
    "over the batch": (lambda x: x.softmax(0), (1, 4)),
    "scaled after": (lambda x: -x.softmax(1), (1, 4)),
    "permuted after": (lambda x: x.softmax(1).flip(1), (1, 4)),
    "sliced after": (lambda x: x.softmax(1)[:, 1:], (1, 4)),
    "logsumexp": (lambda x: x.logsumexp(1, keepdim=True), (1, 4)),
    "tanh": (torch.tanh, (1, 4)),
    "negated sigmoid": (lambda x: 1 - torch.sigmoid(x), (1, 4)),
}


@pytest.mark.parametrize("name", PEELED)
def test_a_last_softmax_is_peeled_and_the_order_stays(name):
    raw = raw_graph(PEELED[name], 1, 4)
    graph = peel_softmax(raw)
    assert bound_of(graph).value == 1
    assert len(graph.notes) == 1
    points = probes((1, 4), count=20)
    kept, peeled = raw.run(points).flatten(1), graph.run(points).flatten(1)
    assert torch.equal(kept.argmax(1), peeled.argmax(1))


@pytest.mark.parametrize("name", KEPT)
def test_other_heads_stay(name):
    function, shape = KEPT[name]
    graph = peel_softmax(raw_graph(function, *shape))
    assert not graph.notes
    same(function, graph)


# --- compose_activations

WHOLE = {
    "silu": (lambda x: x * torch.sigmoid(x), 1.0998393201288669),
    "silu other order": (lambda x: torch.sigmoid(x) * x, 1.0998393201288669),
    "swish": (lambda x: x * torch.sigmoid(2.5 * x), 1.0998393201288669),
    "mish": (lambda x: x * torch.tanh(F.softplus(x)), 1.0884981612517279),
    "tanhshrink": (lambda x: x - torch.tanh(x), 1.0),
    "softsign": (lambda x: x / (1 + x.abs()), 1.0),
    "hardswish": (lambda x: x * F.hardsigmoid(x), 1.5),
    "hardswish in pieces": (lambda x: x * F.relu6(x + 3) / 6, 1.5),
    "hardswish clamped": (lambda x: x * (x + 3).clamp(0, 6) / 6, 1.5),
    "gelu": (lambda x: 0.5 * x * (1 + torch.erf(x / math.sqrt(2))), 1.128904145185155),
    "gelu other order": (lambda x: x * (0.5 + 0.5 * torch.erf(x * 0.7)), 1.128904145185155),
    "gelu of another width": (lambda x: (1 + torch.erf(x * 0.7)) * (0.5 * x), 1.128904145185155),
}
PIECES = {
    "mish of another beta": lambda x: x * torch.tanh(F.softplus(x, beta=5)),
    "mish of another threshold": lambda x: x * torch.tanh(F.softplus(x, threshold=25)),
    "product of two": lambda x: x[:, :2] * torch.sigmoid(x[:, 2:]),
    "negative beta": lambda x: x * torch.sigmoid(-2 * x),
    "shifted sigmoid": lambda x: x * torch.sigmoid(x + 1),
    "beta per entry": lambda x: (
        x * torch.sigmoid(x * torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64))
    ),
    "sum of x and tanh": lambda x: x + torch.tanh(x),
    "twice tanh": lambda x: x - 2 * torch.tanh(x),
    "tanh of another": lambda x: x - torch.tanh(2 * x),
    "softsign with another offset": lambda x: x / (0.01 + x.abs()),
    "softsign with a negative offset": lambda x: x / (x.abs() - 1),
    "softsign of another": lambda x: x / (1 + x.flip(1).abs()),
    "hard swish, no clamp at six": lambda x: x * (x + 3).clamp(0, 60) / 6,
    "hard swish, other offset": lambda x: x * F.relu6(x + 30) / 6,
    "relu squared": lambda x: torch.relu(x) * x,
    "tanh gate": lambda x: x * torch.tanh(x),
    "gelu, wrong offset": lambda x: 0.5 * x * (5 + torch.erf(x)),
    "gelu, negative scale": lambda x: 0.5 * x * (1 + torch.erf(-x)),
    "elu gate": lambda x: x * torch.sigmoid(F.elu(x, 3.0)),
    "leaky gate": lambda x: x * torch.tanh(F.leaky_relu(x, 2.0)),
    "softshrink that jumps": lambda x: torch.where(x.abs() > 0.5, x - 0.2 * torch.sign(x), x * 0),
    "broadcast product": lambda x: (x[:, :, None] * torch.sigmoid(x)[:, None, :]).flatten(1)[:, :4],
}


@pytest.mark.parametrize("name", WHOLE)
def test_activations_in_pieces_are_recognised(name):
    function, slope = WHOLE[name]
    graph = simplify(raw_graph(function, 1, 4))
    assert len(graph.nodes) == 1
    assert same(function, graph, count=20).value == pytest.approx(slope, rel=1e-14)
    assert bound_of(graph).value >= slope


def test_softshrink_as_torch_decomposes_it_is_recognised():
    graph = simplify(exported_graph(nn.Softshrink(0.3), 1, 4))
    assert same(nn.Softshrink(0.3), graph).value == 1


@pytest.mark.parametrize("name", PIECES)
def test_what_is_none_of_the_table_is_not_taken_for_it(name):
    graph = simplify(raw_graph(PIECES[name], 1, 4))
    assert not any(type(node.op).__name__ == "Composed" for node in graph) or math.isfinite(
        bound_of(graph).value
    )
    points = 4 * drawn(60, 4)
    bound = bound_of(compose_activations(raw_graph(PIECES[name], 1, 4)))
    assert largest_slope(Call(PIECES[name]), points) * (1 - 1e-9) <= bound.value
    if bound.value < math.inf:
        same(PIECES[name], graph)
    else:
        assert bound.note


# --- merge_padding


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
    assert same(module, graph).value <= bound_of(raw).value * (1 + 1e-9)


@pytest.mark.parametrize("name", SEPARATE)
def test_a_pad_that_is_no_padding_of_the_convolution_stays(name):
    torch.manual_seed(0)
    module = Padded(Call(SEPARATE[name][0]), **SEPARATE[name][1])
    graph = merge_padding(raw_graph(module, 1, 2, 5, 6))
    assert "pad" in op_names(graph)
    same(module, graph)
    same(module, simplify(graph))


def test_a_pad_that_something_else_reads_stays():
    torch.manual_seed(0)
    conv = nn.Conv2d(2, 2, 3, padding=1).double()

    def function(x):
        wide = F.pad(x, (1, 1, 1, 1), "circular")
        return conv(wide) + wide

    graph = merge_padding(raw_graph(function, 1, 2, 4, 4))
    assert "pad" in op_names(graph)
    same(function, simplify(graph))


# --- fold_affine

LINEAR, IMAGES = (1, 4), (1, 2, 3, 3)
FILLED = [
    lambda x: F.pad(x * 2 + 1, (1, -1), value=5.0),
    lambda x: F.pad(x * 2 + 1, (-1, 1), value=0.0),
    lambda x: F.pad(x * 2 + 1, (-2, 2)),
]


@pytest.mark.parametrize("before", FILLED)
def test_a_pad_that_crops_as_much_as_it_adds_is_no_permutation(before):
    torch.manual_seed(1)
    module = nn.Sequential(Call(before), nn.Linear(4, 3)).double()
    same(module, simplify(raw_graph(module, *LINEAR)))


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
    bound = same(module, graph).value
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
    assert same(module, graph).value <= bound_of(raw).value * (1 + 1e-9)


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
    assert same(module, simplify(raw)).value <= bound_of(raw).value * (1 + 1e-9)


def test_a_shift_under_padding_of_its_own_is_not_moved_into_a_bias_per_channel():
    torch.manual_seed(5)
    module = nn.Sequential(Call(lambda x: x + 10), nn.Conv2d(1, 1, 3, padding=2)).double()
    same(module, simplify(raw_graph(module, 1, 1, 4, 4)))


def test_broadcasting_is_not_folded_away():
    grow = Call(lambda x, c: x * c, c=drawn(3, 4))
    module = nn.Sequential(grow, nn.Linear(4, 2)).double()
    same(module, simplify(raw_graph(module, 1, 4)))
    module = nn.Sequential(nn.Linear(4, 1), Call(lambda x, c: x * c, c=drawn(5))).double()
    same(module, simplify(raw_graph(module, 1, 4)))


def test_what_two_nodes_read_is_not_folded():
    torch.manual_seed(6)
    linear = nn.Linear(4, 4).double()

    def function(x):
        y = 3 * x + 1
        return torch.cat([linear(y), y], 1)

    graph = fold_affine(raw_graph(function, 1, 4))
    assert "mul constant" in op_names(graph)
    same(function, graph)


def test_the_output_itself_is_not_folded_away():
    def function(x):
        return 2 * x + 1

    same(function, simplify(raw_graph(function, 1, 4)))


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


# --- drop_identities


def test_identities_disappear_and_nothing_else_does():
    def function(x):
        return x.clone().reshape(1, 2, 3, 3).contiguous().flip(1).transpose(2, 3)

    graph = drop_identities(raw_graph(function, *IMAGES))
    assert len(graph.nodes) == 2
    same(function, graph)


def test_residual_and_sorted_networks_stay_what_they_are():
    rng = random.Random(0)
    for _ in range(5):
        torch.manual_seed(rng.randrange(1000))
        inner = nn.Sequential(nn.Linear(6, 6), MaxMin(1), nn.Linear(6, 6))
        module = nn.Sequential(Branch(inner, lambda x, y: x - 0.5 * y), MaxMin(1)).double()
        graph = simplified(module, 1, 6)
        assert op_names(graph).count("max_min") == 2
        same(module, graph)
