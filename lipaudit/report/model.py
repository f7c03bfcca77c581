"""The report: what was proved (`evidence`) and how it was run (`run`).

`evidence` is canonical: the same model, data and options give the same bytes on one machine, so it
carries no times, no host names and no paths.  `run` carries the rest.  Counts stand before ratios,
numbers are numbers, infinity and "not analysed" are spelt out (`number.Number`).

`SCHEMA_VERSION` is MAJOR.MINOR of its own; a minor step only adds fields.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final, Literal, Self

from pydantic import Field, model_validator

from lipaudit import rounding
from lipaudit.bound import Bound, Estimate
from lipaudit.errors import ExitCode
from lipaudit.report.certificate import Certificate
from lipaudit.report.exact import ExactText, read_exact
from lipaudit.report.inputs import DatasetRecord, Digest, ModelRecord, PreprocessingRecord, Text
from lipaudit.report.judgement import BudgetOutcome, PolicyRecord, Waiver
from lipaudit.report.number import Count, Number, Plain, Record, plain_up

__all__ = [
    "READABLE",
    "SCHEMA_VERSION",
    "AuditReport",
    "BatchVariance",
    "Block",
    "Code",
    "Curvature",
    "CurvePoint",
    "Evidence",
    "Falsification",
    "Finding",
    "Host",
    "Layer",
    "MethodTried",
    "NetworkBracket",
    "Robustness",
    "Run",
    "SampleRecord",
    "Tally",
    "Verdict",
]

SCHEMA_VERSION: Final = "1.1"
READABLE: Final = ("1.0", SCHEMA_VERSION)
"""Earlier minor versions lack fields, which then have their defaults; a report keeps its version."""

Verdict = Literal["pass", "fail", "inconclusive", "incomplete"]
"""pass: complete, and every budget (possibly none) is met · fail: a witness breaks a budget, whatever the
method · inconclusive: complete, and a budget lies inside the bracket · incomplete: something has no bound
or no sample could be judged, and no witness breaks a budget; or the audit was interrupted."""

Code = Literal[0, 1, 3, 130]
"""How the program ends; 130 with verdict `incomplete` only: interrupted."""

_CODES: dict[Verdict, tuple[ExitCode, ...]] = {
    "pass": (ExitCode.PASS,),
    "fail": (ExitCode.BUDGET,),
    "inconclusive": (ExitCode.BUDGET,),
    "incomplete": (ExitCode.INCOMPLETE, ExitCode.INTERRUPTED),
}


StoredValue = float | int | str | tuple[float, ...] | tuple[tuple[float, ...], ...]
"""What a rule stores: numbers (floats in hex where each bit counts), lists of them, digests."""


class NetworkBracket(Record):
    """The l2 Lipschitz constant of the whole network, preprocessing included, from both sides."""

    upper: Number
    lower: Number
    slack: Plain | None = Field(description="upper / lower, rounded up; null without a lower end")
    method: Text
    note: Text = ""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _check_ends("the network", self.upper, self.lower)
        return self

    @classmethod
    def of(cls, above: Bound, below: Estimate | None = None) -> NetworkBracket:
        """Both ends rounded outward, the slack from the unrounded ones."""
        return cls(
            upper=Number.from_bound(above),
            lower=Number.from_estimate(below),
            slack=_slack(above, below),
            method=above.method,
            note=above.note,
        )


class MethodTried(Record):
    """What one spectral method proved about the linear maps of a layer."""

    method: Text
    maps: Count = Field(description="the layer's linear maps that it bounded; most layers have one")
    upper: Number = Field(description="the largest of these bounds; `not_analysed` if there is none")
    note: Text = Field(default="", description="why it bounded none of them, or not all")


class Layer(Record):
    """One op of the graph: its own gain, and the bound on the map from the input up to here."""

    name: Text
    op: Text
    method: Text
    upper: Number
    lower: Number
    slack: Plain | None
    running: Number
    origin: Text = ""
    note: Text = ""
    shape: tuple[int, ...] = Field(default=(), description="the output's shape, leading 1 included")
    tried: tuple[MethodTried, ...] = Field(
        default=(), description="every method that was considered for the linear maps, cheapest first"
    )
    variance: float | None = Field(
        default=None, ge=0, description="of `batch_variance.samples` samples behind this layer"
    )
    certificates: tuple[Certificate, ...] = Field(
        default=(), description="the norms that `upper` rests on, in the order in which the op asks for them"
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _check_ends(self.name, self.upper, self.lower)
        return self

    @classmethod
    def of(
        cls,
        name: str,
        op: str,
        above: Bound,
        below: Estimate | None,
        running: Bound,
        *,
        origin: str = "",
        shape: tuple[int, ...] = (),
    ) -> Layer:
        """A row from unrounded values: every number is rounded outward here, once."""
        return cls(
            name=name,
            op=op,
            method=above.method,
            upper=Number.from_bound(above),
            lower=Number.from_estimate(below),
            slack=_slack(above, below),
            running=Number.from_bound(running),
            origin=origin,
            note=above.note,
            shape=shape,
        )


class Block(Record):
    """A part of the graph whose structure proves more than the product of its layers."""

    source: Text = Field(description="the value that goes in; `input` is the network's input")
    end: Text = Field(description="the layer whose value comes out")
    layers: tuple[Text, ...] = Field(description="the layers in between, the last one included")
    rule: Text
    upper: Number
    plain: Number = Field(description="what the gains of the layers would have given")
    proof: dict[str, StoredValue] = Field(
        default_factory=dict, description="what it takes to prove the bound again without a search"
    )
    certificates: tuple[Certificate, ...] = Field(
        default=(), description="the norms that the rule asks for, in that order"
    )


class Tally(Record):
    """`count` of `n` samples."""

    count: Count
    n: Count

    @model_validator(mode="after")
    def _within(self) -> Self:
        if self.count > self.n:
            msg = f"{self.count} of {self.n} samples"
            raise ValueError(msg)
        return self


class CurvePoint(Record):
    """How many samples are certified at one asked radius.

    `possible_count` counts the samples that no witness rules out (correctly classified, and no attack
    within eps succeeded): certified accuracy cannot exceed it, whatever the method.
    """

    eps: float = Field(gt=0)
    eps_exact: ExactText = Field(description="the radius as asked, an exact fraction")
    certified_count: Count
    n: Count
    possible_count: Count | None = None

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        top = self.n if self.possible_count is None else self.possible_count
        if not self.certified_count <= top <= self.n:
            msg = f"at {self.eps_exact}: {self.certified_count} certified, {top} possible, {self.n} samples"
            raise ValueError(msg)
        if float(read_exact(self.eps_exact)) != self.eps:
            msg = f"eps {self.eps!r} is not {self.eps_exact}"
            raise ValueError(msg)
        return self


class SampleRecord(Record):
    """One sample; `radius` is 0 where the prediction is wrong or tied."""

    index: Count
    label: int
    predicted: int | None = Field(description="null where the outputs are not finite")
    margin: float | None
    radius: Plain
    correct: bool


class Curvature(Record):
    """Radii of second order, where the network has one hidden layer with a smooth activation."""

    layer: Text = Field(description="the activation")
    activation: Text
    units: Count
    norm: Number = Field(description="of the map from the input to the activation")
    largest: Number = Field(description="curvature of a difference of two scores, for the worst pair")
    indices: tuple[Count, ...] = Field(
        description="samples whose radius follows from slope and curvature and exceeds what margins give"
    )

    by_margins: tuple[Plain, ...] | None = Field(
        default=None,
        description="the radii that margins alone prove of these samples, rounded down; null if not told",
    )

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if self.by_margins is not None and len(self.by_margins) != len(self.indices):
            msg = f"{len(self.by_margins)} radii by margins of {len(self.indices)} samples"
            raise ValueError(msg)
        if any(a >= b for a, b in pairwise(self.indices)):
            msg = "indices of samples rise, each once"
            raise ValueError(msg)
        return self


class Robustness(Record):
    """Certified l2 radii over the data set, as exact counts."""

    clean_accuracy: Tally
    curve: tuple[CurvePoint, ...]
    median_radius: Plain | None = Field(description="lower median, wrong predictions count 0; rounded down")
    method: Text = Field(
        description="what bounds the differences of two scores, which margins are divided by; `curvature` "
        "names the radii that rest on something else"
    )
    arithmetic: Literal["real"] = "real"
    samples: tuple[SampleRecord, ...] | None = None
    curvature: Curvature | None = Field(default=None, description="null where none is known")

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        clean = self.clean_accuracy
        if self.curvature is not None and len(self.curvature.indices) > clean.count:
            msg = f"{len(self.curvature.indices)} radii by curvature, {clean.count} samples correct"
            raise ValueError(msg)
        for row in self.curve:
            if row.n != clean.n or row.certified_count > clean.count:
                told = (
                    f"{row.certified_count} of {row.n} samples certified, {clean.count} of {clean.n} correct"
                )
                msg = f"at {row.eps_exact}: {told}"
                raise ValueError(msg)
        return self


class Finding(Record):
    """Something a reader must know."""

    rule: str = Field(pattern="^LIP[0-9]{3}$")
    level: Literal["error", "warning", "note"]
    message: Text
    layer: Text | None = None
    advice: Text = ""


class Falsification(Record):
    """How hard the program tried to refute its own claims."""

    lipschitz_ratio: float | None = Field(ge=0, description="largest output/input distance ratio seen")
    attacked_samples: Count
    hits: Count = Field(description="successful attacks inside a certified radius; any is a defect")
    steps: Count


class BatchVariance(Record):
    """How far a batch of samples is spread: Σ over coordinates of the unbiased variance, rounded down.

    A map that is 1-Lipschitz cannot make it grow; `growth` is the layer behind which it grew most since the
    value that all paths to it meet, `constant` what that proves of the map between them.
    """

    samples: Count
    input: float | None = Field(ge=0)
    growth: Text | None = Field(description="null where it grew nowhere")
    constant: Plain | None


class Evidence(Record):
    """What was proved, about what, under which assumptions."""

    model: ModelRecord
    preprocessing: PreprocessingRecord
    global_: NetworkBracket = Field(validation_alias="global", serialization_alias="global")
    layers: tuple[Layer, ...]
    blocks: tuple[Block, ...] = ()
    dataset: DatasetRecord | None
    robustness: Robustness | None
    falsification: Falsification | None = None
    batch_variance: BatchVariance | None = None
    policy: PolicyRecord | None = Field(default=None, description="null where budgets came as flags only")
    budgets: tuple[BudgetOutcome, ...] = ()
    waivers: tuple[Waiver, ...] = ()
    findings: tuple[Finding, ...] = ()
    limitations: tuple[Text, ...] = ()


class Host(Record):
    """The machine, without names or paths."""

    platform: Text
    device: Text
    threads: int | None = None


class Run(Record):
    """When, where and how; nothing here is evidence."""

    started: str = Field(description="ISO 8601, with time zone")
    seconds: float = Field(ge=0)
    stages: dict[str, float] = Field(default_factory=dict, description="seconds per stage")
    versions: dict[str, str] = Field(default_factory=dict)
    host: Host
    layers: dict[Text, dict[str, float]] = Field(
        default_factory=dict, description="seconds per layer and spectral method, or search for a witness"
    )
    command: dict[str, bool | int | float | Text | tuple[Text, ...] | None] = Field(
        default_factory=dict, description="the options the audit ran with"
    )


class AuditReport(Record):
    """A Lipschitz and robustness audit of one network."""

    schema_version: Literal["1.0", "1.1"] = Field(
        default=SCHEMA_VERSION, description="1.0: a report of that version which was read and written again"
    )
    verdict: Verdict
    exit_code: Code
    evidence: Evidence
    evidence_sha256: Digest | None = Field(
        default=None, description="over the canonical JSON of `evidence`; null in reports older than 1.1"
    )
    run: Run

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        if self.exit_code not in _CODES[self.verdict]:
            msg = f"verdict {self.verdict!r} does not end with exit code {self.exit_code}"
            raise ValueError(msg)
        return self


def _check_ends(whose: str, upper: Number, lower: Number) -> None:
    """A witness above a proof: one of the two is wrong."""
    if upper.value is not None and lower.value is not None and lower.value > upper.value:
        msg = f"{whose}: {lower.value!r} witnessed, at most {upper.value!r} proved"
        raise ValueError(msg)


def _slack(above: Bound, below: Estimate | None) -> Plain | None:
    if below is None:
        return None
    if above.value == 0:
        return 1.0  # 0/0: the bracket is exact
    return plain_up(rounding.div_up(above.value, below.value))
