"""The program that was given, asked for its answers: onnxruntime on the original graph."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from lipaudit.load.verify import run_reference

__all__ = ["Reading", "module_on_samples", "on_samples"]

_Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Reading:
    """One way to read the graph as a function of one sample.

    Args:
        shape: the graph's input in the rewritten graph.
        batch: N of the original graph, fed to the reference.
        whole: the graph has no batch axis; its whole input is one sample.
    """

    shape: tuple[int, ...]
    batch: int = 1
    whole: bool = False


def on_samples(session: Any, reading: Reading, name: str) -> Callable[[_Array], _Array]:  # noqa: ANN401
    """onnxruntime on n samples (leading n): as many at a time as the graph takes; a fixed batch is filled up.

    Args:
        session: of the original graph.
        reading: how samples lie in its input.
        name: of the file, for messages.

    Returns:
        From samples to rows of scores, (n, scores).
    """
    source = session.get_inputs()[0]
    dtype = np.float64 if source.type == "tensor(double)" else np.float32
    free = (
        not reading.whole
        and reading.batch == 1
        and bool(source.shape)
        and not isinstance(source.shape[0], int)
    )

    def run(x: _Array) -> _Array:
        count = len(x)
        at_once = count if free else reading.batch
        shape = reading.shape if reading.whole else (at_once, *reading.shape[1:])
        rows = []
        for start in range(0, count, at_once):
            part = x[start : start + at_once].astype(dtype)
            filled = np.concatenate([part, np.repeat(part[-1:], at_once - len(part), axis=0)])
            answer = run_reference(session, filled.reshape(shape), name)
            rows.append(answer.reshape(at_once, -1)[: len(part)])
        return np.concatenate(rows)

    return run


def module_on_samples(program: Callable[[_Array], _Array], dtype: Any) -> Callable[[_Array], _Array]:  # noqa: ANN401
    """A program that takes a batch on n samples (leading n): together where it can, else one by one.

    Args:
        program: inputs with a leading batch axis to outputs.
        dtype: of its input.

    Returns:
        From samples to rows of scores, (n, scores).
    """

    def run(x: _Array) -> _Array:
        x = x.astype(dtype)
        if len(x) > 1:
            # What couples the samples of a batch answers otherwise than the graph here, and is refused then.
            with contextlib.suppress(Exception):
                rows = program(x)
                if rows.shape[:1] == (len(x),):
                    return rows.reshape(len(x), -1)
        # Slices, not x[i][None]: that axis has stride 0, from which torch concludes another memory layout.
        return np.concatenate([program(x[i : i + 1]).reshape(1, -1) for i in range(len(x))])

    return run
