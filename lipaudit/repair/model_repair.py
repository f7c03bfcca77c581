"""The use case: a model in, a certified model out (`repair_model`).

    audit ─▶ find each layer's stored weights ─▶ clip, round, prove ─▶ fit the biases ─▶ write drafts
    ─▶ load and audit the drafts

Nothing is handed out before the file as written and loaded again has the bound that was asked for.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lipaudit.analyze import Plan
from lipaudit.clock import Clock, Progress
from lipaudit.errors import Unreached, UsageError
from lipaudit.load.translate import translate
from lipaudit.pipeline import audit
from lipaudit.repair.asked import (
    Asked,
    asked_layers,
    check_patterns,
    check_stuck,
    linear_names,
    reasons,
)
from lipaudit.repair.biases import FIT, KEEP, FittedBiases, check_choice, fitted_biases
from lipaudit.repair.drafts import check_layers, check_total, make_drafts, total
from lipaudit.repair.methods import FASTCLIP, method_called
from lipaudit.repair.network import Network
from lipaudit.repair.opened import Opened, listed, open_model
from lipaudit.repair.orientation import oriented
from lipaudit.repair.reach import Changes, cap_layers, reach
from lipaudit.repair.stored import match
from lipaudit.report.model import AuditReport
from lipaudit.report.number import Number
from lipaudit.report.repair import Action, ChangedLayer, FileFormat, Repair, Side, WrittenFile
from lipaudit.spectral.method import DEFAULT
from lipaudit.spectral.select import BALANCED

__all__ = ["Repaired", "Wish", "repair_model"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is asked for: one of the two limits.

    Args:
        lipschitz: for the certified bound of the network.
        layer_norm: for every linear layer's certified norm.
        how: a name from `METHODS`.
        layers: patterns of names of the layers that may change; all if empty.
        biases: `fit` them to the smaller weights, or `keep` them.

    Raises:
        UsageError: both or none, or no positive number.
    """

    lipschitz: float | None = None
    layer_norm: float | None = None
    how: str = FASTCLIP
    layers: tuple[str, ...] = ()
    biases: str = FIT

    def __post_init__(self) -> None:
        if (self.lipschitz is None) == (self.layer_norm is None):
            raise UsageError(
                "a bound for the network or one for every layer is needed, and not both",
                hint="--lipschitz C, or --layer-norm C",
            )
        if not 0 < self.limit < math.inf:
            raise UsageError(f"a limit of {self.limit!r}: a positive number is needed")
        method_called(self.how)
        check_choice(self.biases)

    @property
    def limit(self) -> float:
        """The number."""
        return float(self.layer_norm or 0.0) if self.lipschitz is None else float(self.lipschitz)


@dataclass(frozen=True, slots=True, eq=False)
class Repaired:
    """What came out.

    Args:
        files: content by format.
        repair: the record.
        before: the audit of the model.
        after: the audit of the new file.
    """

    files: Mapping[FileFormat, bytes]
    repair: Repair
    before: AuditReport
    after: AuditReport


def repair_model(
    model: str | Path,
    wish: Wish,
    formats: Sequence[FileFormat] = ("onnx",),
    *,
    progress: Progress | None = None,
    **options: Any,  # noqa: ANN401 - those of `pipeline.audit`
) -> Repaired:
    """Clip a model's weights until its certified bound, or every layer's, keeps a limit.

    Args:
        model: path of an ONNX file, or of weights together with `arch`.
        wish: the limit, and how.
        formats: `onnx`, `safetensors` or both: what to write.
        progress: shown to a person.
        options: as of `audit`: data set, architecture, preprocessing, methods.

    Raises:
        Unreached: the limit is not kept; there is nothing to write then.
        LipauditError: as `audit`.
    """
    path, clock = Path(model), Clock(progress)
    before = audit(path, progress=progress, **options)
    opened = open_model(path, options, clock)
    network, asked = _asked(opened, wish, clock)
    kept = wish.layer_norm is None and total(before) <= wish.limit
    changes = {} if kept else _changes(opened, network, asked, wish, clock)
    fitted = (
        FittedBiases() if wish.biases == KEEP or not changes else fitted_biases(opened, changes, asked.idle)
    )
    names = linear_names(network.graph)
    places = [place for place, name in enumerate(names) if name not in asked.idle]
    check = (
        check_total(wish.limit) if wish.layer_norm is None else check_layers(wish.limit, places, len(names))
    )
    changed = {**{change.layer.key: change.tensor for change in changes.values()}, **fitted.tensors}
    drafts = make_drafts(opened, changed, formats, path.stem, check, progress)
    files = [
        WrittenFile(name="", format=kind, sha256=hashlib.sha256(data).hexdigest(), proved=drafts.proved[kind])
        for kind, data in drafts.files.items()
    ]
    repair = Repair(
        model=path.name,
        method=wish.how,
        target="lipschitz" if wish.layer_norm is None else "layer norm",
        limit=wish.limit,
        layers=_rows(network, asked, changes, fitted),
        before=_side(before),
        after=_side(drafts.after),
        change=drafts.change,
        files=tuple(files),
        notes=_notes(changes, wish, fitted),
    )
    return Repaired(drafts.files, repair, before, drafts.after)


def _asked(opened: Opened, wish: Wish, clock: Clock) -> tuple[Network, Asked]:
    options = opened.options
    plan = Plan.of(
        listed(options.get("method", "auto")),
        options.get("profile", BALANCED),
        options.get("memory", DEFAULT.memory),
    )
    clock.stage("bounding layers", 0)
    network = Network.of(opened.subject.graph, plan)
    raw = translate(opened.loaded.program, opened.loaded.titles)
    found, left = match(network.graph, raw, opened.weights.tensors, opened.weights.shared)
    return network, asked_layers(network, *oriented(opened, found, left), wish.layers)


def _changes(opened: Opened, network: Network, asked: Asked, wish: Wish, clock: Clock) -> Changes:
    method = method_called(wish.how)
    if wish.layer_norm is not None:
        check_stuck(network, asked, wish.limit)
        check_patterns(asked, wish.layers)
        clock.stage("clipping", len(asked.free))
        return cap_layers(network, asked.free, wish.limit, method, clock.advance)
    check_patterns(asked, wish.layers)
    if not asked.free:
        raise Unreached(
            "no layer of the network may be changed",
            hint=reasons(asked.held) or "it has no linear layer",
        )
    clock.stage("clipping", 0)  # nobody knows after how many rounds the shares fit
    return reach(network, asked.free, wish.limit, method, opened.samples(), clock.advance)


def _side(report: AuditReport) -> Side:
    return Side(bracket=report.evidence.global_, robustness=report.evidence.robustness)


def _rows(network: Network, asked: Asked, changes: Changes, fitted: FittedBiases) -> tuple[ChangedLayer, ...]:
    why = {alone.name: alone.why for alone in asked.held}
    linear = set(linear_names(network.graph))
    rows = []
    for layer in network.layers:
        name = layer.node.name
        if name not in linear:
            continue
        action: Action = "clipped" if name in changes else "left alone" if name in why else "unchanged"
        after = changes[name].proved if name in changes else layer
        rows.append(
            ChangedLayer(
                name=name,
                action="not asked for" if name in asked.idle else action,
                before=Number.from_bound(layer.upper),
                after=Number.from_bound(after.upper),
                why=why.get(name, ""),
                bias="fitted" if name in fitted.layers else "kept",
            )
        )
    return tuple(rows)


def _notes(changes: Changes, wish: Wish, fitted: FittedBiases) -> tuple[str, ...]:
    if not changes:
        return ("nothing had to be changed: the limit is kept already",)
    told = ["biases and batch norm's statistics are left as they are"]
    if fitted.tensors:
        told = [f"biases are fitted on {fitted.inputs}; batch norm's statistics are left as they are"]
    elif wish.biases == FIT:
        told = ["no bias could be fitted: none is a tensor of its own in the file"]
    if fitted.scale is not None:
        told.append(f"scores are about {fitted.scale:.3g} times the old ones")
    if wish.layer_norm is None:
        told.append("the bound is shared out over the layers so that their outputs lose the least energy")
    return tuple(told)
