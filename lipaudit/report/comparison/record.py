"""Several models side by side: what was proved about each, and what each costs.

Everything about bounds, counts and shares is copied from the audits' own reports.  Times and memory are
measurements of one machine at one time (`Costs`): they prove nothing, and stand apart.

`SCHEMA_VERSION` is MAJOR.MINOR of its own; a minor step only adds fields.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import quantiles
from typing import Final, Literal, Self

from pydantic import Field, model_validator

from lipaudit.report.exact import ExactText
from lipaudit.report.inputs import DatasetRecord, Digest, ModelRecord, PreprocessingRecord, Text
from lipaudit.report.model import AuditReport, Finding, Host, NetworkBracket, Robustness, Verdict
from lipaudit.report.number import Count, Record

__all__ = [
    "SCHEMA_VERSION",
    "Comparison",
    "Costs",
    "Machine",
    "Measured",
    "Problem",
    "Proved",
    "Row",
    "Spread",
]

SCHEMA_VERSION: Final = "1.0"


class Spread(Record):
    """Seconds of repeated runs: half of them lie between the two quartiles."""

    median: float = Field(ge=0)
    lower_quartile: float = Field(ge=0)
    upper_quartile: float = Field(ge=0)
    runs: Count

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.lower_quartile <= self.median <= self.upper_quartile:
            msg = f"quartiles {self.lower_quartile}, {self.median}, {self.upper_quartile} are in no order"
            raise ValueError(msg)
        return self

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Spread:
        """Of at least one run; four digits, since more would be noise."""
        low, middle, high = (
            quantiles(seconds, n=4, method="inclusive") if len(seconds) > 1 else [*seconds] * 3
        )
        median, lower, upper = (float(f"{value:.4g}") for value in (middle, low, high))
        return cls(median=median, lower_quartile=lower, upper_quartile=upper, runs=len(seconds))


class Measured(Record):
    """What a batch took: measured, not proved."""

    batch: Count
    dtype: Text
    seconds: Spread | None = Field(description="null where no clock was read")
    peak_bytes: Count = Field(
        description="weights, batch and the most that lay in tensors beside them at one time"
    )
    parameters: Count | None = Field(default=None, description="numbers that the step changes")
    how: Text = Field(description="what was run")


class Costs(Record):
    """What a model takes, in numbers of this machine; each part is null where `notes` says why."""

    parameters: Count | None = Field(
        description="floating-point numbers of the file that the program reads, each once"
    )
    forward: Measured | None
    training: Measured | None = Field(default=None, description="one step; null unless it was asked for")
    notes: tuple[Text, ...] = Field(default=(), description="why parts are missing or not comparable")


class Problem(Record):
    """Why a model has no numbers."""

    exit_code: Count
    message: Text
    hint: Text = ""


class Proved(Record):
    """The part of an audit's report that is compared, word for word."""

    verdict: Verdict
    evidence_sha256: Digest | None
    model: ModelRecord
    preprocessing: PreprocessingRecord
    global_: NetworkBracket = Field(validation_alias="global", serialization_alias="global")
    dataset: DatasetRecord | None
    robustness: Robustness | None
    findings: tuple[Finding, ...] = Field(description="those of level error")

    @classmethod
    def of(cls, report: AuditReport) -> Proved:
        """What `report` says."""
        evidence = report.evidence
        return cls(
            verdict=report.verdict,
            evidence_sha256=report.evidence_sha256,
            model=evidence.model,
            preprocessing=evidence.preprocessing,
            global_=evidence.global_,
            dataset=evidence.dataset,
            robustness=evidence.robustness,
            findings=tuple(f for f in evidence.findings if f.level == "error"),
        )


class Row(Record):
    """One model."""

    name: Text = Field(description="unique among the rows")
    exit_code: Count
    proved: Proved | None = Field(description="null where `problem` says why")
    audit_seconds: float | None = Field(ge=0, description="measured; null where no clock was read")
    costs: Costs | None
    problem: Problem | None = None

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        if self.proved is None and self.problem is None:
            msg = f"{self.name}: neither proved nor a problem"
            raise ValueError(msg)
        return self


class Machine(Record):
    """Where times and memory were measured, without names or paths."""

    host: Host
    accelerator: Text = Field(description="the GPU's name; empty if there is none")
    versions: dict[str, str]


class Comparison(Record):
    """All models in the order in which they were given."""

    schema_version: Literal["1.0"] = SCHEMA_VERSION
    started: str = Field(description="ISO 8601, with time zone")
    exit_code: Count = Field(description="the most serious of the rows'")
    eps: tuple[ExactText, ...]
    models: tuple[Row, ...]
    training: bool = Field(description="whether a training step was to be measured")
    machine: Machine
    notes: tuple[Text, ...] = Field(default=(), description="what makes rows hard to compare")

    @model_validator(mode="after")
    def _told_apart(self) -> Self:
        names = [row.name for row in self.models]
        if len(set(names)) < len(names):
            msg = "two rows have one name"
            raise ValueError(msg)
        return self

    @property
    def audited(self) -> tuple[tuple[Row, Proved], ...]:
        """The rows that have a report."""
        return tuple((row, row.proved) for row in self.models if row.proved is not None)
