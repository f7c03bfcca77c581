"""What is asked for, and what is repeated to measure it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from lipaudit.errors import UsageError
from lipaudit.report.comparison.record import Measured, Spread

__all__ = ["LARGEST_BATCH", "Asked", "CannotRun", "Ready", "Work", "bytes_of"]

LARGEST_BATCH = 1 << 20


class CannotRun(Exception):
    """Something is not measured; the message says why."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What to measure.

    Args:
        batch: samples at a time; halved until they fit.
        device: where.
        train: whether a training step is measured as well.

    Raises:
        UsageError: no such batch.
    """

    batch: int
    device: torch.device
    train: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.batch <= LARGEST_BATCH:
            raise UsageError(f"a batch of {self.batch} is not possible", hint=f"1 to {LARGEST_BATCH}")


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """Something that does the same each time it is run.

    Args:
        run: do it once.
        held: bytes of the tensors that are there before, and stay.
        dtype: of the batch.
        parameters: how many numbers it changes; None: it changes none.
        how: what it is.
    """

    run: Callable[[], object]
    held: int
    dtype: str
    how: str
    parameters: int | None = None


@dataclass(slots=True, eq=False)
class Ready:
    """Work that fits into the memory.

    Attributes:
        seconds: of its runs, once it was timed.
        trouble: why it could not be timed.
    """

    work: Work
    batch: int
    peak: int
    seconds: list[float] = field(default_factory=list)
    trouble: str = ""

    def measured(self) -> Measured:
        """As the comparison records it."""
        return Measured(
            batch=self.batch,
            dtype=self.work.dtype,
            peak_bytes=self.peak,
            seconds=Spread.of(self.seconds) if self.seconds else None,
            parameters=self.work.parameters,
            how=self.work.how,
        )


def bytes_of(*tensors: torch.Tensor) -> int:
    """Bytes of the memory behind these tensors, what they share counted once."""
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
    return sum(storages.values())
