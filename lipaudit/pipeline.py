"""The use case, in one function: `audit` loads, bounds, composes, certifies, attacks and reports."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import torch

from lipaudit import policy
from lipaudit.analyze import Layer, Plan, analyze
from lipaudit.blocks import find_claims
from lipaudit.bound import Bracket
from lipaudit.certify.agreement import check_answers
from lipaudit.certify.curve import certified_counts
from lipaudit.certify.dataset import Certification, certify
from lipaudit.certify.falsify import Outcome, falsify
from lipaudit.certify.pairwise import pair_constants
from lipaudit.clock import Clock, Progress
from lipaudit.compose import NetworkBound, compose
from lipaudit.data import Dataset, load_dataset, make_sizing
from lipaudit.data.plausible import is_near_chance
from lipaudit.errors import InputUnavailable, UsageError
from lipaudit.graph.graph import LayerGraph
from lipaudit.load import LoadedModel, check_file, load_model
from lipaudit.report import assemble, structure, tried, variance
from lipaudit.report.canonical import sealed
from lipaudit.report.judgement import BudgetOutcome
from lipaudit.report.model import (
    AuditReport,
    Evidence,
    Finding,
    NetworkBracket,
    Robustness,
)
from lipaudit.spectral.method import DEFAULT
from lipaudit.spectral.select import AUTO, BALANCED
from lipaudit.subject import THREAT_SPACES, Stated, Subject, Trying, check_scores, make_subject

__all__ = ["Progress", "audit"]

REAL_ARITHMETIC = (
    "Bounds and radii are theorems about the stored weights in real arithmetic; the float64 forward pass "
    "that yields the margins is accounted for, the rounding of a deployed float32 program is not."
)
NOT_ATTACKED = Outcome(None, None, "Nobody tried to refute these claims: the attack was switched off.")
SEED = 0
"""Of the samples on which conventions of preprocessing are tried."""
BINARY = "A single output is read as a binary classifier: class 1 where the logit is positive."


def audit(  # noqa: PLR0913 - the options of the command line
    model: str | Path,
    *,
    dataset: str = "none",
    data_dir: str | Path | None = None,
    offline: bool = False,
    arch: str | None = None,
    allow_global: str | Sequence[str] = (),
    trust_pickle: str | None = None,
    input_shape: tuple[int, ...] | None = None,
    logits: str | None = None,
    mean: Sequence[Fraction | float] | None = None,
    std: Sequence[Fraction | float] | None = None,
    scale: Fraction | float | None = None,
    layout: str | None = None,
    threat_space: str = "pixel",
    resize: int | Sequence[int] | None = None,
    crop: int | Sequence[int] | None = None,
    limit: int | None = None,
    seed: int | None = None,
    eps: str | float | Sequence[str | float] = policy.DEFAULT_EPS,
    max_lipschitz: str | float | None = None,
    min_certified: str | Sequence[str] = (),
    method: str | Sequence[str] = AUTO,
    profile: str = BALANCED,
    memory: int = DEFAULT.memory,
    device: str = "auto",
    attack: bool = True,
    progress: Progress | None = None,
) -> AuditReport:
    """Bound a network's l2 Lipschitz constant, certify radii on a data set, and judge budgets.

    Args:
        model: path of an ONNX file, or of weights together with `arch`.
        dataset: `cifar10`, `cifar100`, `mnist`, `fashion-mnist` (with `:train` for that split),
            `imagefolder:PATH`, `npz:PATH` or `none`.
        data_dir: where the data set lies.
        offline: never download what is found nowhere.
        arch: `file.py:factory` or `file.py:factory{"width": 64}` for files that hold weights only.
        allow_global: classes that a checkpoint's pickle may make, as `package.module.Class`.
        trust_pickle: `sha256:…` of the one pickle that may run what it likes.
        input_shape: of one sample without batch, where neither model nor data tell.
        logits: the output to audit, of an ONNX graph that has several.
        mean: the network receives (scale·x − mean)/std; numbers or exact fractions, one or one per
            channel.  Like `std` and `scale` it overrides the model's own metadata.
        std: see `mean`.
        scale: see `mean`; one number.
        layout: how the network takes images: `chw`, `hwc` or `flat`.
        threat_space: `pixel`: perturbations of pixels in [0, 1]; `input`: of what the network receives after
            scale, mean and std.
        resize: images of a folder, as torchvision's `Resize` does: the shorter side, or height and width.
        crop: their centre, after `resize`: one side of a square, or height and width.
        limit: take the first `limit` samples, or with `seed` a draw of so many.
        seed: of the draw.
        eps: radii at which certified accuracy is counted, as exact text.
        max_lipschitz: budget on the global upper bound.
        min_certified: budgets `EPS:SHARE` on certified accuracy.
        method: a spectral method's name, or `auto`; or `PATTERN=NAME` for the layers whose names match
            (`*` is any text). Of several the last that matches counts.
        profile: `fast`, `balanced` or `tight`: how much a tighter bound may cost.
        memory: bytes that a spectral method's tensors may take at a time.
        device: `auto`, `cpu` or `cuda`.
        attack: try to refute the claims.
        progress: shown to a person.

    Raises:
        LipauditError: whatever keeps the audit from being done; its `exit_code` is the documented one.
    """
    command = {k: v for k, v in locals().items() if k not in {"model", "progress", "data_dir", "arch"}}
    clock = Clock(progress)
    certified = _listed(min_certified)
    budgets = policy.parse_budgets(max_lipschitz=max_lipschitz, min_certified=certified, dataset=dataset)
    asked = _asked_radii([*_listed(eps), *(b.asked_eps for b in budgets if b.asked_eps is not None)])
    target = _device(device)
    plan = Plan.of(_listed(method), profile, memory)
    _check_space(threat_space)

    clock.stage("loading data", 0)
    sizing = make_sizing(resize, crop)
    found = partial(load_dataset, dataset, data_dir=data_dir, offline=offline, sizing=sizing)
    data = _data(model, partial(found, limit=limit, seed=seed, progress=clock))
    clock.stage("loading model", 0)
    sample = None if data is None else data.sample_shape
    terms: dict[str, Any] = {"allow_globals": _listed(allow_global), "trust_pickle": trust_pickle}
    terms["logits"] = logits
    loaded = load_model(model, arch=arch, input_shape=input_shape, default_shape=sample, **terms)
    stated = Stated.by(loaded, mean, std, scale, layout)
    trying = Trying(_samples(found), clock.advance)
    clock.stage("finding the preprocessing", 0)
    subject = make_subject(loaded, stated, data, trying, target, threat_space)

    layers, bound = _bounded(subject.graph, plan, clock)
    points = subject.samples
    run = None if points is None else _certified(loaded, subject, layers, bound, points, clock)
    robustness = None if run is None else _robustness(run, asked)
    attacked = NOT_ATTACKED
    if attack:
        clock.stage("attacking the claims", 0)
        attacked = falsify(subject.graph, layers, bound, points, run)

    outcomes = _guessed(subject, policy.judge(budgets, bound.total, attacked.below, robustness))
    findings = _findings((layers, plan, bound, attacked), outcomes, data, run, subject)
    verdict, code = policy.decide(outcomes, incomplete=any(f.level == "error" for f in findings))
    evidence = Evidence(
        model=assemble.model_record(Path(model).name, loaded, subject.classes),
        preprocessing=assemble.preprocessing_record(
            subject.space, subject.layout, subject.preprocessing, subject.assumption
        ),
        global_=NetworkBracket.of(bound.total, attacked.below),
        layers=assemble.layer_records(layers, bound, attacked.spreads),
        blocks=structure.block_records(bound),
        dataset=None if data is None else assemble.dataset_record(data, limit, seed),
        robustness=robustness,
        falsification=assemble.falsification_record(attacked),
        batch_variance=variance.variance_record(attacked),
        budgets=outcomes,
        findings=findings,
        limitations=_limitations(loaded, subject, attacked),
    )
    run_record = clock.run(target, command, layers)
    return sealed(AuditReport(verdict=verdict, exit_code=code, evidence=evidence, run=run_record))


def _bounded(graph: LayerGraph, plan: Plan, clock: Clock) -> tuple[tuple[Layer, ...], NetworkBound]:
    """The layers one by one, parts of the network as a whole, and what follows for all of it."""
    clock.stage("bounding layers", len(graph.nodes))
    layers = analyze(graph, plan, clock.advance)
    for layer in layers:
        if layer.lower is not None:
            Bracket(layer.upper, layer.lower)  # refuses ends that cross
    clock.stage("looking for structure", len(graph.nodes))
    return layers, compose(graph, layers, find_claims(graph, layers, plan, clock.advance))


def _data(model: str | Path, load: Callable[[], Dataset | None]) -> Dataset | None:
    """The data set; where it is missing, a model that would be refused is the more serious problem."""
    try:
        return load()
    except InputUnavailable:
        check_file(model)
        raise


def _samples(found: Callable[..., Dataset | None]) -> Callable[[int], Dataset]:
    """Draws from the whole data set, whatever the audit is limited to."""

    def draw(count: int) -> Dataset:
        drawn = found(limit=count, seed=SEED)
        if drawn is None:
            raise UsageError("conventions of preprocessing can only be tried on a data set")
        return drawn

    return draw


def _certified(
    loaded: LoadedModel,
    subject: Subject,
    layers: Sequence[Layer],
    bound: NetworkBound,
    data: Dataset,
    clock: Clock,
) -> Certification:
    """Certificates for every sample, each answer compared with the original program's."""
    check_scores(subject)
    clock.stage("certifying", len(data))
    constants, how = pair_constants(subject.graph, bound)
    run = certify(
        subject.graph, layers, data, (constants.to(subject.graph.device), how), clock.advance, bound.claims
    )
    clock.stage("asking the original program", len(data))
    check_answers(run, data, subject.entrance, loaded.reference, subject.middle, clock.advance)
    return run


def _robustness(run: Certification, asked: dict[Fraction, str]) -> Robustness:
    return assemble.robustness_record(run, certified_counts(run.radii.radius.tolist(), asked), asked)


def _guessed(subject: Subject, outcomes: tuple[BudgetOutcome, ...]) -> tuple[BudgetOutcome, ...]:
    """No budget is judged where another preprocessing may be meant."""
    return policy.undecided(outcomes, "the preprocessing is a guess") if _is_guess(subject) else outcomes


def _is_guess(subject: Subject) -> bool:
    return subject.assumption is not None and not subject.assumption.clear


def _findings(
    bounded: tuple[Sequence[Layer], Plan, NetworkBound, Outcome],
    outcomes: Sequence[BudgetOutcome],
    data: Dataset | None,
    run: Certification | None,
    subject: Subject,
) -> tuple[Finding, ...]:
    unmet = any(o.metric == "lipschitz" and o.outcome != "pass" for o in outcomes) and not _is_guess(subject)
    layers, plan, bound, attacked = bounded
    blocks = structure.block_records(bound)
    grown = variance.variance_findings(attacked, blocks, over_one=unmet)
    fallen = tried.fallback_findings(layers, plan)
    found = (*assemble.layer_findings(layers, blocks, over_one=unmet), *grown, *fallen)
    if data is None or run is None:
        return found
    chance = is_near_chance(run.radii.correct, run.labels, subject.classes)
    assumed = assemble.assumption_findings(subject.assumption, budgeted=bool(outcomes))
    return (*found, *assemble.data_findings(data, run, chance), *assumed)


def _limitations(loaded: LoadedModel, subject: Subject, attacked: Outcome) -> tuple[str, ...]:
    binary = (BINARY,) if subject.classes == 1 else ()
    unattacked = (attacked.note,) if attacked.note else ()
    return (REAL_ARITHMETIC, *binary, *subject.graph.notes, *loaded.notes, *unattacked)


def _asked_radii(texts: Sequence[str]) -> dict[Fraction, str]:
    """Each asked ε once, with the text that asked for it first."""
    asked: dict[Fraction, str] = {}
    for text in texts:
        asked.setdefault(policy.parse_eps(text), text)
    return asked


def _listed(texts: str | float | Sequence[str | float]) -> list[str]:
    """One text (or number) counts as a list of one."""
    return [str(texts)] if isinstance(texts, str | int | float) else [str(text) for text in texts]


def _check_space(name: str) -> None:
    if name not in THREAT_SPACES:
        raise UsageError(f"threat space {name!r} is unknown", hint=", ".join(THREAT_SPACES))


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"--device {name}: no such device", hint="use auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: no CUDA device is available", hint="use --device cpu")
    return device
