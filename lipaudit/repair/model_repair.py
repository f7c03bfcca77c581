"""The use case: a model in, a certified model out (`clip_model`).

    audit ─▶ find each layer's stored weights ─▶ clip, round, prove ─▶ write drafts ─▶ load and audit the drafts

Nothing is handed out before the file as written and loaded again has the bound that was asked for.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lipaudit.analyze import Plan
from lipaudit.clock import Clock, Progress
from lipaudit.data import Dataset, load_dataset, make_sizing
from lipaudit.errors import Incomplete, InputRefused, UsageError
from lipaudit.load import LoadedModel, load_model
from lipaudit.load.reading import Request
from lipaudit.load.sniff import Kind
from lipaudit.load.translate import translate
from lipaudit.pipeline import audit, device_named
from lipaudit.repair.methods import FASTCLIP, method_called
from lipaudit.repair.model_weights import ModelWeights, onnx_with, read_weights, safetensors_with
from lipaudit.repair.network import Network, parts
from lipaudit.repair.onnx_export import exported_onnx
from lipaudit.repair.reach import Changes, cap_layers, reach
from lipaudit.repair.stored import LeftAlone, match
from lipaudit.report.model import AuditReport
from lipaudit.report.number import Unbounded, plain_up
from lipaudit.report.repair import ChangedLayer, OutputChange, Repair, Side, WrittenFile
from lipaudit.subject import Stated, Subject, Trying, make_subject

__all__ = ["Repaired", "Wish", "clip_model"]

SAMPLES = 64
"""Of the data set, on whose activations losses are measured."""
CHUNK = 250


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is asked for: one of the two limits.

    Args:
        lipschitz: for the certified bound of the network.
        layer_norm: for every linear layer's certified norm.
        how: a name from `METHODS`.
        layers: patterns of names of the layers that may change; all if empty.

    Raises:
        UsageError: both or none, or no positive number.
    """

    lipschitz: float | None = None
    layer_norm: float | None = None
    how: str = FASTCLIP
    layers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if (self.lipschitz is None) == (self.layer_norm is None):
            raise UsageError(
                "a bound for the network or one for every layer is needed, and not both",
                hint="--lipschitz C, or --layer-norm C",
            )
        if not 0 < self.limit < float("inf"):
            raise UsageError(f"a limit of {self.limit!r}: a positive number is needed")
        method_called(self.how)

    @property
    def limit(self) -> float:
        """The number."""
        found = self.layer_norm if self.lipschitz is None else self.lipschitz
        assert found is not None  # noqa: S101 - checked above
        return found

    @property
    def per_layer(self) -> bool:
        """Whether every layer has that limit."""
        return self.lipschitz is None


@dataclass(frozen=True, slots=True, eq=False)
class Repaired:
    """What came out.

    Args:
        files: content by format.
        repair: the record.
        before, after: the audits; `after` is that of the new file.
    """

    files: Mapping[str, bytes]
    repair: Repair
    before: AuditReport
    after: AuditReport


@dataclass(frozen=True, slots=True, eq=False)
class _Opened:
    """The model as it is."""

    loaded: LoadedModel
    subject: Subject
    weights: ModelWeights
    data: Dataset | None
    options: Mapping[str, Any]


def clip_model(
    model: str | Path,
    wish: Wish,
    formats: Sequence[str] = ("onnx",),
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
        Incomplete: the limit is not reached; nothing is written then.
        LipauditError: as `audit`.
    """
    path, clock = Path(model), Clock(progress)
    before = audit(path, progress=progress, **{**options, "attack": False})
    opened = _open(path, options, clock)
    plan = Plan.of(_listed(options.get("method", "auto")), options["profile"], options["memory"])
    clock.stage("bounding layers", 0)
    network = Network.of(opened.subject.graph, plan)
    raw = translate(opened.loaded.program, opened.loaded.titles)
    found, left = match(network.graph, raw, opened.weights.tensors, opened.weights.shared)
    free, held, idle = parts(network, found, left, wish.layers)
    clock.stage("clipping", len(free))
    method = method_called(wish.how)
    if wish.per_layer:
        changes = cap_layers(network, free, held, wish.limit, method, clock.advance)
    else:
        samples = _samples(opened)
        changes = reach(network, free, wish.limit, method, samples, clock.advance)
    files, after, proved = _written(opened, changes, formats, path, progress)
    _check(after, wish, [layer.name for layer in free])
    repair = Repair(
        model=path.name,
        method=wish.how,
        target="layer norm" if wish.per_layer else "lipschitz",
        limit=wish.limit,
        layers=_rows(network, changes, held, idle, after),
        before=Side(global_=before.evidence.global_, robustness=before.evidence.robustness),
        after=Side(global_=after.evidence.global_, robustness=after.evidence.robustness),
        change=proved[1],
        files=tuple(
            WrittenFile(name="", format=kind, sha256=hashlib.sha256(data).hexdigest(), proved=proved[0][kind])
            for kind, data in files.items()
        ),
        notes=_notes(changes, wish),
    )
    return Repaired(files, repair, before, after)


def _open(path: Path, options: Mapping[str, Any], clock: Clock) -> _Opened:
    """As `audit` does it."""
    sizing = make_sizing(options.get("resize"), options.get("crop"))
    where = {key: options[key] for key in ("data_dir", "offline") if key in options}

    def draw(**selection: Any) -> Dataset | None:  # noqa: ANN401 - limit and seed
        return load_dataset(options.get("dataset", "none"), sizing=sizing, **where, **selection)

    data = draw(limit=options.get("limit"), seed=options.get("seed"))
    shape = None if data is None else data.sample_shape
    terms = {
        "allow_globals": _listed(options.get("allow_global", ())),
        "trust_pickle": options.get("trust_pickle"),
        "logits": options.get("logits"),
    }
    loaded = load_model(
        path, arch=options.get("arch"), input_shape=options.get("input_shape"), default_shape=shape, **terms
    )
    stated = Stated.by(
        loaded, options.get("mean"), options.get("std"), options.get("scale"), options.get("layout")
    )
    target = device_named(options.get("device", "auto"))
    space = options.get("threat_space", "pixel")
    subject = make_subject(loaded, stated, data, Trying.on(draw, clock.advance), target, space)
    request = Request(
        name=path.name,
        folder=str(path.parent),
        input_shape=options.get("input_shape"),
        default_shape=shape,
        arch=options.get("arch") is not None,
        allow_globals=tuple(terms["allow_globals"] or ()),
        trust_pickle=options.get("trust_pickle"),
        logits=options.get("logits"),
    )
    return _Opened(loaded, subject, read_weights(path, request), data, options)


def _samples(opened: _Opened) -> Tensor | None:
    data = opened.subject.samples
    if data is None:
        return None
    step = max(1, len(data) // SAMPLES)
    chosen = [data.pixels(i, i + 1) for i in range(0, len(data), step)][:SAMPLES]
    return torch.cat(chosen).to(opened.subject.graph.device)


def _written(
    opened: _Opened, changes: Changes, formats: Sequence[str], path: Path, progress: Progress | None
) -> tuple[dict[str, bytes], AuditReport, tuple[dict[str, str], OutputChange | None]]:
    """The files' bytes, the audit of what was written, how each is known to keep the limit."""
    changed = {change.layer.key: change.tensor.cpu() for change in changes.values()}
    weights, options = opened.weights, _stated(opened)
    is_onnx = weights.kind is Kind.ONNX
    own = {**options, "allow_global": (), "trust_pickle": None}
    proved: dict[str, str] = {}
    files: dict[str, bytes] = {}
    with tempfile.TemporaryDirectory() as folder:
        main = Path(folder) / (path.stem + (".onnx" if is_onnx else ".safetensors"))
        main.write_bytes(onnx_with(weights, changed) if is_onnx else safetensors_with(weights, changed))
        after = audit(main, progress=progress, **(options if is_onnx else own))
        again = _open(main, options if is_onnx else own, Clock(progress))
        change = _difference(opened.subject, again.subject)
        files["onnx" if is_onnx else "safetensors"] = main.read_bytes()
        proved["onnx" if is_onnx else "safetensors"] = "loaded again and audited"
        if is_onnx and "safetensors" in formats:
            files["safetensors"] = safetensors_with(weights, changed)
            proved["safetensors"] = "holds the tensors of the audited ONNX file, compared bit by bit"
            _compare_tensors(files["safetensors"], again.weights)
        if not is_onnx and "onnx" in formats:
            other = Path(folder) / (path.stem + ".onnx")
            other.write_bytes(exported_onnx(again.loaded, weights.metadata))
            unarched = {**own, "arch": None}
            exported = audit(other, progress=progress, **unarched)
            files["onnx"], proved["onnx"] = other.read_bytes(), "loaded again and audited"
            after = max(after, exported, key=_total)
    return {kind: files[kind] for kind in formats}, after, (proved, change)


def _stated(opened: _Opened) -> dict[str, Any]:
    """The options, with the preprocessing that was assumed: other weights must not lead to another guess."""
    options = dict(opened.options)
    if opened.subject.assumption is not None:
        used = opened.subject.preprocessing
        options |= {"scale": used.scale, "layout": used.layout}
        options |= {"mean": used.mean or None, "std": used.std or None}
    return options


def _compare_tensors(data: bytes, written: ModelWeights) -> None:
    from safetensors.torch import load  # noqa: PLC0415 - only needed here

    held = load(data)
    if held.keys() != written.tensors.keys() or any(
        not torch.equal(held[key], written.tensors[key]) for key in held
    ):
        raise InputRefused("the safetensors file does not hold the tensors of the audited ONNX file")


def _difference(one: Subject, other: Subject) -> OutputChange | None:
    data = one.samples
    if data is None:
        return None
    moved, same = [], 0
    for start in range(0, len(data), CHUNK):
        x = data.pixels(start, start + CHUNK).to(one.graph.device)
        old, new = (s.graph.run(x).reshape(len(x), -1) for s in (one, other))
        moved.append(torch.linalg.vector_norm(old - new, dim=1))
        if old.shape[1] == 1:
            same += int(((old > one.middle) == (new > other.middle)).sum())
        else:
            same += int((old.argmax(1) == new.argmax(1)).sum())
    sizes = torch.cat(moved)
    return OutputChange(
        samples=len(sizes), largest=float(sizes.max()), median=float(sizes.median()), same_answer=same
    )


def _total(report: AuditReport) -> float:
    upper = report.evidence.global_.upper
    return float("inf") if upper.value is None else upper.value


def _check(after: AuditReport, wish: Wish, free: Sequence[str]) -> None:
    """The audit of the file decides, and nothing else."""
    if not wish.per_layer:
        reached = _total(after)
        if reached > _granted(wish.limit):
            raise Incomplete(
                f"the file as written has a bound of {reached!r}, {wish.limit!r} was asked for",
                hint="ask for a little less, or export with the dtype that was clipped",
            )
        return
    known = {layer.name: layer.upper.value for layer in after.evidence.layers}
    wrong = [n for n in free if n in known and (known[n] is None or known[n] > _granted(wish.limit))]
    if wrong:
        raise Incomplete(f"layer {wrong[0]} of the file as written has a norm of up to {known[wrong[0]]!r}")


def _granted(limit: float) -> float:
    """Reports round bounds up to nine digits: so is what they are compared with."""
    rounded = plain_up(limit)
    return float("inf") if isinstance(rounded, Unbounded) else rounded


def _rows(
    network: Network, changes: Changes, held: Sequence[LeftAlone], idle: Sequence[str], after: AuditReport
) -> tuple[ChangedLayer, ...]:
    why = {alone.name: alone.why for alone in held}
    known = {layer.name: layer.upper.value for layer in after.evidence.layers}
    from lipaudit.repair.stored import linear_map_of  # noqa: PLC0415

    rows = []
    for layer in network.layers:
        name = layer.node.name
        if linear_map_of(layer.node) is None:
            continue
        action = (
            "clipped"
            if name in changes
            else "left alone"
            if name in why
            else "not asked for"
            if name in idle
            else "unchanged"
        )
        before = plain_up(layer.upper.value)
        now = known.get(name) if name in changes else before
        rows.append(
            ChangedLayer(name=name, action=action, before=before, after=before if now is None else now, why=why.get(name, ""))
        )
    return tuple(rows)


def _notes(changes: Changes, wish: Wish) -> tuple[str, ...]:
    if not changes:
        return ("nothing had to be changed: the limit is kept already",)
    told = ["biases are left as they are; batch norm's statistics as well"]
    if not wish.per_layer:
        told.append("the bound is shared out over layers so that the least energy of their outputs is lost")
    return tuple(told)


def _listed(texts: str | Sequence[str]) -> list[str]:
    return [texts] if isinstance(texts, str) else list(texts)
