"""The record of a repair: what it knows, in the words of `report.repair`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from lipaudit.blocks.linear_region import RULE as LINEAR_REGION
from lipaudit.repair.asked import Asked, linear_names
from lipaudit.repair.biases import FIT, FittedBiases
from lipaudit.repair.drafts import Drafts
from lipaudit.repair.network import Network
from lipaudit.repair.reach import Changes
from lipaudit.repair.wish import Wish
from lipaudit.report.model import AuditReport
from lipaudit.report.number import Number
from lipaudit.report.repair import Action, Biases, ChangedLayer, FileFormat, Repair, Side, WrittenFile
from lipaudit.report.wording import bound_text, plural

__all__ = ["Work", "make_record"]


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """What was done.

    Args:
        network: before.
        asked: its layers, sorted.
        changes: the new ones.
        fitted: the new biases.
        normalised: whether the model has a batch norm.
    """

    network: Network
    asked: Asked
    changes: Changes
    fitted: FittedBiases
    normalised: bool


def make_record(wish: Wish, work: Work, before: AuditReport, drafts: Drafts) -> Repair:
    """The record; its files have no names yet.

    Args:
        wish: what was asked for.
        work: what was done about it.
        before: the audit of the model.
        drafts: what is to be written.
    """
    evidence, fitted = before.evidence, work.fitted
    return Repair(
        verdict="clipped" if work.changes else "unchanged",
        model=evidence.model.name,
        input=evidence.model,
        preprocessing=evidence.preprocessing,
        dataset=evidence.dataset,
        method=wish.how,
        target="lipschitz" if wish.layer_norm is None else "layer norm",
        limit=wish.limit,
        asked=wish.text,
        patterns=wish.layers,
        biases=Biases(
            choice="fit" if wish.biases == FIT else "keep", inputs=fitted.inputs, scale=fitted.scale
        ),
        layers=_rows(work),
        before=_side(before),
        after=_side(drafts.after),
        change=drafts.change,
        files=_files(drafts.files, drafts.proved),
        notes=tuple(_notes(wish, work, drafts)),
        version=before.run.versions["lipaudit"],
    )


def _files(files: Mapping[FileFormat, bytes], proved: Mapping[FileFormat, str]) -> tuple[WrittenFile, ...]:
    return tuple(
        WrittenFile(name="", format=kind, sha256=hashlib.sha256(data).hexdigest(), proved=proved[kind])
        for kind, data in files.items()
    )


def _side(report: AuditReport) -> Side:
    return Side(bracket=report.evidence.global_, robustness=report.evidence.robustness)


def _rows(work: Work) -> tuple[ChangedLayer, ...]:
    why = {alone.name: alone.why for alone in work.asked.held}
    linear, changes = set(linear_names(work.network.graph)), work.changes
    rows = []
    for layer in work.network.layers:
        name = layer.node.name
        if name not in linear:
            continue
        action: Action = "clipped" if name in changes else "left alone" if name in why else "unchanged"
        after = changes[name].proved if name in changes else layer
        rows.append(
            ChangedLayer(
                name=name,
                action="not asked for" if name in work.asked.idle else action,
                before=Number.from_bound(layer.upper),
                after=Number.from_bound(after.upper),
                why=why.get(name, ""),
                bias="fitted" if name in work.fitted.layers else "kept",
            )
        )
    return tuple(rows)


def _notes(wish: Wish, work: Work, drafts: Drafts) -> Iterator[str]:
    """What a reader must know, where it is so."""
    if work.changes:
        yield from _of_changes(wish, work)
    else:
        yield "nothing had to be changed: the limit is kept already"
    if wish.layer_norm is not None:
        yield from _of_the_whole(wish, work, drafts)


def _of_changes(wish: Wish, work: Work) -> Iterator[str]:
    if wish.biases != FIT:
        yield "biases are left as they are"
    elif work.fitted.tensors:
        yield f"biases are fitted on {work.fitted.inputs}"
    else:
        yield "no bias could be fitted: the file holds none of these layers' as a tensor of its own"
    if work.normalised:
        yield "batch norm's statistics are left as they are"
    if wish.layer_norm is None and len(work.changes) > 1:
        yield (
            f"the bound is shared out over {len(work.changes)} layers so that their outputs lose the least "
            "energy"
        )


def _of_the_whole(wish: Wish, work: Work, drafts: Drafts) -> Iterator[str]:
    """What a limit for every layer says nothing about."""
    evidence = drafts.after.evidence
    bracket = evidence.global_
    if bracket.upper.value is None:
        yield f"the network as a whole has no bound: {bracket.note or 'nothing finite was proved'}"
    # An exporter calls layers otherwise; the checks of the drafts saw that they are as many.
    known = dict(zip(drafts.linear, linear_names(work.network.graph), strict=True))
    for block in evidence.blocks:
        asked = not {known[name] for name in block.layers if name in known} & set(work.asked.idle)
        if block.rule == LINEAR_REGION.name and asked and not _keeps(block.upper.value, wish.limit):
            start, end = (known.get(name, name) for name in (block.layers[0], block.end))
            yield (
                f"each layer keeps the limit by itself; the {plural(len(block.layers), 'layer')} from "
                f"{start} to {end}, which no activation parts, are one linear map of norm "
                f"{bound_text(block.upper)} at most"
            )


def _keeps(norm: float | None, limit: float) -> bool:
    return norm is not None and norm <= limit
