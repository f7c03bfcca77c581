"""What moved between two reports, as text for people and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict

from lipaudit.report.changes import Change, Changes, LayerChange, SampleChange, Value
from lipaudit.report.wording import plural, printable, stored_text

__all__ = ["to_json", "to_text"]

_MOST = 20  # lines of one part, before the rest is only counted
_INDICES = 10


def to_json(found: Changes) -> str:
    """One JSON document; `same` says whether nothing moved."""
    document = {"same": found.nothing, **asdict(found)}
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def to_text(found: Changes) -> str:
    """What a person reads; what cannot be compared comes first."""
    lines = [f"{printable(found.names[0])} → {printable(found.names[1])}"]
    if found.nothing:
        return f"{lines[0]}\nnothing moved\n"
    lines += _part("not comparable", map(printable, found.incomparable))
    for title, moved in (
        ("model", found.model),
        ("data", found.dataset),
        ("preprocessing", found.preprocessing),
        ("network", found.network),
    ):
        lines += _part(title, map(_change, moved))
    lines += _part("layers, largest change first", map(_layer, found.layers))
    lines += _part("layers added", map(printable, found.layers_added))
    lines += _part("layers removed", map(printable, found.layers_removed))
    lines += _part("accuracy", map(_change, found.accuracy))
    lines += _part("samples", map(_sample, found.samples))
    lines += _part("judgement", map(_change, found.judgement))
    lines += _part("findings added", map(printable, found.findings_added))
    lines += _part("findings removed", map(printable, found.findings_removed))
    lines += _part("versions", map(_change, found.versions))
    return "\n".join(lines) + "\n"


def _part(title: str, rows: Iterable[str]) -> Iterator[str]:
    listed = list(rows)
    if listed:
        yield f"{title}:"
        yield from (f"  {row}" for row in listed[:_MOST])
        if len(listed) > _MOST:
            yield f"  … and {len(listed) - _MOST} more (--json lists all)"


def _change(change: Change) -> str:
    return f"{printable(change.what)}: {_shown(change.before)} → {_shown(change.after)}"


def _layer(change: LayerChange) -> str:
    times = "" if change.factor is None else f" (×{change.factor:.4g})"
    return f"{printable(change.layer)}: {_shown(change.before)} → {_shown(change.after)}{times}"


def _sample(change: SampleChange) -> str:
    told = [
        f"{plural(len(indices), 'sample')} {verb} certification ({_listed(indices)})"
        for verb, indices in (("gained", change.gained), ("lost", change.lost))
        if indices
    ]
    return f"at {change.eps}: {', '.join(told)}"


def _listed(indices: tuple[int, ...]) -> str:
    return ", ".join(map(str, indices[:_INDICES])) + (", …" if len(indices) > _INDICES else "")


def _shown(value: Value) -> str:
    """Numbers as the report spells them; nothing is `—`."""
    if isinstance(value, float):
        return stored_text(value)
    return "—" if value in (None, "") else printable(str(value))
