"""Does a torch.export program made for N samples at a time treat each of them by itself?

Whole programs are compared on a few inputs, which need not reach what couples the samples (behind
max(x − 100, 0), say).  So every call is made on random operands of its own, at several scales, once for all
samples and once for each: the samples' parts of the result (the axis that is N times longer, as N blocks)
must be what they give alone.  By induction over the calls the program at batch N is N times the one at 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._pytree import tree_map_only

from lipaudit.errors import InputRefused
from lipaudit.load.blame import first_line
from lipaudit.load.program import refs_of, results, run_steps
from lipaudit.load.steps import Ref, Step

__all__ = ["check_separate"]

_SCALES = (1.0, 30.0, 1000.0)
_TOLERANCE, _FLOOR = 1e-4, 1e-6
_SAMPLES = 8
_SEED = 20240401

_Kinds = Mapping[str, tuple[tuple[int, ...], torch.dtype]]


@dataclass(frozen=True, slots=True)
class _Batch:
    """N, and what is known of all values at batch N and at batch 1."""

    count: int
    full: _Kinds
    one: _Kinds

    def axis(self, name: str) -> int | None:
        """Where the samples of a value lie; None if it has none.

        Raises:
            InputRefused: that cannot be told.
        """
        full, one = self.full[name][0], self.one[name][0]
        if full == one:
            return None
        longer = [i for i, (n, m) in enumerate(zip(full, one, strict=False)) if n != m]
        if len(full) != len(one) or len(longer) != 1 or full[longer[0]] != self.count * one[longer[0]]:
            raise InputRefused(f"{name} is {list(one)} for one sample and {list(full)} for {self.count}")
        return longer[0]

    def part(self, name: str, value: Tensor, sample: int) -> Tensor:
        """One sample of a value."""
        axis = self.axis(name)
        if axis is None:
            return value
        width = self.one[name][0][axis]
        return value.narrow(axis, sample * width, width)


def check_separate(
    steps: Sequence[Step], tensors: Mapping[str, Tensor], ends: tuple[str, str], batch: Tensor
) -> None:
    """Check every call.

    Args:
        steps: in order.
        tensors: constants.
        ends: names of input and output.
        batch: an input of N samples.

    Raises:
        InputRefused: a call does not treat the samples alike and by themselves, or that cannot be told.
    """
    known = _Batch(len(batch), *(_kinds(steps, tensors, ends, x) for x in (batch, batch[:1])))
    live, constants = {ends[0]}, dict(tensors)
    random = torch.Generator().manual_seed(_SEED)
    known.axis(ends[0])
    with torch.no_grad():
        for step in steps:
            reads = refs_of(step) & live
            if not reads:
                constants.update(_call(step, {}, constants))
                continue
            live.update(step.outputs)
            _check(step, sorted(reads), constants, known, random)
    if known.axis(ends[1]) != 0:
        raise InputRefused("the output has no batch axis in front")


def _kinds(
    steps: Sequence[Step], tensors: Mapping[str, Tensor], ends: tuple[str, str], x: Tensor
) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
    """Shape and type of every tensor, without computing any."""
    found = {ends[0]: (tuple(x.shape), x.dtype)}

    def call(step: Step, args: Any, kwargs: Any) -> Any:  # noqa: ANN401
        result = step.target(*args, **kwargs)
        for name, value in results(step, result):
            if isinstance(value, Tensor):
                found[name] = (tuple(value.shape), value.dtype)
        return result

    with torch.no_grad(), FakeTensorMode() as mode:
        values: dict[str, Any] = {key: mode.from_tensor(value) for key, value in tensors.items()}
        values[ends[0]] = mode.from_tensor(x)
        run_steps(steps, values, call, ends[1])
    return found


def _check(
    step: Step, reads: list[str], constants: Mapping[str, Tensor], known: _Batch, random: torch.Generator
) -> None:
    """One call, for all samples and for each."""
    if not all(name in known.full and known.full[name][1].is_floating_point for name in reads):
        raise InputRefused(f"{step.target} takes numbers that are no floats, on which it cannot be tried")
    usual: list[float] = []
    for scale in _SCALES:
        drawn = {
            name: (scale * torch.randn(known.full[name][0], generator=random)).to(known.full[name][1])
            for name in reads
        }
        wants = _call(step, drawn, constants)
        usual = usual or [_level(want) for _, want in wants]
        for sample in _chosen(known.count):
            alone = {name: known.part(name, value, sample) for name, value in drawn.items()}
            for (name, want), (_, got), floor in zip(
                wants, _call(step, alone, constants), usual, strict=True
            ):
                part = known.part(name, want, sample)
                allowed = _TOLERANCE * _level(want) + _FLOOR * floor
                if part.shape != got.shape or not _same(part, got, allowed):
                    raise InputRefused(f"{step.target} does not treat every sample alike and by itself")


def _chosen(count: int) -> list[int]:
    """All samples of a small batch, some of a large one."""
    return sorted({i * (count - 1) // (_SAMPLES - 1) for i in range(_SAMPLES)})


def _call(
    step: Step, drawn: Mapping[str, Tensor], constants: Mapping[str, Tensor]
) -> list[tuple[str, Tensor]]:
    def fill(ref: Ref) -> Tensor:
        # A clone: the call may write into it.
        value = drawn.get(ref.name)
        return (constants[ref.name] if value is None else value).clone()

    try:
        args, kwargs = tree_map_only(Ref, fill, (list(step.args), dict(step.kwargs)))
        made = step.target(*args, **kwargs)
    except Exception as error:  # noqa: BLE001 - whatever torch raises
        raise InputRefused(f"{step.target} does not run by itself: {first_line(error)}") from None
    return [(name, value) for name, value in results(step, made) if isinstance(value, Tensor)]


def _level(value: Tensor) -> float:
    finite = value[value.isfinite()] if value.is_floating_point() else value
    return float(finite.abs().max()) if finite.numel() and finite.dtype != torch.bool else 0.0


def _same(one: Tensor, other: Tensor, allowed: float) -> bool:
    if not one.is_floating_point():
        return torch.equal(one, other)
    close = (one - other).abs() <= allowed
    return bool((close | (one == other) | (one.isnan() & other.isnan())).all())
