"""From the input to the network's bound: how the bound grows and shrinks from layer to layer.

A row leads from the bound on the map up to the row before to that up to its own.  Of a long network the
layers that change it most have rows of their own, and the runs between them one row each, so that the rows
still lead from 1 at the input to the last value.  Where parts run in parallel the order is the graph's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lipaudit import rounding
from lipaudit.report.html.axis import LogAxis, log_axis
from lipaudit.report.html.bars import at_least, at_most, chart, grid, move, row, saved, span
from lipaudit.report.html.markup import Markup, heading, tag
from lipaudit.report.model import Evidence, Layer
from lipaudit.report.wording import plural, shown_up

__all__ = ["Stretch", "stretches", "waterfall_section"]

_ALONE = 16
"""Layers with a row of their own in a long network."""
_SHORT = 32
"""Layers of a network whose layers all have one."""
_PARTS = 8
"""Parts proved as a whole whose last layer has one, in a long network."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Consecutive layers, from one running bound to another; None is unbounded."""

    layers: tuple[Layer, ...]
    before: float | None
    after: float | None


def stretches(layers: Sequence[Layer], always: frozenset[str] = frozenset()) -> tuple[Stretch, ...]:
    """One per row; together every layer once, in order.

    Args:
        layers: of the network.
        always: names of layers that have rows of their own.
    """
    starts = [1.0, *(layer.running.value for layer in layers)]
    if len(layers) <= _SHORT:
        return tuple(
            Stretch((layer,), before, layer.running.value)
            for layer, before in zip(layers, starts, strict=False)
        )
    order = sorted(range(len(layers)), key=lambda k: -_change(starts[k], layers[k].running.value))
    alone = {*order[:_ALONE], *(k for k, layer in enumerate(layers) if layer.name in always)}
    rows: list[Stretch] = []
    waiting: list[int] = []
    for k in range(len(layers)):
        if k in alone:
            rows += _together(layers, starts, waiting)
            waiting = []
            rows.append(Stretch((layers[k],), starts[k], layers[k].running.value))
        else:
            waiting.append(k)
    return (*rows, *_together(layers, starts, waiting))


def _together(layers: Sequence[Layer], starts: Sequence[float | None], run: list[int]) -> list[Stretch]:
    if not run:
        return []
    last = layers[run[-1]].running.value
    return [Stretch(tuple(layers[k] for k in run), starts[run[0]], last)]


def _change(before: float | None, after: float | None) -> float:
    """How far a step goes, in either direction, in logarithms."""
    if before is None or after is None:
        return 0.0 if before is after else math.inf
    if before <= 0 or after <= 0:
        return 0.0 if before == after else math.inf
    return abs(math.log(after) - math.log(before))


def waterfall_section(evidence: Evidence) -> Markup:
    """The rows and, below them, the network's bracket."""
    bracket = evidence.global_
    plain = _without_structure(evidence)
    parts = stretches(evidence.layers, _bought_most(evidence))
    values = [v for part in parts for v in (part.before, part.after)]
    values += [bracket.upper.value, bracket.lower.value, *plain.values()]
    axis = log_axis([v for v in values if v is not None])
    body = [_start(axis), *(_row(axis, part, plain) for part in parts), _total(axis, evidence)]
    caption = "The bound on everything from the input up to each layer, in the network's order."
    heads = ("up to", "bound from the input (logarithmic)", "from input")
    lead = "What the layers do to the bound, one after the other: ▶ makes it larger, ◀ smaller."
    if plain:
        lead += " A dotted line ends where the layers of a part would have led by themselves."
    return tag(
        "section",
        heading(2, "From the input to the output", "waterfall"),
        tag("p", lead, class_="lead"),
        chart(caption, heads, axis, body),
        aria_labelledby="waterfall",
    )


def _without_structure(evidence: Evidence) -> dict[str, float]:
    """Per last layer of a part: what its layers alone would have given there, rounded up."""
    running = {"input": 1.0} | {layer.name: layer.running.value for layer in evidence.layers}
    found: dict[str, float] = {}
    for block in evidence.blocks:
        before, plain = running.get(block.source), block.plain.value
        if before is not None and plain is not None:
            value = rounding.mul_up(before, plain)
            if value < math.inf:
                found[block.end] = value
    return found


def _bought_most(evidence: Evidence) -> frozenset[str]:
    """Last layers of the parts for which structure bought most."""
    gained = sorted(evidence.blocks, key=lambda block: -_change(block.plain.value, block.upper.value))
    return frozenset(block.end for block in gained[:_PARTS])


def _start(axis: LogAxis) -> Markup:
    return row(("input", ""), [*grid(axis), *span(axis, None, 1.0)], ("1", ""))


def _row(axis: LogAxis, part: Stretch, plain: dict[str, float]) -> Markup:
    last = part.layers[-1]
    several = len(part.layers) > 1
    name = f"{plural(len(part.layers), 'layer')} up to {last.name}" if several else last.name
    told = f"from {part.layers[0].name}" if several else last.op
    apart = plain.get(last.name)
    dotted = [] if apart is None or part.after is None else saved(axis, part.after, apart)
    note = "" if apart is None else f"by layers ≤ {shown_up(apart)}"
    return row((name, told), [*grid(axis), *dotted, *_drawn(axis, part)], (at_most(last.running), note))


def _drawn(axis: LogAxis, part: Stretch) -> list[Markup]:
    if part.before is None:
        return span(axis, None, part.after)
    return move(axis, part.before, part.after)


def _total(axis: LogAxis, evidence: Evidence) -> Markup:
    bracket = evidence.global_
    parts = [*grid(axis), *span(axis, bracket.lower.value, bracket.upper.value)]
    numbers = (at_most(bracket.upper), at_least(bracket.lower))
    return row(("the whole network", bracket.method), parts, numbers, "total")
