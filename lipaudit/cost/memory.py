"""How much memory a piece of work takes at its worst moment.

**CUDA**: `max_memory_allocated`, reset before, less what was allocated by then.  **CPU**: every allocation
and release of PyTorch's allocator as its profiler records them, summed up in order of time: temporary buffers
inside of operators are seen as well, other programs and Python's own memory are not.  What a library takes
past the allocator (oneDNN's scratchpads, cuDNN's contexts) is not seen on either.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

__all__ = ["available", "is_out_of_memory", "let_go", "peak_of"]

_SPEECH = "KINETO_LOG_LEVEL"
_SILENT = "99"


def peak_of(run: Callable[[], object], device: torch.device) -> int:
    """Bytes that `run` holds at most beside what was there before; its first run is not the one measured.

    Args:
        run: leaves nothing behind.
        device: where it works.
    """
    run()  # what is made once and kept (momenta, workspaces, plans) is no part of each run
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    with _silent(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as watched:
        run()
    now = highest = 0
    for _, size in sorted(_allocations(watched), key=lambda event: event[0]):
        now += size
        highest = max(highest, now)
    return highest


def _allocations(watched: profile) -> Iterator[tuple[int, int]]:
    """Time and bytes of each allocation (> 0) and release (< 0)."""
    results = watched.profiler.kineto_results if watched.profiler is not None else None
    waiting = [] if results is None else list(results.experimental_event_tree())
    while waiting:
        event = waiting.pop()
        waiting += event.children
        if event.tag.name == "Allocation":
            fields: Any = event.extra_fields
            yield event.start_time_ns, fields.alloc_size


@contextmanager
def _silent() -> Iterator[None]:
    """The profiler's library writes to stderr, past Python."""
    before = os.environ.get(_SPEECH)
    os.environ[_SPEECH] = before or _SILENT
    try:
        yield
    finally:
        if before is None:
            del os.environ[_SPEECH]


def available(device: torch.device) -> int | None:
    """Bytes that may be taken: half of what is left; None where asking for too much is harmless."""
    if device.type == "cuda":
        return None
    found: list[int] = []
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        found.append(int(next(line for line in lines if line.startswith("MemAvailable:")).split()[1]) << 10)
    with suppress(OSError, ValueError):  # "max" where a container has no limit
        folder = Path("/sys/fs/cgroup")
        limit, taken = ((folder / f"memory.{n}").read_text(encoding="ascii") for n in ("max", "current"))
        found.append(max(int(limit) - int(taken), 0))
    return min(found) // 2 if found else os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory was missing; PyTorch's CPU allocator says so in words only."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def let_go(device: torch.device) -> None:
    """Free what is left of a measurement, so that the next one does not meet it."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
