"""What an audit reads: no report may take its place.

Weights of an ONNX model may lie in files beside it, which it names by entries (key "location", value PATH) of
its tensors.  Such an entry is the same bytes in every model, and so they are found without parsing the file:

    0a 08 "location" 12 LENGTH PATH        LENGTH: base 128, least significant digits first

https://protobuf.dev/programming-guides/encoding/; onnx/onnx.proto, `StringStringEntryProto`.
"""

from __future__ import annotations

import contextlib
import mmap
import re
from collections.abc import Iterator
from pathlib import Path

from lipaudit.cli import outputs
from lipaudit.cli.request import AuditRequest
from lipaudit.load.factory import parse_arch
from lipaudit.policy import Policy

__all__ = ["read_by"]

_ENTRY = re.compile(rb"\x0a\x08location\x12([\x00-\x7f]|[\x80-\xff][\x01-\x1f])")
"""Up to the path, which is shorter than 4096 bytes: no file has a longer one."""
_IN_DATA = "in the folder of the data"


def read_by(request: AuditRequest, policy: Policy | None) -> dict[Path, str]:
    """Files and folders that the audit reads, and what a message calls them."""
    model = Path(request.model)
    kept = {model: "the model itself"} | outputs.judged_by(policy)
    kept |= dict.fromkeys(_beside(model), "a file of the model")
    if request.arch is not None:
        kept[Path(parse_arch(request.arch).place)] = "the file of --arch"
    folder = None if request.data_dir is None else Path(request.data_dir)
    kind, _, place = request.dataset.partition(":")
    places = [] if not place else [Path(place), *([] if folder is None else [folder / place])]
    if kind == "npz":
        kept |= dict.fromkeys(places, "the data set itself")
    if kind == "imagefolder":
        kept |= dict.fromkeys(places, _IN_DATA)
    if folder is not None:
        kept[folder] = _IN_DATA
    return kept


def _beside(model: Path) -> Iterator[Path]:
    """Files that an ONNX model names; none for another one, or where nothing can be read."""
    names: set[bytes] = set()
    if _is_file(model):  # what a pipe holds can be read once
        with (
            contextlib.suppress(OSError, ValueError),  # nothing can be mapped of an empty file
            model.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
        ):
            names.update(_path(data, found) for found in _ENTRY.finditer(data))
    for name in names:
        path = model.parent / name.decode("utf-8", "surrogateescape").replace("\\", "/")
        if _is_file(path):
            yield path


def _is_file(path: Path) -> bool:
    """Whether a file is there; a model may name what no file can be called."""
    with contextlib.suppress(OSError, ValueError):
        return path.is_file()
    return False


def _path(data: mmap.mmap, entry: re.Match[bytes]) -> bytes:
    low, *high = entry.group(1)
    length = (low & 0x7F) + (high[0] << 7 if high else 0)
    return data[entry.end() : entry.end() + length]
