"""The network that is analysed against the one that was given: is it the same function?

A converted ONNX graph is compared with onnxruntime, which shares no code with ours; an exported PyTorch
module with the module as Python runs it, called anew (what Python decides while exporting, by chance, by
counters, by looking whether it is being exported, is frozen into the program); and the layer graph with the
exported program.

‖a − b‖ / max(‖b‖, tiny) ≤ 1e-4, with tiny a thousandth of the largest usual ‖b‖ (and 1e-6 at least, unless
‖b‖ stays below 1e-3 on all inputs), on seven inputs: zeros (biases and pads), uniform noise in [0, 1], a
smooth image, and four normal draws, three of them wide, so that clamps, saturations and what sleeps behind
max(x − 100, 0) are reached.  Noise alone is not enough: its local averages all look alike.  Far out rounding
is amplified, so the two widest draws have wider tolerances, and a difference no larger than what the last
bits of the input do to the reference itself is none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import nn
from torch.export import ExportedProgram

from lipaudit.errors import ConversionMismatch, InputRefused
from lipaudit.graph.graph import LayerGraph
from lipaudit.graph.node import Unsupported
from lipaudit.load.blame import first_line

__all__ = [
    "TOLERANCE",
    "Comparison",
    "check_export",
    "check_translation",
    "compare",
    "probes",
    "refuse_coupling",
    "run_module",
    "run_reference",
]

TOLERANCE = 1e-4
"""Relative; float32 rounding alone reached 2.4e-5 on 133 published graphs."""

COUPLING = 1e-2
"""Relative; what another order of float32 sums in a larger batch does not reach."""
_TINY, _LEAST = 1e-6, 1e-30
_SATURATED = 1e-3
_WIDE = {"wide normal": (10.0, TOLERANCE), "normal times 1e2": (1e2, 1e-3), "normal times 1e4": (1e4, 3e-2)}
"""Scale and tolerance of draws far outside of most data; overflow there says nothing."""

_LAST_BITS = 2.0**-22
_AMPLIFIED = 64.0
"""A wide difference is rounding if it is at most this many times what a change of the last bits makes."""
_SEED = 20240229

_Array = np.ndarray[Any, Any]

ONNXRUNTIME = f"onnxruntime {onnxruntime.__version__}"
_MODULE = "the PyTorch module"
_PROGRAM = "the exported program"
_HINTS = {
    ONNXRUNTIME: "an operator is converted wrongly; exporting with another opset may help",
    _MODULE: "its output depends on chance, on what ran before, or on being exported: only a function of the "
    "input can be analysed",
}


@dataclass(frozen=True, slots=True)
class Comparison:
    """The outcome: compared with what, on how many inputs, and the largest relative difference."""

    reference: str
    inputs: int
    difference: float

    def as_dict(self) -> dict[str, Any]:
        """For the report."""
        return {
            "reference": self.reference,
            "inputs": self.inputs,
            "max_relative_difference": self.difference,
        }


def probes(shape: tuple[int, ...], dtype: Any) -> dict[str, _Array]:  # noqa: ANN401 - a numpy dtype
    """Inputs of `shape`, by kind; seeded."""
    draw = np.random.default_rng(_SEED)
    ramps = np.meshgrid(*(np.linspace(0.0, 1.0, n) if n > 1 else np.zeros(1) for n in shape), indexing="ij")
    smooth = np.mean([ramp * (i + 1) for i, ramp in enumerate(ramps)], axis=0)
    inputs = {
        "zeros": np.zeros(shape),
        "uniform": draw.random(shape),
        "smooth image": 0.5 + 0.5 * np.sin(4.0 * smooth + 1.0),
        "normal": draw.standard_normal(shape),
        **{kind: scale * draw.standard_normal(shape) for kind, (scale, _) in _WIDE.items()},
    }
    return {kind: value.astype(dtype) for kind, value in inputs.items()}


def run_reference(session: Any, x: _Array, name: str) -> _Array:  # noqa: ANN401 - onnxruntime has no types
    """The reference's output.

    Raises:
        InputRefused: onnxruntime cannot run the graph.
    """
    try:
        (output,) = session.run([session.get_outputs()[0].name], {session.get_inputs()[0].name: x})
    except Exception as error:  # noqa: BLE001 - onnxruntime raises many kinds
        raise InputRefused(
            f"onnxruntime cannot run {name} on an input of shape {list(x.shape)}: {first_line(error)}",
            hint="a graph that its reference runtime refuses cannot be checked",
        ) from None
    return np.asarray(output)


def compare(
    ours: Callable[[_Array], _Array],
    reference: Callable[[_Array], _Array],
    inputs: dict[str, _Array],
    name: str,
    against: str = ONNXRUNTIME,
) -> Comparison:
    """Run both on every input; `against` names the reference.

    Raises:
        ConversionMismatch: they differ by more than `TOLERANCE`.
        InputRefused: an output is NaN or infinite.
    """
    expected = {kind: reference(x).astype(np.float64) for kind, x in inputs.items()}
    broken = [kind for kind, value in expected.items() if not np.isfinite(value).all()]
    expected = {kind: value for kind, value in expected.items() if kind not in broken}
    if set(broken) - set(_WIDE):
        raise InputRefused(
            f"{name} returns NaN or infinity on {broken[0]}",
            hint="the network is numerically broken: check it",
        )
    sizes = {kind: float(np.linalg.norm(value)) for kind, value in expected.items()}
    tiny = _floor([size for kind, size in sizes.items() if kind not in _WIDE], max(sizes.values()))
    largest = 0.0
    for kind, value in expected.items():
        got = ours(inputs[kind]).astype(np.float64)
        if got.size != value.size:
            raise ConversionMismatch(
                f"{name}: the converted graph returns {got.size} numbers, {against} {value.size}",
                hint="please report the model",
            )
        distance = float(np.linalg.norm(got.reshape(-1) - value.reshape(-1)))
        relative = distance / max(sizes[kind], tiny)
        tolerance = _WIDE[kind][1] if kind in _WIDE else TOLERANCE
        if not relative <= tolerance and not (
            kind in _WIDE and distance <= _AMPLIFIED * _unsteady(reference, inputs[kind], value)
        ):
            raise ConversionMismatch(
                f"{name}: converted graph and {against} differ by {relative:.2g} (relative) on {kind}",
                hint=_HINTS.get(against, "this is a defect of lipaudit: please report the model"),
            )
        if tolerance == TOLERANCE:
            largest = max(largest, relative)
    return Comparison(against, len(expected), largest)


def _floor(usual: Sequence[float], largest: float) -> float:
    """Below that no relative accuracy is asked for: a saturated output (sigmoid ≈ 0) has none.

    A head that saturates is near 1 somewhere; where all outputs are small, so is the network.

    Args:
        usual: norms of outputs on usual inputs.
        largest: norm on any input.
    """
    small = 0 < largest < _SATURATED
    return max(_LEAST if small else _TINY, _SATURATED * max(usual))


def _unsteady(reference: Callable[[_Array], _Array], x: _Array, value: _Array) -> float:
    """How far the reference itself moves when the last bits of its input do."""
    signs = np.random.default_rng(_SEED).choice([-1.0, 1.0], size=x.shape)
    moved = reference((x * (1.0 + _LAST_BITS * signs)).astype(x.dtype)).astype(np.float64)
    distance = float(np.linalg.norm(moved.reshape(-1) - value.reshape(-1)))
    return distance if np.isfinite(distance) else 0.0


def check_export(
    module: nn.Module, export: Callable[[], ExportedProgram], shape: tuple[int, ...], name: str
) -> tuple[ExportedProgram, Comparison]:
    """Export a module, and compare the program with the module before and after.

    Args:
        module: in eval mode, one float type.
        export: makes the program.
        shape: of an input, leading 1 included.
        name: for messages.

    Raises:
        ConversionMismatch: they differ, or the module does not give the same twice.  Inputs on which it gives
            NaN or infinity say nothing and are left out.
    """
    dtype = next(
        (
            p.dtype.to_real()
            for p in (*module.parameters(), *module.buffers())
            if p.is_floating_point() or p.is_complex()
        ),
        torch.float32,
    )
    inputs = probes(shape, torch.zeros(0, dtype=dtype).numpy().dtype)

    def eager(x: _Array) -> _Array:
        return run_module(module, x)

    # Called anew for every comparison but the first: a module that changes with its calls is caught by that.
    before = _once(eager)
    inputs = {kind: x for kind, x in inputs.items() if np.isfinite(before(x)).all()}
    program = export()
    if not inputs:
        return program, Comparison(_MODULE, 0, 0.0)
    compare(before, eager, inputs, name, _MODULE)
    refuse_coupling(eager, inputs, name)
    frozen = program.module()
    return program, compare(lambda x: run_module(frozen, x), eager, inputs, name, _MODULE)


def check_translation(graph: LayerGraph, program: ExportedProgram, name: str) -> None:
    """Compare the layer graph, in float64, with the program it was translated from.

    Not where an operation has no bound: then nothing is claimed, and steps (rounding, comparisons) may fall
    on the other side in float64.

    Raises:
        ConversionMismatch: they differ.  Inputs on which the program gives NaN or infinity are left out.
    """
    if any(isinstance(node.op, Unsupported) for node in graph):
        return
    (dtype,) = {
        v.meta["val"].dtype for v in program.graph.nodes if v.name in program.graph_signature.user_inputs
    }
    inputs = probes(graph.input_shape, torch.zeros(0, dtype=dtype).numpy().dtype)
    frozen = program.module()

    def ours(x: _Array) -> _Array:
        with torch.no_grad():
            return graph.run(torch.from_numpy(x).double().to(graph.device)).cpu().numpy()

    reference = _once(lambda x: run_module(frozen, x))
    inputs = {kind: x for kind, x in inputs.items() if np.isfinite(reference(x)).all()}
    if inputs:
        compare(ours, reference, inputs, name, _PROGRAM)


def _once(program: Callable[[_Array], _Array]) -> Callable[[_Array], _Array]:
    """The same program, run once per input: several comparisons share its outputs."""
    known: dict[bytes, _Array] = {}

    def run(x: _Array) -> _Array:
        key = x.tobytes()
        if key not in known:
            known[key] = program(x)
        return known[key]

    return run


def run_module(module: nn.Module, x: _Array) -> _Array:
    """A module's output as an array."""
    with torch.no_grad():
        return np.asarray(module(torch.from_numpy(x)).numpy())


def refuse_coupling(program: Callable[[_Array], _Array], inputs: dict[str, _Array], name: str) -> None:
    """Run inputs as one batch: no row may depend on another.

    In pairs, then all together, each in both orders: a row may depend on the rows before it only, or on one
    further away, and next to zeros nothing shows.  A program that takes one input at a time, or whose output
    has no batch axis, is not concerned.

    Args:
        program: inputs with a leading batch axis to outputs.
        inputs: one sample each, leading 1.
        name: for messages.

    Raises:
        InputRefused: a row differs from what its input gives alone.
    """
    program = _once(program)
    first, *others = inputs.values()
    batches = [pair for other in others for pair in ([first, other], [other, first])]
    together = list(inputs.values())
    usual = [inputs[kind] for kind in inputs if kind not in _WIDE]
    for batch in (*batches, usual, usual[::-1], together, together[::-1]):
        if not _is_separate(program, batch, name):
            return


def _is_separate(program: Callable[[_Array], _Array], batch: list[_Array], name: str) -> bool:
    """Compare rows with what their inputs give alone; False where the program takes no such batch."""
    try:
        alone = [program(x).astype(np.float64) for x in batch]
        rows = program(np.concatenate(batch)).astype(np.float64)
    except Exception:  # noqa: BLE001 - whatever a fixed batch of 1 makes a program raise
        return False
    if rows.shape[0] != len(batch) or rows.size != sum(single.size for single in alone):
        return False
    sizes = [float(np.linalg.norm(single)) for single in alone]
    tiny = _floor(sizes[:2], max(sizes))
    for row, single in zip(rows, alone, strict=True):
        distance = float(np.linalg.norm(row.reshape(-1) - single.reshape(-1)))
        if distance > COUPLING * max(float(np.linalg.norm(single)), tiny):
            raise InputRefused(
                f"{name}: the samples of a batch influence each other ({len(batch)} together give other "
                "outputs than one by one)",
                hint="an answer that depends on the neighbours in a batch cannot be certified per sample",
            )
    return True
