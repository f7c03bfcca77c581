"""A torch.export archive (`.pt2`) → its program as JSON and its tensors, without torch's own loader.

`torch.export.load` runs what an archive says: it evaluates expressions (`sympy.sympify`, guards), looks
functions up by name anywhere in `torch`, `math` and `operator`, and unpickles sample inputs, tensor
subclasses and custom objects without restriction.  So torch never sees these bytes: the zip is opened with
`zipfile`, the program is read as JSON, weights are raw numbers whose description is checked against their
size, and the few pickles that are needed (archives of 2025 and before keep weights in one) are judged from
their opcodes first and read with `weights_only=True`.  What torch would run and this program would not need
(hostile expressions, pickles among the sample inputs, compiled libraries) is refused all the same: such a
file is no model to audit.

Format: torch/export/pt2_archive, torch/_export/serde/schema.py (schema 8).
"""

from __future__ import annotations

import io
import json
import pickle
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lipaudit.errors import InputRefused, UnsafeInput
from lipaudit.load.blame import first_line
from lipaudit.load.expressions import check_expressions
from lipaudit.load.safety import check_legacy_checkpoint, check_zip_checkpoint

__all__ = ["DTYPES", "Archive", "damaged", "read_archive"]

DTYPES: Mapping[int, torch.dtype] = {
    1: torch.uint8,
    2: torch.int8,
    3: torch.int16,
    4: torch.int32,
    5: torch.int64,
    6: torch.float16,
    7: torch.float32,
    8: torch.float64,
    10: torch.complex64,
    11: torch.complex128,
    12: torch.bool,
    13: torch.bfloat16,
}
"""Numbers of schema.ScalarType."""

STRIDED = 7
"""Number of schema.Layout for ordinary tensors."""

_SCHEMA = 8
_JSON_LIMIT = 64 << 20
_SPREAD = 1 << 20
"""A view may have more entries than its storage (stride 0), but not more than this."""

_HINT = "save the program again: torch.export.save(torch.export.export(model.eval(), (example,)), FILE)"
_UNSAFE = (
    "nothing was executed; ask for the weights alone (safetensors) and give --arch, or for an ONNX export"
)
_PAYLOAD = re.compile(r"(weight|tensor)_\d{1,9}")


@dataclass(frozen=True, slots=True, eq=False)
class Archive:
    """What a `.pt2` file holds.

    Args:
        program: schema.ExportedProgram as JSON.
        weights: parameters and persistent buffers by name.
        constants: all other tensors by name.
        extra: texts that were saved with it, by name.
    """

    program: Mapping[str, Any]
    weights: Mapping[str, Tensor]
    constants: Mapping[str, Tensor]
    extra: Mapping[str, str]


def damaged(name: str, what: str = "it does not follow the format") -> InputRefused:
    """The refusal of an archive that no exporter wrote."""
    return InputRefused(f"{name} is a damaged torch.export archive: {what}", hint=_HINT)


def read_archive(data: bytes, name: str) -> Archive:
    """Read the archive whose bytes are `data`.

    Raises:
        UnsafeInput: loading it with torch would run code that it brings along.
        InputRefused: damaged, of another schema, or not one exported program.
    """
    entries = _entries(data, name)
    for entry, content in entries.items():
        if entry.startswith("data/aotinductor/") or entry.endswith((".so", ".dll", ".dylib")):
            raise UnsafeInput(f"{name} carries compiled code ({entry[:80]!a})", hint=_UNSAFE)
        if entry.endswith((".pt", ".pth", ".pkl")):
            _judge(content, f"{name}: {entry}")
    try:
        program, weights, constants = _layout(entries, name)
        version = int(program["schema_version"]["major"])
        if version != _SCHEMA:
            raise InputRefused(
                f"{name} was saved by torch {str(program.get('torch_version'))[:20]!a} in schema {version}; "
                f"this program reads schema {_SCHEMA} (torch 2.5 and later)",
                hint="export the model again with a recent torch",
            )
        check_expressions(program, name)
        extra = {
            entry.partition("/")[2]: content.decode()
            for entry, content in entries.items()
            if entry.startswith(("extra/", "extra_files/")) and len(content) <= _JSON_LIMIT
        }
    except (KeyError, TypeError, AttributeError, IndexError, ValueError, RecursionError):
        raise damaged(name) from None
    return Archive(program, weights, constants, extra)


def _entries(data: bytes, name: str) -> dict[str, bytes]:
    """Every entry by its name without the root folder that all of them share."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            infos = [info for info in archive.infolist() if not info.is_dir()]
            if len({info.filename for info in infos}) < len(infos):
                raise UnsafeInput(f"{name}: the archive holds two entries of one name", hint=_HINT)
            if sum(info.file_size for info in infos) > 2 * len(data) + (1 << 20):
                raise InputRefused(f"{name}: the archive expands to more than twice its size", hint=_HINT)
            contents = {info.filename: archive.read(info) for info in infos}
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, OSError, ValueError):
        raise damaged(name, "the zip archive cannot be read") from None
    roots = {entry.split("/", 1)[0] for entry in contents}
    if len(roots) == 1 and all("/" in entry for entry in contents):
        return {entry.split("/", 1)[1]: content for entry, content in contents.items()}
    return contents


def _judge(content: bytes, where: str) -> None:
    """Refuse a pickle that does more than rebuild tensors."""
    if not content:
        return
    if content.startswith(b"PK"):
        check_zip_checkpoint(content, where)
    else:
        check_legacy_checkpoint(content, where)


_Parts = tuple[Mapping[str, Any], dict[str, Tensor], dict[str, Tensor]]


def _layout(entries: Mapping[str, bytes], name: str) -> _Parts:
    """The program and its tensors in either of the two layouts that torch has written."""
    if "serialized_exported_program.json" in entries:  # torch 2.7 and before
        return (
            _json(entries["serialized_exported_program.json"], name),
            _pickled(entries.get("serialized_state_dict.pt", b""), name),
            _pickled(entries.get("serialized_constants.pt", b""), name),
        )
    if entries.get("byteorder", b"little").strip() != b"little":
        raise InputRefused(f"{name} was saved on a big-endian machine, which is not supported")
    models = [entry for entry in entries if re.fullmatch(r"models/[^/]+\.json", entry)]
    if len(models) != 1:
        raise InputRefused(
            f"{name} holds {len(models)} exported programs ({', '.join(m[:40] for m in models[:5])}); "
            "exactly one is supported",
            hint="save one program with torch.export.save",
        )
    model = models[0].removeprefix("models/").removesuffix(".json")
    tensors = [
        _pickled(entries[f"data/{kind}/{model}.pt"], name)
        if f"data/{kind}/{model}.pt" in entries
        else _payload(entries, kind, model, name)
        for kind in ("weights", "constants")
    ]
    return _json(entries[models[0]], name), tensors[0], tensors[1]


def _json(content: bytes, name: str) -> Mapping[str, Any]:
    if len(content) > _JSON_LIMIT:
        raise InputRefused(f"{name}: its program is larger than 64 MiB of JSON")
    found = json.loads(content)
    if not isinstance(found, dict):
        raise damaged(name)
    return found


def _pickled(content: bytes, name: str) -> dict[str, Tensor]:
    """A dict of tensors in a pickle that has been judged."""
    if not content:
        return {}
    try:
        found = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, AssertionError) as error:
        raise damaged(name, first_line(error)) from None
    if not isinstance(found, Mapping) or not all(isinstance(v, Tensor) for v in found.values()):
        raise InputRefused(f"{name} stores something else than tensors among its weights", hint=_HINT)
    for key, value in found.items():
        if value.is_quantized or value.layout is not torch.strided:
            raise _unusual(f"{name}: {str(key)[:80]!a}")
        if value.numel() > max(value.untyped_storage().nbytes() // value.itemsize, _SPREAD):
            raise damaged(f"{name}: {str(key)[:80]!a}", "its shape does not fit the stored numbers")
    return {str(key): value.detach().clone() for key, value in found.items()}


def _unusual(where: str) -> InputRefused:
    return InputRefused(
        f"{where} is quantized or sparse, which is not supported",
        hint="audit the float model",
    )


def _payload(entries: Mapping[str, bytes], kind: str, model: str, name: str) -> dict[str, Tensor]:
    """Tensors stored as raw numbers beside a description."""
    config = _json(entries[f"data/{kind}/{model}_{kind}_config.json"], name)["config"]
    found = {}
    for tensor, meta in config.items():
        place = str(meta["path_name"])
        if meta["use_pickle"] or not _PAYLOAD.fullmatch(place):
            what = "a tensor subclass" if meta["use_pickle"] else "an object"
            raise UnsafeInput(
                f"{name} stores {tensor[:80]!a} as a pickle of {what} ({place[:40]!a}), which is not opened",
                hint=_UNSAFE,
            )
        found[tensor] = _tensor(entries[f"data/{kind}/{place}"], meta["tensor_meta"], f"{name}: {tensor!a}")
    return found


def _tensor(content: bytes, meta: Mapping[str, Any], where: str) -> Tensor:
    """The view that `meta` describes, if it lies inside of `content`."""
    dtype = DTYPES.get(meta["dtype"])
    if dtype is None or meta["layout"] != STRIDED:
        raise _unusual(where)
    sizes, strides = ([_whole(n) for n in meta[key]] for key in ("sizes", "strides"))
    offset = _whole(meta["storage_offset"])
    stored = len(content) // dtype.itemsize
    count = 1
    for n in sizes:
        count *= n
    last = offset + sum((n - 1) * s for n, s in zip(sizes, strides, strict=True)) if count else 0
    if last >= max(stored, 1) or count > max(stored, _SPREAD) or (count and not stored):
        raise damaged(where, "its shape does not fit the stored numbers")
    if not count:
        return torch.zeros(sizes, dtype=dtype)
    flat = torch.frombuffer(bytearray(content[: stored * dtype.itemsize]), dtype=dtype)
    return flat.as_strided(sizes, strides, offset).clone()


def _whole(value: Mapping[str, Any]) -> int:
    number = value["as_int"]
    if not isinstance(number, int) or not 0 <= number < 1 << 48:
        raise ValueError(number)
    return number
