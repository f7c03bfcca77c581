"""Every row of `OPS` is run: by a sample, or here by a call written by hand.

Decompositions of torch rewrite some calls before the audit sees them; other versions of torch, and ONNX
models, may still hold them.
"""

import math

import pytest
import torch
from sample_fourier import complex_samples, fourier_samples
from samples import SAMPLES, exported, graph_of

from lipaudit.graph.node import Unsupported
from lipaudit.ops import OPS, PAIRS, Args, Live, Untranslatable
from lipaudit.ops.shape import Relayout
from lipaudit.report.explain import find
from lipaudit.spectral import bracket

X = "the live tensor"


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


STATISTICS = (drawn(4), drawn(4, seed=1), drawn(4, seed=2), drawn(4, seed=3).abs() + 0.1)
"""Weight, bias, mean, variance."""
CONV = (X, drawn(4, 2, 3, 3), drawn(4), [2, 1], [1, 2], [1, 2], False, [0, 0], 2)
TURNED = (X, drawn(4, 2, 3, 3), drawn(4), [2, 1], [1, 2], [1, 2], True, [1, 0], 2)
LINE, MAP, BOX = (1, 4, 7), (1, 4, 5, 6), (1, 4, 3, 4, 3)

BY_HAND = [
    ("aten._adaptive_avg_pool2d.default", MAP, (X, [2, 4])),
    ("aten._adaptive_avg_pool3d.default", BOX, (X, [2, 4, 1])),
    ("aten._log_softmax.default", MAP, (X, 1, False)),
    ("aten._softmax.default", MAP, (X, -1, False)),
    ("aten._pad_circular.default", MAP, (X, [1, 2, 0, 3])),
    ("aten._prelu_kernel.default", MAP, (X, drawn(1, 4, 1, 1))),
    ("aten._reshape_copy.default", MAP, (X, [1, 8, 15])),
    ("aten._to_copy.default", MAP, (X,)),
    ("aten.add.Scalar", MAP, (X, 2.5, 3)),
    ("aten.sub.Scalar", MAP, (X, 2.5, 3)),
    ("aten.mul.Scalar", MAP, (X, -2.5)),
    ("aten.div.Scalar", MAP, (X, -2.5)),
    ("aten.div.Tensor_mode", MAP, (X, drawn(6).abs() + 1, None)),
    ("aten.alias.default", MAP, (X,)),
    ("aten.alpha_dropout.default", MAP, (X, 0.5, False)),
    ("aten.dropout.default", MAP, (X, 0.5, False)),
    ("aten.feature_dropout.default", MAP, (X, 0.5, False)),
    ("aten.batch_norm.default", MAP, (X, *STATISTICS, False, 0.1, 1e-3, False)),
    ("aten.native_batch_norm.default", MAP, (X, *STATISTICS, False, 0.1, 1e-3)),
    ("aten.chunk.default", MAP, (X, 3, 3)),
    ("aten.split.sizes", MAP, (X, [1, 4], 2)),
    ("aten.constant_pad_nd.default", MAP, (X, [1, -1, 0, 2], 3.5)),
    ("aten.contiguous.default", MAP, (X,)),
    ("aten.convolution.default", MAP, CONV),
    ("aten.convolution.default", MAP, TURNED),
    ("aten.flatten.using_ints", MAP, (X, 1, 2)),
    ("aten.lift_fresh_copy.default", MAP, (X,)),
    ("aten.reflection_pad1d.default", LINE, (X, [2, 1])),
    ("aten.reflection_pad2d.default", MAP, (X, [2, 1, 0, 3])),
    ("aten.reflection_pad3d.default", BOX, (X, [2, 1, 0, 3, 1, 1])),
    ("aten.replication_pad1d.default", LINE, (X, [2, 1])),
    ("aten.replication_pad2d.default", MAP, (X, [2, 1, 0, 3])),
    ("aten.replication_pad3d.default", BOX, (X, [2, 1, 0, 3, 1, 1])),
    ("aten.reshape.default", MAP, (X, [1, 30, 4])),
    ("aten.to.device", MAP, (X, "cpu", torch.float64)),
    ("aten.to.dtype", MAP, (X, torch.float64)),
    ("aten.type_as.default", MAP, (X, drawn(1))),
    ("aten.unflatten.int", MAP, (X, 3, [3, 2])),
    ("aten.upsample_nearest1d.default", LINE, (X, [11])),
    ("aten.upsample_nearest1d.default", LINE, (X, [8], 1.25)),
    ("aten.upsample_nearest2d.default", MAP, (X, [6, 15], 1.3, None)),
    ("aten.upsample_nearest3d.default", BOX, (X, [4, 4, 7])),
    ("aten.upsample_linear1d.default", LINE, (X, [11], False)),
    ("aten.upsample_linear1d.default", LINE, (X, [8], True)),
    ("aten.upsample_bilinear2d.default", MAP, (X, [6, 15], False, 1.3, None)),
    ("aten.upsample_bicubic2d.default", MAP, (X, [3, 9], True)),
    ("aten._upsample_bilinear2d_aa.default", MAP, (X, [2, 9], False)),
    ("aten._upsample_bicubic2d_aa.default", MAP, (X, [3, 4], False, None, 0.7)),
    ("aten.upsample_trilinear3d.default", BOX, (X, [4, 4, 7], False)),
    ("aten.view_copy.default", MAP, (X, [4, 30])),
    ("aten.softshrink.default", MAP, (X, 0.3)),
]
REFUSED = [
    ("aten._native_batch_norm_legit.default", MAP, (X, *STATISTICS, True, 0.1, 1e-3)),
    ("aten._native_batch_norm_legit.no_stats", MAP, (X, *STATISTICS[:2], True, 0.1, 1e-3)),
    ("aten._native_batch_norm_legit_functional.default", MAP, (X, *STATISTICS, True, 0.1, 1e-3)),
    ("aten.native_batch_norm.default", MAP, (X, *STATISTICS, True, 0.1, 1e-3)),
    ("aten.batch_norm.default", MAP, (X, *STATISTICS[:2], None, None, True, 0.1, 1e-3, False)),
    ("aten.batch_norm.default", MAP, (X, *STATISTICS[:2], None, None, False, 0.1, 1e-3, False)),
    ("aten.dropout.default", MAP, (X, 0.5, True)),
    ("aten.alpha_dropout.default", MAP, (X, 0.5, True)),
    ("aten.div.Tensor_mode", MAP, (X, drawn(6), "floor")),
    ("aten.div.Scalar", MAP, (X, 0.0)),
]
ABSENT = ("aten._adaptive_avg_pool1d.default",)
"""Names torch has no operation for (yet): nothing can call them."""


def operation(target):
    _, name, overload = target.split(".")
    return getattr(getattr(torch.ops.aten, name), overload)


def arguments(target, shape, values, output):
    """`Args` as the translation makes them: every schema argument by name, defaults filled in."""
    schema = operation(target)._schema
    named = {}
    for position, argument in enumerate(schema.arguments):
        if position < len(values):
            given = values[position]
            named[argument.name] = Live("x", shape) if isinstance(given, str) and given == X else given
        else:
            named[argument.name] = argument.default_value
    return Args(target, named, output)


def run(target, values, x):
    schema = operation(target)._schema.arguments
    given = [x if isinstance(v, str) and v == X else v for v in values]
    positional = [v for v, a in zip(given, schema, strict=False) if not a.kwarg_only]
    named = {a.name: v for v, a in zip(given, schema, strict=False) if a.kwarg_only}
    return operation(target)(*positional, **named)


@pytest.mark.xdist_group("exported samples")
def test_every_row_is_reached_by_a_sample_or_by_hand():
    calls = {str(node.target) for name in SAMPLES for node in exported(name).graph.nodes}
    calls |= {target for target, _, _ in (*BY_HAND, *REFUSED)} | set(ABSENT)
    assert set(OPS) - calls == set()


@pytest.mark.xdist_group("exported samples")
def test_what_a_report_calls_an_operation_is_explained():
    names = {node.op.name for name in SAMPLES for node in graph_of(name)}
    for target, shape, values in BY_HAND:
        wanted = run(target, values, drawn(*shape))
        first = wanted[0] if isinstance(wanted, tuple | list) else wanted
        made = OPS[target].translate(arguments(target, shape, values, tuple(first.shape)))
        names |= {op.name for op in (made if isinstance(made, tuple) else (made,)) if op is not None}
    assert {"conv2d", "conv_transpose3d", "fourier_half_inverse", "upsample_bicubic2d_aa"} <= names
    assert not sorted(name for name in names if find(name) is None)


@pytest.mark.xdist_group("exported samples")
def test_every_row_for_complex_tensors_is_reached_by_a_sample():
    names = [sample.name for sample in (*fourier_samples(), *complex_samples())]
    calls = {str(node.target) for name in names for node in exported(name).graph.nodes}
    missed = {id(row): target for target, row in PAIRS.items()}
    for target in calls & set(PAIRS):
        missed.pop(id(PAIRS[target]), None)
    assert not missed


@pytest.mark.parametrize("target", ABSENT)
def test_absent_names_are_absent(target):
    assert not hasattr(torch.ops.aten, target.split(".")[1])


@pytest.mark.parametrize(
    ("target", "shape", "values"), BY_HAND, ids=[f"{t} {i}" for i, (t, _, _) in enumerate(BY_HAND)]
)
def test_calls_by_hand_compute_and_are_bounded(target, shape, values):
    x = drawn(*shape, seed=5)
    wanted = run(target, values, x)
    outputs = wanted if isinstance(wanted, tuple | list) else (wanted,)
    call = arguments(target, shape, values, tuple(outputs[0].shape))
    made = OPS[target].translate(call)
    call.done()
    assert call.inputs == ["x"]
    made = made if isinstance(made, tuple) else (made,)
    assert len(made) == len(outputs)
    for op, expected in zip(made, outputs, strict=True):
        if op is None:
            continue
        torch.testing.assert_close(op.forward(x), expected, rtol=1e-13, atol=1e-13)
        assert op.forward(x).shape == expected.shape
        gain = op.gain((shape,), lambda m: bracket(m).above)
        slope = torch.func.jacrev(op.forward)(x).reshape(expected.numel(), -1)
        assert float(torch.linalg.matrix_norm(slope, 2)) * (1 - 1e-12) <= gain.per_input[0].value < math.inf
        if isinstance(op, Relayout):
            sources = op.sources(shape).flatten()
            copied = torch.where(sources >= 0, x.flatten()[sources], 3.5)
            assert torch.equal(copied, expected.flatten())


@pytest.mark.parametrize(("target", "shape", "values"), REFUSED)
def test_calls_that_have_no_rule_say_why(target, shape, values):
    with pytest.raises(Untranslatable, match=r"\w+ \w+"):
        OPS[target].translate(arguments(target, shape, values, shape))


def test_an_argument_nobody_asked_for_is_refused():
    values = {"self": Live("x", MAP), "new_flag": True}
    call = Args("aten.relu.default", values, MAP)
    OPS["aten.relu.default"].translate(call)
    with pytest.raises(Untranslatable, match="new_flag"):
        call.done()


def test_an_unsupported_op_is_unbounded_and_its_error_too():
    op = Unsupported("aten.mystery.default", "no rule for it")
    gain = op.gain((MAP, MAP), lambda m: bracket(m).above)
    assert [(b.value, b.note) for b in gain.per_input] == [(math.inf, "no rule for it")] * 2
    assert op.error((MAP,), (torch.ones(2),), torch.ones(2)).tolist() == [math.inf, math.inf]
