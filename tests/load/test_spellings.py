"""Sorting activations and isometries in the spellings people use: constant 1 from every kind of file."""

import contextlib
import io
import warnings

import pytest
import torch
from jacobian import largest_slope, outputs, probes
from lipschitz_convs import GroupSort, Householder, MaxMin
from sample_kind import Call
from small_graph import bound_of, exported_graph
from torch.nn import functional as F  # noqa: N812 - torch's own convention

from lipaudit.errors import InputRefused
from lipaudit.load import load_model
from lipaudit.load.translate import translate
from lipaudit.passes import simplify

SHAPE = (1, 4, 4, 4)


def halves(join):
    return lambda x: join(*x.chunk(2, 1))


def grouped(join):
    return lambda x: join(x.reshape(1, 2, 2, 4, 4))


def max_min(axis):
    return halves(lambda a, b: torch.cat([torch.maximum(a, b), torch.minimum(a, b)], axis))


FEW = {
    "MaxMin": MaxMin(),
    "GroupSort": GroupSort(),
    "Householder by where": Householder(0, 4),
    "Householder by products": Householder(0, 4, blend="mask"),
    "stacked": halves(lambda a, b: torch.stack([torch.max(a, b), torch.min(a, b)], 2).flatten(1, 2)),
    "reductions": grouped(lambda y: torch.cat([y.max(2)[0], y.min(2)[0]], 1)),
    "by where": halves(lambda a, b: torch.cat([torch.where(a > b, a, b), torch.where(a > b, b, a)], 1)),
    "space to depth by slices": lambda x: torch.cat([x[..., i::2, j::2] for i in (0, 1) for j in (0, 1)], 1),
    "roll": lambda x: x.roll((1, 2), (1, 3)),
}
MORE = {
    "minimum first": halves(lambda a, b: torch.cat([torch.minimum(a, b), torch.maximum(a, b)], 1)),
    "along another axis": max_min(3),
    "every other": lambda x: torch.cat(
        [torch.maximum(x[:, ::2], x[:, 1::2]), torch.minimum(x[:, ::2], x[:, 1::2])], 1
    ),
    "values": grouped(lambda y: torch.stack([y.max(2).values, y.min(2).values], 2).reshape(SHAPE)),
    "amax, amin": grouped(lambda y: torch.cat([y.amax(2), y.amin(2)], 1)),
    "kept axes": grouped(lambda y: torch.cat([y.amax(2, True), y.amin(2, True)], 2).reshape(SHAPE)),
    "minus": grouped(lambda y: torch.cat([y.amax(2), -(-y).amax(2)], 1)),
    "unbound": lambda x: torch.stack(
        [f(*x.reshape(1, 2, 2, 4, 4).unbind(2)) for f in (torch.maximum, torch.minimum)], 1
    ).flatten(1, 2),
    "descending": grouped(lambda y: y.sort(2, descending=True).values.reshape(SHAPE)),
    "channels last": lambda x: x.permute(0, 2, 3, 1).reshape(16, 2, 2).sort(-1)[0].reshape(1, 4, 4, 4),
    "all of it": lambda x: x.flatten(1).sort(1)[0],
    "topk of all": lambda x: x.topk(4, 1)[0],
    "topk, smallest first": lambda x: x.topk(4, 1, largest=False)[0],
    "topk of some": lambda x: x.topk(2, 1)[0],
    "channel shuffle": lambda x: x.view(1, 2, 2, 4, 4).transpose(1, 2).reshape(SHAPE),
    "pixel shuffle": lambda x: F.pixel_shuffle(x, 2),
    "pixel unshuffle": lambda x: F.pixel_unshuffle(x, 2),
    "blocks before channels": lambda x: (
        x.view(1, 4, 2, 2, 2, 2).permute(0, 3, 5, 1, 2, 4).reshape(1, 16, 2, 2)
    ),
    "channels before blocks": lambda x: (
        x.view(1, 4, 2, 2, 2, 2).permute(0, 1, 3, 5, 2, 4).reshape(1, 16, 2, 2)
    ),
    "patches": lambda x: F.unfold(x, 2, stride=2),
    "zeros beside": lambda x: torch.cat([x, torch.zeros_like(x)], 1),
    "padded channels": lambda x: F.pad(x, (0, 0, 0, 0, 1, 2)),
    "first channels": lambda x: x[:, :3],
    "flip": lambda x: x.flip((1, 2)),
}
LOOSE = {
    "b + relu(a − b)": halves(lambda a, b: torch.cat([b + F.relu(a - b), a - F.relu(a - b)], 1)),
    "(a + b ± |a − b|)/2": halves(
        lambda a, b: torch.cat([(a + b + (a - b).abs()) / 2, (a + b - (a - b).abs()) / 2], 1)
    ),
}
ONLY_NEW = ("unbound",)
"""What the older exporter of torch does not know."""


def module_of(function):
    return function.eval() if isinstance(function, torch.nn.Module) else Call(function).eval()


def from_onnx(module, path, *, dynamo):
    options = {} if dynamo else {"opset_version": 17}
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        torch.onnx.export(module, (torch.zeros(SHAPE),), path, dynamo=dynamo, verbose=False, **options)
    return translate(load_model(path).program)


def judge(graph, module, most=1 + 2e-7):
    graph, points = simplify(graph), probes(SHAPE, count=1)
    points = points + 1e-9 * torch.arange(points[0].numel()).reshape(points[0].shape)
    module = module.double()
    bound = bound_of(graph).value
    assert largest_slope(module, points[:3]) * (1 - 1e-6) <= bound <= most
    torch.testing.assert_close(graph.run(points).flatten(1), outputs(module, points), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", [*FEW, *(pytest.param(name, marks=pytest.mark.slow) for name in MORE)])
def test_modules_have_constant_one(name):
    module = module_of((FEW | MORE)[name])
    judge(exported_graph(module, *SHAPE), module)


@pytest.mark.parametrize("name", FEW)
def test_onnx_files_have_constant_one(name, tmp_path):
    module = module_of(FEW[name])
    judge(from_onnx(module.float(), tmp_path / "f.onnx", dynamo=True), module)


@pytest.mark.slow
@pytest.mark.parametrize("name", MORE)
def test_more_onnx_files_have_constant_one(name, tmp_path):
    module = module_of(MORE[name])
    judge(from_onnx(module, tmp_path / "f.onnx", dynamo=True), module)


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in (FEW | MORE) if n not in ONLY_NEW])
def test_files_of_the_older_exporter_have_constant_one(name, tmp_path):
    module = module_of((FEW | MORE)[name])
    judge(from_onnx(module.float(), tmp_path / "f.onnx", dynamo=False), module)


@pytest.mark.parametrize("name", LOOSE)
def test_spellings_by_sums_are_sound(name):
    module = module_of(LOOSE[name])
    judge(exported_graph(module, *SHAPE), module, most=5.0)


def test_the_largest_in_no_order_are_no_function(tmp_path):
    module = Call(lambda x: x.topk(3, 1, sorted=False)[0]).eval()
    with pytest.raises(InputRefused, match="order"):
        from_onnx(module, tmp_path / "f.onnx", dynamo=True)
