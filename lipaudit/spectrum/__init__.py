"""The use case: load a model as an audit does, bound its linear parts, and look at their singular values."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from fractions import Fraction
from functools import partial
from pathlib import Path

import torch

from lipaudit.analyze import Layer, Plan, analyze
from lipaudit.blocks import Claim, find_claims
from lipaudit.bound import Bracket, Estimate
from lipaudit.clock import Clock, Progress
from lipaudit.data import load_dataset
from lipaudit.errors import ExitCode, UsageError
from lipaudit.load import load_model
from lipaudit.moment import moment
from lipaudit.pipeline import device_named
from lipaudit.policy.naming import matching
from lipaudit.report import assemble
from lipaudit.report.model import Host
from lipaudit.report.number import Number, plain_up
from lipaudit.report.spectrum.record import Interrupted, LayerSpectrum, Spectrum, Values, grouped
from lipaudit.spectral.method import DEFAULT
from lipaudit.spectral.select import BALANCED
from lipaudit.spectrum.leading import SCALING, Leading, Tried, find_leading, not_below, smaller_side
from lipaudit.spectrum.parts import LinearPart, linear_parts
from lipaudit.spectrum.whole import Whole, find_whole
from lipaudit.subject import THREAT_SPACES, Stated, Subject, Trying, make_subject

__all__ = ["find_spectrum"]

TOLERANCE = {"fast": 1e-3, BALANCED: 1e-4, "tight": 1e-6}
"""Of values of maps that are dear to apply, by profile (`Tried.closeness`)."""
SAME = 1e-9
"""Relative difference up to which values of a whole spectrum count as equal: some thousand roundings."""
COPIES = 8
"""Of one singular value that a block of a search finds (`spectral.block_lanczos`)."""
MOST = 1000
"""Values per layer that may be asked for; beyond it, the whole spectrum is the better question."""


def find_spectrum(  # noqa: PLR0913 - the options of the command line
    model: str | Path,
    *,
    top: int = 10,
    layers: Sequence[str] = (),
    everything: bool = False,
    arch: str | None = None,
    allow_global: Sequence[str] = (),
    trust_pickle: str | None = None,
    input_shape: tuple[int, ...] | None = None,
    logits: str | None = None,
    mean: Sequence[Fraction | float] | None = None,
    std: Sequence[Fraction | float] | None = None,
    scale: Fraction | float | None = None,
    layout: str | None = None,
    threat_space: str = "pixel",
    profile: str = BALANCED,
    memory: int = DEFAULT.memory,
    device: str = "auto",
    progress: Progress | None = None,
) -> Spectrum:
    """The largest singular values of a model's linear layers, and the certified bounds beside them.

    Args:
        model: path of an ONNX file, or of weights together with `arch`.
        top: values per layer.
        layers: patterns of layers' names; none means all.
        everything: the whole spectrum as well, where it can be had.
        arch: like all that follow as for `pipeline.audit`.
        allow_global: see there.
        trust_pickle: see there.
        input_shape: see there.
        logits: see there.
        mean: see there.
        std: see there.
        scale: see there.
        layout: see there.
        threat_space: see there.
        profile: how much a tighter bound, and values closer to the true ones, may cost.
        memory: bytes that a method or a search may take at a time.
        device: see there.
        progress: shown to a person.

    Raises:
        LipauditError: whatever keeps it from being done.
        Falsified: if a value exceeds a bound.
        KeyboardInterrupt: if the user interrupts; once a layer is finished, as `Interrupted`, which carries
            what was found.
    """
    _check(top, threat_space)
    clock = Clock(progress)
    started, target, plan = moment(), device_named(device), Plan.of((), profile, memory)
    clock.stage("loading model", 0)
    loaded = load_model(
        model,
        arch=arch,
        input_shape=input_shape,
        default_shape=None,
        allow_globals=tuple(allow_global),
        trust_pickle=trust_pickle,
        logits=logits,
    )
    stated = Stated.by(loaded, mean, std, scale, layout)
    trying = Trying.on(partial(load_dataset, "none"), clock.advance)
    subject = make_subject(loaded, stated, None, trying, target, threat_space)
    clock.stage("bounding layers", len(subject.graph.nodes))
    layers_bounded, claims = _bounded(subject, plan, clock)
    parts = linear_parts(subject.graph, layers_bounded, claims)
    witnesses = {layer.node.name: layer.lower.value for layer in layers_bounded if layer.lower is not None}
    wanted = _wanted(parts, layers)
    tried = Tried(top, TOLERANCE[plan.profile], memory)
    clock.stage("finding singular values", len(wanted))
    rows, stopped = _finished(_rows(wanted, tried, witnesses, clock, everything=everything))
    single = sum(len(part.region.nodes) == 1 for part in parts)
    spectrum = Spectrum(
        started=started.isoformat(timespec="seconds"),
        exit_code=_exit_code(rows, stopped=stopped),
        model=assemble.model_record(Path(model).name, loaded, subject.classes, logits),
        preprocessing=assemble.preprocessing_record(
            subject.space, subject.layout, subject.preprocessing, subject.assumption
        ),
        top=top,
        layers=rows,
        left_out=len(subject.graph.nodes) - single,
        not_asked=len(parts) - len(wanted),
        unreached=len(wanted) - len(rows),
        host=Host(
            platform=f"{platform.system()} {platform.machine()}",
            device=str(target),
            threads=torch.get_num_threads(),
        ),
        notes=tuple(_notes(subject, rows)),
    )
    if stopped:
        raise Interrupted(spectrum)
    return spectrum


def _check(top: int, threat_space: str) -> None:
    if not 1 <= top <= MOST:
        raise UsageError(f"--top {top}: from 1 to {MOST}", hint="--all -o values.csv lists whole spectra")
    if threat_space not in THREAT_SPACES:
        raise UsageError(f"threat space {threat_space!r} is unknown", hint=", ".join(THREAT_SPACES))


def _bounded(subject: Subject, plan: Plan, clock: Clock) -> tuple[Sequence[Layer], Sequence[Claim]]:
    layers = analyze(subject.graph, plan, lambda _layer: clock.advance())
    clock.stage("looking for structure", len(subject.graph.nodes))
    return layers, find_claims(subject.graph, layers, plan, clock.advance)


def _wanted(parts: Sequence[LinearPart], patterns: Sequence[str]) -> list[LinearPart]:
    """The parts that the patterns name.

    Raises:
        UsageError: one of them names none.
    """
    names = [part.name for part in parts]
    for pattern in patterns:
        if not matching(pattern, names):
            near = get_close_matches(pattern, names, n=3) or names[:3]
            raise UsageError(
                f"--layer {pattern}: no linear layer is called so",
                hint=f"linear layers are called {', '.join(near)}, …; * stands for any text"
                if near
                else "the model has no linear layer",
            )
    meant = {name for pattern in patterns for name in matching(pattern, names)}
    return [part for part in parts if not patterns or part.name in meant]


def _rows(
    parts: Sequence[LinearPart],
    tried: Tried,
    witnesses: Mapping[str, float],
    clock: Clock,
    *,
    everything: bool,
) -> Iterator[LayerSpectrum]:
    for part in parts:
        found = not_below(find_leading(part, tried), witnesses.get(part.name, 0.0))
        whole = find_whole(part) if everything else Whole(None, "")
        yield _row(part, found, whole)
        clock.advance()


def _finished(rows: Iterator[LayerSpectrum]) -> tuple[tuple[LayerSpectrum, ...], bool]:
    """Those there are until somebody interrupts, and whether somebody did.

    Raises:
        KeyboardInterrupt: before the first one.
    """
    found: list[LayerSpectrum] = []
    try:
        for row in rows:
            found.append(row)  # noqa: PERF402 - what is there is kept
    except KeyboardInterrupt:
        if not found:
            raise
        return tuple(found), True
    return tuple(found), False


def _exit_code(rows: Sequence[LayerSpectrum], *, stopped: bool) -> ExitCode:
    if stopped:
        return ExitCode.INTERRUPTED
    return ExitCode.PASS if all(row.top for row in rows) else ExitCode.INCOMPLETE


def _row(part: LinearPart, found: Leading, whole: Whole) -> LayerSpectrum:
    largest = found.values[0][0] if found.values else None
    slack = None
    if largest is not None:
        bracket = Bracket(part.bound, Estimate(largest, found.search))
        slack = plain_up(bracket.slack)
    total = smaller_side(part)
    return LayerSpectrum(
        name=part.name,
        op=part.op,
        layers=tuple(n.name for n in part.region.nodes) if len(part.region.nodes) > 1 else (),
        in_shape=part.in_shape,
        out_shape=part.out_shape,
        total=total,
        bound=Number.from_bound(part.bound),
        method=part.bound.method,
        slack=slack,
        top=_marked(grouped(found.values, found.agreement), found, total),
        search=found.search,
        agreement=found.agreement,
        steps=found.steps,
        settled=found.settled,
        missing=found.missing,
        everything=None if whole.values is None else grouped(whole.values, SAME),
        everything_note=whole.note,
    )


def _marked(groups: Sequence[Values], found: Leading, total: int) -> tuple[Values, ...]:
    """The groups, those marked that may be larger than they look.

    Equal values may follow the last one, where the number that was asked for ended the search; and of one
    value a search finds `COPIES` and no more for sure.
    """
    if found.search == SCALING or sum(group.count for group in groups) >= total:
        return tuple(groups)
    each = max((count for _, count in found.values), default=1)
    last = len(groups) - 1
    return tuple(
        group.model_copy(update={"more": number == last or group.count >= COPIES * each})
        for number, group in enumerate(groups)
    )


def _notes(subject: Subject, rows: Sequence[LayerSpectrum]) -> Iterator[str]:
    """What a reader must know."""
    yield from subject.graph.notes
    unsettled = [row.name for row in rows if not row.settled]
    if unsettled:
        yield (
            f"The search ended before its values stood still ({', '.join(unsettled)}): they are lower bounds "
            "all the same, but may lie well below the true values."
        )
    if any(row.layers for row in rows):
        yield "A region is several layers that follow each other without an activation, as one linear map."
