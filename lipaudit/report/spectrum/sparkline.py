"""A spectrum in a few characters: the height of each is a singular value, from 0 to the certified bound."""

from __future__ import annotations

from collections.abc import Sequence

from lipaudit.report.spectrum.record import LayerSpectrum, Values

__all__ = ["heights", "sparkline"]

_BARS = "▁▂▃▄▅▆▇█"


def sparkline(layer: LayerSpectrum, width: int = 16) -> str:
    """The whole spectrum where it is there, else the largest values; empty without any.

    Bars fall short of the value they stand for, never above it.
    """
    found = heights(layer, width)
    return "".join(_BARS[min(int(share * len(_BARS)), len(_BARS) - 1)] for share in found)


def heights(layer: LayerSpectrum, width: int) -> list[float]:
    """At most `width` values, falling, evenly spaced by rank, as shares of the bound."""
    groups = layer.everything if layer.everything is not None else layer.top
    roof = layer.bound.value or (groups[0].value if groups else 0.0)
    total = sum(group.count for group in groups)
    if not total:
        return []
    columns = min(width, total)
    ranks = [round(c * (total - 1) / max(columns - 1, 1)) for c in range(columns)]
    return [min(value / roof, 1.0) if roof > 0 else 0.0 for value in _at(groups, ranks)]


def _at(groups: Sequence[Values], ranks: Sequence[int]) -> list[float]:
    """The values at rising ranks."""
    found, group, end = [], 0, groups[0].count
    for rank in ranks:
        while rank >= end:
            group += 1
            end += groups[group].count
        found.append(groups[group].value)
    return found
