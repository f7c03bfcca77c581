"""Spectra made by hand, for the tests of their formats."""

from __future__ import annotations

from sample_comparison import COMPARISONS

from lipaudit.report.model import Host
from lipaudit.report.number import Number, Unbounded
from lipaudit.report.spectrum.record import LayerSpectrum, Spectrum, Values

__all__ = ["EMPTY", "SPECTRUM", "layer"]

_PROVED = next(proved for comparison in COMPARISONS.values() for _, proved in comparison.audited)


def layer(name, values, bound=2.0, **fields):
    """A layer; `values` are pairs (value, count)."""
    top = tuple(Values(value=v, count=c) for v, c in values)
    given = {
        "op": "conv2d",
        "in_shape": (1, 3, 8, 8),
        "out_shape": (1, 16, 8, 8),
        "total": 192,
        "bound": Number.from_bound(bound),
        "method": "fft",
        "slack": 1.25 if values else None,
        "search": "block Lanczos",
        "agreement": 1e-6,
        "steps": 12,
        "settled": True,
    }
    return LayerSpectrum(name=name, top=top, **{**given, **fields})


SPECTRUM = Spectrum(
    started="2026-01-02T03:04:05+00:00",
    exit_code=3,
    model=_PROVED.model,
    preprocessing=_PROVED.preprocessing,
    top=4,
    layers=(
        layer("features.0.conv", [(1.5, 2), (1.25, 1), (0.125, 1)]),
        layer(
            "=cmd|' /C calc'!A0",
            [(1.0, 1)],
            everything=(Values(value=1.0, count=1), Values(value=0.5, count=2), Values(value=0.0, count=5)),
            everything_note="exact: SVD of the symbol on the grid of frequencies",
        ),
        layer("a\x1b[31m<b>|`very` long name " + 8 * "of a layer ", [], missing="it takes more than 9 MiB"),
        layer("flat", [(0.0, 3)], bound=0.0, slack=1.0),
        layer("huge", [(1e200, 1)], bound=float("inf"), slack=Unbounded()),
    ),
    left_out=3,
    not_asked=1,
    host=Host(platform="Linux x86_64", device="cpu", threads=2),
    notes=("A note with <markup> & |pipes|.",),
)
EMPTY = SPECTRUM.model_copy(update={"layers": (), "exit_code": 0, "notes": ()})
