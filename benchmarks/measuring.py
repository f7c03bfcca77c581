"""Time, memory and value of one call, in a forked process of its own that is stopped when it takes too long.

Memory is what the process held at its peak (Linux: `VmHWM`, reset at the start) beyond what it held when the
call began: the call's own tensors and what libraries allocate for them, without torch (0.3 GB) and weights.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from lipaudit.errors import NotCovered

__all__ = ["Measurement", "Silent", "measured"]

MOST_MEMORY = 8 * 2**30
"""Address space that a call may add."""
QUICK = 5.0
"""Seconds that repetitions may take together."""
_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


class Silent(Exception):
    """A baseline has nothing to say about a map."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """What a call returned and took; None where it did not return."""

    value: float | None = None
    seconds: float | None = None
    runs: int = 0
    memory: int | None = None
    note: str = ""


def measured(call: Callable[[], float], cap: float, repeats: int) -> Measurement:
    """Run `call` once, and if it is quick up to `repeats` times; the median time counts.

    It is stopped after `cap` seconds.
    """
    context = multiprocessing.get_context("fork")
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(call, repeats, send), daemon=True)
    process.start()
    send.close()
    found: list[tuple[float, float, int]] = []
    note = ""
    deadline = time.monotonic() + cap
    with contextlib.suppress(EOFError):
        while receive.poll(max(0.0, deadline - time.monotonic())):
            answer = receive.recv()
            if isinstance(answer, str):
                note = answer
                break
            found.append(answer)
        else:
            note = "" if found else f"not done within {cap:g} s"
    process.kill()
    process.join()
    if not found:
        return Measurement(note=note or f"ended with code {process.exitcode}")
    value, _, memory = found[0]
    return Measurement(value, statistics.median(s for _, s, _ in found), len(found), memory)


def _child(call: Callable[[], float], repeats: int, send: Connection) -> None:
    torch.set_num_threads(1)
    limit = _kilobytes("VmSize") * 1024 + MOST_MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    with contextlib.suppress(OSError):
        _CLEAR.write_text("5", encoding="ascii")
    held, began = _kilobytes("VmRSS"), time.perf_counter()
    try:
        for _ in range(repeats):
            start = time.perf_counter()
            value = call()
            took = time.perf_counter() - start
            send.send((value, took, (_kilobytes("VmHWM") - held) * 1024))
            if time.perf_counter() - began + took > QUICK:
                return
    except (NotCovered, Silent) as error:
        send.send(f"no statement: {error.args[0]}")
    except (MemoryError, RuntimeError) as error:
        send.send(f"failed: {(str(error) or 'out of memory').splitlines()[0][:80]}")


def _kilobytes(field: str) -> int:
    """A number of this process' status; 0 where there is none."""
    with contextlib.suppress(OSError):
        for line in _STATUS.read_text(encoding="ascii").splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1])
    return 0
