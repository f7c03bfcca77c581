"""What a repair did: a model in, a certified model out.  Its record, and as JSON."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from lipaudit.report.canonical import dumped, schema_of, shipped
from lipaudit.report.inputs import DatasetRecord, ModelRecord, PreprocessingRecord, Text
from lipaudit.report.model import NetworkBracket, Robustness
from lipaudit.report.number import Count, Number, Record

__all__ = [
    "RADII",
    "Action",
    "Biases",
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

RADII = ("1/255", "4/255", "36/255")
"""At which certified accuracy is counted, if nobody says others: what needs clipping has small ones."""

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


class Biases(Record):
    """What was done about biases."""

    choice: Literal["fit", "keep"] = Field(description="of --biases")
    inputs: Text = Field(default="", description="what they were fitted on; empty where none was")
    scale: float | None = Field(
        default=None, description="of the scores beside the old ones; null where it is not known"
    )


class Repair(Record):
    """A repair whose result meets its target."""

    schema_version: str = SCHEMA_VERSION
    verdict: Literal["clipped", "unchanged"] = Field(
        default="clipped", description="whether weights had to change; the limit is kept in both cases"
    )
    exit_code: Count = 0
    model: str
    input: ModelRecord | None = Field(default=None, description="the model as it was read, with its digests")
    preprocessing: PreprocessingRecord | None = None
    dataset: DatasetRecord | None = Field(default=None, description="null: nothing was evaluated")
    method: str
    target: Literal["lipschitz", "layer norm"]
    limit: float = Field(description="the largest double that is not above what was asked for")
    asked: Text = Field(default="", description="the limit as it was written")
    patterns: tuple[Text, ...] = Field(default=(), description="of --layer; none: every linear layer")
    biases: Biases | None = None
    layers: tuple[ChangedLayer, ...]
    before: Side
    after: Side
    change: OutputChange | None
    files: tuple[WrittenFile, ...]
    notes: tuple[str, ...] = ()
    version: Text = Field(default="", description="of lipaudit")


def to_json(repair: Repair) -> str:
    """Sorted keys, two spaces, one line end."""
    return dumped(repair.model_dump(mode="json", by_alias=True))


def model_schema() -> str:
    """The JSON Schema of what `to_json` writes, computed from the model."""
    return schema_of(Repair)


def shipped_schema() -> str:
    """The JSON Schema that comes with the package."""
    return shipped("repair", SCHEMA_VERSION)
