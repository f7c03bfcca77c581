"""The converted network against onnxruntime, an implementation that shares no code with ours.

‖a − b‖ / max(‖b‖, tiny) ≤ 1e-4, with tiny a thousandth of the largest usual ‖b‖, on five inputs: zeros
(biases and pads), uniform noise in [0, 1], a smooth image, and two normal draws, one of them wide, so that
clamps and saturations are reached.  Noise alone is not enough: its local averages all look alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime

from lipaudit.errors import ConversionMismatch, InputRefused
from lipaudit.load.fold import first_line

__all__ = ["TOLERANCE", "Comparison", "compare", "probes", "run_reference"]

TOLERANCE = 1e-4
"""Relative; float32 rounding alone reached 2.4e-5 on 133 published graphs."""

_TINY = 1e-6
_SATURATED = 1e-3
_WIDE = "wide normal"
_SEED = 20240229

_Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The outcome: how many inputs, and the largest relative difference."""

    inputs: int
    difference: float

    def as_dict(self) -> dict[str, Any]:
        """For the report."""
        return {
            "reference": f"onnxruntime {onnxruntime.__version__}",
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
        _WIDE: 10.0 * draw.standard_normal(shape),
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
) -> Comparison:
    """Run both on every input.

    Raises:
        ConversionMismatch: they differ by more than `TOLERANCE`.
        InputRefused: an output is NaN or infinite.
    """
    expected = {kind: reference(x).astype(np.float64) for kind, x in inputs.items()}
    broken = [kind for kind, value in expected.items() if not np.isfinite(value).all()]
    # Ten standard deviations lie far outside of any data: overflow there says nothing.
    expected = {kind: value for kind, value in expected.items() if kind not in broken}
    if set(broken) - {_WIDE}:
        raise InputRefused(
            f"{name} returns NaN or infinity on {broken[0]}",
            hint="the network is numerically broken: check it",
        )
    # A saturated output (sigmoid ≈ 0) has no relative accuracy left, in either program.
    usual = max(float(np.linalg.norm(value)) for kind, value in expected.items() if kind != _WIDE)
    tiny = max(_TINY, _SATURATED * usual)
    largest = 0.0
    for kind, value in expected.items():
        got = ours(inputs[kind]).astype(np.float64)
        if got.size != value.size:
            raise ConversionMismatch(
                f"{name}: the converted graph returns {got.size} numbers, onnxruntime {value.size}",
                hint="please report the model",
            )
        distance = float(np.linalg.norm(got.reshape(-1) - value.reshape(-1)))
        relative = distance / max(float(np.linalg.norm(value)), tiny)
        if not relative <= TOLERANCE:
            raise ConversionMismatch(
                f"{name}: converted graph and onnxruntime differ by {relative:.2g} (relative) on {kind}",
                hint="an operator is converted wrongly; exporting with another opset may help",
            )
        largest = max(largest, relative)
    return Comparison(len(expected), largest)
