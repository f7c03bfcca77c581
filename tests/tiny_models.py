"""Networks of a few weights as ONNX files, and samples they answer, for tests of the command itself."""

from __future__ import annotations

import json

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CLASSES = 3
SIDE = 2

WEIGHT = np.eye(CLASSES, SIDE * SIDE, dtype=np.float32)


def write_onnx(path, weight=WEIGHT, *, squared=False):
    """One dense layer on 2×2 pixels, whose constant is that of `weight`; `squared`: x·x before it, unbounded.

    The metadata say that pixels enter as they are.
    """
    product = [helper.make_node("Mul", ["f", "f"], ["s"], name="square")] if squared else []
    nodes = [
        helper.make_node("Flatten", ["x"], ["f"], name="flat"),
        *product,
        helper.make_node("Gemm", ["s" if squared else "f", "w"], ["y"], name="dense", transB=1),
    ]
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1, SIDE, SIDE])
    taken = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", len(weight)])
    graph = helper.make_graph(nodes, "net", [given], [taken], [numpy_helper.from_array(weight, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    entry = model.metadata_props.add()
    entry.key, entry.value = "lipaudit.preprocessing", json.dumps({"version": 1, "scale": "1"})
    onnx.save(model, path)
    return path


def write_samples(path, count=30, *, wrong=False, labels=None):
    """Images of one bright pixel, which the identity answers rightly; `wrong`: with other labels."""
    answers = np.arange(count) % CLASSES
    images = np.zeros((count, SIDE * SIDE), np.uint8)
    images[np.arange(count), answers] = 255
    if labels is None:
        labels = (answers + wrong) % CLASSES
    np.savez(path, images=images.reshape(count, SIDE, SIDE), labels=np.asarray(labels, np.int64))
    return f"npz:{path}"
