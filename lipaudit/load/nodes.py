"""Every converted node on its own against onnxruntime.

Comparing whole networks sees only what the probes reach: behind max(x − 100, 0) a wrong operator is compared
at 0 = 0.  So each node becomes a graph of one node and gets random operands of its own, at several scales and
with ties; no gate stands before it.  Nodes are taken in order and each passes on the shapes and types that
onnxruntime gives, so all shapes are those of the running network.

A fixed batch of N that was set to 1 is settled the same way: onnxruntime runs the node at batch N, our module
gets one sample, and the sample's part of the output (the axis that is N times longer, as N blocks) must be
what our module returns.  By induction over the nodes the batch-N graph is N times the batch-1 graph.

|a − b| ≤ 1e-4·max|b| + 1e-6·max|b at scale 1| for every entry; entries beyond that pass only if a change of
the operands' last bits moves the reference as much.  Results that are no floats (comparisons, indices, casts)
step: a hundredth of them may differ.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, fx

from lipaudit.errors import ConversionMismatch, InputRefused
from lipaudit.load.draws import EXACT, FAR, STEPS, draw, kinds_for, moved
from lipaudit.load.fold import Folded, first_line
from lipaudit.load.single import Single, Unrunnable

__all__ = ["Batched", "check_nodes"]

_TOLERANCE = 1e-4
_COARSE_TOLERANCE = 2e-2
_FLOOR = 1e-6
_AMPLIFIED = 64.0
_STEPPED = 0.01
_SAMPLES = 8
_SEED = 20240301
_FINE = (torch.float32, torch.float64)

_Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Batched:
    """The graph at its original batch.

    Args:
        size: N, 1 if the graph was left as it is.
        folded: its live nodes and constants at that batch.
    """

    size: int
    folded: Folded


@dataclass(frozen=True, slots=True)
class _Value:
    """What runs along an edge: its shape in our network and in the original graph, and its type."""

    one: tuple[int, ...]
    full: tuple[int, ...]
    dtype: torch.dtype


@dataclass(frozen=True, slots=True, eq=False)
class _Trial:
    """One node: our module with its arguments, onnxruntime's session, and the operands' shapes.

    Args:
        title: operator and name, for messages.
        op: operator.
        module: ours.
        arguments: of the call, value names or constants.
        single: the same node in onnxruntime.
        live: the operands that depend on the input.
        batch: N.
    """

    title: str
    op: str
    module: torch.nn.Module
    arguments: tuple[tuple[Any, ...], dict[str, Any]]
    single: Single
    live: dict[str, _Value]
    batch: int

    def ours(self, feeds: Mapping[str, Any]) -> list[Tensor]:
        """Our outputs."""
        args, kwargs = self.arguments

        def fill(value: Any) -> Any:  # noqa: ANN401
            return torch.as_tensor(feeds[value]) if isinstance(value, str) else value

        with torch.no_grad():
            result = self.module(*map(fill, args), **{key: fill(value) for key, value in kwargs.items()})
        return list(result) if isinstance(result, tuple | list) else [result]


def check_nodes(
    network: fx.GraphModule, wired: list[onnx.NodeProto], batched: Batched, static: onnx.ModelProto, name: str
) -> None:
    """Compare every node of a converted graph with onnxruntime.

    Args:
        network: as wired by onnx2torch, one module per node.
        wired: the nodes it was wired from, in order; only their names and outputs are read.
        batched: the nodes as the file has them.
        static: the converted graph; its input has a fixed shape.
        name: of the file, for messages.

    Raises:
        ConversionMismatch: a node computes something else.
        InputRefused: it cannot be told, or a fixed batch's samples are not independent.
    """
    source = static.graph.input[0]
    shape = tuple(dim.dim_value for dim in source.type.tensor_type.shape.dim)
    double = source.type.tensor_type.elem_type == onnx.TensorProto.DOUBLE
    dtype = torch.float64 if double else torch.float32
    full = (shape[0] * batched.size, *shape[1:]) if batched.size > 1 else shape
    values = {source.name: _Value(shape, full, dtype)}
    originals = {output: node for node in batched.folded.nodes for output in node.output if output}
    for node, arguments, module in _calls(network, wired, source.name):
        title = f"{node.name!r}"
        original = originals.get(node.output[0])
        if original is None:
            raise _refusal(name, batched.size, f"node {title} is constant at batch 1 only")
        live = {key: values[key] for key in original.input if key in values}
        single = Single(original, {k: (v.full, v.dtype) for k, v in live.items()}, batched.folded, static)
        title = f"{original.op_type} {title}"
        trial = _Trial(title, original.op_type, module, arguments, single, live, batched.size)
        outputs = [output for output in node.output if output]
        values.update(zip(outputs, _check(trial, outputs, name), strict=False))


def _calls(
    network: fx.GraphModule, wired: list[onnx.NodeProto], source: str
) -> Iterator[tuple[onnx.NodeProto, tuple[tuple[Any, ...], dict[str, Any]], torch.nn.Module]]:
    """The network's module calls beside their nodes; arguments are value names or constants."""
    meaning: dict[fx.Node, Any] = {}
    waiting = iter(wired)
    made: dict[fx.Node, onnx.NodeProto] = {}
    for call in network.graph.nodes:
        if call.op == "placeholder":
            meaning[call] = source
        elif call.op == "get_attr":
            owner, _, key = call.target.rpartition(".")
            meaning[call] = getattr(network.get_submodule(owner), key)
        elif call.op == "call_function":  # getitem
            meaning[call] = made[call.args[0]].output[call.args[1]]
        elif call.op == "call_module":
            made[call] = next(waiting)
            meaning[call] = made[call].output[0]
            args, kwargs = fx.map_arg((call.args, call.kwargs), meaning.__getitem__)
            yield made[call], (tuple(args), dict(kwargs)), network.get_submodule(call.target)


def _refusal(name: str, batch: int, why: str) -> InputRefused:
    if batch > 1:
        return InputRefused(
            f"{name} has a fixed batch of {batch} that cannot be set to 1: {why}",
            hint="export the model with batch size 1 or with a dynamic batch axis",
        )
    return InputRefused(f"{name}: {why}", hint="a node that cannot be compared is not trusted")


def _mismatch(name: str, trial: _Trial, why: str) -> InputRefused:
    if trial.batch > 1:
        return _refusal(name, trial.batch, f"{trial.title} mixes the samples, or is converted wrongly: {why}")
    return ConversionMismatch(
        f"{name}: {trial.title} is converted wrongly: {why}",
        hint="an operator is converted wrongly; exporting with another opset may help",
    )


def _check(trial: _Trial, outputs: list[str], name: str) -> list[_Value]:
    """Compare one node; what its outputs look like."""
    random = np.random.default_rng(_SEED)
    found: list[_Value] = []
    usual, why = 0.0, "no draw is in its domain"
    for kind in kinds_for(trial.op):
        try:
            feeds = {key: draw(random, kind, v.full, v.dtype, trial.op) for key, v in trial.live.items()}
            wants = trial.single.run(outputs, feeds)
        except Unrunnable as error:
            why = str(error)
            continue
        if kind == "one sample" and trial.batch > 1:
            feeds = {key: _same(feeds[key], v, trial.batch) for key, v in trial.live.items()}
        for i in _samples(trial.batch):
            parts = {key: _part(feeds[key], v.one, i, trial, name) for key, v in trial.live.items()}
            gots = _run_ours(trial, parts, name)
            if not found:
                found = _values(trial, gots, wants, name)
            for index, (got, want) in enumerate(zip(gots, wants, strict=False)):
                part = _part(want, found[index].one, i, trial, name)
                level = _level(part)
                usual = usual if kind in FAR else max(usual, level)
                why_not = _differs(trial.op, got, part, kind, usual)
                if why_not and not _unsteady(trial, outputs, feeds, kind, (index, i, got, part), name):
                    raise _mismatch(name, trial, f"{why_not} on {kind} operands")
    if not found:
        return _unchecked(trial, why, name)
    return found


def _samples(batch: int) -> list[int]:
    """All samples of a small batch, some of a large one."""
    return sorted({i * (batch - 1) // max(_SAMPLES - 1, 1) for i in range(_SAMPLES)})
