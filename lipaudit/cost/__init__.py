"""What networks cost: parameters, forward time, memory, a training step.  Measured, never proved.

    file ── load ──▶ program of one sample ── forward ──▶ the same on N ─┐
    --arch ────────▶ module in train mode ── training ──▶ one step ──────┴─ memory, timing ──▶ Costs

**What runs forward** is the program that the audit is about: the exported calls of the file without
training's parametrisations, in eager PyTorch and the stored floating-point type.  ONNX file and checkpoint of
one network are alike there, so that formats do not compete with each other.  The preprocessing that the audit
adds in front of it is not part of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise

from lipaudit.cost.forward import forward_pass
from lipaudit.cost.memory import available, is_out_of_memory, let_go, peak_of
from lipaudit.cost.parameters import count_parameters
from lipaudit.cost.timing import in_turns
from lipaudit.cost.training import training_step
from lipaudit.cost.work import Asked, CannotRun, Ready, Work
from lipaudit.load import LoadedModel
from lipaudit.report.comparison.record import Costs

__all__ = ["Asked", "Prepared", "prepare", "time_all"]

_PROBE = 2
"""Samples of the first try: batch normalisation does not train on one."""


@dataclass(slots=True, eq=False)
class Prepared:
    """A model whose work is ready to be timed."""

    parameters: int
    forward: Ready | None = None
    training: Ready | None = None
    notes: list[str] = field(default_factory=list)

    def costs(self) -> Costs:
        """What was measured so far."""
        parts = (("forward pass", self.forward), ("training step", self.training))
        troubled = [
            f"{what}: {ready.trouble}" for what, ready in parts if ready is not None and ready.trouble
        ]
        return Costs(
            parameters=self.parameters,
            forward=None if self.forward is None else self.forward.measured(),
            training=None if self.training is None else self.training.measured(),
            notes=(*self.notes, *troubled),
        )


def prepare(loaded: LoadedModel, arch: str | None, asked: Asked) -> Prepared:
    """Count parameters, find a batch that fits, and what memory it takes.

    Args:
        loaded: the model.
        arch: who builds the module that is trained.
        asked: what to measure, and how.

    Returns:
        With a note for each part that is missing.
    """
    made = Prepared(count_parameters(loaded))
    forward = partial(forward_pass, loaded, asked.device)
    made.forward = _ready(forward, asked, "forward pass", made.notes)
    if asked.train:
        training = partial(training_step, loaded, arch, asked.device)
        made.training = _ready(training, asked, "training step", made.notes)
    return made


def time_all(models: Sequence[Prepared], asked: Asked) -> None:
    """Time what is ready, forward passes before training steps; the models take turns."""
    for ready in ([m.forward for m in models], [m.training for m in models]):
        there = [r for r in ready if r is not None]
        if there:
            in_turns(there, asked.device)


def _ready(make: Callable[[int], Work], asked: Asked, what: str, notes: list[str]) -> Ready | None:
    """The work on a batch; of fewer samples than were asked for where memory does not hold them."""
    try:
        count = _fitting(make, asked)
        while (found := _tried(make, count, asked)) is None:
            count //= 2
            if not count:
                raise CannotRun("not even one sample fits into the memory")  # noqa: TRY301
    except CannotRun as error:
        notes.append(f"{what}: {error}")
        return None
    finally:
        let_go(asked.device)
    if count < asked.batch:
        notes.append(f"{what}: {asked.batch} samples do not fit into the memory, {count} were taken")
    return found


def _fitting(make: Callable[[int], Work], asked: Asked) -> int:
    """A batch that should fit: the system may end a program that asks for more than there is.

    Memory is the largest of several needs, each a constant and a part that grows with the batch; so k times
    the batch takes at most k times as much, and the batch is doubled as long as that fits.
    """
    room = available(asked.device)
    sizes = [size for k in reversed(range(asked.batch.bit_length())) if (size := asked.batch >> k) >= _PROBE]
    if room is None:
        return asked.batch
    for size, following in pairwise(sizes):
        peak = peak_of(make(size).run, asked.device)
        if peak * asked.batch <= room * size:
            break
        if peak * following > room * size:
            return size
    return asked.batch


def _tried(make: Callable[[int], Work], count: int, asked: Asked) -> Ready | None:
    """None if memory does not hold it."""
    try:
        work = make(count)
        return Ready(work, count, work.held + peak_of(work.run, asked.device))
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        return None
