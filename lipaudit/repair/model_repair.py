"""The use case: a model in, a certified model out (`repair_model`).

    audit ─▶ find each layer's stored weights ─▶ clip, round, prove ─▶ fit the biases ─▶ write drafts
    ─▶ load and audit the drafts

Nothing is handed out before the file as written and loaded again has the bound that was asked for, and holds
the network that was meant.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lipaudit.analyze import Plan
from lipaudit.clock import Clock, Progress
from lipaudit.errors import Unreached
from lipaudit.pipeline import audit
from lipaudit.repair.asked import Asked, asked_layers, check_stuck, linear_names, reasons
from lipaudit.repair.biases import FIT, FittedBiases, fitted_biases
from lipaudit.repair.drafts import Check, check_layers, check_total, make_drafts, total
from lipaudit.repair.methods import method_called
from lipaudit.repair.network import Network
from lipaudit.repair.opened import Opened, listed, open_model
from lipaudit.repair.reach import Changes, cap_layers, reach
from lipaudit.repair.record import Work, make_record
from lipaudit.repair.sources import find_sources
from lipaudit.repair.wish import Wish
from lipaudit.report.model import AuditReport
from lipaudit.report.repair import RADII, FileFormat, Repair
from lipaudit.spectral.method import DEFAULT
from lipaudit.spectral.select import BALANCED

__all__ = ["Repaired", "Wish", "repair_model"]


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
    options = {"eps": RADII, **options}
    before = audit(path, progress=progress, **options)
    clock.stage("finding the weights", 0)
    opened = open_model(path, options, clock)
    network = _network(opened, clock)
    sources = find_sources(opened, network.graph, biases=wish.biases == FIT)
    asked = asked_layers(network, sources.layers, sources.left, wish.layers)
    kept = wish.layer_norm is None and total(before) <= wish.limit
    changes = {} if kept else _changes(opened, network, asked, wish, clock)
    fitted = FittedBiases()
    if changes and wish.biases == FIT:
        clock.stage("fitting biases", 0)
        fitted = fitted_biases(opened, changes, sources.biases, asked.idle)
    changed = {**{change.layer.key: change.tensor for change in changes.values()}, **fitted.tensors}
    clock.stage("writing drafts", 0)
    check = _check(network, asked, wish)
    drafts = make_drafts(opened, sources, changed, formats, path.stem, check, progress)
    normalised = any(node.op.name == "batch_norm" for node in sources.raw)
    repair = make_record(wish, Work(network, asked, changes, fitted, normalised), before, drafts)
    return Repaired(drafts.files, repair, before, drafts.after)


def _check(network: Network, asked: Asked, wish: Wish) -> Check:
    """What the audit of a draft must show."""
    if wish.layer_norm is None:
        return check_total(wish.limit)
    names = linear_names(network.graph)
    places = [place for place, name in enumerate(names) if name not in asked.idle]
    return check_layers(wish.limit, places, len(names))


def _network(opened: Opened, clock: Clock) -> Network:
    options = opened.options
    plan = Plan.of(
        listed(options.get("method", "auto")),
        options.get("profile", BALANCED),
        options.get("memory", DEFAULT.memory),
    )
    clock.stage("bounding layers", 0)
    return Network.of(opened.subject.graph, plan)


def _changes(opened: Opened, network: Network, asked: Asked, wish: Wish, clock: Clock) -> Changes:
    method = method_called(wish.how)
    if wish.layer_norm is not None:
        check_stuck(network, asked, wish)
        return cap_layers(network, asked.free, wish.limit, method, clock)
    if not asked.free:
        raise Unreached(
            f"no layer {'that was asked for' if wish.layers else 'of the network'} may be changed",
            hint=reasons(asked.held) or "it has no linear layer",
        )
    return reach(network, asked.free, wish.limit, method, opened.samples(), clock)
