"""Seconds of pieces of work, each run several times, in turns.

A machine that others use as well is fast now and slow a minute later.  Taking turns, all models meet the same
machine; medians and quartiles are not moved by the runs that were disturbed.  Work on a GPU is waited for,
before and after.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch

from lipaudit.cost.work import Ready
from lipaudit.load.blame import first_line

__all__ = ["in_turns"]

_WARM = 2
_LEAST, _MOST = 5, 100
_ENOUGH = 2.0
"""Seconds per model after which no round is added, once there are `_LEAST`."""


def in_turns(works: Sequence[Ready], device: torch.device) -> None:
    """Run each twice unwatched, then 5 to 100 rounds of all, in about 2 seconds per model.

    Args:
        works: at least one; their `seconds` are filled.
        device: where they work.
    """
    for ready in works:
        for _ in range(_WARM):
            _timed(ready, device)
    spent, rounds = 0.0, 0
    while rounds < _LEAST or (spent < _ENOUGH * len(works) and rounds < _MOST):
        for ready in works:
            seconds = _timed(ready, device)
            if seconds is not None:
                ready.seconds.append(seconds)
                spent += seconds
        rounds += 1


def _timed(ready: Ready, device: torch.device) -> float | None:
    """Seconds of one run; None once a run failed, for want of memory beside the others, say."""
    if ready.trouble:
        return None
    try:
        _wait(device)
        start = time.perf_counter()
        ready.work.run()
        _wait(device)
        return time.perf_counter() - start
    except Exception as error:  # noqa: BLE001 - the user's code may raise anything
        ready.seconds.clear()
        ready.trouble = f"a run failed: {type(error).__name__}: {first_line(error)}"
        return None


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
