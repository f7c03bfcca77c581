"""The sentences of a spectrum."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from lipaudit.errors import ExitCode
from lipaudit.report.spectrum.record import LayerSpectrum, Spectrum, Values, grouped
from lipaudit.report.wording import plural, shown_down

__all__ = ["ending", "meaning", "model_line", "notes", "values_texts", "whole_line"]

_DIGITS, _MOST = 5, 9
"""Significant digits of a value: as few as tell it from its neighbours."""
_LISTED = 12
"""Values of a whole spectrum on a line."""


def meaning(spectrum: Spectrum) -> str:
    """What the values are, and the signs beside them, those that are there."""
    equal = [group for layer in spectrum.layers for group in layer.top if group.count > 1]
    told = (
        "Each value is a lower bound: the i-th listed value is not above the i-th singular value. No "
        "singular value is above the certified bound."
    )
    if equal:
        told += f" ×{equal[0].count}: so many values agree."
    if any(group.more for group in equal):
        told += " “or more”: the search may have left out others of them."
    return told


def model_line(spectrum: Spectrum) -> str:
    """What was looked at."""
    count = len(spectrum.layers) + spectrum.unreached
    facts = [
        spectrum.model.name,
        plural(count, "linear layer"),
        f"{plural(spectrum.left_out, 'other layer')} left out, being no linear map or only moving values",
    ]
    if spectrum.not_asked:
        facts.append(f"{plural(spectrum.not_asked, 'linear layer')} not asked for")
    facts.append(f"l2 in {spectrum.preprocessing.threat_space}")
    return " · ".join(facts)


def values_texts(layer: LayerSpectrum) -> list[str]:
    """The largest values, as `1.25 ×2`, rounded down, with as many digits as tell neighbours apart."""
    return _texts(layer.top)


def _texts(groups: Sequence[Values]) -> list[str]:
    values = [group.value for group in groups]
    digits = [_DIGITS] * len(values)
    for k, (one, two) in enumerate(pairwise(values)):
        apart = (d for d in range(_DIGITS, _MOST) if shown_down(one, d) != shown_down(two, d))
        needed = _MOST if one == two else next(apart, _MOST)
        digits[k], digits[k + 1] = max(digits[k], needed), max(digits[k + 1], needed)
    return [_text(group, d) for group, d in zip(groups, digits, strict=True)]


def _text(group: Values, digits: int) -> str:
    shown = shown_down(group.value, digits)
    return shown if group.count == 1 else f"{shown} ×{group.count}{' or more' if group.more else ''}"


def whole_line(layer: LayerSpectrum) -> str:
    """How much of the whole spectrum is there; empty if it was not asked for."""
    if layer.everything is None:
        return f"whole spectrum {layer.everything_note}" if layer.everything_note else ""
    # By the tolerance of the line above it, so that both count alike.
    groups = grouped(((group.value, group.count) for group in layer.everything), layer.agreement)
    total, texts = sum(group.count for group in groups), _texts(groups)
    # What stands in the line above is not told twice.
    same = [one.count == other.count for one, other in zip(layer.top, groups, strict=False)]
    known = same.index(False) if False in same else len(same)
    few = len(texts) <= _LISTED
    shown = texts[known:] if few else [*texts[known : max(_LISTED - 1, known + 1)], "…", texts[-1]]
    listed = f"{'those, then ' if known else ''}{', '.join(shown)}" if shown else "those"
    rest = "" if few else "; JSON and CSV list every one"
    if total == 1 and known:
        return f"no other value ({layer.everything_note})"
    different = {1: "which agree", total: "all different"}.get(len(groups), f"{len(groups)} different ones")
    return f"all {total} values, {different}: {listed} ({layer.everything_note}{rest})"


def notes(spectrum: Spectrum) -> Iterator[str]:
    """What a reader must know."""
    yield from spectrum.notes
    agreements = sorted({layer.agreement for layer in spectrum.layers if layer.top})
    if agreements:
        told = " or ".join(f"{a:g}" for a in agreements)
        yield f"Values count as equal where they agree to {told}: as closely as they were looked for."
    if any(layer.everything is not None for layer in spectrum.layers):
        yield "Whole spectra are computed in float64 and proved by nothing; only the bound is certified."


def ending(spectrum: Spectrum, failed: ExitCode | None = None) -> str:
    """The last line.

    Args:
        spectrum: what was found.
        failed: with what the program ends because a file could not be written.
    """
    code = ExitCode(spectrum.exit_code) if failed is None else failed
    found = sum(bool(layer.top) for layer in spectrum.layers)
    if failed is not None:
        return f"NOT WRITTEN (exit {code.value}: {code.meaning})"
    asked = len(spectrum.layers)
    every = asked + spectrum.not_asked + spectrum.unreached
    words = f"SPECTRA OF {found} OF {plural(every, 'LINEAR LAYER', 'LINEAR LAYERS')}"
    if code is ExitCode.INTERRUPTED:
        return f"{words} (exit {code.value}: interrupted, {plural(spectrum.unreached, 'layer')} not reached)"
    missing = plural(asked - found, "layer")
    if asked > found:
        told = f"{missing} without values, each with the reason"
    else:
        told = "every layer that was asked for" if spectrum.not_asked else "every linear layer"
        told = f"values of {told}" if asked else "no linear layer to look at"
    return f"{words} (exit {code.value}: {told})"
