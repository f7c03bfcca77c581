"""A file's bytes → plain data: what a process of its own does with an untrusted file.

    bytes ── sniff ──▶ ONNX:         limits, external data, checker, inlined, rehearsed ─▶ canonical graphs
                       safetensors:  header held against the file's size ─▶ nothing: the file is plain data
                       checkpoint:   pickle judged, `torch.load(weights_only=True)` ─▶ safetensors
                       .pt2:         program read and its sizes judged ─▶ nothing: the file is plain data

What comes out holds no objects: two ONNX graphs, tensors as safetensors, text.  Everything that trusts a
file's word on sizes, and every library written in C++, meets the file here first; `isolated` runs this in a
child process and watches its memory and time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lipaudit.errors import InputRefused, UsageError
from lipaudit.load.model_file import ModelFile
from lipaudit.load.sniff import Kind, sniff

__all__ = ["Contents", "Request", "read"]

DATA_ONLY = "data only"
"""The usual trust level: nothing in the file was run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to read, and what the user allows.

    Args:
        name: base name, for messages.
        folder: where external data may lie.
        input_shape: one sample's shape as the user states it.
        default_shape: taken where nobody says.
        arch: somebody builds the network, so the file must hold weights only.
        allow_globals: names a pickle may call, beyond those of tensors.
        trust_pickle: SHA-256 of the one file that may run what it likes.
        logits: the output to audit, of an ONNX graph that has several.
        kind_only: tell what the file is, and no more.
    """

    name: str
    folder: str = ""
    input_shape: tuple[int, ...] | None = None
    default_shape: tuple[int, ...] | None = None
    arch: bool = False
    allow_globals: tuple[str, ...] = ()
    trust_pickle: str | None = None
    logits: str | None = None
    kind_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What was read.

    Args:
        kind: the file's format.
        files: external data, if any.
        notes: what a reader of the report must know.
        trust: what was run of the file.
        names: of the tensors of a checkpoint, in the file's order.
        tensors: the checkpoint's tensors as safetensors, called "0", "1", ….
        graph: ONNX as it is converted: data embedded, functions inlined, stored values no inputs.
        reference: ONNX as onnxruntime shall run it: data embedded, else as the file has it.
    """

    kind: Kind
    files: tuple[ModelFile, ...] = ()
    notes: tuple[str, ...] = ()
    trust: str = DATA_ONLY
    names: tuple[str, ...] = ()
    tensors: bytes = b""
    graph: bytes = b""
    reference: bytes = b""


Announce = Callable[[int], None]
"""Told how many bytes of other files are about to be read, so that limits can grow with them."""


def read(data: bytes, request: Request, announce: Announce = lambda _: None) -> Contents:
    """Tell the format of `data` and read it.

    Raises:
        LipauditError: see `lipaudit.load.load_model`.
    """
    kind = sniff(data, request.name)
    if request.kind_only:
        return Contents(kind=kind)
    if kind not in _PICKLED and (request.allow_globals or request.trust_pickle):
        flag = "--trust-pickle" if request.trust_pickle else "--allow-global"
        raise UsageError(f"{flag}: {request.name} holds no pickle", hint="leave the option out")
    if kind in _PROGRAMS and request.arch:
        raise UsageError(
            f"{request.name} is {_PROGRAMS[kind]}: --arch is for files that hold weights only",
            hint="leave --arch out",
        )
    if kind is not Kind.ONNX and request.logits is not None:
        raise UsageError(
            f"--logits: {request.name} is no ONNX graph",
            hint="leave the option out, and let the network return its scores alone",
        )
    return _READERS[kind](data, kind, request, announce)


def _read_onnx(data: bytes, kind: Kind, request: Request, announce: Announce) -> Contents:
    from lipaudit.load.onnx_file import read_onnx  # noqa: PLC0415 - imports onnx

    read = read_onnx(data, request, announce)
    return Contents(kind=kind, files=read.files, notes=read.notes, graph=read.graph, reference=read.reference)


def _read_safetensors(data: bytes, kind: Kind, request: Request, announce: Announce) -> Contents:
    del announce
    from safetensors import SafetensorError, deserialize  # noqa: PLC0415 - only needed here

    try:
        held = deserialize(data)  # type: ignore[no-untyped-call]
    except (SafetensorError, ValueError) as error:
        reason = (str(error).splitlines() or [""])[0][:200]
        raise InputRefused(
            f"{request.name} is a damaged safetensors file: {ascii(reason)[1:-1]}",
            hint="the download or export failed: repeat it",
        ) from None
    if not held:
        raise InputRefused(f"{request.name} holds no tensors")
    return Contents(kind=kind)


def _read_checkpoint(data: bytes, kind: Kind, request: Request, announce: Announce) -> Contents:
    del announce
    from lipaudit.load.safety import check_legacy_checkpoint, check_zip_checkpoint  # noqa: PLC0415

    met: tuple[str, ...] = ()
    if request.trust_pickle is None:
        judge = check_zip_checkpoint if kind is Kind.ZIP_CHECKPOINT else check_legacy_checkpoint
        met = judge(data, request.name, request.allow_globals)
    from lipaudit.load.checkpoint import read_checkpoint  # noqa: PLC0415 - imports torch, after the judgement

    checkpoint = read_checkpoint(data, met, request)
    return Contents(
        kind=kind,
        notes=checkpoint.notes,
        trust=checkpoint.trust,
        names=tuple(checkpoint.state),
        tensors=checkpoint.packed,
    )


def _read_exported(data: bytes, kind: Kind, request: Request, announce: Announce) -> Contents:
    """A rehearsal: what is read here without harm is read once more where the program is run."""
    del announce
    from lipaudit.load.exported import read_exported  # noqa: PLC0415 - imports torch

    read_exported(data, request.name)
    return Contents(kind=kind)


_PROGRAMS = {Kind.ONNX: "an ONNX graph", Kind.EXPORTED: "a torch.export program"}
_PICKLED = (Kind.ZIP_CHECKPOINT, Kind.LEGACY_CHECKPOINT)
_READERS = {
    Kind.ONNX: _read_onnx,
    Kind.SAFETENSORS: _read_safetensors,
    Kind.ZIP_CHECKPOINT: _read_checkpoint,
    Kind.LEGACY_CHECKPOINT: _read_checkpoint,
    Kind.EXPORTED: _read_exported,
}
