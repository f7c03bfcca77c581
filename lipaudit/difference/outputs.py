"""Do two models answer alike?  Both original programs, and both layer graphs in float64, on the same inputs.

The probes are those that every loaded model is compared with (`load/verify.py`): zeros, noise, a smooth
image, and wide draws that reach what sleeps behind max(x − 100, 0).  Two float32 programs differ by rounding,
more so far out; in float64 they do not, so that comparison keeps one tolerance at every scale.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lipaudit.difference.record import OutputGap
from lipaudit.errors import Incomplete, InputRefused
from lipaudit.graph.graph import LayerGraph
from lipaudit.load import LoadedModel

__all__ = [
    "AS_GIVEN",
    "IN_DOUBLE",
    "Arranger",
    "arrangement",
    "gap",
    "graph_program",
    "probe_gaps",
    "reference_program",
]

_Array = np.ndarray[Any, Any]
Arranger = Callable[[Tensor], Tensor]
Program = Callable[[Tensor], Tensor]

_SATURATED = 1e-3
_WIDE = {"wide normal": 1.0, "normal times 1e2": 10.0, "normal times 1e4": 300.0}
"""Wide draws, and how much more two float32 programs may differ there by rounding alone."""
AS_GIVEN, IN_DOUBLE = "as given", "in float64"


def arrangement(a: tuple[int, ...], b: tuple[int, ...], notes: list[str]) -> Arranger:
    """From an input of the first model (leading 1) to the same input of the second.

    Raises:
        InputRefused: their shapes have nothing to do with each other.
    """
    if a == b:
        return lambda x: x
    if len(a) == len(b) == 4 and b[1:] == (a[2], a[3], a[1]):
        notes.append(f"the second model takes channels last: {list(a)} became {list(b)}")
        return lambda x: x.permute(0, 2, 3, 1)
    if len(a) == len(b) == 4 and a[1:] == (b[2], b[3], b[1]):
        notes.append(f"the first model takes channels last: {list(a)} became {list(b)}")
        return lambda x: x.permute(0, 3, 1, 2)
    if [n for n in a if n != 1] == [n for n in b if n != 1] or (
        np.prod(a) == np.prod(b) and 2 in (len(a), len(b))
    ):
        notes.append(f"inputs of shape {list(a)} were reshaped to {list(b)} row by row")
        return lambda x: x.reshape(b)
    raise InputRefused(
        f"the models cannot be compared: one takes inputs of shape {list(a)}, the other {list(b)}",
        hint="give models of the same input, or --input-shape where a file leaves it open",
    )


def probe_gaps(
    programs: Mapping[str, tuple[Program, Program]], inputs: Mapping[str, Tensor], tolerance: float
) -> list[OutputGap]:
    """The gap on each kind of input, for each pair of programs.

    Raises:
        InputRefused: the outputs are not of the same number, or never finite.
    """
    found = []
    for label, (one, other) in programs.items():
        rounded = label == AS_GIVEN
        kinds = [kind for kind in inputs if not (rounded and len(programs) > 1 and kind in _WIDE)]
        pairs = {kind: (one(inputs[kind]), other(inputs[kind])) for kind in kinds}
        sizes = [_norm(v) for kind in kinds for v in pairs[kind] if kind not in _WIDE and _finite(v)]
        for kind, pair in pairs.items():
            relative = gap(*pair, max(sizes, default=0.0))
            if relative is not None:
                looser = _WIDE.get(kind, 1.0) if rounded else 1.0
                found.append(OutputGap(kind, label, 1, relative, tolerance * looser))
    if not found:
        raise InputRefused(
            "the models cannot be compared: both return NaN or infinity on every input",
            hint="the networks are numerically broken: check them",
        )
    return found


def gap(a: Tensor, b: Tensor, usual: float) -> float | None:
    """Relative distance of two outputs; None where neither is finite.

    Args:
        a: one output.
        b: the other.
        usual: a usual output's size: what is a thousand times smaller has no relative accuracy.

    Raises:
        InputRefused: they have different numbers of entries.
    """
    if a.numel() != b.numel():
        raise InputRefused(
            f"the models cannot be compared: one returns {a.numel()} numbers, the other {b.numel()}",
            hint="give models of the same classes",
        )
    if not _finite(a) and not _finite(b):
        return None
    if not _finite(a) or not _finite(b):
        return float("inf")
    size = max(_norm(a), _norm(b), _SATURATED * usual)
    return _norm(a.flatten() - b.flatten()) / size if size else 0.0


def _norm(value: Tensor) -> float:
    return float(torch.linalg.vector_norm(value.double()))


def _finite(value: Tensor) -> bool:
    return bool(torch.isfinite(value).all())


def reference_program(loaded: LoadedModel) -> Program:
    """The original program on a float64 input, in its own precision."""
    reference = loaded.reference
    assert reference is not None  # noqa: S101 - every loader gives one
    return lambda x: torch.from_numpy(np.asarray(reference(x.numpy()))).double()


def graph_program(graph: LayerGraph) -> Program | None:
    """The layer graph in float64; None where an operation cannot be run here."""

    def run(x: Tensor) -> Tensor:
        with torch.no_grad():
            return graph.values(x)[graph.output]

    try:
        run(torch.zeros(graph.input_shape, dtype=torch.float64))
    except (Incomplete, RuntimeError):
        return None
    return run
