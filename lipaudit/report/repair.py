"""What a repair did: a model in, a certified model out.  Its record, and as JSON and as a screen."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from lipaudit.report.model import NetworkBracket, Robustness
from lipaudit.report.number import Number, Record
from lipaudit.report.wording import (
    bound_text,
    percent_down,
    printable,
    shown_down,
)

__all__ = [
    "Action",
    "ChangedLayer",
    "FileFormat",
    "OutputChange",
    "Repair",
    "Side",
    "WrittenFile",
    "to_json",
    "to_text",
]

SCHEMA_VERSION = "1.0"


Action = Literal["clipped", "unchanged", "left alone", "not asked for"]
BiasAction = Literal["fitted", "kept"]
FileFormat = Literal["onnx", "safetensors"]


FITTED: dict[BiasAction, str] = {"fitted": ", bias fitted", "kept": ""}


class ChangedLayer(Record):
    """One linear layer."""

    name: str
    action: Action
    before: Number = Field(description="certified norm, rounded up")
    after: Number = Field(description="certified norm, rounded up")
    why: str = ""
    bias: BiasAction = "kept"


class Side(Record):
    """The network before or after, as an audit found it."""

    bracket: NetworkBracket
    robustness: Robustness | None


class OutputChange(Record):
    """‖f(x) − f′(x)‖ over the samples, in float64: measured, not proved."""

    samples: int
    largest: float
    median: float
    same_answer: int


class WrittenFile(Record):
    """A file with the repaired weights."""

    name: str
    format: FileFormat
    sha256: str
    proved: str = Field(description="how the guarantee was checked for this very file")


class Repair(Record):
    """A repair whose result meets its target."""

    schema_version: str = SCHEMA_VERSION
    model: str
    method: str
    target: Literal["lipschitz", "layer norm"]
    limit: float
    layers: tuple[ChangedLayer, ...]
    before: Side
    after: Side
    change: OutputChange | None
    files: tuple[WrittenFile, ...]
    notes: tuple[str, ...] = ()


def to_json(repair: Repair) -> str:
    """Sorted keys, two spaces, one line end."""
    return (
        json.dumps(
            repair.model_dump(mode="json", by_alias=True), sort_keys=True, indent=2, ensure_ascii=False
        )
        + "\n"
    )


def to_text(repair: Repair) -> str:
    """The screen."""
    return "\n".join(_lines(repair)) + "\n"


def _lines(repair: Repair) -> Iterator[str]:
    wish = "every layer's norm" if repair.target == "layer norm" else "the network's bound"
    yield f"{printable(repair.model)}: {wish} at most {repair.limit:g}, by {repair.method}"
    yield ""
    names = [printable(layer.name) for layer in repair.layers]
    width = max([5, *map(len, names)])
    yield f"  {'layer':{width}}  {'before ≤':>11}  {'after ≤':>11}"
    for name, layer in zip(names, repair.layers, strict=True):
        told = f"{layer.action}{': ' + printable(layer.why) if layer.why else ''}{FITTED[layer.bias]}"
        yield f"  {name:{width}}  {bound_text(layer.before):>11}  {bound_text(layer.after):>11}  {told}"
    yield ""
    yield f"  {'':32}  {'before':>13}  {'after':>13}"
    uppers = [bound_text(side.bracket.upper) for side in (repair.before, repair.after)]
    yield f"  {'Lipschitz bound (certified)':32}  {'≤ ' + uppers[0]:>13}  {'≤ ' + uppers[1]:>13}"
    yield from _accuracies(repair)
    yield ""
    yield from (f"  note: {printable(note)}" for note in repair.notes)


def _accuracies(repair: Repair) -> Iterator[str]:
    old, new = repair.before.robustness, repair.after.robustness
    if old is None or new is None:
        return
    pairs = [("correct", old.clean_accuracy.count, new.clean_accuracy.count)]
    pairs += [
        (f"certified at {a.eps_exact}", a.certified_count, b.certified_count)
        for a, b in zip(old.curve, new.curve, strict=True)
    ]
    for words, before, after in pairs:
        shown = [percent_down(count, old.clean_accuracy.n) for count in (before, after)]
        yield f"  {words:32}  {shown[0]:>13}  {shown[1]:>13}"
    change = repair.change
    if change is not None:
        yield (
            f"  outputs move by {shown_down(change.median)} (median) to {shown_down(change.largest)} in l2; "
            f"{change.same_answer} of {change.samples} answers are the same"
        )
