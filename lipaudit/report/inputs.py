"""Records of what was audited: the model and its files, the preprocessing, the data set."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from lipaudit.report.exact import ExactText
from lipaudit.report.number import Count, Record

__all__ = [
    "AssumptionRecord",
    "Conversion",
    "DatasetRecord",
    "Digest",
    "FileRecord",
    "ModelRecord",
    "PreprocessingRecord",
    "Text",
]


def _encodable(value: object) -> object:
    # A file name that is no UTF-8 arrives with lone surrogates, which no JSON text can carry.
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


Text = Annotated[str, BeforeValidator(_encodable)]
"""A string that any UTF-8 file can carry."""

Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
"""A SHA-256 in lower-case hex."""


class FileRecord(Record):
    """One file the model was read from, by base name."""

    name: Text
    sha256: Digest
    bytes: Count


class Conversion(Record):
    """How the analysed graph was compared with the program it was made from."""

    reference: Text
    inputs: Count
    max_relative_difference: float = Field(ge=0)


class ModelRecord(Record):
    """Which network this report is about."""

    name: Text
    files: tuple[FileRecord, ...]
    format: Text
    loader: Text
    trust: Text
    architecture: Text | None = Field(
        default=None, description="the factory of --arch with its arguments; null where the file says it all"
    )
    weights_sha256: Digest
    conversion: Conversion | None
    input_shape: tuple[int, ...]
    num_classes: int | None = Field(description="null where the outputs are no class scores")
    logits: Text | None = Field(default=None, description="the output that was named, of several")


class AssumptionRecord(Record):
    """The preprocessing was found by trying the usual conventions on samples; nobody stated it."""

    convention: Text
    correct: Count
    samples: Count
    runner_up: Text | None = Field(description="the next best; null if nothing else was possible")
    runner_up_correct: Count
    runner_up_samples: Count = Field(description="fewer than `samples` where it was dropped early")
    clear: bool = Field(description="everything else is worse by more than three standard errors")
    plausible: bool = Field(default=True, description="it answers better than chance")


class PreprocessingRecord(Record):
    """From the space in which perturbations are measured to the network's input."""

    threat_space: Text = Field(description='where the l2 norm is taken, e.g. "pixel [0,1]"')
    layout: Text | None
    scale: ExactText
    mean: tuple[ExactText, ...] = Field(description="exact fractions: none (0), one, or one per channel")
    std: tuple[ExactText, ...] = Field(description="exact fractions: none (1), one, or one per channel")
    source: Text
    assumption: AssumptionRecord | None = None


class DatasetRecord(Record):
    """Which samples were evaluated."""

    name: Text
    num_evaluated: Count
    total: Count
    fingerprint_sha256: Digest
    official: bool | None = Field(description="whether the bytes are the published ones; null: unknown")
    resize: tuple[int, ...] | None = Field(
        default=None, description="the shorter side, or height and width, that images were resized to"
    )
    crop: tuple[int, ...] | None = Field(default=None, description="height and width of the centre kept")
    interpolation: Text | None = Field(default=None, description="how resizing found its pixels")
    limit: int | None = None
    seed: int | None = None
    sample_shape: tuple[int, ...] | None = Field(
        default=None, description="of one sample; null: not recorded"
    )
