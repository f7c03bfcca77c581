"""What a repair did, on the screen: the layers, the network before and after, and how it ended."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from lipaudit.errors import ExitCode
from lipaudit.report.number import Number
from lipaudit.report.repair import BiasAction, ChangedLayer, Repair
from lipaudit.report.wording import (
    bound_text,
    percent_down,
    plural,
    printable,
    radius_text,
    shown_down,
)

__all__ = ["ending", "to_text"]

WIDTH, LONGEST = 100, 40
"""Columns of a line, and of a layer's name."""
MUCH = 10.0
"""How many times smaller a layer must have become for a note."""
_FITTED: dict[BiasAction, str] = {"fitted": ", bias fitted", "kept": ""}


def to_text(repair: Repair) -> str:
    """The screen; its last line is `ending`."""
    return "\n".join([*_lines(repair), ending(repair)]) + "\n"


def ending(repair: Repair) -> str:
    """Verdict and exit code."""
    changed = any(layer.action == "clipped" for layer in repair.layers)
    word = "CLIPPED" if changed else "UNCHANGED"
    told = f"{_wish(repair)} is certified to be at most {repair.limit:g}, in the files as written"
    return f"{word} (exit {ExitCode.PASS.value}: {told})"


def _wish(repair: Repair) -> str:
    if repair.target == "lipschitz":
        return "the network's bound"
    asked = sum(layer.action != "not asked for" for layer in repair.layers)
    some = "" if asked == len(repair.layers) else f"{asked} of "
    every = "every norm of" if asked > 1 else "the norm of"
    return f"{every} {some}{plural(len(repair.layers), 'linear layer')}"


def _lines(repair: Repair) -> Iterator[str]:
    yield f"{printable(repair.model)}: {_wish(repair)} at most {repair.limit:g}, by {repair.method}"
    yield ""
    names = [_cut(printable(layer.name)) for layer in repair.layers]
    width = max([5, *map(len, names)])
    yield f"  {'layer':{width}}  {'before ≤':>11}  {'after ≤':>11}"
    for name, layer in zip(names, repair.layers, strict=True):
        told = f"{layer.action}{_FITTED[layer.bias]}"
        yield f"  {name:{width}}  {bound_text(layer.before):>11}  {bound_text(layer.after):>11}  {told}"
    yield from _reasons(repair.layers)
    yield ""
    yield f"  {'':32}  {'before':>13}  {'after':>13}"
    uppers = [bound_text(side.bracket.upper) for side in (repair.before, repair.after)]
    yield f"  {'Lipschitz bound (certified)':32}  {'≤ ' + uppers[0]:>13}  {'≤ ' + uppers[1]:>13}"
    yield from _accuracies(repair)
    yield ""
    for note in (*repair.notes, *_shrunk(repair.layers)):
        yield from _wrapped(f"note: {printable(note)}")


def _cut(name: str) -> str:
    return name if len(name) <= LONGEST else f"{name[: LONGEST // 2 - 1]}…{name[-LONGEST // 2 :]}"


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent="  ", subsequent_indent="    ", break_long_words=False)


def _reasons(layers: tuple[ChangedLayer, ...]) -> Iterator[str]:
    """Why layers are left alone, each reason once."""
    names: dict[str, list[str]] = {}
    for layer in layers:
        if layer.why:
            names.setdefault(layer.why, []).append(_cut(printable(layer.name)))
    for why, alike in names.items():
        yield from _wrapped(f"left alone: {', '.join(alike)}: {printable(why)}")


def _accuracies(repair: Repair) -> Iterator[str]:
    old, new = repair.before.robustness, repair.after.robustness
    if old is None or new is None:
        yield from _wrapped(
            "nothing was evaluated: --dataset shows accuracy, certified radii and how far the outputs move"
        )
        return
    pairs = [("correct", old.clean_accuracy.count, new.clean_accuracy.count)]
    pairs += [
        (f"certified at {a.eps_exact}", a.certified_count, b.certified_count)
        for a, b in zip(old.curve, new.curve, strict=True)
    ]
    for words, before, after in pairs:
        shown = [percent_down(count, old.clean_accuracy.n) for count in (before, after)]
        yield f"  {words:32}  {shown[0]:>13}  {shown[1]:>13}"
    radii = [radius_text(side.median_radius) for side in (old, new)]
    yield f"  {'median radius (certified)':32}  {radii[0]:>13}  {radii[1]:>13}"
    change = repair.change
    if change is not None:
        yield (
            f"  outputs move by {shown_down(change.median)} (median) to {shown_down(change.largest)} in l2; "
            f"{change.same_answer} of {change.samples} answers are the same"
        )


def _shrunk(layers: tuple[ChangedLayer, ...]) -> Iterator[str]:
    """Layers of which little is left."""
    times = {layer.name: _ratio(layer.before, layer.after) for layer in layers if layer.action == "clipped"}
    small = [f"{_cut(name)} ({shown_down(ratio, 2)} times)" for name, ratio in times.items() if ratio > MUCH]
    if small:
        yield (
            f"much smaller than before: {', '.join(small)}; what that costs is seen on data only (--dataset)"
        )


def _ratio(before: Number, after: Number) -> float:
    return before.value / after.value if before.value and after.value else 1.0
