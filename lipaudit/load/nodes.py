"""Every converted node on its own against onnxruntime.

Comparing whole networks sees only what the probes reach: behind max(x − 100, 0) a wrong operator is compared
at 0 = 0.  So each node becomes a graph of one node and gets random operands of its own, at several scales and
with ties; no gate stands before it.  Nodes are taken in order, each on the shapes and types that its
predecessors were just found to have, so all shapes are those of the running network.

A fixed batch of N that was set to 1 is settled the same way: onnxruntime runs the node at batch N, our module
gets one sample, and the sample's part of the output (the axis that is N times longer, as N blocks) must be
what our module returns.  By induction over the nodes, the graph at batch N is N times the graph at batch 1.

    |a − b| ≤ 1e-4·max|b| + 1e-6·(max|b| over the draws at scale 1)   for every entry

Entries beyond that pass only if a change of the operands' last bits moves the reference as much.  Results
that are no floats (comparisons, indices, casts) go in steps: a hundredth of them may differ.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, fx, nn

from lipaudit.errors import ConversionMismatch, InputRefused
from lipaudit.load.blame import first_line
from lipaudit.load.draws import EXACT, FAR, STEPS, draw, kinds_for, moved
from lipaudit.load.fold import Folded
from lipaudit.load.single import Single, Unrunnable

__all__ = ["calls", "check_nodes"]

_TOLERANCE = 1e-4
_HALF_TOLERANCE = 2e-2
_FLOOR = 1e-6
_AMPLIFIED = 64.0
_STEPPED = 0.01
_SAMPLES = 8
_SEED = 20240301
_FINE = (torch.float32, torch.float64)

_Array = np.ndarray[Any, Any]
_Call = tuple[tuple[Any, ...], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class _Value:
    """What runs along an edge: its shape in our network and in the original graph, and its type."""

    one: tuple[int, ...]
    full: tuple[int, ...]
    dtype: torch.dtype

    def numpy_dtype(self) -> Any:  # noqa: ANN401 - numpy's type
        """Numpy's name for the type.

        Raises:
            Unrunnable: it has none (bfloat16, float8).
        """
        try:
            return torch.empty(0, dtype=self.dtype).numpy().dtype
        except TypeError:
            msg = f"numpy has no {self.dtype}"
            raise Unrunnable(msg) from None

    def part(self, value: _Array, sample: int) -> _Array | None:
        """One sample of a value of the original graph; None if it cannot be told where it lies."""
        axis = self.axis(value.shape)
        if axis is None:
            return None
        if value.shape == self.one:
            return value
        width = self.one[axis]
        return np.take(value, range(sample * width, (sample + 1) * width), axis)

    def axis(self, full: tuple[int, ...]) -> int | None:
        """The axis along which the samples lie."""
        if full == self.one:
            return 0
        longer = [i for i, (n, m) in enumerate(zip(self.one, full, strict=False)) if n != m]
        return longer[0] if len(full) == len(self.one) and len(longer) == 1 else None


@dataclass(frozen=True, slots=True, eq=False)
class _Trial:
    """One node.

    Args:
        title: operator and name, for messages.
        op: operator.
        module: ours.
        arguments: of the call: value names, or constants.
        live: the operands that depend on the input.
        outputs: names of those that are used.
        batch: N.
        name: of the file.
    """

    title: str
    op: str
    module: nn.Module
    arguments: _Call
    live: dict[str, _Value]
    outputs: list[str]
    batch: int
    name: str

    def ours(self, feeds: Mapping[str, Any]) -> list[Tensor]:
        """Our outputs.

        Raises:
            InputRefused: the module raises.
        """
        args, kwargs = self.arguments

        def fill(value: Any) -> Any:  # noqa: ANN401
            return torch.as_tensor(feeds[value]) if isinstance(value, str) else value

        try:
            with torch.no_grad():
                result = self.module(*map(fill, args), **{key: fill(value) for key, value in kwargs.items()})
        except Exception as error:  # noqa: BLE001 - torch raises many kinds
            raise self.refused(f"{self.title} does not run: {first_line(error)}") from None
        return list(result) if isinstance(result, tuple | list) else [result]

    def refused(self, why: str) -> InputRefused:
        """The refusal where nothing can be told."""
        if self.batch > 1:
            return InputRefused(
                f"{self.name} has a fixed batch of {self.batch} that cannot be set to 1: {why}",
                hint="export the model with batch size 1 or with a dynamic batch axis",
            )
        return InputRefused(f"{self.name}: {why}", hint="a node that cannot be compared is not trusted")

    def mismatch(self, why: str) -> InputRefused:
        """The refusal where ours and onnxruntime's node differ."""
        if self.batch > 1:
            return self.refused(f"{self.title} does not treat every sample alike and by itself: {why}")
        return ConversionMismatch(
            f"{self.name}: {self.title} and onnxruntime differ {why}",
            hint="this operator is converted wrongly; exporting with another opset may help",
        )


def check_nodes(
    network: fx.GraphModule,
    wired: list[onnx.NodeProto],
    original: tuple[Folded, int],
    static: onnx.ModelProto,
    name: str,
) -> None:
    """Compare every node of a converted graph with onnxruntime.

    Args:
        network: as wired by onnx2torch, one module per node.
        wired: the nodes it was wired from, in order; only their names and outputs are read.
        original: live nodes and constants of the graph at its own batch, and that batch (1 if not fixed).
        static: the converted graph, with its input's shape.
        name: of the file, for messages.

    Raises:
        ConversionMismatch: a node computes something else.
        InputRefused: that cannot be told, or the samples of a fixed batch are not independent.
    """
    folded, batch = original
    kind = static.graph.input[0].type.tensor_type
    shape = tuple(dim.dim_value for dim in kind.shape.dim)
    dtype = torch.float64 if kind.elem_type == onnx.TensorProto.DOUBLE else torch.float32
    source = static.graph.input[0].name
    values = {source: _Value(shape, (shape[0] * batch, *shape[1:]) if batch > 1 else shape, dtype)}
    nodes = {output: node for node in folded.nodes for output in node.output if output}
    for node, arguments, module in calls(network, wired, source):
        outputs = [output for output in node.output if output]
        theirs = nodes.get(outputs[0])
        op = node.op_type if theirs is None else theirs.op_type
        live = {} if theirs is None else {key: values[key] for key in theirs.input if key in values}
        trial = _Trial(f"{op} {node.name!r}", op, module, arguments, live, outputs, batch, name)
        if theirs is None:
            raise trial.refused(f"{trial.title} depends on the input at batch 1 only")
        try:
            # An operand that nothing live produces is a constant at that batch.
            single = Single(
                theirs,
                {k: (v.full, v.numpy_dtype()) for k, v in live.items()},
                folded.constants,
                static,
                outputs,
            )
            found = _check(trial, single)
        except Unrunnable as error:
            found = _unchecked(trial, str(error))
        values.update(zip(outputs, found, strict=False))


def calls(
    network: fx.GraphModule, wired: list[onnx.NodeProto], source: str
) -> Iterator[tuple[onnx.NodeProto, _Call, nn.Module]]:
    """The network's module calls beside their nodes; arguments are value names or constants."""
    meaning: dict[fx.Node, Any] = {}
    made: dict[fx.Node, onnx.NodeProto] = {}
    waiting = iter(wired)
    for call in network.graph.nodes:
        target: Any = call.target
        if call.op == "placeholder":
            meaning[call] = source
        elif call.op == "get_attr":
            owner, _, key = target.rpartition(".")
            meaning[call] = getattr(network.get_submodule(owner), key)
        elif call.op == "call_function":  # onnx2torch writes operator.getitem only
            node, index = call.args
            meaning[call] = made[node].output[index]
        elif call.op == "call_module":
            made[call] = next(waiting)
            meaning[call] = made[call].output[0]
            args, kwargs = fx.node.map_arg((call.args, call.kwargs), meaning.__getitem__)
            yield made[call], (tuple(args), dict(kwargs)), network.get_submodule(target)


def _check(trial: _Trial, single: Single) -> list[_Value]:
    """Compare one node on every kind of draw; what its outputs look like.

    Raises:
        Unrunnable: onnxruntime takes none of the draws.
    """
    random = np.random.default_rng(_SEED)
    found: list[_Value] = []
    usual: list[float] = []
    why = Unrunnable("no draw")
    for kind in kinds_for(trial.op, sum(math.prod(value.full) for value in trial.live.values())):
        feeds = {key: draw(random, kind, v.full, v.numpy_dtype(), trial.op) for key, v in trial.live.items()}
        try:
            wants = single.run(feeds)
        except Unrunnable as error:
            why = error
            continue
        usual = usual or [0.0] * len(wants)
        usual = [
            old if kind in FAR else max(old, _level(want)) for old, want in zip(usual, wants, strict=True)
        ]
        for sample in _samples(trial.batch):
            gots = trial.ours({key: _part(trial, v, feeds[key], sample) for key, v in trial.live.items()})
            found = found or _values(trial, gots, wants)
            for index, got in enumerate(gots[: len(found)]):
                want = _part(trial, found[index], wants[index], sample)
                off = _off(trial.op, got, want, kind, usual[index])
                if off.any() and kind not in EXACT and off.dtype.kind == "f":
                    nudged = single.run({key: moved(value) for key, value in feeds.items()})[index]
                    shift = np.abs(_part(trial, found[index], nudged, sample).astype(np.float64) - want)
                    off = np.where(off <= _AMPLIFIED * shift, 0.0, off)
                if off.any():
                    raise trial.mismatch(f"on {kind} operands, by {float(np.nanmax(off)):.2g}")
    if not found:
        raise why
    if trial.batch > 1:
        _check_alike(trial, single, found)
        _check_neighbours(trial, single, found)
    return found


def _samples(batch: int) -> list[int]:
    """All samples of a small batch, some of a large one."""
    return sorted({i * (batch - 1) // (_SAMPLES - 1) for i in range(_SAMPLES)})


def _part(trial: _Trial, value: _Value, full: _Array, sample: int) -> _Array:
    part = full if trial.batch == 1 else value.part(full, sample)
    if part is None:
        raise trial.refused(f"where {trial.title} puts the samples cannot be told")
    return part


def _values(trial: _Trial, gots: list[Tensor], wants: list[_Array]) -> list[_Value]:
    """Shapes and types of the outputs."""
    found = [
        _Value(tuple(got.shape), tuple(want.shape), got.dtype) for got, want in zip(gots, wants, strict=False)
    ]
    for value in found:
        expected = value.full
        if trial.batch > 1:
            axis = value.axis(value.full)
            if axis is None or value.full[axis] != trial.batch * value.one[axis]:
                raise trial.refused(
                    f"{trial.title} makes {list(value.one)} of one sample, {list(value.full)} of all"
                )
            continue
        if value.one != expected:
            raise trial.mismatch(f"in shape: {list(value.one)} instead of {list(expected)}")
    if len(found) < len(wants):
        raise trial.refused(f"{trial.title} has {len(found)} outputs instead of {len(wants)}")
    return found


def _level(value: _Array) -> float:
    """The largest finite entry."""
    if value.dtype.kind != "f" or not value.size:
        return 0.0
    quick = float(torch.from_numpy(value).abs().max())
    if math.isfinite(quick):
        return quick
    size = np.abs(value.astype(np.float64))
    return float(np.max(size, initial=0.0, where=np.isfinite(size)))


def _off(op: str, got: Tensor, want: _Array, kind: str, usual: float) -> _Array:
    """Per entry, by how much ours is wrong: 0 where it is not."""
    ours = got.numpy() if got.dtype != torch.bfloat16 else got.float().numpy()
    if ours.dtype != want.dtype or ours.shape != want.shape:
        return np.ones(1, dtype=bool)
    if want.dtype.kind != "f":
        unsigned = op in {"Cast", "CastLike"} and kind != "uniform"  # negative to unsigned is not defined
        wrong = ours != want
        return (
            wrong
            if kind in STEPS and not unsigned and wrong.sum() > _STEPPED * wrong.size
            else np.zeros(1, bool)
        )
    tolerance = _HALF_TOLERANCE if got.dtype == torch.float16 else _TOLERANCE
    allowed = tolerance * _level(want) + _FLOOR * usual
    if not want.size or float((got - torch.from_numpy(want)).abs().max()) <= allowed:
        return np.zeros(1)
    ours, want = ours.astype(np.float64), want.astype(np.float64)
    with np.errstate(invalid="ignore"):
        distance = np.abs(ours - want)
    distance = np.where(np.isnan(distance), np.inf, distance)
    # Far out the reference may overflow where ours does not; elsewhere both must.
    excused = ~np.isfinite(want) & (~np.isfinite(ours) | (kind in FAR))
    return np.where(excused | (distance <= allowed), 0.0, distance)


def _check_alike(trial: _Trial, single: Single, found: list[_Value]) -> None:
    """N times the same sample gives N times the same: no sample is singled out."""
    random = np.random.default_rng(_SEED + 1)
    for kind in ("normal", "large positive"):
        feeds = {}
        for key, value in trial.live.items():
            one = draw(random, kind, value.one, value.numpy_dtype(), trial.op)
            axis = value.axis(value.full)
            feeds[key] = np.concatenate([one] * trial.batch, 0 if axis is None else axis)
        try:
            wants = single.run(feeds)
        except Unrunnable:
            continue
        for value, want in zip(found, wants, strict=True):
            axis = value.axis(value.full) or 0
            split = (trial.batch, value.one[axis])
            blocks = want.reshape(*want.shape[:axis], *split, *want.shape[axis + 1 :]).astype(np.float64)
            first = blocks.take([0], axis)
            with np.errstate(invalid="ignore"):
                distance = np.nan_to_num(np.abs(blocks - first), nan=0.0)
            if (distance > _TOLERANCE * _level(want) + _FLOOR).any():
                raise trial.mismatch(f"equal samples give different results on {kind} operands")


def _check_neighbours(trial: _Trial, single: Single, found: list[_Value]) -> None:
    """Other numbers in some samples leave the results of all others alone, to the last bit.

    The samples are chosen by each binary digit of their number, so every pair is told apart once.
    """
    random = np.random.default_rng(_SEED + 2)
    near, far = (
        {key: draw(random, kind, v.full, v.numpy_dtype(), trial.op) for key, v in trial.live.items()}
        for kind in ("normal", "thousandfold")
    )

    def places(value: _Value, chosen: _Array) -> _Array:
        axis = value.axis(value.full) or 0
        along = np.repeat(chosen, value.one[axis])
        return np.broadcast_to(along.reshape([-1] + [1] * (len(value.full) - axis - 1)), value.full)

    for digit in range(2 * (trial.batch - 1).bit_length()):
        chosen = (np.arange(trial.batch) >> digit // 2) % 2 == digit % 2
        feeds = {key: np.where(places(v, chosen), far[key], near[key]) for key, v in trial.live.items()}
        try:
            before, after = single.run(near), single.run(feeds)
        except Unrunnable:
            return
        for value, old, new in zip(found, before, after, strict=True):
            kept = ~places(value, chosen)
            if not np.array_equal(old[kept], new[kept], equal_nan=old.dtype.kind == "f"):
                raise trial.mismatch("results change with the neighbours in the batch")


def _unchecked(trial: _Trial, why: str) -> list[_Value]:
    """A node onnxruntime does not run alone is let pass only if nothing can be claimed about it later."""
    random = torch.Generator().manual_seed(_SEED)
    feeds = {}
    for key, value in trial.live.items():
        feeds[key] = torch.randn(value.one, generator=random).to(value.dtype)
    gots = trial.ours(feeds)
    coarse = any(value.dtype not in _FINE for value in trial.live.values()) or gots[0].dtype not in _FINE
    if trial.batch > 1 or not coarse:
        raise trial.refused(f"{trial.title} cannot be compared with onnxruntime: {why}")
    return [_Value(tuple(got.shape), tuple(got.shape), got.dtype) for got in gots]
