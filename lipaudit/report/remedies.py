"""What would make a budget pass: each budget that does not, by its reason → sentences for `next`.

Only what can be changed is named.  A layer is an offender if it has weights and its bound is above 1 by more
than float32 can round; an operation without weights can be replaced, not retrained.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction

from lipaudit.report.exact import read_exact
from lipaudit.report.inputs import PreprocessingRecord
from lipaudit.report.interruption import is_interrupted
from lipaudit.report.judgement import BudgetOutcome
from lipaudit.report.model import Evidence, Layer
from lipaudit.report.wording import printable, shown_up

__all__ = [
    "ELSEWHERE",
    "PREPROCESSING",
    "amplifies",
    "has_weights",
    "is_elsewhere",
    "offenders_text",
    "preprocessing_flags",
    "remedies",
    "replaceable_text",
]

ELSEWHERE = "the budget is meant in "
"""Of a message: the report measures in another unit than the budget, so that it is not judged."""

_WEIGHTED = ("linear", "matmul", "einsum")
PREPROCESSING = "normalize"
"""The op that stands for scale, mean and std."""
_ROUNDING = 1e-5  # what float32 weights leave above a norm of 1
_LARGEST = 1e300
_MANY = 3
_PIXELS = "[0,1]"


def has_weights(op: str) -> bool:
    """Whether an operation of this name is learned: retraining or normalising can make it smaller."""
    return op in _WEIGHTED or "conv" in op or op.endswith("_norm")


def amplifies(upper: float | None) -> bool:
    """Whether a bound is above 1 by more than float32 weights can round; None is no bound at all."""
    return upper is None or upper > 1 + _ROUNDING


def is_elsewhere(outcome: BudgetOutcome) -> bool:
    """Whether a stored outcome was not decided because the budget is meant in another unit."""
    return outcome.outcome == "inconclusive" and ELSEWHERE in outcome.message


def offenders_text(evidence: Evidence) -> str:
    """Blocks that amplify, and layers with weights in no block that do, worst first; empty if none does."""
    inside = {name for block in evidence.blocks for name in block.layers}
    factors = {
        f"{printable(block.source)} → {printable(block.end)}": block.upper.value for block in evidence.blocks
    }
    layers = (row for row in evidence.layers if row.name not in inside and has_weights(row.op))
    return _worst(factors | _own(layers))


def replaceable_text(evidence: Evidence) -> str:
    """Operations without weights that amplify: none of a block or of the preprocessing; may be empty."""
    inside = {name for block in evidence.blocks for name in block.layers}
    layers = (
        row
        for row in evidence.layers
        if row.name not in inside and not has_weights(row.op) and row.op != PREPROCESSING
    )
    return _worst(_own(layers))


def remedies(evidence: Evidence) -> Iterator[str]:
    """One sentence per reason for which budgets are not met and not waived; none where none was judged."""
    if is_interrupted(evidence.findings):
        return
    unmet = [budget for budget in evidence.budgets if not budget.is_met]
    elsewhere = [budget for budget in unmet if is_elsewhere(budget)]
    if elsewhere:
        yield _unit(evidence, elsewhere[0])
    judged = [budget for budget in unmet if not is_elsewhere(budget)]
    ratchets = dict.fromkeys(budget.baseline.name for budget in judged if budget.baseline is not None)
    for name in ratchets:
        yield f"`lipaudit diff {printable(name)} REPORT` tells what moved since the baseline."
    if any(_is_incomparable(budget) for budget in judged):
        yield (
            "A ratchet without a comparable baseline decides nothing: audit as the baseline was, or make a "
            "report the new one (`lipaudit baseline update REPORT`)."
        )
    guessed = any(finding.level == "error" for finding in evidence.findings)  # whose advice comes first
    compared = [b for b in judged if not _is_incomparable(b) and not (guessed and b.outcome != "fail")]
    constant = [b for b in compared if b.metric == "lipschitz" and _is_zero(b.limit)]
    if constant:
        yield "Only a network whose output is constant has a Lipschitz constant of 0: set a limit above 0."
        compared = [budget for budget in compared if budget not in constant]
    if all(layer.upper.value is not None for layer in evidence.layers):
        yield from _tighter(evidence, compared)
    if any(budget.metric == "lipschitz" and not budget.layers for budget in compared):
        yield from _preprocessing(evidence)


def preprocessing_flags(how: PreprocessingRecord) -> str:
    """The options that state a preprocessing exactly."""
    parts = [f"--scale {how.scale}"] if Fraction(how.scale) != 1 or not (how.mean or how.std) else []
    parts += [f"--mean {','.join(how.mean)}"] if how.mean else []
    parts += [f"--std {','.join(how.std)}"] if how.std else []
    parts += [f"--layout {how.layout}"] if how.layout else []
    return " ".join(parts)


def _tighter(evidence: Evidence, budgets: Iterable[BudgetOutcome]) -> Iterator[str]:
    """Of budgets on what was proved: on the network, or on single layers, which they name."""
    found = {(budget.metric, budget.outcome, bool(budget.layers)) for budget in budgets}
    names = offenders_text(evidence)
    measured = ["lipschitz"] if evidence.robustness is None else ["lipschitz", "certified_accuracy"]
    if ("lipschitz", "fail", False) in found:
        yield _smaller(evidence, names)
    elif any((metric, "inconclusive", False) in found for metric in measured):
        lower = f": lower the gain of what costs most, {names}" if names else ": --profile tight looks longer"
        yield f"An inconclusive budget needs a tighter bound{lower}."
    if ("lipschitz", "fail", True) in found:
        yield "Retrain or rescale the layers that exceed their budget: a witness stands against them."
    elif ("lipschitz", "inconclusive", True) in found:
        yield "A layer that is not decided needs a smaller gain, or --profile tight, which looks longer."
    if any(("slack", "inconclusive", single) in found for single in (False, True)):
        yield "A smaller slack needs a tighter bound or a larger witness: --profile tight looks longer."


def _smaller(evidence: Evidence, names: str) -> str:
    """No method proves what a witness refutes: the network has to change."""
    if names:
        return f"Retrain or rescale what amplifies most: {names}."
    if others := replaceable_text(evidence):
        return f"No layer with weights amplifies; replace or rescale the operations that do: {others}."
    return "No layer amplifies: scale the outputs down, or allow more."


def _preprocessing(evidence: Evidence) -> Iterator[str]:
    """The share of scale and std in a constant per pixel, which no training takes away."""
    how = evidence.preprocessing
    if _PIXELS not in how.threat_space:
        return
    divisor = min((abs(read_exact(text)) for text in how.std), default=Fraction(1))
    stretch = abs(read_exact(how.scale)) / divisor if divisor else Fraction(1)
    if 1 < stretch < _LARGEST:
        yield (
            f"Of the bound, a factor of up to {shown_up(float(stretch), 4)} is the preprocessing "
            "(scale/std), no layer: distances are in pixels. --threat-space input measures behind it."
        )


def _unit(evidence: Evidence, budget: BudgetOutcome) -> str:
    """What to pass or write where report and budget speak of different units."""
    meant = budget.message.rpartition(ELSEWHERE)[2]
    space = evidence.preprocessing.threat_space
    write = 'threat_space = "{}" under [require] of the policy, if the budgets are meant so'
    if space.startswith("the file"):
        found, other = "file", "store the samples as uint8 or in [0,1]"
    elif _PIXELS in space:
        found, other = "pixel", "audit with --threat-space input"
    else:
        found, other = "input", "audit without --threat-space input, with the preprocessing stated"
    if meant.startswith("the file"):
        other = "audit samples in those units"
    return (
        f"A budget in another unit than the audit's is not judged: {other}, or write {write.format(found)}."
    )


def _is_zero(limit: str) -> bool:
    try:
        return read_exact(limit) == 0
    except ValueError:
        return False


def _is_incomparable(budget: BudgetOutcome) -> bool:
    """Whether it is a ratchet without a limit: its limit is told as a step then."""
    step = any(word in budget.limit for word in (" above ", " below "))
    return budget.outcome == "inconclusive" and step and (not budget.layers or budget.baseline is None)


def _own(layers: Iterable[Layer]) -> dict[str, float | None]:
    return {printable(layer.name): layer.upper.value for layer in layers}


def _worst(factors: dict[str, float | None]) -> str:
    known = {name: value for name, value in factors.items() if value is not None and amplifies(value)}
    largest = sorted(known, key=lambda name: -known[name])[:_MANY]
    return ", ".join(f"{name} (≤ {shown_up(known[name])})" for name in largest)
