"""What every spectral method said about every layer: proofs → records, seconds, findings, lines of text.

Bounds are evidence, seconds are not: the two go to different halves of the report.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from lipaudit.report.model import AuditReport, Finding, MethodTried
from lipaudit.report.number import Number
from lipaudit.report.wording import bound_text, plural, printable

if TYPE_CHECKING:
    from lipaudit.analyze import Layer, Plan
    from lipaudit.spectral import Attempt, Proof

__all__ = ["fallback_findings", "methods_tried", "seconds_spent", "tried_lines"]

WITNESS = "witness"
"""What the search from below is called beside the methods."""
NAMED = 5
"""Layers that a finding names before it only counts."""


def methods_tried(proofs: Sequence[Proof]) -> tuple[MethodTried, ...]:
    """One record per method, in the order they were considered for the first map."""
    records = []
    for name, attempts in _by_method(proofs).items():
        bounds = [a.bound for a in attempts if a.bound is not None]
        largest = max(bounds, key=lambda b: b.value, default=None)
        upper = Number.not_analysed() if largest is None else Number.from_bound(largest)
        note = "; ".join(dict.fromkeys(a.note for a in attempts if a.note))
        records.append(MethodTried(method=name, maps=len(bounds), upper=upper, note=note))
    return tuple(records)


def seconds_spent(layers: Sequence[Layer]) -> dict[str, dict[str, float]]:
    """Per layer with linear maps, wall time of each method that ran."""
    spent: dict[str, dict[str, float]] = {}
    for layer in layers:
        row = {
            name: round(sum(a.seconds for a in attempts), 4)
            for name, attempts in _by_method(layer.proofs).items()
            if any(a.seconds for a in attempts)
        }
        if layer.proofs:
            spent[layer.node.name] = {
                **row,
                WITNESS: round(sum(proof.witness_seconds for proof in layer.proofs), 4),
            }
    return spent


def fallback_findings(layers: Sequence[Layer], plan: Plan) -> tuple[Finding, ...]:
    """Layers for which the method asked for had nothing to say, one finding per method or pattern."""
    silent: dict[str, dict[str, str]] = {}
    for layer in layers:
        name = plan.method_of(layer.node.name)
        for attempt in (a for proof in layer.proofs for a in proof.attempts):
            if attempt.method == name and attempt.bound is None:
                silent.setdefault(name, {})[layer.node.name] = attempt.note
    notes = [
        f"{method} proved nothing about {_listed(list(left))}, the other methods were asked there: "
        + "; ".join(list(dict.fromkeys(left.values()))[:NAMED])
        for method, left in silent.items()
    ]
    for pattern, name in plan.choices:
        meant = [layer for layer in layers if fnmatchcase(layer.node.name, pattern)]
        if pattern != "*" and not any(layer.proofs for layer in meant):
            names = _listed([layer.node.name for layer in meant])
            notes.append(f"--method {pattern}={name} changes nothing: {names} without a linear map")
    return tuple(Finding(rule="LIP102", level="note", message=message) for message in notes)


def tried_lines(report: AuditReport) -> Iterator[str]:
    """Per layer, what each method proved and what it took."""
    for layer in report.evidence.layers:
        spent = report.run.layers.get(layer.name, {})
        for row in layer.tried:
            said = f"≤ {bound_text(row.upper)}" if row.maps else row.note
            time = f"{spent[row.method]:8.2f} s" if row.method in spent else " " * 10
            yield f"{time}  {printable(layer.name)}  {row.method}  {printable(said)}"


def _by_method(proofs: Sequence[Proof]) -> dict[str, list[Attempt]]:
    found: dict[str, list[Attempt]] = {}
    for proof in proofs:
        for attempt in proof.attempts:
            found.setdefault(attempt.method, []).append(attempt)
    return found


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:NAMED]) + (", …" if len(names) > NAMED else "")
    return f"{plural(len(names), 'layer')} ({shown})"
