"""The use case, in one function: `audit` loads, bounds, composes, certifies, attacks and reports."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch

from lipaudit.analyze import Layer, Plan, analyze
from lipaudit.blocks import find_claims
from lipaudit.certify.agreement import check_answers
from lipaudit.certify.curvature import curvature
from lipaudit.certify.curve import certified_counts
from lipaudit.certify.dataset import Certification, certify
from lipaudit.certify.falsify import SWITCHED_OFF, Outcome, falsify
from lipaudit.certify.pairwise import pair_constants
from lipaudit.clock import Clock, Progress
from lipaudit.compose import NetworkBound, compose
from lipaudit.data import Dataset, load_dataset, make_sizing
from lipaudit.data.plausible import is_near_chance
from lipaudit.errors import InputUnavailable, UsageError
from lipaudit.finished import Finished
from lipaudit.load import LoadedModel, check_file, load_model
from lipaudit.moment import judging_day
from lipaudit.policy import (
    DEFAULT_EPS,
    CeilingBudget,
    FloorBudget,
    Policy,
    judge,
    load_baselines,
    load_policy,
    parse_budgets,
    parse_eps,
    with_flags,
)
from lipaudit.report import assemble, structure, tried, variance
from lipaudit.report.interruption import Interrupted
from lipaudit.report.layer_findings import layer_findings
from lipaudit.report.limits import limitations
from lipaudit.report.model import (
    AuditReport,
    Evidence,
    Finding,
    Robustness,
)
from lipaudit.report.number import as_double, plain_down
from lipaudit.spectral.method import DEFAULT
from lipaudit.spectral.select import AUTO, BALANCED
from lipaudit.subject import THREAT_SPACES, Stated, Subject, Trying, check_scores, make_subject

__all__ = ["Progress", "audit", "device_named"]

T = TypeVar("T")
NOT_ATTACKED = Outcome(None, None, SWITCHED_OFF)
_UNTOLD = frozenset({"model", "progress", "data_dir", "arch", "policy"})
"""Options that may hold paths of this machine, or stand in the evidence."""


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
    eps: str | float | Sequence[str | float] = DEFAULT_EPS,
    max_lipschitz: str | float | None = None,
    min_certified: str | Sequence[str] = (),
    policy: Policy | str | Path | None = None,
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
        policy: a policy file, or what `policy.load_policy` read of one; without it none is looked for.
        method: a spectral method's name, or `auto`; or `PATTERN=NAME` for the layers whose names match
            (`*` is any text). Of several the last that matches counts.
        profile: `fast`, `balanced` or `tight`: how much a tighter bound may cost.
        memory: bytes that a spectral method's tensors may take at a time.
        device: `auto`, `cpu` or `cuda`.
        attack: try to refute the claims.
        progress: shown to a person.

    Raises:
        LipauditError: whatever keeps the audit from being done; its `exit_code` is the documented one.
        KeyboardInterrupt: if the user interrupts; once a layer is bounded, as `Interrupted`, which carries
            the report of what was finished.
    """
    command = {k: v for k, v in locals().items() if k not in _UNTOLD}
    clock = Clock(progress)
    certified = _listed(min_certified)
    flags = parse_budgets(
        max_lipschitz=max_lipschitz, min_certified=certified, dataset=dataset, behind=threat_space == "input"
    )
    meant = _policy(policy, flags, dataset)
    baselines = _available(model, partial(load_baselines, meant))
    asked = _asked_radii([*_listed(eps), *meant.asked_eps])
    target = device_named(device)
    plan = Plan.of(_listed(method), profile, memory)
    _check_space(threat_space)

    clock.stage("loading data", 0)
    sizing = make_sizing(resize, crop)
    found = partial(load_dataset, dataset, data_dir=data_dir, offline=offline, sizing=sizing)
    data = _available(model, partial(found, limit=limit, seed=seed, progress=clock))
    clock.stage("loading model", 0)
    sample = None if data is None else data.sample_shape
    terms: dict[str, Any] = {"allow_globals": _listed(allow_global), "trust_pickle": trust_pickle}
    terms["logits"] = logits
    loaded = load_model(model, arch=arch, input_shape=input_shape, default_shape=sample, **terms)
    stated = Stated.by(loaded, mean, std, scale, layout)
    trying = Trying.on(found, clock.advance)
    clock.stage("finding the preprocessing", 0)
    subject = make_subject(loaded, stated, data, trying, target, threat_space)
    meant.check_layers([node.name for node in subject.graph.nodes])

    done = _proved(loaded, subject, plan, clock, attack=attack)
    layers, bound, run, attacked = done.layers, done.bound, done.run, done.attacked
    robustness = None if run is None else _robustness(run, asked)
    evidence = Evidence(
        model=assemble.model_record(Path(model).name, loaded, subject.classes, logits),
        preprocessing=assemble.preprocessing_record(
            subject.space, subject.layout, subject.preprocessing, subject.assumption
        ),
        global_=done.bracket(),
        layers=assemble.layer_records(layers, bound, attacked.spreads),
        blocks=structure.block_records(bound),
        dataset=None if data is None else assemble.dataset_record(data, done.evaluated, limit, seed),
        robustness=robustness,
        falsification=assemble.falsification_record(attacked),
        batch_variance=variance.variance_record(attacked),
        findings=(*_findings((layers, plan, bound, attacked), data, run, subject), *done.findings()),
        limitations=(*_limitations(loaded, subject, attacked), *done.limitations()),
    )
    day = judging_day(clock.started, [waiver.expires for waiver in meant.waivers])
    judgement = judge(meant, evidence, day, baselines)
    report = judgement.report(evidence, clock.run(target, command, layers))
    if done.stopped:
        raise Interrupted(report.model_copy(update={"verdict": "incomplete", "exit_code": 130}))
    return report


def _proved(loaded: LoadedModel, subject: Subject, plan: Plan, clock: Clock, *, attack: bool) -> Finished:
    """Bounds, certificates, and an attack on both; where Ctrl-C ends it, what was finished by then."""
    done = Finished(subject.graph, subject.samples, clock)
    with done.until_interrupted():
        _bounded(done, plan, clock)
        if done.data is not None:
            _certified(loaded, subject, done, done.data, clock)
        if attack:
            clock.stage("attacking the claims", 0)
            done.attacked = falsify(done.graph, done.layers, done.bound, done.data, done.run)
        else:
            done.attacked = NOT_ATTACKED
    return done


def _bounded(done: Finished, plan: Plan, clock: Clock) -> None:
    """The layers one by one, parts of the network as a whole, and what follows for all of it."""
    clock.stage("bounding layers", len(done.graph.nodes))
    analyze(done.graph, plan, done.layer)
    clock.stage("looking for structure", len(done.graph.nodes))
    claims = find_claims(done.graph, done.layers, plan, clock.advance)
    done.composed = compose(done.graph, done.layers, claims)


def _available(model: str | Path, load: Callable[[], T]) -> T:
    """What else is needed; where it is missing, a model that would be refused is the more serious problem."""
    try:
        return load()
    except InputUnavailable:
        check_file(model)
        raise


def _policy(
    policy: Policy | str | Path | None, flags: Sequence[CeilingBudget | FloorBudget], dataset: str
) -> Policy:
    """As it was given or read from its file, with the flags, on this data set."""
    told = load_policy(Path(policy)) if isinstance(policy, str | Path) else policy
    meant = with_flags(told or Policy(), flags)
    meant.check_data(dataset)
    return meant


def _certified(loaded: LoadedModel, subject: Subject, done: Finished, data: Dataset, clock: Clock) -> None:
    """Certificates for every sample, each answer compared with the original program's."""
    check_scores(subject)
    bound, graph = done.bound, done.graph
    clock.stage("bounding the curvature", 0)
    with torch.no_grad():
        done.bent = curvature(graph, done.layers, bound)
    clock.stage("certifying", len(data))
    constants, done.how = pair_constants(graph, bound)
    table = constants.to(graph.device)
    run = certify(graph, done.layers, data, (table, done.how), done.chunk, bound.claims, done.bent)
    clock.stage("asking the original program", len(data))
    check_answers(run, data, subject.entrance, loaded.reference, subject.middle, done.answers)
    done.compared = done.evaluated


def _robustness(run: Certification, asked: dict[Fraction, str]) -> Robustness:
    # Counted from the radii as they are written, so that the report agrees with itself to the last sample.
    written = [as_double(plain_down(radius)) for radius in run.radii.radius.tolist()]
    return assemble.robustness_record(run, certified_counts(written, asked), asked)


def _findings(
    bounded: tuple[Sequence[Layer], Plan, NetworkBound, Outcome],
    data: Dataset | None,
    run: Certification | None,
    subject: Subject,
) -> tuple[Finding, ...]:
    """All that may matter; what matters only where a budget is not met, `judge` drops where all are."""
    layers, plan, bound, attacked = bounded
    blocks = structure.block_records(bound)
    grown = variance.variance_findings(attacked, blocks)
    fallen = tried.fallback_findings(layers, plan)
    found = (*layer_findings(layers, blocks), *grown, *fallen)
    if data is None or run is None:
        return found
    chance = is_near_chance(run.radii.correct, run.labels, subject.classes)
    stated = subject.assumption is None and subject.preprocessing.source != "default"
    worthless = assemble.data_findings(data, run, subject.classes, near_chance=chance, stated=stated)
    assumed = assemble.assumption_findings(subject.assumption)
    return (*found, *worthless, *assumed)


def _limitations(loaded: LoadedModel, subject: Subject, attacked: Outcome) -> tuple[str, ...]:
    return (*limitations(loaded, subject), *((attacked.note,) if attacked.note else ()))


def _asked_radii(texts: Sequence[str]) -> dict[Fraction, str]:
    """Each asked ε once, in order of size, with the text that asked for it first."""
    asked: dict[Fraction, str] = {}
    for text in texts:
        asked.setdefault(parse_eps(text), text)
    return dict(sorted(asked.items()))


def _listed(texts: str | float | Sequence[str | float]) -> list[str]:
    """One text (or number) counts as a list of one."""
    return [str(texts)] if isinstance(texts, str | int | float) else [str(text) for text in texts]


def _check_space(name: str) -> None:
    if name not in THREAT_SPACES:
        raise UsageError(f"threat space {name!r} is unknown", hint=", ".join(THREAT_SPACES))


def device_named(name: str) -> torch.device:
    """The device of `--device`; `auto` is a GPU where there is one.

    Raises:
        UsageError: there is no such device.
    """
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
