"""Graphs of opset 6 mean what that version's specification says, computed here with NumPy."""

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper

from lipaudit.errors import InputRefused
from lipaudit.load import load_model

F32 = onnx.TensorProto.FLOAT
X = np.random.default_rng(0).standard_normal((1, 3, 4, 5)).astype(np.float32) + 3


def load(tmp_path, nodes, stored=None, *, opset=6, out=X.shape, props=None):
    stored = {key: np.asarray(value, np.float32) for key, value in (stored or {}).items()}
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", F32, X.shape)]
        + [helper.make_tensor_value_info(key, F32, value.shape) for key, value in stored.items()],
        [helper.make_tensor_value_info("y", F32, out)],
        [numpy_helper.from_array(value, key) for key, value in stored.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=3)
    if props:
        helper.set_model_props(model, props)
    path = tmp_path / "m.onnx"
    path.write_bytes(model.SerializeToString())
    return load_model(path)


def answer(loaded):
    return loaded.program.module()(torch.from_numpy(X)).numpy()


BINARY = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide}


@pytest.mark.parametrize("op", BINARY)
@pytest.mark.parametrize(
    ("shape", "axis", "wide"),
    [
        ((3,), 1, (1, 3, 1, 1)),
        ((3,), -3, (1, 3, 1, 1)),
        ((5,), None, (1, 1, 1, 5)),
        ((5,), 3, (1, 1, 1, 5)),
        ((4,), 2, (1, 1, 4, 1)),
        ((3, 4), 1, (1, 3, 4, 1)),
        ((4, 5), None, (1, 1, 4, 5)),
        ((1, 3), 0, (1, 3, 1, 1)),
        ((1,), None, (1, 1, 1, 1)),
        ((), None, (1, 1, 1, 1)),
        ((3, 1, 1), 1, (1, 3, 1, 1)),
    ],
)
def test_broadcasting_by_attribute(op, shape, axis, wide, tmp_path):
    b = np.random.default_rng(1).standard_normal(shape).astype(np.float32) + 2
    options = {"broadcast": 1} | ({} if axis is None else {"axis": axis})
    loaded = load(tmp_path, [helper.make_node(op, ["x", "b"], ["y"], **options)], {"b": b})
    assert answer(loaded) == pytest.approx(BINARY[op](X, b.reshape(wide)), rel=1e-5)
    assert any("opset 6 was written in 7" in note for note in loaded.notes)


def test_a_whole_network(tmp_path):
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], kernel_shape=[1, 1]),
        helper.make_node("Add", ["c", "b"], ["a"], broadcast=1, axis=1),
        helper.make_node("BatchNormalization", ["a", "s", "b", "m", "v"], ["n"], is_test=1, epsilon=0.0),
        helper.make_node("Dropout", ["n"], ["d"], is_test=1),
        helper.make_node("PRelu", ["d", "p"], ["r"]),
        helper.make_node("AveragePool", ["r"], ["q"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["q"], ["f"]),
        helper.make_node("Gemm", ["f", "g", "o"], ["y"], broadcast=1),
    ]
    draw = np.random.default_rng(2).standard_normal
    stored = {
        "w": draw((2, 3, 1, 1)),
        "b": draw(2),
        "s": draw(2),
        "m": draw(2),
        "v": [4.0, 9.0],
        "p": [0.5, -0.25],
        "g": draw((8, 3)),
        "o": draw(3),
    }
    stored = {key: np.float32(value) for key, value in stored.items()}
    props = {"lipaudit.preprocessing": '{"version": 1, "scale": "255"}'}
    loaded = load(tmp_path, nodes, stored, out=(1, 3), props=props)

    def per_channel(key):
        return stored[key].reshape(1, 2, 1, 1)

    z = np.einsum("oi,bihw->bohw", stored["w"][:, :, 0, 0], X) + per_channel("b")
    z = (z - per_channel("m")) / np.sqrt(per_channel("v")) * per_channel("s") + per_channel("b")
    z = np.where(z > 0, z, per_channel("p") * z)
    z = z[:, :, :4, :4].reshape(1, 2, 2, 2, 2, 2).mean((3, 5)).reshape(1, 8)
    assert answer(loaded) == pytest.approx(z @ stored["g"] + stored["o"], rel=1e-4, abs=1e-4)
    assert loaded.preprocessing.scale == 255


@pytest.mark.parametrize(
    ("node", "stored", "reason"),
    [
        (helper.make_node("Add", ["x", "b"], ["y"]), {"b": np.ones(5)}, "without broadcast"),
        (helper.make_node("Add", ["x", "b"], ["y"], broadcast=1, axis=3), {"b": np.ones((4, 5))}, "beyond"),
        (helper.make_node("Dropout", ["x"], ["y"]), {}, "training mode"),
        (
            helper.make_node("AveragePool", ["x"], ["y"], kernel_shape=[3, 3], pads=[1] * 4),
            {},
            "padded cells",
        ),
        (helper.make_node("Upsample", ["x"], ["y"], height_scale=1.0, width_scale=1.0), {}, "experimental"),
    ],
)
def test_what_cannot_be_told_is_refused(node, stored, reason, tmp_path):
    with pytest.raises(InputRefused, match=f"{reason}|not a valid ONNX graph|contradict"):
        load(tmp_path, [node], stored)


def test_nothing_older_is_read(tmp_path):
    with pytest.raises(InputRefused, match="opset 5; 6 is the oldest"):
        load(tmp_path, [helper.make_node("Sigmoid", ["x"], ["y"])], opset=5)
