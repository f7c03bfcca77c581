"""External data of ONNX files: weights kept in files beside the model.

The location is text from the file, so it may point anywhere.  Only plain names below the model's own folder
are read: no absolute paths, no `..`, no symbolic links.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

import onnx

from lipaudit.errors import InputRefused, InputUnavailable

__all__ = ["embed"]


def embed(model: onnx.ModelProto, folder: Path) -> dict[str, bytes]:
    """Replace external tensors of `model` by their bytes.

    Args:
        model: changed in place.
        folder: the model's own.

    Returns:
        The files read, by name.

    Raises:
        InputRefused: a path that leaves the folder, or a file that is too short.
        InputUnavailable: a file that is not there.
    """
    files: dict[str, bytes] = {}
    outer = {id(tensor) for tensor in model.graph.initializer}
    for tensor in _tensors(model.graph):
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        if id(tensor) not in outer and not tensor.external_data:
            raise InputRefused(f"tensor {tensor.name!r} is stored elsewhere, but where is not said")
        entries = {entry.key: entry.value for entry in tensor.external_data}
        location = entries.get("location", "")
        if location not in files:
            files[location] = _read(folder, location, tensor.name)
        tensor.raw_data = _slice(files[location], entries, tensor.name)
        tensor.data_location = onnx.TensorProto.DEFAULT
        del tensor.external_data[:]
    return files


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Every tensor of a graph, those in attributes and subgraphs included."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield sparse.values
        yield sparse.indices
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            if attribute.HasField("g"):
                yield from _tensors(attribute.g)
            for inner in attribute.graphs:
                yield from _tensors(inner)


def _read(folder: Path, location: str, tensor: str) -> bytes:
    parts = PurePosixPath(location.replace("\\", "/")).parts
    escapes = (
        not location
        or "\0" in location
        or ".." in parts
        or PurePosixPath(location).is_absolute()
        or bool(PureWindowsPath(location).anchor)
    )
    hint = "external data must lie in the model's own folder; save the model with its data inside"
    if escapes:
        raise InputRefused(
            f"tensor {tensor!r} wants to be read from {location[:120]!r}, outside of the model's folder",
            hint=hint,
        )
    path = folder
    for part in parts:
        path = path / part
        if path.is_symlink():
            raise InputRefused(f"external data {location[:120]!r} is a symbolic link", hint=hint)
    try:
        if not path.is_file():
            raise InputUnavailable(
                f"external data {location[:120]!r} is not there", hint="put it beside the model file"
            )
        return path.read_bytes()
    except OSError as error:
        raise InputUnavailable(
            f"external data {location[:120]!r} cannot be read: {error.strerror}", hint="check its permissions"
        ) from None


def _slice(data: bytes, entries: dict[str, str], tensor: str) -> bytes:
    try:
        offset = int(entries.get("offset", "0"))
        length = int(entries["length"]) if "length" in entries else len(data) - offset
    except ValueError:
        raise InputRefused(f"tensor {tensor!r}: offset or length of its external data is no number") from None
    if offset < 0 or length < 0 or offset + length > len(data):
        raise InputRefused(
            f"tensor {tensor!r}: its external data file is too short (truncated?)", hint="repeat the download"
        )
    return data[offset : offset + length]
