"""From exported programs to graphs: what is refused, what has no rule, and what the graph then runs."""

import math

import pytest
import torch
from jacobian import outputs, probes
from sample_kind import Call
from small_graph import bound_of, exported_graph, op_names, raw_graph
from torch import nn
from torch.nn import functional as F  # noqa: N812 - torch's own convention

from lipaudit.errors import InputRefused
from lipaudit.graph.node import Unsupported
from lipaudit.load.export import export_module
from lipaudit.load.translate import translate
from lipaudit.passes import simplify

WIDE = torch.randn(2, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

NO_RULE = {
    "exp": torch.exp,
    "log": lambda x: torch.log(x.abs() + 2),
    "sqrt": lambda x: torch.sqrt(x.abs()),
    "square": lambda x: x**2,
    "cube": lambda x: torch.pow(x, 3),
    "product of live": lambda x: x * x.flip(1),
    "quotient of live": lambda x: x / (1 + x.flip(1).abs()),
    "reciprocal": lambda x: 1 / (x.abs() + 1e-3),
    "matrix product of live": lambda x: x @ x.T,
    "einsum of live": lambda x: torch.einsum("bi,bj->bij", x, x),
    "attention": lambda x: F.scaled_dot_product_attention(x[None], x[None], x[None]),
    "sign": torch.sign,
    "floor": torch.floor,
    "round": torch.round,
    "floor division": lambda x: torch.div(x, 0.3, rounding_mode="floor"),
    "hardshrink": lambda x: F.hardshrink(x, 0.5),
    "threshold that jumps": lambda x: F.threshold(x, 0.5, 0.0),
    "steps": lambda x: (x > 0).double(),
    "where": lambda x: torch.where(x > 0.5, x, 0.0),
    "product": lambda x: x.prod(1, keepdim=True),
    "normalised": lambda x: F.normalize(x, dim=1),
    "variance": lambda x: x.var(1, keepdim=True),
    "argmax": lambda x: x.argmax(1, keepdim=True).double(),
    "clamp between two": lambda x: x.clamp(-x.flip(1).abs(), x.flip(1).abs() + 1),
    "layer norm without eps": lambda x: F.layer_norm(x, [4], eps=0.0),
    "batch norm in training": lambda x: F.batch_norm(x, None, None, training=True),
    "gather by the input": lambda x: torch.gather(x, 1, x.argsort(1)),
    "tan": torch.tan,
    "softmax over two axes": lambda x: torch.logsumexp(x.view(1, 2, 2), (1, 2))[:, None],
    "cast to whole numbers": lambda x: x.to(torch.int64).double(),
}


@pytest.mark.parametrize("name", NO_RULE)
def test_what_has_no_rule_is_unbounded_with_a_reason_and_still_runs(name):
    function = NO_RULE[name]
    shape = (3, 4) if name == "batch norm in training" else (1, 4)
    graph = simplify(raw_graph(function, *shape))
    reasons = [node.op.reason for node in graph if isinstance(node.op, Unsupported)]
    assert reasons
    assert all(len(reason) > 8 for reason in reasons)
    bound = bound_of(graph)
    assert bound.value == math.inf
    assert any(reason in bound.note for reason in reasons)
    if shape[0] == 1:
        points = probes(shape, count=2)
        wanted = outputs(Call(function), points)
        found = torch.stack([graph.values(p[None])[graph.output].flatten() for p in points])
        torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12, equal_nan=True, check_dtype=False)


@pytest.mark.parametrize(
    "function", [lambda x: x.max(1).indices.double(), lambda x: x.sort(1).indices.double()]
)
def test_indices_are_discontinuous(function):
    bound = bound_of(exported_graph(function, 1, 4))
    assert bound.value == math.inf
    assert "discontinuous" in bound.note


def picked(x, mask):
    return x[:, mask]


REFUSED = {
    "random": lambda x: x + torch.randn(1, 4),
    "uniform": lambda x: x * torch.rand(4),
    "random like": lambda x: x + torch.randn_like(x),
    "bernoulli": lambda x: x * torch.bernoulli(torch.full((4,), 0.5)),
    "random integers": lambda x: x + torch.randint(0, 2, (1, 4)),
    "permutation": lambda x: x[:, torch.randperm(4)],
    "uninitialised": lambda x: x + torch.empty(1, 4),
    "constant output": lambda _: torch.ones(1, 2),
}


@pytest.mark.parametrize("name", REFUSED)
def test_chance_and_constants_are_refused(name):
    with pytest.raises(InputRefused):
        exported_graph(REFUSED[name], 1, 4)


def test_dropout_in_training_mode_is_refused():
    with pytest.raises(InputRefused):
        exported_graph(lambda x: F.dropout(x, 0.5, training=True), 1, 4)


@pytest.mark.parametrize("kind", [nn.Dropout, nn.Dropout2d, nn.AlphaDropout])
def test_dropout_in_eval_mode_is_the_identity_also_where_it_was_kept(kind):
    for make in (raw_graph, exported_graph):
        graph = make(nn.Sequential(kind(), nn.Linear(4, 4)), 1, 3, 4, 4)
        assert bound_of(graph).value < math.inf


def test_several_inputs_and_outputs_are_refused():
    class Two(nn.Module):
        def forward(self, x):
            return x, 2 * x

    with pytest.raises(InputRefused, match="2 tensors"):
        exported_graph(Two(), 1, 4)


def test_an_output_size_that_depends_on_data_is_refused_not_crashed_on():
    mask = torch.tensor([True, False, True, True])
    try:
        graph = exported_graph(picked, 1, 4, mask=mask)
    except InputRefused:
        return
    points = probes((1, 4), count=2)
    torch.testing.assert_close(graph.run(points)[:, 0], points[:, mask])


CASTS = {
    "float": lambda x: x.float() * 2,
    "double": lambda x: x.to(torch.float64) * 2,
    "type_as": lambda x: x.type_as(torch.zeros(1, dtype=torch.float64)) * 2,
}


@pytest.mark.parametrize("name", CASTS)
def test_changes_of_float_width_are_translated(name):
    graph = exported_graph(CASTS[name], 1, 4)
    assert bound_of(graph).value == pytest.approx(2)


COARSE = {
    "half": lambda x: x.half().float(),
    "bfloat16": lambda x: x.bfloat16().float(),
    "float8": lambda x: x.to(torch.float8_e4m3fn).float(),
    "int": lambda x: x.int().float(),
    "type_as": lambda x: x.type_as(torch.zeros(1, dtype=torch.int64)).float(),
    "sum": lambda x: x[..., None].sum(-1, dtype=torch.int64).float(),
    "mean": lambda x: x[..., None].mean(-1, dtype=torch.float16).float(),
}


@pytest.mark.parametrize("name", COARSE)
def test_results_that_are_rounded_in_steps_have_no_bound(name):
    assert bound_of(exported_graph(COARSE[name], 1, 4)).value == math.inf


SHAPED = {
    "row times a stack of one": (lambda x, w: (x @ w).mean(1), (1, 4), torch.randn(1, 4, 3).double()),
    "stack of one times tokens": (lambda x, w: (w @ x).sum(0), (1, 4, 2), torch.randn(1, 3, 4).double()),
    "deep stack": (lambda x, w: (x @ w).amax((0, 1)), (1, 4), torch.randn(1, 1, 4, 3).double()),
    "matrix times column": (lambda x, w: (w @ x[0][:, None]).mean(0), (1, 4), torch.randn(3, 4).double()),
    "matrix times vector": (lambda x, w: (w @ x[0])[None], (1, 4), torch.randn(3, 4).double()),
    "vector of weights": (lambda x, w: (x @ w)[None], (1, 4), torch.randn(4).double()),
    "several matrices": (lambda x, w: x @ w, (1, 2, 4), torch.randn(2, 4, 3).double()),
}


@pytest.mark.parametrize("name", SHAPED)
def test_products_with_stacks_have_torchs_shapes(name):
    function, shape, weight = SHAPED[name]
    graph = exported_graph(function, *shape, w=weight)
    points = probes(shape, count=2)
    wanted = outputs(Call(function, w=weight), points)
    found = torch.stack([graph.values(p[None])[graph.output].flatten() for p in points])
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)
    matrix = torch.autograd.functional.jacobian(lambda x: function(x, weight), torch.rand(shape).double())
    norm = float(torch.linalg.matrix_norm(matrix.reshape(wanted.shape[1], -1), 2))
    assert bound_of(graph).value >= norm * (1 - 1e-12)


@pytest.mark.parametrize("scale", [1.25, 0.7, 1.9, 2.5, 3.0])
@pytest.mark.parametrize("recompute", [None, True])
def test_nearest_upsampling_follows_the_given_factor(scale, recompute):
    module = nn.Upsample(scale_factor=scale, recompute_scale_factor=recompute)
    graph = raw_graph(module, 1, 1, 10, 7)
    points = probes((1, 1, 10, 7), count=1)
    assert torch.equal(graph.run(points).flatten(1), outputs(module, points))


def test_constants_are_computed_in_the_programs_own_precision():
    weight = torch.tensor([0.1, 0.7], dtype=torch.float32)
    module = Call(lambda x, w: x * (w * w).to(x.dtype), w=weight)
    program = torch.export.export(module, (torch.zeros(1, 2, dtype=torch.float64),))
    from lipaudit.load.translate import translate  # noqa: PLC0415

    (node,) = [n for n in translate(program) if n.op.name == "mul constant"]
    assert torch.equal(node.op.scale, (weight * weight).double())


def test_nodes_are_named_after_modules_and_remember_their_lines():
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x):
            return self.second(torch.relu(self.second(self.first(x))))

    graph = exported_graph(Named(), 1, 4)
    names = [node.name for node in graph]
    assert len(set(names)) == len(names)
    assert names[:2] == ["first", "second"]
    assert names[-1].startswith("second")
    assert any("test_translate.py" in node.origin.location for node in graph)


def test_parts_of_several_results_are_told_apart():
    def function(x):
        a, b, c = x.split([1, 2, 1], 1)
        values, _ = torch.sort(b, 1)
        return torch.cat([c, values, a], 1)

    graph = exported_graph(function, 1, 4)
    points = probes((1, 4), count=3)
    torch.testing.assert_close(graph.run(points)[:, 0], outputs(Call(function), points))
    assert "sort" in op_names(graph)


def test_the_input_itself_may_be_the_output():
    graph = exported_graph(nn.Identity(), 1, 4)
    assert bound_of(graph).value == 1
    points = probes((1, 4), count=1)
    assert torch.equal(graph.run(points)[:, 0], points)


@pytest.mark.filterwarnings("ignore:The tensor attributes")
def test_recurrent_layers_in_eval_mode_are_unbounded_not_random():
    class Last(nn.Module):
        def __init__(self, kind):
            super().__init__()
            self.cell = kind(4, 3, batch_first=True)

        def forward(self, x):
            return self.cell(x)[0][:, -1]

    for kind in (nn.LSTM, nn.GRU, nn.RNN):
        bound = bound_of(translate(export_module(Last(kind).eval(), torch.zeros(1, 5, 4), "t")))
        assert not bound.is_finite
        assert "random" not in bound.note


FILLED = {
    "zeros_like": lambda x: torch.maximum(x, torch.zeros_like(x)),
    "ones_like": lambda x: x + 3 * torch.ones_like(x),
    "full_like": lambda x: torch.cat([x, torch.full_like(x, 2.5)], 1),
    "new_zeros": lambda x: torch.cat([x.new_zeros(1, 2), x], 1),
    "new_ones": lambda x: x * x.new_ones(4),
    "new_full": lambda x: x * x.new_full((4,), -1.0),
}


@pytest.mark.parametrize("name", FILLED)
def test_constants_in_the_shape_of_the_input_are_constants(name):
    graph = simplify(exported_graph(FILLED[name], 1, 4))
    points = probes((1, 4))
    torch.testing.assert_close(graph.run(points).flatten(1), outputs(Call(FILLED[name]), points))
    assert bound_of(graph).value == 1
