"""A comparison as text for people and as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from lipaudit.difference.record import Difference, LayerGap, OutputGap, TensorGap
from lipaudit.report.wording import plural, printable

__all__ = ["to_json", "to_text"]

_SHOWN = 12


def to_json(difference: Difference) -> str:
    """One JSON document; a gap that is infinite is null."""
    return json.dumps(_plain(asdict(difference)), indent=2, ensure_ascii=False) + "\n"


def _plain(value: Any) -> Any:  # noqa: ANN401 - any part of the record
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    # A file name that is no UTF-8 has lone surrogates, which no JSON text can carry.
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def to_text(difference: Difference) -> str:
    """What a person reads, the verdict last."""
    a, b = difference.sides
    equal = (
        "equal" if a.weights_sha256 == b.weights_sha256 else "different (names, folding and rounding count)"
    )
    lines = [
        *(
            f"{label}: {printable(side.name)} · {side.format} · input {list(side.input_shape)} · "
            f"{plural(side.layers, 'layer')} · weights {side.weights_sha256[:12]}"
            for label, side in (("first ", a), ("second", b))
        ),
        f"weight digests: {equal}",
        "",
        *_table(difference.outputs),
        *_section("layers that differ", map(_layer, difference.layers), len(difference.layers)),
        *_section("stored tensors that differ", map(_tensor, difference.tensors), len(difference.tensors)),
        *_section("notes", map(printable, difference.notes), len(difference.notes)),
        "",
    ]
    if difference.same:
        verdict = "SAME (exit 0): no input tried and no layer compared tells them apart"
    else:
        verdict = f"DIFFERENT (exit 1): {printable(difference.reasons[0])}"
        lines += [f"also: {printable(reason)}" for reason in difference.reasons[1:]]
    return "\n".join([*lines, verdict]) + "\n"


def _table(outputs: Iterable[OutputGap]) -> list[str]:
    rows = [
        f"  {printable(gap.inputs):<22}{gap.programs:<12}{gap.count:>6}  {gap.relative:>10.2g}  "
        f"{'DIFFERENT' if gap.differs else 'same'}"
        f"{f', {gap.other_class} with another class' if gap.other_class else ''}"
        for gap in outputs
    ]
    return [f"  {'outputs on':<22}{'programs':<12}{'inputs':>6}  {'difference':>10}", *rows]


def _section(title: str, rows: Iterable[str], count: int) -> list[str]:
    if not count:
        return []
    shown = [f"  {row}" for row, _ in zip(rows, range(_SHOWN), strict=False)]
    more = [f"  … and {count - _SHOWN} more"] if count > _SHOWN else []
    return ["", f"{title}:", *shown, *more]


def _layer(gap: LayerGap) -> str:
    names = gap.a if gap.a == gap.b else f"{gap.a or '—'} / {gap.b or '—'}"
    return printable(f"{names} ({gap.op}): {gap.what}")


def _tensor(gap: TensorGap) -> str:
    shape = list(gap.shape)
    if gap.largest is None:
        return printable(f"{gap.a or gap.b} {shape}: only in the {'first' if gap.a else 'second'}")
    names = gap.a if gap.a == gap.b else f"{gap.a} / {gap.b}"
    entries = "entry differs" if gap.entries == 1 else "entries differ"
    return printable(f"{names} {shape}: {gap.entries} {entries}, by up to {gap.largest:.3g}")
