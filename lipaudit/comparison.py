"""Several models side by side: each is audited, then all are measured, and rows are made of both.

A model that cannot be audited has a row that says why, and hides no other.  Ctrl-C ends the work and keeps
the models that were finished.  Bounds, counts and shares are the audits' own; nothing is computed of them.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from importlib import import_module
from importlib.metadata import version
from typing import Any

import torch

from lipaudit.clock import Progress
from lipaudit.cost import Asked, Prepared, prepare, time_all
from lipaudit.data import load_dataset, make_sizing
from lipaudit.errors import ExitCode, InputRefused, LipauditError
from lipaudit.load import load_model
from lipaudit.load.export import export_module
from lipaudit.load.factory import ended
from lipaudit.moment import fixed_moment, moment
from lipaudit.pipeline import audit, device_named
from lipaudit.report.comparison.record import Comparison, Costs, Machine, Problem, Proved, Row
from lipaudit.report.exact import read_exact
from lipaudit.report.interruption import Interrupted
from lipaudit.report.model import AuditReport, Host

__all__ = ["Candidate", "compare", "worst"]

SERIOUS = (
    ExitCode.INTERNAL,
    ExitCode.INTERRUPTED,
    ExitCode.USAGE,
    ExitCode.REFUSED,
    ExitCode.UNAVAILABLE,
    ExitCode.INCOMPLETE,
    ExitCode.PASS,
)
"""The most serious first.  Budgets, whose code is missing here, are for audits: a comparison has none."""
Defect = Callable[[BaseException], None]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model to compare.

    Args:
        name: what its row is called.
        path: of its file.
        arch: who builds its module, for files that hold weights only.
        trained: who builds the module that was trained, if it is another one.
    """

    name: str
    path: str
    arch: str | None = None
    trained: str | None = None


@dataclass(slots=True, eq=False)
class _Entry:
    """What is known of a candidate so far."""

    candidate: Candidate
    report: AuditReport | None = None
    problem: Problem | None = None
    prepared: Prepared | None = None
    unmeasured: str = ""

    def row(self, *, timed: bool) -> Row:
        """As the comparison records it."""
        codes = [] if self.report is None else [ExitCode(self.report.exit_code)]
        problem = self.problem
        if self.report is None and problem is None:
            problem = Problem(exit_code=ExitCode.INTERRUPTED, message="interrupted before its turn was over")
        if problem is not None:
            codes.append(ExitCode(problem.exit_code))
        costs = None if self.prepared is None else self.prepared.costs()
        if self.unmeasured:
            costs = Costs(parameters=None, forward=None, notes=(self.unmeasured,))
        return Row(
            name=self.candidate.name,
            exit_code=worst(codes),
            proved=None if self.report is None else Proved.of(self.report),
            audit_seconds=self.report.run.seconds if self.report is not None and timed else None,
            costs=costs,
            problem=problem,
        )


@dataclass(slots=True, eq=False)
class _Watch:
    """Tells which model is worked on."""

    shown: Progress | None
    prefix: str = ""

    def stage(self, name: str, total: int) -> None:
        """A new stage."""
        if self.shown is not None:
            self.shown.stage(f"{self.prefix}{name}", total)

    def advance(self, n: int = 1) -> None:
        """`n` steps are done."""
        if self.shown is not None:
            self.shown.advance(n)


def compare(
    candidates: Sequence[Candidate],
    options: Mapping[str, Any],
    *,
    batch: int | None = 256,
    train: bool = False,
    progress: Progress | None = None,
    defect: Defect = lambda _error: None,
) -> Comparison:
    """Audit and measure.

    Args:
        candidates: the models, their names all different.
        options: keyword arguments of `pipeline.audit`, for all models; without budgets, policy and `arch`.
        batch: samples at a time where costs are measured; None: they are not.
        train: measure a training step as well.
        progress: shown to a person.
        defect: hears of each exception that is no refusal, for whoever wants to know where it happened.

    Raises:
        LipauditError: what concerns every model: the data set is missing, no such device.
        KeyboardInterrupt: if the user interrupts before anything was proved.
    """
    started, timed = moment(), fixed_moment() is None
    device = device_named(options["device"])
    asked = None if batch is None else Asked(batch, device, train)
    watch = _Watch(progress)
    watch.stage("loading data", 0)
    _check_data(options)
    watch.stage("loading libraries", 0)
    _warm_up()
    entries = [_Entry(candidate) for candidate in candidates]
    stopped = False
    try:
        _audit_all(entries, options, watch, defect)
        if asked is not None:
            _measure_all(entries, options, asked, watch, defect, timed=timed)
    except KeyboardInterrupt:
        if all(entry.report is None for entry in entries):
            raise
        stopped = True
    rows = tuple(entry.row(timed=timed) for entry in entries)
    codes = [ExitCode(row.exit_code) for row in rows]
    return Comparison(
        started=started.isoformat(timespec="seconds"),
        exit_code=worst([*codes, *([ExitCode.INTERRUPTED] if stopped else [])]),
        eps=_radii(options["eps"]),
        models=rows,
        training=train and asked is not None,
        machine=_machine(device),
        notes=tuple(_notes(rows, timed=timed, stopped=stopped)),
    )


def worst(codes: Iterable[ExitCode]) -> ExitCode:
    """The most serious exit code; 0 of none."""
    found = set(codes)
    return next((code for code in SERIOUS if code in found), ExitCode.PASS)


def _radii(texts: Iterable[str]) -> tuple[str, ...]:
    """Each asked radius once, in order of size, as it was asked first."""
    asked: dict[Fraction, str] = {}
    for text in texts:
        asked.setdefault(read_exact(text), text)
    return tuple(text for _, text in sorted(asked.items()))


def _check_data(options: Mapping[str, Any]) -> None:
    """What every audit would stumble over is told once, before the first."""
    if options["dataset"] != "none":
        sizing = make_sizing(options["resize"], options["crop"])
        place = {"data_dir": options["data_dir"], "offline": options["offline"], "sizing": sizing}
        load_dataset(options["dataset"], limit=1, **place)


def _warm_up() -> None:
    """Load what the first audit would load, so that its time can be compared with the others'."""
    import_module("lipaudit.load.onnx")
    export_module(torch.nn.Linear(2, 2), torch.zeros(1, 2), "a network of one layer")


def _audit_all(entries: Sequence[_Entry], options: Mapping[str, Any], watch: _Watch, defect: Defect) -> None:
    for number, entry in enumerate(entries, 1):
        candidate = entry.candidate
        watch.prefix = f"{number}/{len(entries)} {candidate.name}: "
        with _failing(entry, defect):
            try:
                entry.report = audit(candidate.path, arch=candidate.arch, progress=watch, **options)
            except Interrupted as stop:
                entry.report = stop.report
                raise


def _measure_all(
    entries: Sequence[_Entry],
    options: Mapping[str, Any],
    asked: Asked,
    watch: _Watch,
    defect: Defect,
    *,
    timed: bool,
) -> None:
    for number, entry in enumerate(entries, 1):
        if entry.report is not None:
            watch.prefix = f"{number}/{len(entries)} {entry.candidate.name}: "
            watch.stage("measuring memory", 0)
            with _failing(entry, defect):
                _prepare(entry, options, asked)
    if timed:
        watch.prefix = ""
        watch.stage("timing, the models in turns", 0)
        time_all([entry.prepared for entry in entries if entry.prepared is not None], asked)


def _prepare(entry: _Entry, options: Mapping[str, Any], asked: Asked) -> None:
    """Load the model once more, as its audit did, and find what it takes."""
    report = entry.report
    if report is None:
        return
    model = report.evidence.model
    loaded = load_model(
        entry.candidate.path,
        arch=entry.candidate.arch,
        input_shape=options["input_shape"],
        default_shape=None if options["dataset"] == "none" else model.input_shape[1:],
        allow_globals=options["allow_global"],
        trust_pickle=options["trust_pickle"],
        logits=options["logits"],
    )
    if loaded.weights_sha256 != model.weights_sha256:
        raise InputRefused("the file changed after it was audited")
    own = None if loaded.architecture is None else entry.candidate.arch
    entry.prepared = prepare(loaded, entry.candidate.trained or own, asked)


@contextmanager
def _failing(entry: _Entry, defect: Defect) -> Iterator[None]:
    """What keeps one model from being audited or measured is kept with it, and the next one has its turn."""
    try:
        yield
    except SystemExit as error:
        _failed(entry, ended(entry.candidate.arch, error), defect)
    except Exception as error:  # noqa: BLE001 - a defect that one model shows hides no other
        _failed(entry, error, defect)


def _failed(entry: _Entry, error: Exception, defect: Defect) -> None:
    if not isinstance(error, LipauditError) or error.exit_code is ExitCode.INTERNAL:
        defect(error)
    if entry.report is not None:
        entry.unmeasured = f"not measured: {_words(error)}"
        if isinstance(error, LipauditError):
            return
    code = getattr(error, "exit_code", ExitCode.INTERNAL)
    entry.problem = Problem(exit_code=code, message=_words(error), hint=getattr(error, "hint", ""))


def _words(error: Exception) -> str:
    return error.message if isinstance(error, LipauditError) else f"{type(error).__name__}: {error}"


def _machine(device: torch.device) -> Machine:
    cuda = device.type == "cuda"
    return Machine(
        host=Host(
            platform=f"{platform.system()} {platform.machine()}",
            device=str(device),
            threads=torch.get_num_threads(),
        ),
        accelerator=torch.cuda.get_device_name(device) if cuda else "",
        versions={name: version(name) for name in ("lipaudit", "torch")},
    )


def _notes(rows: Sequence[Row], *, timed: bool, stopped: bool) -> Iterator[str]:
    """What makes rows hard to compare."""
    if stopped:
        yield "Interrupted: what was finished by then is shown."
    if not timed:
        yield "SOURCE_DATE_EPOCH is set, so no clock was read and no time is told."
    audited = [row.proved for row in rows if row.proved is not None]
    evaluated = {
        (p.dataset.fingerprint_sha256, p.dataset.num_evaluated) for p in audited if p.dataset is not None
    }
    if len(evaluated) > 1:
        yield "The models were not evaluated on the same samples: their shares cannot be compared."
    if len({p.preprocessing.threat_space for p in audited}) > 1:
        yield "Distances are not measured in the same space: bounds and radii cannot be compared."
    assumed = [row.name for row in rows if row.proved and row.proved.preprocessing.assumption is not None]
    if assumed:
        yield f"The preprocessing was assumed, nobody stated it ({', '.join(assumed)})."
    for part in ("forward", "training"):
        works = [work for row in rows if row.costs and (work := getattr(row.costs, part)) is not None]
        if len({(work.batch, work.dtype, work.how) for work in works}) > 1:
            yield f"The {_PARTS[part]} were not measured alike (batch, type or how they ran): see the JSON."


_PARTS = {"forward": "forward passes", "training": "training steps"}
