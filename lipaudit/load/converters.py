"""ONNX operators as torch functions: the table, and how a rule reads a node.

onnx2torch walks the graph and builds the module; its own converters expect shapes and axes as run-time
tensors, drop some attributes and stop at older opsets.  A rule of ours gets one node whose constant operands
are known, and returns a torch function of the operands that are left:

    `args.attr("pads")`   marks an attribute as understood; one that no rule read is refused
    `args.ints(1)`        turns a constant operand into numbers; one that depends on the input is refused
    every other constant operand becomes a buffer, to the last bit as stored

Nodes that a rule covers move into the domain `onnx`, so onnx2torch's registry is added to, never changed.

Semantics: ONNX operator specification, github.com/onnx/onnx/blob/main/docs/Operators.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import torch
from onnx import helper
from torch import Tensor, nn

from lipaudit.load.fold import Folded

__all__ = ["DOMAIN", "NodeArgs", "Rule", "Unconvertible", "build", "install"]

DOMAIN = "onnx"
"""Our domain; onnx2torch puts it before the node's name, so modules are called `onnx/n0`, `onnx/n1`, …."""

_REQUIRED = object()
_OPERANDS = ("x", "weight", "bias", "running_mean", "running_var")


class Unconvertible(Exception):
    """A node that has no exact torch counterpart; the message says why."""


@dataclass(slots=True, eq=False)
class NodeArgs:
    """One ONNX node as a rule sees it.

    Args:
        op: operator name.
        opset: of the model, where semantics depend on it.
        attributes: by name, decoded.
        operands: arrays for constants, None for what depends on the input or is left out.
        names: the operands' names; "" for one left out.
        shapes: static shapes of the operands, None where unknown.
        outputs: how many outputs the node has that are named.
    """

    op: str
    opset: int
    attributes: Mapping[str, Any]
    operands: list[np.ndarray[Any, Any] | None]
    names: list[str]
    shapes: list[tuple[int, ...] | None]
    outputs: int
    done: set[str] = field(default_factory=set)
    used: set[int] = field(default_factory=set)

    def attr(self, name: str, default: Any = _REQUIRED) -> Any:  # noqa: ANN401 - as stored
        """An attribute's value.

        Raises:
            Unconvertible: it is not there and has no default.
        """
        self.done.add(name)
        value = self.attributes.get(name, default)
        if value is _REQUIRED:
            msg = f"attribute {name} is missing"
            raise Unconvertible(msg)
        return value

    def has(self, index: int) -> bool:
        """Is operand `index` given at all?"""
        return index < len(self.names) and bool(self.names[index])

    def live(self, index: int) -> bool:
        """Does operand `index` depend on the input?"""
        return self.has(index) and self.operands[index] is None

    def const(self, index: int) -> np.ndarray[Any, Any] | None:
        """Operand `index` as numbers the rule uses itself; None if left out.

        Raises:
            Unconvertible: it depends on the input.
        """
        if not self.has(index):
            return None
        value = self.operands[index]
        if value is None:
            msg = f"operand {index} ({self.names[index]}) must be constant but depends on the input"
            raise Unconvertible(msg)
        self.used.add(index)
        return value

    def ints(self, index: int) -> list[int] | None:
        """Operand `index` as a flat list of integers; None if left out."""
        value = self.const(index)
        return None if value is None else [int(entry) for entry in value.reshape(-1)]

    def ints_of(self, name: str, index: int) -> list[int] | None:
        """A list that older opsets have as attribute `name` and newer ones as operand `index`."""
        value = self.attr(name, None)
        return self.ints(index) if value is None else [int(entry) for entry in np.atleast_1d(value)]

    def replace(self, index: int, value: np.ndarray[Any, Any]) -> None:
        """Use other numbers (a transposed weight, say) for a constant operand."""
        self.operands[index] = value

    def append(self, value: np.ndarray[Any, Any]) -> None:
        """Hand the function one more constant, after all operands."""
        self.names.append(f"extra{len(self.names)}")
        self.operands.append(value)
        self.shapes.append(tuple(value.shape))

    def scalar(self, index: int) -> Any:  # noqa: ANN401 - a Python number
        """Operand `index` as one number.

        Raises:
            Unconvertible: it depends on the input, or is not one number.
        """
        value = self.const(index)
        if value is None or value.size != 1:
            msg = f"operand {index} ({self.names[index]}) must be one number"
            raise Unconvertible(msg)
        return value.reshape(-1)[0].item()

    def shape(self, index: int) -> tuple[int, ...]:
        """Static shape of operand `index`.

        Raises:
            Unconvertible: it is not known.
        """
        shape = self.shapes[index]
        if shape is None:
            msg = f"the shape of operand {index} ({self.names[index]}) is not known"
            raise Unconvertible(msg)
        return shape

    def one_output(self) -> None:
        """Refuse optional second outputs (indices, running statistics)."""
        if self.outputs > 1:
            msg = f"its {self.outputs} outputs are not supported, only the first"
            raise Unconvertible(msg)


Rule = Callable[[NodeArgs], Callable[..., Any]]


Tensors = dict[int, tuple[np.ndarray[Any, Any], Tensor]]
"""Arrays that own their memory, by identity, and the same numbers as tensors."""


class _Operation(nn.Module):
    """One ONNX node: constants are buffers, the rest are arguments.

    Attributes:
        stored: names of the constants that the function takes.
    """

    def __init__(self, function: Callable[..., Any], args: NodeArgs, tensors: Tensors) -> None:
        super().__init__()
        self._function = function
        self.stored: list[str] = []
        self._slots: list[str | None] = []
        for index, name in enumerate(args.names):
            if index in args.used:
                continue
            value = args.operands[index]
            if value is not None:
                slot = _OPERANDS[index] if index < len(_OPERANDS) else f"operand{index}"
                self.register_buffer(slot, _tensor(value, tensors))
                self._slots.append(slot)
                self.stored.append(name)
            elif name:
                self._slots.append(None)

    def forward(self, *live: Tensor) -> Any:  # noqa: ANN401 - a tensor, or a tuple of them
        """The node's function, constants filled in."""
        waiting = iter(live)
        return self._function(
            *(next(waiting) if slot is None else getattr(self, slot) for slot in self._slots)
        )


def _tensor(value: np.ndarray[Any, Any], tensors: Tensors) -> Tensor:
    """The same numbers; arrays of one memory, transposed or not, become tensors of one memory."""
    owner = value
    while isinstance(owner.base, np.ndarray) and owner.base.dtype == value.dtype:
        owner = owner.base
    if owner.size != value.size or not owner.flags.c_contiguous or min(value.strides, default=0) < 0:
        return torch.from_numpy(np.array(value))
    if id(owner) not in tensors:
        tensors[id(owner)] = (owner, torch.from_numpy(np.array(owner)))
    whole = tensors[id(owner)][1]
    return whole.as_strided(value.shape, [step // value.itemsize for step in value.strides])


def build(node: onnx.NodeProto, rule: Rule, folded: Folded, opset: int, tensors: Tensors) -> _Operation:
    """The torch module of one node.

    Args:
        node: with the graph's names.
        rule: for its operator.
        folded: the graph.
        opset: of the graph.
        tensors: of the nodes before; those of this one are added.

    Raises:
        Unconvertible: the rule does not cover this use of the operator.
    """
    args = NodeArgs(
        op=node.op_type,
        opset=opset,
        attributes={a.name: _decode(a) for a in node.attribute},
        operands=[folded.constants.get(name) for name in node.input],
        names=list(node.input),
        shapes=[folded.shape(name) for name in node.input],
        outputs=sum(bool(name) for name in node.output),
    )
    function = rule(args)
    ignored = sorted(set(args.attributes) - args.done)
    if ignored:
        msg = f"attribute {ignored[0]} is not understood"
        raise Unconvertible(msg)
    return _Operation(function, args, tensors)


def _decode(attribute: onnx.AttributeProto) -> Any:  # noqa: ANN401 - whatever is stored
    value = helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    if isinstance(value, onnx.TensorProto):
        return onnx.numpy_helper.to_array(value)
    # A float32 attribute is exactly this double.
    return value


def install(modules: Mapping[str, nn.Module], operators: set[str]) -> None:
    """Teach onnx2torch to fetch the modules we built: `modules` by the name of the node.

    The registry is process-wide, hence one fixed entry per operator; what a conversion needs travels in
    `_PENDING` and is taken out by it.
    """
    from onnx2torch.node_converters.registry import add_converter  # noqa: PLC0415 - imports torchvision

    _PENDING.clear()
    _PENDING.update(modules)
    for operator in sorted(operators - _INSTALLED):
        add_converter(operation_type=operator, version=1, domain=DOMAIN)(_fetch)
        _INSTALLED.add(operator)


_PENDING: dict[str, nn.Module] = {}
_INSTALLED: set[str] = set()


def _fetch(node: Any, graph: Any) -> Any:  # noqa: ANN401 - onnx2torch's types
    from onnx2torch.utils.common import OnnxMapping, OperationConverterResult  # noqa: PLC0415

    live = tuple(name for name in node.input_values if name and name not in graph.initializers)
    return OperationConverterResult(
        torch_module=_PENDING.pop(node.name),
        onnx_mapping=OnnxMapping(inputs=live, outputs=node.output_values),
    )
