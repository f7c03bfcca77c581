"""Every converted node on its own: what whole-network probes cannot reach."""

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from lipaudit.errors import ConversionMismatch, InputRefused
from lipaudit.load import load_model
from lipaudit.load.fold import reference_session
from lipaudit.load.rules import RULES

F32 = TensorProto.FLOAT
N = helper.make_node
FAR = [N("Sub", ["x", "far"], ["d"]), N("Relu", ["d"], ["r"])]


def model(nodes, stored=None, shape=(1, 4), opset=18, **kwargs):
    stored = {"far": np.float32([1e6]), **(stored or {})}
    read = {name for node in nodes for name in node.input}
    output = helper.make_empty_tensor_value_info("y")
    output.type.tensor_type.elem_type = F32
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", F32, shape)],
        [output],
        [numpy_helper.from_array(np.asarray(value), key) for key, value in stored.items() if key in read],
    )
    imports = [helper.make_opsetid("", opset), *kwargs.pop("imports", [])]
    return helper.make_model(graph, opset_imports=imports, ir_version=8, **kwargs)


def load(tmp_path, *args, default_shape=None, **kwargs):
    path = tmp_path / "m.onnx"
    path.write_bytes(model(*args, **kwargs).SerializeToString())
    return load_model(path, default_shape=default_shape)


def outputs(tmp_path, loaded, x):
    session = reference_session((tmp_path / "m.onnx").read_bytes())
    ours = loaded.program.module()(torch.from_numpy(x)).numpy()
    return ours, session.run(None, {"x": x})[0]


@pytest.mark.parametrize(
    ("op", "wrong"),
    [
        ("Abs", lambda x: x),
        ("Sigmoid", lambda x: torch.clamp(x / 4 + 0.5, 0, 1)),
        ("HardSwish", lambda x: torch.where(x > 500, x + 1, torch.nn.functional.hardswish(x))),
        ("Softplus", torch.relu),
        ("Sign", lambda x: torch.where(x >= 0, 1.0, -1.0)),
        ("Neg", lambda x: -x.double()),
        ("GlobalAveragePool", lambda x: x.amax((2, 3), keepdim=True)),
    ],
)
def test_a_wrong_node_behind_a_far_gate_is_named(op, wrong, tmp_path, monkeypatch):
    nodes = [*FAR, N(op, ["r"], ["q"], name="hidden"), N("Add", ["x", "q"], ["y"])]
    load(tmp_path, nodes, shape=(1, 2, 2, 2))
    monkeypatch.setitem(RULES, op, lambda _: wrong)
    with pytest.raises(ConversionMismatch, match=f"{op} 'hidden' and onnxruntime differ"):
        load(tmp_path, nodes, shape=(1, 2, 2, 2))


def test_a_dropped_bias_and_a_wrong_shape_are_seen(tmp_path, monkeypatch):
    gemm = [*FAR, N("Gemm", ["r", "w", "b"], ["y"])]
    stored = {"w": np.eye(4, dtype=np.float32), "b": np.float32([0.1, 0, 0, 0])}
    load(tmp_path, gemm, stored)
    monkeypatch.setitem(RULES, "Gemm", lambda _: lambda x, w, _: x @ w)
    with pytest.raises(ConversionMismatch, match="Gemm 'Gemm'"):
        load(tmp_path, gemm, stored)
    monkeypatch.setitem(RULES, "Gemm", lambda _: lambda x, w, b: (x @ w + b)[None])
    with pytest.raises(ConversionMismatch, match="in shape"):
        load(tmp_path, gemm, stored)


@pytest.mark.parametrize(
    "nodes",
    [
        [N("ArgMax", ["x"], ["i"], axis=1), N("Cast", ["i"], ["y"], to=F32)],
        [N("Cast", ["x"], ["i"], to=TensorProto.INT8), N("Cast", ["i"], ["y"], to=F32)],
        [N("Cast", ["x"], ["i"], to=TensorProto.UINT8), N("Cast", ["i"], ["y"], to=F32)],
        [N("Cast", ["x"], ["i"], to=TensorProto.BOOL), N("Cast", ["i"], ["y"], to=F32)],
        [N("Greater", ["x", "c"], ["b"]), N("Where", ["b", "x", "c"], ["y"])],
        [N("Round", ["x"], ["y"])],
        [N("Floor", ["x"], ["y"])],
        [N("Sign", ["x"], ["y"])],
        [N("TopK", ["x", "two"], ["y", "i"])],
        [N("Exp", ["x"], ["y"])],
        [N("Softmax", ["x"], ["y"])],
        [N("Tan", ["x"], ["y"])],
        [N("Mul", ["x", "x"], ["y"])],
        [N("MatMul", ["x", "w"], ["m"]), N("Sin", ["m"], ["y"])],
        [N("Split", ["x"], ["a", "b"], axis=1, num_outputs=2), N("Concat", ["b", "a"], ["y"], axis=1)],
    ],
)
def test_steps_ties_and_overflow_are_no_mismatch(nodes, tmp_path):
    stored = {"c": np.float32([0.5]), "two": np.array([2]), "w": np.ones((4, 1), dtype=np.float32)}
    load(tmp_path, nodes, stored)


@pytest.mark.parametrize(
    ("nodes", "shape"),
    [
        ([*FAR, N("ReduceMax", ["r", "zero"], ["m"]), N("Add", ["x", "m"], ["y"])], (3, 4)),
        ([*FAR, N("Softmax", ["r"], ["m"], axis=0), N("Add", ["x", "m"], ["y"])], (3, 4)),
        ([*FAR, N("CumSum", ["r", "zero"], ["m"]), N("Add", ["x", "m"], ["y"])], (3, 4)),
        ([*FAR, N("Gather", ["r", "turned"], ["m"]), N("Add", ["x", "m"], ["y"])], (3, 4)),
        ([*FAR, N("Reshape", ["r", "flat"], ["t"]), N("Transpose", ["t"], ["m"]), *[
            N("Reshape", ["m", "back"], ["u"]), N("Add", ["x", "u"], ["y"])]], (3, 4)),
        ([*FAR, N("ScatterND", ["r", "second", "row"], ["m"]), N("Add", ["x", "m"], ["y"])], (3, 4)),
        ([*FAR, N("Transpose", ["r"], ["t"]), N("MatMul", ["r", "t"], ["m"]), *[
            N("MatMul", ["m", "x"], ["y"])]], (3, 4)),
    ],
)  # fmt: skip
def test_samples_coupled_behind_a_far_gate_are_refused(nodes, shape, tmp_path):
    stored = {
        "zero": np.array([0]),
        "turned": np.array([1, 2, 0]),
        "flat": np.array([4, 3]),
        "back": np.array([3, 4]),
        "second": np.array([[1]]),
        "row": np.float32([[7, 7, 7, 7]]),
    }
    with pytest.raises(InputRefused, match="cannot be"):
        load(tmp_path, nodes, stored, shape, default_shape=shape[1:])
    # Without samples to read, the whole input is one.
    whole = load(tmp_path, nodes, stored, shape)
    assert whole.input_shape == (1, *shape)
    assert any("cannot be" in note for note in whole.notes)


def test_two_swapped_samples_of_many_are_found(tmp_path):
    order = np.arange(40)
    order[[6, 7]] = [7, 6]
    nodes = [*FAR, N("Gather", ["r", "order"], ["m"]), N("Add", ["x", "m"], ["y"])]
    with pytest.raises(InputRefused, match="cannot be"):
        load(tmp_path, nodes, {"order": order}, (40, 4), default_shape=(4,))


@pytest.mark.parametrize(
    "nodes",
    [
        [N("Transpose", ["x"], ["t"]), N("Relu", ["t"], ["r"]), N("Transpose", ["r"], ["y"])],
        [N("Reshape", ["x", "long"], ["t"]), N("Sigmoid", ["t"], ["r"]), N("Reshape", ["r", "back"], ["y"])],
        [N("Softmax", ["x"], ["y"], axis=1)],
        [N("MatMul", ["x", "w"], ["y"])],
        [N("ReduceMax", ["x", "one"], ["m"]), N("Sub", ["x", "m"], ["y"])],
    ],
)
def test_independent_samples_are_set_apart(nodes, tmp_path):
    stored = {
        "long": np.array([-1, 2]),
        "back": np.array([3, 4]),
        "w": np.float32(np.eye(4)),
        "one": np.array([1]),
    }
    loaded = load(tmp_path, nodes, stored, (3, 4))
    assert loaded.input_shape == (1, 4)
    x = np.random.default_rng(0).standard_normal((1, 4)).astype(np.float32)
    assert loaded.program.module()(torch.from_numpy(x)).shape == (1, 4)


@pytest.mark.parametrize("op", ["ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceSum", "ReduceMax"])
@pytest.mark.parametrize("given", [True, False])
def test_reductions_over_no_axes(op, given, tmp_path):
    operands = ["r", "none"] if given else ["r"]
    nodes = [*FAR, N(op, operands, ["q"], noop_with_empty_axes=1), N("Add", ["x", "q"], ["y"])]
    loaded = load(tmp_path, nodes, {"none": np.array([], dtype=np.int64), "far": np.float32([1.0])})
    x = np.float32([[3, -2, 5, 1]])
    far = np.maximum(x - 1, 0)
    done = far**2 if op == "ReduceSumSquare" else far
    np.testing.assert_allclose(loaded.program.module()(torch.from_numpy(x)).numpy(), x + done)


@pytest.mark.parametrize("rounding", ["floor", "ceil", "round_prefer_floor", "round_prefer_ceil"])
@pytest.mark.parametrize(
    "where",
    ["tf_half_pixel_for_nn", "pytorch_half_pixel", "half_pixel", "asymmetric", "align_corners"],
)
def test_nearest_coordinates(where, rounding, tmp_path):
    attributes = {"coordinate_transformation_mode": where, "nearest_mode": rounding, "mode": "nearest"}
    resize = N("Resize", ["r", "", "scales"], ["y"], **attributes)
    stored = {"scales": np.float32([1, 1, 1.3, 0.6])}
    load(tmp_path, [*FAR, resize], stored, (1, 2, 6, 5), opset=19)


def test_unknown_coordinates_are_refused(tmp_path):
    for mode in ("nearest", "linear"):
        resize = N("Resize", ["x", "", "", "sizes"], ["y"], mode=mode, coordinate_transformation_mode="mine")
        with pytest.raises(InputRefused):
            load(tmp_path, [resize], {"sizes": np.array([1, 1, 3, 3])}, (1, 1, 2, 2))


def function(scope, name, inner, **attributes):
    imports = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_function(scope, name, ["X"], ["Y"], [N(inner, ["X"], ["Y"], **attributes)], imports)


def test_functions_that_redefine_or_hide_operators_are_refused(tmp_path):
    with pytest.raises(InputRefused, match="redefines standard operators: Relu"):
        load(tmp_path, [N("Relu", ["x"], ["y"])], functions=[function("", "Relu", "Neg")])
    imports = [helper.make_opsetid("my", 1), helper.make_opsetid("com.microsoft", 1)]
    inner = function("my", "F", "Gelu", domain="com.microsoft")
    with pytest.raises(InputRefused, match=r"com\.microsoft\.Gelu"):
        load(tmp_path, [N("F", ["x"], ["y"], domain="my")], functions=[inner], imports=imports)
    fine = function("my", "F", "Relu")
    load(tmp_path, [N("F", ["x"], ["y"], domain="my")], functions=[fine], imports=imports)


@pytest.mark.parametrize(
    ("start", "end", "step"), [(0, -9, 1), (-9, 2, 1), (3, -9, -1), (-9, -10, -1), (9, 0, -2), (-2, 99, 1)]
)
def test_slices_are_clamped_as_specified(start, end, step, tmp_path):
    slices = N("Slice", ["x", "start", "end", "axis", "step"], ["s"])
    nodes = [slices, N("Concat", ["x", "s"], ["y"], axis=1)]
    stored = {"start": [start], "end": [end], "axis": [1], "step": [step]}
    loaded = load(tmp_path, nodes, {key: np.array(value) for key, value in stored.items()}, (1, 5))
    ours, reference = outputs(tmp_path, loaded, np.arange(5, dtype=np.float32)[None])
    assert ours.tolist() == reference.tolist()


@pytest.mark.parametrize("pads", [[0, 0, 0, 3], [0, 2, 1, 0], [2, 0, 0, 1], [1, 0, 0, 0]])
@pytest.mark.parametrize("extent", [6, 7, 8, 9])
def test_max_pool_with_ceil_mode_and_uneven_pads(pads, extent, tmp_path):
    pool = N("MaxPool", ["r"], ["y"], kernel_shape=[3, 4], strides=[3, 3], pads=pads, ceil_mode=1)
    load(tmp_path, [*FAR, pool], {"far": np.float32([0.5])}, (1, 2, extent, 9))


def test_pools_and_transposed_convolutions_that_runtimes_read_differently(tmp_path):
    pool = N("MaxPool", ["x"], ["y"], kernel_shape=[2], dilations=[2], strides=[3], auto_pad="SAME_UPPER")
    with pytest.raises(InputRefused, match="dilations together with auto_pad"):
        load(tmp_path, [pool], shape=(1, 2, 7))
    transposed = N("ConvTranspose", ["x", "w"], ["y"], output_shape=[9])
    with pytest.raises(
        InputRefused, match=r"larger than what kernel and stride|output_shape is inconsistent"
    ):
        load(tmp_path, [transposed], {"w": np.ones((2, 2, 2), dtype=np.float32)}, (1, 2, 4))


@pytest.mark.parametrize(
    ("kind", "shown"),
    [
        (TensorProto.FLOAT16, torch.float16),
        (TensorProto.BFLOAT16, torch.bfloat16),
        (TensorProto.INT64, torch.int64),
    ],
)
def test_casts_stay_operations(kind, shown, tmp_path):
    nodes = [N("Cast", ["x"], ["c"], to=kind), N("Cast", ["c"], ["y"], to=F32)]
    kept = [
        node.meta["val"].dtype for node in load(tmp_path, nodes).program.graph.nodes if "val" in node.meta
    ]
    assert shown in kept


def test_cast_like_stays_an_operation_and_eight_bits_are_refused(tmp_path):
    nodes = [N("CastLike", ["x", "like"], ["c"]), N("Cast", ["c"], ["y"], to=F32)]
    for kind, shown in ((np.float16, torch.float16), (np.int32, torch.int32)):
        program = load(tmp_path, nodes, {"like": np.ones(1, dtype=kind)}).program
        assert shown in [node.meta["val"].dtype for node in program.graph.nodes if "val" in node.meta]
    nodes = [N("Cast", ["x"], ["c"], to=TensorProto.FLOAT8E4M3FN), N("Cast", ["c"], ["y"], to=F32)]
    with pytest.raises(InputRefused, match="Cast"):
        load(tmp_path, nodes, opset=19)


def test_infinite_limits_of_clip_are_none_and_infinite_weights_are_refused(tmp_path):
    stored = {"low": np.float32(-np.inf), "high": np.float32(2.0)}
    loaded = load(tmp_path, [N("Clip", ["x", "low", "high"], ["y"])], stored)
    assert loaded.program.module()(torch.tensor([[-9.0, 9, 1, 2]])).tolist() == [[-9, 2, 1, 2]]
    both = [N("Clip", ["x", "low", "high"], ["c"]), N("Max", ["c", "low"], ["y"])]
    with pytest.raises(InputRefused, match="'low' holds NaN or infinity"):
        load(tmp_path, both, stored)
    with pytest.raises(InputRefused, match="NaN"):
        load(tmp_path, [N("Clip", ["x", "low", "high"], ["y"])], {**stored, "low": np.float32(np.nan)})
