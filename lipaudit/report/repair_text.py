"""What a repair did, on the screen: the layers, the network before and after, and how it ended.

No name and no number is cut; lines are folded at blanks to the width of the screen.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from rich.cells import cell_len, chop_cells

from lipaudit.errors import ExitCode
from lipaudit.report.number import Number
from lipaudit.report.repair import BiasAction, ChangedLayer, OutputChange, Repair
from lipaudit.report.screen import folded
from lipaudit.report.text import WIDTH
from lipaudit.report.wording import (
    bound_text,
    percent_down,
    plural,
    printable,
    radius_text,
    shown_down,
)

__all__ = ["ending", "to_text"]

MUCH = 10.0
"""How many times smaller a layer must have become for a note."""
_INDENT, _GAP = "  ", "  "
_LEAST = 14
"""Columns of a layer's name at least."""
_FITTED: dict[BiasAction, str] = {"fitted": ", bias fitted", "kept": ""}


def to_text(repair: Repair, *, width: int = WIDTH) -> str:
    """The screen; its end is `ending`.

    Args:
        repair: what to show.
        width: columns, at least 60; lines are folded to it.
    """
    return "\n".join([*_lines(repair, width), *folded(ending(repair), width)]) + "\n"


def ending(repair: Repair) -> str:
    """Verdict and exit code."""
    told = f"{_wish(repair)} is certified to be at most {_limit(repair)}"
    files = "files" if len(repair.files) > 1 else "file"
    code = ExitCode(repair.exit_code).value
    return f"{repair.verdict.upper()} (exit {code}: {told}, in the {files} as written)"


def _limit(repair: Repair) -> str:
    return printable(repair.asked) or repr(repair.limit)


def _wish(repair: Repair) -> str:
    if repair.target == "lipschitz":
        return "the network's bound"
    asked = sum(layer.action != "not asked for" for layer in repair.layers)
    some = "" if asked == len(repair.layers) else f"{asked} of "
    layers = f"{some}{plural(len(repair.layers), 'linear layer')}"
    return f"every norm of {layers}, each by itself," if asked > 1 else f"the norm of {layers}"


def _lines(repair: Repair, width: int) -> Iterator[str]:
    yield from folded(
        f"{printable(repair.model)}: {_wish(repair)} at most {_limit(repair)}, by {repair.method}", width
    )
    yield ""
    rows = [
        (printable(la.name), _norm(la.before), _norm(la.after), f"{la.action}{_FITTED[la.bias]}")
        for la in repair.layers
    ]
    yield from _table([("layer", "before", "after", ""), *rows], width)
    yield from _reasons(repair.layers, width)
    yield ""
    old, new = (_norm(side.bracket.upper) for side in (repair.before, repair.after))
    bounds = "Lipschitz bound (certified)", old, new, ""
    yield from _table([("", "before", "after", ""), bounds, *_accuracies(repair)], width)
    told = [*_cost(repair), *(f"note: {note}" for note in _notes(repair))]
    for number, line in enumerate(told):
        if number == 0 or (line.startswith("note: ") and not told[number - 1].startswith("note: ")):
            yield ""
        yield from folded(printable(line), width, _INDENT)
    yield ""


def _norm(number: Number) -> str:
    text = bound_text(number)
    return text if number.value is None else f"≤ {text}"


def _table(rows: Sequence[tuple[str, str, str, str]], width: int) -> Iterator[str]:
    """Names on the left, folded if need be; two numbers, and words."""
    names, before, after, words = ([cell_len(row[k]) for row in rows] for k in range(4))
    taken = cell_len(_INDENT) + sum(len(_GAP) + max(column) for column in (before, after, words))
    room = min(max(names), max(_LEAST, width - taken))
    for name, old, new, told in rows:
        first, *rest = chop_cells(name, room) or [""]
        cells = [first + " " * (room - cell_len(first)), old.rjust(max(before)), new.rjust(max(after)), told]
        yield (_INDENT + _GAP.join(cells)).rstrip()
        yield from (_INDENT + more for more in rest)


def _reasons(layers: tuple[ChangedLayer, ...], width: int) -> Iterator[str]:
    """Why layers are left alone, each reason once."""
    names: dict[str, list[str]] = {}
    for layer in layers:
        if layer.why:
            names.setdefault(layer.why, []).append(printable(layer.name))
    for why, alike in names.items():
        yield from folded(f"left alone: {', '.join(alike)}: {printable(why)}", width, _INDENT)


def _accuracies(repair: Repair) -> Iterator[tuple[str, str, str, str]]:
    old, new = repair.before.robustness, repair.after.robustness
    if old is None or new is None:
        return
    pairs = [("correct", old.clean_accuracy.count, new.clean_accuracy.count)]
    pairs += [
        (f"certified at {printable(a.eps_exact)}", a.certified_count, b.certified_count)
        for a, b in zip(old.curve, new.curve, strict=True)
    ]
    for words, before, after in pairs:
        shown = [percent_down(count, old.clean_accuracy.n) for count in (before, after)]
        yield words, shown[0], shown[1], ""
    radii = [radius_text(side.median_radius) for side in (old, new)]
    yield "median radius (certified)", radii[0], radii[1], ""


def _cost(repair: Repair) -> Iterator[str]:
    """How far the outputs moved, or why nobody knows."""
    if repair.before.robustness is None:
        yield "nothing was evaluated: --dataset shows accuracy, certified radii and how far the outputs move"
    if repair.change is not None:
        yield _moved(repair.change, None if repair.biases is None else repair.biases.scale)


def _moved(change: OutputChange, scale: float | None) -> str:
    of_size = "" if scale is None else f", which are about {scale:.3g} times the old ones,"
    return (
        f"outputs{of_size} move by {shown_down(change.median)} (median) to {shown_down(change.largest)} in "
        f"l2; {change.same_answer} of {change.samples} answers are the same"
    )


def _notes(repair: Repair) -> Iterator[str]:
    yield from repair.notes
    if repair.change is None and repair.biases is not None and repair.biases.scale is not None:
        yield f"scores are about {repair.biases.scale:.3g} times the old ones"
    clipped = [layer for layer in repair.layers if layer.action == "clipped"]
    times = {layer.name: _ratio(layer.before, layer.after) for layer in clipped}
    small = [f"{name} ({_times(ratio)})" for name, ratio in times.items() if ratio > MUCH]
    if small:
        unseen = "; what that costs is seen on data only (--dataset)" if repair.change is None else ""
        yield f"much smaller than before: {', '.join(small)}{unseen}"


def _ratio(before: Number, after: Number) -> float:
    if before.value and after.value is not None:
        return before.value / after.value if after.value else math.inf
    return 1.0


def _times(ratio: float) -> str:
    return "nothing is left" if math.isinf(ratio) else f"{shown_down(ratio, 2)} times"
