"""How far the work is, on stderr: a bar on a terminal, a line every 30 s in a log.

The pipeline reports stages and steps to a `Meter`; which one it talks to is decided here, once.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from lipaudit.cli.streams import say

__all__ = ["HEARTBEAT", "BarMeter", "HeartbeatMeter", "Meter", "SilentMeter", "meter"]

HEARTBEAT = 30.0
"""Seconds between two lines in a log: CI systems take longer silence for a hang."""


class Meter(Protocol):
    """What the pipeline reports to."""

    def stage(self, name: str, total: int) -> None:
        """A stage of `total` steps begins (0: unknown)."""
        ...

    def advance(self, n: int = 1) -> None:
        """`n` more steps are done."""
        ...


class _Entered:
    """A context manager that has nothing to open or close."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop showing."""


class SilentMeter(_Entered):
    """Shows nothing (`-q`)."""

    def stage(self, name: str, total: int) -> None:
        """Nothing."""

    def advance(self, n: int = 1) -> None:
        """Nothing."""


class HeartbeatMeter(_Entered):
    """One line every `interval` seconds, also while a step takes long."""

    def __init__(self, interval: float = HEARTBEAT) -> None:
        self._interval = interval
        self._name = "starting"
        self._total = 0
        self._done = 0
        self._started = self._entered = time.monotonic()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def stage(self, name: str, total: int) -> None:
        """Count from 0 again."""
        self._name, self._total, self._done, self._started = name, total, 0, time.monotonic()

    def advance(self, n: int = 1) -> None:
        """Only counted; the thread tells."""
        self._done += n

    def close(self) -> None:
        """No more lines."""
        self._closed.set()
        self._thread.join()

    def line(self, now: float) -> str:
        """What is said at time `now` (`time.monotonic`)."""
        parts = [f"… {clock(now - self._entered)} {self._name}"]
        done, total, spent = self._done, self._total, now - self._started
        if total or done:
            parts.append(f"{done}/{total}" if total else f"{done} done")
        if done and spent > 0:
            rate = done / spent
            parts.append(f"{rate:.3g}/s")
            if total > done > 1:  # one step tells nothing of the next one
                parts.append(f"about {clock((total - done) / rate)} left")
        return ", ".join(parts)

    def _beat(self) -> None:
        while not self._closed.wait(self._interval):
            say(self.line(time.monotonic()))


class BarMeter(_Entered):
    """A bar with rate and remaining time, wiped when it is done."""

    def __init__(self, console: Console) -> None:
        self._task: TaskID | None = None
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            _StepsColumn(),
            _RateColumn(),
            _LeftColumn(elapsed_when_finished=True),
            console=console,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def stage(self, name: str, total: int) -> None:
        """Replace the bar by that of the next stage."""
        if self._task is not None:
            self._progress.remove_task(self._task)
        self._task = self._progress.add_task(name, total=total or None)

    def advance(self, n: int = 1) -> None:
        """Move the bar."""
        if self._task is not None:
            self._progress.advance(self._task, n)

    def close(self) -> None:
        """Wipe it, so that an error message starts on a clean line."""
        self._progress.stop()


def meter(*, quiet: bool, colour: bool = True) -> AbstractContextManager[Meter]:
    """The meter that suits stderr."""
    if quiet or sys.stderr is None:
        return SilentMeter()
    if sys.stderr.isatty() and os.environ.get("TERM", "") not in ("dumb", ""):
        return BarMeter(Console(file=sys.stderr, markup=False, highlight=False, no_color=not colour))
    return HeartbeatMeter()


def clock(seconds: float) -> str:
    """`1:05` minutes, `2:00:00` hours."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class _StepsColumn(MofNCompleteColumn):
    """Steps done and to do, of a stage that has steps."""

    def render(self, task: Task) -> Text:
        """`3/12`, or nothing."""
        return Text() if task.total is None else super().render(task)


class _LeftColumn(TimeRemainingColumn):
    """The time that is left, once two steps have told how long one takes."""

    def render(self, task: Task) -> Text:
        """`0:01:05`, or nothing yet."""
        return super().render(task) if task.completed > 1 else Text()


class _RateColumn(ProgressColumn):
    """Steps per second."""

    def render(self, task: Task) -> Text:
        """`55.1/s`, or nothing yet."""
        return Text(f"{task.speed:.3g}/s" if task.speed else "")
