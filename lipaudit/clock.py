"""How far an audit is and where its time goes: stages for whoever watches, seconds for the report's `run`.

With SOURCE_DATE_EPOCH set no durations are written down, so that the same audit gives the same bytes.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction
from importlib.metadata import version
from typing import Any, Protocol

import torch

from lipaudit.analyze import Layer
from lipaudit.moment import fixed_moment, moment
from lipaudit.report import tried
from lipaudit.report.model import Host, Run

__all__ = ["Clock", "Progress"]


class Progress(Protocol):
    """What shows a person how far the audit is."""

    def stage(self, name: str, total: int) -> None:
        """A new stage of `total` steps (0: unknown)."""

    def advance(self, n: int = 1) -> None:
        """`n` steps are done."""


@dataclass(slots=True)
class Clock:
    """Seconds per stage, passed on to whoever shows progress."""

    shown: Progress | None
    started: datetime = field(default_factory=moment)
    timed: bool = field(default_factory=lambda: fixed_moment() is None)
    seconds: dict[str, float] = field(default_factory=dict)
    name: str = ""
    since: float = field(default_factory=time.perf_counter)

    def stage(self, name: str, total: int) -> None:
        """The last stage ends, this one begins."""
        now = time.perf_counter()
        if self.name:
            self.seconds[self.name] = round(now - self.since, 3)
        self.name, self.since = name, now
        if self.shown is not None and name:
            self.shown.stage(name, total)

    def advance(self, n: int = 1) -> None:
        """`n` steps of the stage are done."""
        if self.shown is not None:
            self.shown.advance(n)

    def run(self, device: torch.device, command: dict[str, Any], layers: Sequence[Layer]) -> Run:
        """The report's half that is no evidence."""
        self.stage("", 0)
        libraries = ("lipaudit", "torch", "onnx", "onnxruntime", "numpy", "pillow")
        return Run(
            started=self.started.isoformat(timespec="seconds"),
            seconds=round(sum(self.seconds.values()), 3) if self.timed else 0.0,
            stages=self.seconds if self.timed else {},
            versions={name: version(name) for name in libraries},
            host=Host(
                platform=f"{platform.system()} {platform.machine()}",
                device=str(device),
                threads=torch.get_num_threads(),
            ),
            layers=tried.seconds_spent(layers) if self.timed else {},
            command={k: _plain(v) for k, v in command.items()},
        )


def _plain(value: Any) -> Any:  # noqa: ANN401 - whatever an option may be
    """Options as the report spells them: fractions as text, sequences as tuples of text."""
    if isinstance(value, Fraction):
        return str(value)
    if isinstance(value, list | tuple):
        return tuple(str(v) for v in value)
    return value
