"""What a model file is, judged from its bytes and never from its name.

A name is a claim; a Git-LFS pointer called `model.onnx` is the commonest broken input there is.
Everything this program does not load gets a message of its own.

Formats: ONNX (onnx.proto), safetensors (8-byte little-endian header length, then JSON), torch.save
(zip with `data.pkl`; before torch 1.6 a sequence of pickles).
"""

from __future__ import annotations

import io
import json
import stat
import zipfile
from enum import Enum
from pathlib import Path

from lipaudit.errors import InputRefused, InputUnavailable

__all__ = ["Kind", "read_bytes", "sniff"]


class Kind(Enum):
    """The formats that can be loaded."""

    ONNX = "onnx"
    SAFETENSORS = "safetensors"
    ZIP_CHECKPOINT = "zip checkpoint"
    LEGACY_CHECKPOINT = "legacy checkpoint"
    EXPORTED = "torch.export"


_LFS = b"version https://git-lfs.github.com/spec/"
_MODELS = "give an ONNX file, a .pt2 program, a safetensors file or a torch.save'd state dict"
# Tags of ModelProto's fields 2, 3, 4, 5, 6, 7, 8 and 14; a file starts with field 1, ir_version.
_MODEL_PROTO_TAGS = frozenset({0x12, 0x1A, 0x22, 0x28, 0x32, 0x3A, 0x42, 0x72})
_TAR_PLACE = 257
_HEADER_LIMIT = 100_000_000
"""The safetensors library refuses longer headers too."""

_MAGIC = (
    (b"\x89HDF", "an HDF5 file (Keras?)", "export it to ONNX with tf2onnx"),
    (b"\x1f\x8b", "a gzip archive", "unpack it first"),
    (b"GGUF", "a GGUF file", _MODELS),
    (b"\x93NUMPY", "a NumPy array", _MODELS),
    (b"\x89PNG", "a PNG image", _MODELS),
    (b"\xff\xd8\xff", "a JPEG image", _MODELS),
    (b"%PDF", "a PDF document", _MODELS),
    (b"\x7fELF", "an ELF program", _MODELS),
)


def read_bytes(path: Path) -> bytes:
    """The file's content, read once: what is judged is what is loaded.

    Raises:
        InputUnavailable: no such file, a folder, or not readable.
        InputRefused: neither file nor folder (a pipe, a device).
    """
    name = path.name or str(path)
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise InputUnavailable(f"{name} is a folder, not a model file", hint=_MODELS)
        if not stat.S_ISREG(mode):
            raise InputRefused(f"{name} is not a regular file", hint=_MODELS)
        return path.read_bytes()
    except FileNotFoundError:
        raise InputUnavailable(f"no such file: {path}", hint="check the path") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputUnavailable(
            f"{name} cannot be read: {reason}", hint="check path and permissions"
        ) from None


def sniff(data: bytes, name: str) -> Kind:
    """Tell the format of `data`.

    Args:
        data: the whole file.
        name: base name, for messages only.

    Raises:
        InputRefused: with what the file is instead.
    """
    if not data:
        raise InputRefused(f"{name} is empty (0 bytes)", hint="the download or export failed: repeat it")
    # First: the length that it begins with may look like the magic number of something else.
    if _is_safetensors(data, name):
        return Kind.SAFETENSORS
    if data.startswith(_LFS):
        raise InputRefused(
            f"{name} is a Git-LFS pointer, not the model itself", hint="run `git lfs pull` and try again"
        )
    if data.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _zip(data, name)
    for magic, what, hint in _MAGIC:
        if data.startswith(magic):
            raise InputRefused(f"{name} is {what}", hint=hint)
    if data[_TAR_PLACE : _TAR_PLACE + 5] == b"ustar":
        raise InputRefused(
            f"{name} is a tar archive (a checkpoint of torch before 0.1.10, or packed files)",
            hint="unpack it, or load it with the torch that saved it and save the state dict again",
        )
    if data[0] == 0x80 and len(data) > 1 and 1 < data[1] <= 5:
        return Kind.LEGACY_CHECKPOINT
    _refuse_text(data, name)
    _check_onnx(data, name)
    return Kind.ONNX


def _zip(data: bytes, name: str) -> Kind:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError):
        raise InputRefused(
            f"{name} is a truncated or damaged zip archive (a torch checkpoint?)",
            hint="the download or export failed: repeat it",
        ) from None
    leaves = {entry.split("/", 1)[-1] for entry in names}
    hint = "save the weights alone (safetensors, torch.save(model.state_dict())) and give --arch"
    if "constants.pkl" in leaves and any(leaf.startswith("code/") for leaf in leaves):
        raise InputRefused(f"{name} is a TorchScript archive, which carries code", hint=hint)
    if {"serialized_exported_program.json", "archive_format"} & leaves or any(
        leaf.startswith("models/") and leaf.endswith(".json") for leaf in leaves
    ):
        return Kind.EXPORTED
    if "data.pkl" in leaves:
        return Kind.ZIP_CHECKPOINT
    if any(entry.endswith(".npy") for entry in names):
        raise InputRefused(f"{name} is a NumPy archive (.npz)", hint="a data set? use --dataset npz:PATH")
    if any(entry.endswith("config.json") for entry in names):
        raise InputRefused(f"{name} is a Keras archive", hint="export it to ONNX with tf2onnx")
    raise InputRefused(f"{name} is a zip archive without a torch checkpoint in it", hint=_MODELS)


def _is_safetensors(data: bytes, name: str) -> bool:
    length = int.from_bytes(data[:8], "little")
    if len(data) < 10 or data[8:9] != b"{" or length > _HEADER_LIMIT:
        return False
    damaged = InputRefused(
        f"{name} is a truncated or damaged safetensors file", hint="the download or export failed: repeat it"
    )
    if 8 + length > len(data):
        raise damaged
    try:
        header = json.loads(data[8 : 8 + length])
        ends = [entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"]
        complete = 8 + length + max(ends, default=0) == len(data)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
        raise damaged from None
    if not complete:
        raise damaged
    return True


def _refuse_text(data: bytes, name: str) -> None:
    start = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise InputRefused(
            f"{name} is an HTML or XML page, not a model",
            hint="the download stored a web page: fetch the raw file instead",
        )
    head = data[:4096]
    printable = sum(byte in b"\t\r\n" or 0x20 <= byte < 0x7F or byte >= 0x80 for byte in head)
    if printable < len(head):
        return
    try:
        head.decode("utf-8", errors="strict" if len(data) <= 4096 else "ignore")
    except UnicodeDecodeError:
        return
    what = "JSON" if start.startswith((b"{", b"[")) else "text"
    raise InputRefused(f"{name} is a {what} file, not a model", hint=_MODELS)


def _check_onnx(data: bytes, name: str) -> None:
    import onnx  # noqa: PLC0415 - only needed here, and slow to import
    from google.protobuf.message import (  # type: ignore[import-untyped]  # noqa: PLC0415
        DecodeError,
    )

    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError:
        model.Clear()
    if model.HasField("graph") and (model.graph.node or model.graph.output):
        if not model.ir_version and not model.opset_import:
            raise InputRefused(f"{name} is not a model this program knows", hint=_MODELS)
        return
    if len(data) > 2 and data[0] == 0x08 and data[1] < 0x40 and data[2] in _MODEL_PROTO_TAGS:
        raise InputRefused(
            f"{name} looks like an ONNX file but is truncated or damaged",
            hint="the download or export failed: repeat it",
        )
    raise InputRefused(f"{name} is not a model this program knows", hint=_MODELS)
