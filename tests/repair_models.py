"""Small networks as ONNX files and weights, for tests of what changes their weights."""

import json

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CHANNELS, SIDE, CLASSES = 3, 6, 4


def numbers(*shape, seed=0, scale=1.0, dtype=np.float32):
    """Gaussian weights."""
    return (scale * np.random.default_rng(seed).normal(size=shape)).astype(dtype)


def tensors(dtype=np.float32):
    """Of `write_network`, by name."""
    hidden = CHANNELS * SIDE * SIDE
    return {
        "conv.weight": numbers(CHANNELS, 1, 3, 3, dtype=dtype),
        "conv.bias": numbers(CHANNELS, seed=1, dtype=dtype),
        "bn.weight": np.array([1.5, -0.5, 0.0], dtype),
        "bn.bias": numbers(CHANNELS, seed=2, dtype=dtype),
        "bn.mean": numbers(CHANNELS, seed=3, dtype=dtype),
        "bn.var": np.array([0.5, 2.0, 1.0], dtype),
        "first": numbers(8, hidden, seed=4, scale=0.2, dtype=dtype),
        "second": numbers(8, CLASSES, seed=5, dtype=dtype),
    }


def write_network(path, *, held=None, external=False, extra=()):
    """conv → batch norm → relu → flatten → Gemm (transB) → relu → MatMul, with metadata.

    Args:
        path: where to.
        held: the tensors, if not `tensors()`.
        external: whether they lie in a file beside it.
        extra: nodes behind `y`; the last one's output is the network's.
    """
    held = tensors() if held is None else held
    nodes = [
        helper.make_node("Conv", ["x", "conv.weight", "conv.bias"], ["a"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node(
            "BatchNormalization", ["a", "bn.weight", "bn.bias", "bn.mean", "bn.var"], ["b"], name="bn"
        ),
        helper.make_node("Relu", ["b"], ["c"], name="relu"),
        helper.make_node("Flatten", ["c"], ["d"], name="flat"),
        helper.make_node("Gemm", ["d", "first"], ["e"], name="dense", transB=1),
        helper.make_node("Relu", ["e"], ["f"], name="relu2"),
        helper.make_node("MatMul", ["f", "second"], ["y"], name="head"),
        *extra,
    ]
    kind = helper.np_dtype_to_tensor_dtype(next(iter(held.values())).dtype)
    return write_graph(path, nodes, held, kind, [1, SIDE, SIDE], external=external)


def write_graph(path, nodes, held, kind=TensorProto.FLOAT, shape=(5,), *, external=False):
    """Any nodes from `x` of that sample shape."""
    given = helper.make_tensor_value_info("x", kind, ["n", *shape])
    taken = helper.make_tensor_value_info(nodes[-1].output[0], kind, None)
    stored = [numpy_helper.from_array(value, name) for name, value in held.items()]
    graph = helper.make_graph(nodes, "net", [given], [taken], stored, doc_string="kept")
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    entry = model.metadata_props.add()
    entry.key = "lipaudit.preprocessing"
    entry.value = json.dumps({"version": 1, "scale": "1", "mean": ["0.1"], "std": ["0.3"]})
    onnx.save(
        model,
        path,
        save_as_external_data=external,
        location=f"{path.name}.data" if external else None,
        size_threshold=0,
    )
    return path


def write_samples(path, count=40, classes=CLASSES):
    """Random images with labels."""
    images = np.random.default_rng(7).random((count, 1, SIDE, SIDE)).astype(np.float32)
    labels = np.arange(count) % classes
    np.savez(path, images=images, labels=labels.astype(np.int64))
    return f"npz:{path}"
