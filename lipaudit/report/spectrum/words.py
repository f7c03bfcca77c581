"""The sentences of a spectrum."""

from __future__ import annotations

from collections.abc import Iterator

from lipaudit.errors import ExitCode
from lipaudit.report.spectrum.record import LayerSpectrum, Spectrum, Values
from lipaudit.report.wording import plural, shown_down

__all__ = ["MEANING", "ending", "model_line", "notes", "value_text", "values_texts", "whole_line"]

MEANING = (
    "Each value is a lower bound: the i-th listed value is not above the i-th singular value. No singular "
    "value is above the certified bound. ×2: two values that agree."
)


def model_line(spectrum: Spectrum) -> str:
    """What was looked at."""
    count = len(spectrum.layers)
    facts = [
        spectrum.model.name,
        plural(count, "linear layer"),
        f"{plural(spectrum.left_out, 'other layer')} left out, being no linear map or moving values only",
    ]
    if spectrum.not_asked:
        facts.append(f"{plural(spectrum.not_asked, 'linear layer')} not asked for")
    facts.append(f"l2 in {spectrum.preprocessing.threat_space}")
    return " · ".join(facts)


def value_text(group: Values) -> str:
    """`1.25 ×2`, rounded down."""
    shown = shown_down(group.value)
    return shown if group.count == 1 else f"{shown} ×{group.count}"


def values_texts(layer: LayerSpectrum) -> list[str]:
    """The largest values."""
    return [value_text(group) for group in layer.top]


def whole_line(layer: LayerSpectrum) -> str:
    """How much of the whole spectrum is there; empty if it was not asked for."""
    if layer.everything is None:
        return f"whole spectrum {layer.everything_note}" if layer.everything_note else ""
    groups = layer.everything
    total = sum(group.count for group in groups)
    ends = f"{value_text(groups[0])} … {value_text(groups[-1])}" if groups else "none"
    return f"all {total} values, {len(groups)} of them different: {ends} ({layer.everything_note})"


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
    words = f"SPECTRA OF {found} OF {plural(len(spectrum.layers), 'LINEAR LAYER', 'LINEAR LAYERS')}"
    return f"{words if failed is None else 'NOT WRITTEN'} (exit {code.value}: {code.meaning})"
