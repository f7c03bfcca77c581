"""What a repair did: a model in, a certified model out.  Its record, and as JSON."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from lipaudit.report.canonical import dumped, schema_of, shipped
from lipaudit.report.model import NetworkBracket, Robustness
from lipaudit.report.number import Number, Record

__all__ = [
    "Action",
    "ChangedLayer",
    "FileFormat",
    "OutputChange",
    "Repair",
    "Side",
    "WrittenFile",
    "model_schema",
    "shipped_schema",
    "to_json",
]

SCHEMA_VERSION = "1.0"

Action = Literal["clipped", "unchanged", "left alone", "not asked for"]
BiasAction = Literal["fitted", "kept"]
FileFormat = Literal["onnx", "safetensors"]


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
    return dumped(repair.model_dump(mode="json", by_alias=True))


def model_schema() -> str:
    """The JSON Schema of what `to_json` writes, computed from the model."""
    return schema_of(Repair)


def shipped_schema() -> str:
    """The JSON Schema that comes with the package."""
    return shipped("repair", SCHEMA_VERSION)
