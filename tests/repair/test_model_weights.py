"""Which stored tensors several operations read."""

import onnx
import pytest
import repair_models as models
from onnx import helper

from lipaudit.repair.model_weights import _shared


@pytest.mark.parametrize("op", ["Identity", "Transpose"])
@pytest.mark.parametrize("readers", [1, 2])
def test_a_tie_is_followed_through_what_only_hands_on(tmp_path, op, readers):
    nodes = [
        helper.make_node(op, ["w"], ["v"]),
        helper.make_node("Identity", ["v"], ["u"]),
        helper.make_node("MatMul", ["x", "u"], ["a"], name="fc"),
    ]
    nodes.append(helper.make_node("Add", ["a", "u" if readers == 2 else "b"], ["y"]))
    held = {"w": models.numbers(5, 5), "b": models.numbers(5)}
    path = models.write_graph(tmp_path / "alias.onnx", nodes, held)
    assert ("w" in _shared(onnx.load(path))) == (readers == 2)
