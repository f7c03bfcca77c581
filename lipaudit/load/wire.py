"""How a request reaches the reading process and its outcome comes back: JSON and raw bytes, never objects.

    announced   20 digits: bytes of external data that will be read; the state before, see `STARTED`
    length      8 bytes, big-endian
    header      JSON of that length
    blobs       one after the other, their lengths in the header

Both sides are one version of this program, so the format has none.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from typing import Any, BinaryIO

from lipaudit.errors import (
    ConversionMismatch,
    InputRefused,
    InputUnavailable,
    LipauditError,
    UnsafeInput,
    UsageError,
)
from lipaudit.load.model_file import ModelFile
from lipaudit.load.reading import Contents, Request
from lipaudit.load.sniff import Kind

__all__ = [
    "ANNOUNCED",
    "STARTED",
    "failure_header",
    "get_failure",
    "get_reading",
    "get_request",
    "put",
    "reading_header",
    "take",
]

ANNOUNCED = 20
"""Digits of the announcement."""
STARTED = b"0" * ANNOUNCED
"""Announced by a process that is about to touch the file; before that the result is empty."""

_ERRORS: dict[str, type[LipauditError]] = {
    kind.__name__: kind
    for kind in (UsageError, InputRefused, UnsafeInput, ConversionMismatch, InputUnavailable, LipauditError)
}
_BLOBS = ("tensors", "graph", "reference")


def put(file: BinaryIO, header: dict[str, Any], *blobs: bytes) -> None:
    """Write header and blobs."""
    text = json.dumps({**header, "lengths": [len(blob) for blob in blobs]}).encode()
    file.write(len(text).to_bytes(8, "big"))
    file.write(text)
    file.writelines(blobs)
    file.flush()


def take(file: BinaryIO) -> tuple[dict[str, Any], list[bytes]]:
    """Read what `put` wrote.

    Raises:
        ValueError: it is not complete.
    """
    size = os.fstat(file.fileno()).st_size

    def some(length: int) -> bytes:
        data = file.read(length) if 0 <= length <= size else b""
        if len(data) != length:
            raise ValueError("cut short")
        return data

    header = json.loads(some(int.from_bytes(some(8), "big")))
    return header, [some(length) for length in header["lengths"]]


def get_request(header: dict[str, Any]) -> Request:
    """The request that `asdict` took apart."""
    values = dict(header["request"])
    for key in ("input_shape", "default_shape", "allow_globals"):
        values[key] = None if values[key] is None else tuple(values[key])
    return Request(**values)


def reading_header(reading: Contents) -> tuple[dict[str, Any], list[bytes]]:
    """A reading as header and blobs; the reference is sent only where it differs from the graph."""
    blobs = [getattr(reading, key) for key in _BLOBS]
    values = {key: value for key, value in asdict(reading).items() if key not in _BLOBS}
    same = reading.reference == reading.graph
    if same:
        blobs[-1] = b""
    return {"reading": {**values, "kind": reading.kind.name}, "same": same}, blobs


def get_reading(header: dict[str, Any], blobs: list[bytes]) -> Contents:
    """The reading that `reading_header` took apart."""
    values = dict(header["reading"])
    values["kind"] = Kind[values["kind"]]
    values["files"] = tuple(ModelFile(**file) for file in values["files"])
    values["notes"], values["names"] = tuple(values["notes"]), tuple(values["names"])
    values.update(zip(_BLOBS, blobs, strict=True))
    if header["same"]:
        values["reference"] = values["graph"]
    return Contents(**values)


def failure_header(error: LipauditError) -> dict[str, Any]:
    """An error of ours as a header."""
    kind = type(error).__name__
    return {"failure": [kind if kind in _ERRORS else "LipauditError", error.message, error.hint]}


def get_failure(header: dict[str, Any]) -> LipauditError | None:
    """The error that a header tells of, if it does."""
    if "failure" not in header:
        return None
    kind, message, hint = header["failure"]
    return _ERRORS[kind](message, hint=hint)
