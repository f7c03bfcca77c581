"""What would be written, loaded again and audited: the guarantee is one about these bytes.

A file shall hold the network that was meant, too: loaded again, every linear map and every bias is to the
last bit what it was or what was stored in its place (`meant`), whatever was believed about the tensors
before.  An ONNX file exported from weights is another spelling of the network: outputs and layers are
compared (`difference`).

Drafts lie in a folder of their own that is gone afterwards.  A safetensors file beside an ONNX graph has no
architecture to be audited with: its tensors are compared with those of the audited graph, bit by bit.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import onnx
import torch
from safetensors.torch import load
from torch import Tensor

from lipaudit.clock import Clock, Progress
from lipaudit.difference import compare_models
from lipaudit.errors import ConversionMismatch, InputRefused, Unreached
from lipaudit.graph.graph import LayerGraph
from lipaudit.load.translate import translate
from lipaudit.pipeline import audit
from lipaudit.repair.asked import linear_names
from lipaudit.repair.following import network_of
from lipaudit.repair.meant import strayed
from lipaudit.repair.model_weights import float_tensors, safetensors_with
from lipaudit.repair.onnx_export import exported_onnx
from lipaudit.repair.opened import Opened, open_model
from lipaudit.repair.sources import Sources
from lipaudit.report.model import AuditReport
from lipaudit.report.repair import FileFormat, OutputChange
from lipaudit.subject import Subject

__all__ = ["Drafts", "make_drafts"]

CHUNK = 250
_SHOWN = 6
AUDITED = "loaded again and audited"
COMPARED = "holds the tensors of the audited ONNX file, compared bit by bit"


@dataclass(frozen=True, slots=True, eq=False)
class Drafts:
    """Files whose bound is proved.

    Args:
        files: bytes by format.
        proved: how each is known to keep the limit.
        after: the audit with the largest bound of them.
        linear: what that one calls the linear layers, in the order of the model's.
        change: of the outputs on the data set.
    """

    files: dict[FileFormat, bytes]
    proved: dict[FileFormat, str]
    after: AuditReport
    linear: Sequence[str]
    change: OutputChange | None


Check = Callable[[AuditReport, Sequence[str]], None]
"""Raises where an audit does not keep the limit; told the names of the linear layers, in graph order."""


def make_drafts(
    opened: Opened,
    sources: Sources,
    changed: Mapping[str, Tensor],
    formats: Sequence[FileFormat],
    stem: str,
    check: Check,
    progress: Progress | None = None,
) -> Drafts:
    """Write, load, audit and check.

    Args:
        opened: the model before.
        sources: which tensors its layers read.
        changed: its new tensors, by name.
        formats: what is wanted.
        stem: of the files' names, for messages.
        check: the limit.
        progress: shown to a person.

    Raises:
        Unreached: a file as written does not keep the limit.
        InputRefused: it does not hold the network that was meant.
        LipauditError: as `audit`.
    """
    weights, kind, own = opened.weights, opened.format, opened.of_rewritten
    is_onnx = kind == "onnx"
    with tempfile.TemporaryDirectory() as folder:
        main, again = opened.rewritten(changed, folder, stem), None
        linear = linear_names(opened.subject.graph)  # the same program, the same names
        with _blamed_on_weights(fitted=bool(sources.biases)):
            if opened.subject.samples is not None or (not is_onnx and "onnx" in formats):
                again = open_model(main, own, Clock(progress))
            written = None if again is None else translate(again.loaded.program, again.loaded.titles)
            _check_network(sources, changed, written or network_of(main, opened))
            after = audit(main, progress=progress, **own)
        check(after, linear)
        files: dict[FileFormat, bytes] = {kind: main.read_bytes()}
        proved: dict[FileFormat, str] = {kind: AUDITED}
        if is_onnx and "safetensors" in formats:
            files["safetensors"], proved["safetensors"] = safetensors_with(weights, changed), COMPARED
            _compare_tensors(files["safetensors"], files["onnx"])
        if again is not None and not is_onnx and "onnx" in formats:
            other, unarched = Path(folder) / f"{stem}.onnx", {**own, "arch": None}
            other.write_bytes(exported_onnx(again.loaded, weights.metadata))
            exported = audit(other, progress=progress, **unarched)
            others = linear_names(open_model(other, unarched, Clock(progress)).subject.graph)
            check(exported, others)
            _check_export(main, other, opened)
            files["onnx"], proved["onnx"] = other.read_bytes(), AUDITED
            if total(exported) > total(after):
                after, linear = exported, others
        change = None if again is None else _difference(opened.subject, again.subject)
    return Drafts({name: files[name] for name in formats}, proved, after, linear, change)


@contextmanager
def _blamed_on_weights(*, fitted: bool) -> Iterator[None]:
    """The model passed what a draft fails: its operators are converted well, its numbers are new."""
    try:
        yield
    except ConversionMismatch as error:
        raise ConversionMismatch(
            f"the file as written cannot be checked: {error.message}",
            hint="the model itself passes this check; what is left of its outputs may be as small as their "
            f"rounding: ask for a larger limit{', or leave the biases: --biases keep' if fitted else ''}",
        ) from None


def _check_network(sources: Sources, changed: Mapping[str, Tensor], seen: LayerGraph) -> None:
    """Layers and biases that were changed are what they should be, all else is what it was."""
    other = strayed(sources.raw, seen, sources.layers, sources.biases, changed)
    if other:
        raise InputRefused(
            f"the file as written would not hold the network that was meant: {', '.join(other[:_SHOWN])}"
            f"{', …' if len(other) > _SHOWN else ''} {'is' if len(other) == 1 else 'are'} not as planned",
            hint="the model computes with its weights in a way that is not understood; name layers that may "
            "change with --layer, or leave the biases: --biases keep",
        )


def _check_export(weights: Path, exported: Path, opened: Opened) -> None:
    shape, arch = tuple(opened.loaded.input_shape[1:]), opened.options.get("arch")
    found = compare_models(weights, exported, arch=arch, input_shape=shape)
    if not found.same:
        raise InputRefused(
            f"the ONNX file as torch exports it is not the same network: {'; '.join(found.reasons[:3])}",
            hint="write safetensors: -o clipped.safetensors",
        )


def total(report: AuditReport) -> float:
    """The certified bound of the network."""
    upper = report.evidence.global_.upper
    return math.inf if upper.value is None else upper.value


def check_total(limit: float) -> Check:
    """The bound of the whole."""

    def check(report: AuditReport, names: Sequence[str]) -> None:
        del names
        if not total(report) <= limit:
            raise Unreached(
                f"the file as written has a bound of {total(report)!r}, {limit!r} was asked for",
                hint="ask for a little less",
            )

    return check


def check_layers(limit: float, places: Sequence[int], count: int) -> Check:
    """The norms of the linear layers at some places of `count`: an exporter calls them otherwise."""

    def check(report: AuditReport, names: Sequence[str]) -> None:
        if len(names) != count:
            raise Unreached(f"the file as written has {len(names)} linear layers, the model has {count}")
        known = {layer.name: layer.upper.value for layer in report.evidence.layers}
        for place in places:
            value = known.get(names[place])
            if value is None or not value <= limit:
                raise Unreached(
                    f"layer {names[place]} of the file as written has a norm of up to {value!r}, {limit!r} "
                    "was asked for"
                )

    return check


def _compare_tensors(data: bytes, graph: bytes) -> None:
    held, written = load(data), float_tensors(onnx.ModelProto.FromString(graph))
    same = held.keys() == written.keys()
    if not same or any(not torch.equal(held[key], written[key]) for key in held):
        raise InputRefused("the safetensors file does not hold the tensors of the audited ONNX file")


def _difference(one: Subject, other: Subject) -> OutputChange | None:
    """‖f(x) − f′(x)‖ over the samples, and how many answers are the same."""
    data = one.samples
    if data is None:
        return None
    moved, same = [], 0
    for start in range(0, len(data), CHUNK):
        x = data.pixels(start, start + CHUNK).to(one.graph.device)
        old, new = (s.graph.run(x).reshape(len(x), -1) for s in (one, other))
        moved.append(torch.linalg.vector_norm(old - new, dim=1))
        same += int((_answers(old) == _answers(new)).sum())
    sizes = torch.cat(moved)
    largest, median = float(sizes.max()), float(sizes.median())
    return OutputChange(samples=len(sizes), largest=largest, median=median, same_answer=same)


def _answers(scores: Tensor) -> Tensor:
    """Classes, as `certify` predicts them: the graph ends in logits, so that 0 parts two classes."""
    return scores[:, 0] > 0 if scores.shape[1] == 1 else scores.argmax(1)
