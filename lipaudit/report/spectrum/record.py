"""Singular values of a network's linear layers, and the certified bound beside them.

Every value is a lower bound of the true one in its place: the i-th listed value is not above the i-th
singular value.  The bound is what the audit certifies of the same layer.  What is said to be the whole
spectrum is as exact as a singular value decomposition in float64, and proved by nothing.

`SCHEMA_VERSION` is MAJOR.MINOR of its own; a minor step only adds fields.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from pydantic import Field

from lipaudit.report.inputs import ModelRecord, PreprocessingRecord, Text
from lipaudit.report.model import Host
from lipaudit.report.number import Count, Number, Plain, Record, round_down

__all__ = ["SCHEMA_VERSION", "Interrupted", "LayerSpectrum", "Spectrum", "Values", "grouped"]

SCHEMA_VERSION: Final = "1.0"


class Values(Record):
    """Singular values that agree within the tolerance that stands beside them."""

    value: float = Field(ge=0, description="the smallest of them, rounded down")
    count: Count = Field(description="how many there are of those that were looked for")
    more: bool = Field(default=False, description="whether the layer may have more of them than were found")


class LayerSpectrum(Record):
    """One linear layer, or several that make one linear map."""

    name: Text
    op: Text
    layers: tuple[Text, ...] = Field(default=(), description="those that a linear region is made of")
    in_shape: tuple[int, ...]
    out_shape: tuple[int, ...]
    total: Count = Field(description="singular values there are: the smaller of both sides")
    bound: Number = Field(description="certified: no singular value is larger")
    method: Text = Field(description="what proved it")
    slack: Plain | None = Field(description="bound / largest value, rounded up; null without a value")
    top: tuple[Values, ...] = Field(description="the largest ones, falling, each not above the true one")
    search: Text = Field(description="how they were found; empty if they were not")
    agreement: float = Field(ge=0, description="relative difference up to which values count as equal")
    steps: Count = Field(description="block products of the search")
    settled: bool = Field(description="whether the search ended by its tolerance, not by its budget")
    missing: Text = Field(default="", description="why there are no values")
    everything: tuple[Values, ...] | None = Field(
        default=None, description="the whole spectrum in float64, falling; null if not asked for or not there"
    )
    everything_note: Text = Field(default="", description="how it was computed, or why it is not there")


class Spectrum(Record):
    """All linear layers of a model, in graph order, linear regions behind their last layer."""

    schema_version: str = SCHEMA_VERSION
    started: Text
    exit_code: Count
    model: ModelRecord
    preprocessing: PreprocessingRecord
    top: Count = Field(description="how many values were asked for per layer")
    layers: tuple[LayerSpectrum, ...]
    left_out: Count = Field(description="layers that are no linear map, or only move values or change signs")
    not_asked: Count = Field(description="linear layers that --layer does not name")
    unreached: Count = Field(default=0, description="linear layers that were to come when it was interrupted")
    host: Host
    notes: tuple[Text, ...] = ()


class Interrupted(KeyboardInterrupt):
    """Ctrl-C after a layer was finished.

    Args:
        spectrum: what was found by then, with exit code 130.
    """

    def __init__(self, spectrum: Spectrum) -> None:
        super().__init__("interrupted")
        self.spectrum = spectrum


def grouped(values: Iterable[tuple[float, int]], agreement: float) -> tuple[Values, ...]:
    """Falling values with their counts, those that agree made one.

    Args:
        values: pairs (value, count), falling.
        agreement: relative difference up to which they count as equal.
    """
    groups: list[list[float]] = []
    for value, count in values:
        if groups and value >= groups[-1][0] * (1 - agreement):
            groups[-1][1:] = [value, groups[-1][2] + count]
        else:
            groups.append([value, value, count])
    return tuple(Values(value=round_down(low), count=int(count)) for _, low, count in groups)
