"""One node of an ONNX graph, alone in onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from lipaudit.load.blame import first_line
from lipaudit.load.fold import reference_session

__all__ = ["Single", "Unrunnable"]

_Array = np.ndarray[Any, Any]

_SMALL = 4096
"""Constants up to this size are initialisers, as kernels that read shapes and axes want them; larger ones
are fed, which spares copying weights into a model."""


class Unrunnable(Exception):
    """onnxruntime does not run the node, or not on these operands."""


class Single:
    """A graph of one node, its live operands as inputs.

    Args:
        node: as the file has it.
        live: numpy types of the operands that depend on the input, by name, and their shapes.
        constants: all constants of the graph.
        model: tells the version of the operator set.
        outputs: names of the outputs to compute.

    Raises:
        Unrunnable: onnxruntime refuses the graph.
    """

    def __init__(
        self,
        node: onnx.NodeProto,
        live: Mapping[str, tuple[tuple[int, ...], Any]],
        constants: Mapping[str, _Array],
        model: onnx.ModelProto,
        outputs: list[str],
    ) -> None:
        graph = onnx.GraphProto(name="node")
        graph.node.append(node)
        self._weights: dict[str, _Array] = {}
        self._outputs = outputs
        for name in dict.fromkeys(key for key in node.input if key and key not in live):
            value = constants.get(name)
            if value is None:
                msg = f"operand {name!r} is not known"
                raise Unrunnable(msg)
            if value.size <= _SMALL:
                graph.initializer.append(numpy_helper.from_array(value, name))
            else:
                self._weights[name] = value
        inputs = {**live, **{name: (value.shape, value.dtype) for name, value in self._weights.items()}}
        for name, (shape, dtype) in inputs.items():
            kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
            graph.input.append(helper.make_tensor_value_info(name, kind, shape))
        graph.output.extend(helper.make_empty_tensor_value_info(output) for output in outputs)
        single = onnx.ModelProto(ir_version=max(model.ir_version, 4), graph=graph)
        single.opset_import.extend(model.opset_import)
        try:
            self._session = reference_session(single.SerializeToString())
        except Exception as error:  # noqa: BLE001 - onnxruntime raises many kinds
            raise Unrunnable(first_line(error)) from None

    def run(self, feeds: Mapping[str, _Array]) -> list[_Array]:
        """The outputs.

        Raises:
            Unrunnable: the operands are outside of what the operator takes.
        """
        try:
            values = self._session.run(self._outputs, {**feeds, **self._weights})
        except Exception as error:  # noqa: BLE001 - onnxruntime raises many kinds
            raise Unrunnable(first_line(error)) from None
        return [np.asarray(value) for value in values]
