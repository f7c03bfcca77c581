"""A model file → one exported program of functional ATen operations.

file ── read apart ──▶ onnx:        fold, convert, export, compare with onnxruntime
                       safetensors,
                       checkpoint:  build --arch, load strictly, export
                       .pt2:        read the program as JSON, run its calls, export

The bytes are first touched by a process of its own (`isolated`, `reading`), which hands back plain data.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lipaudit.errors import LipauditError
from lipaudit.load.admit import check_terms
from lipaudit.load.blame import as_refusal, is_foreign
from lipaudit.load.isolated import read_apart
from lipaudit.load.model_file import ModelFile
from lipaudit.load.preprocessing import METADATA_KEY, Preprocessing, parse_metadata
from lipaudit.load.reading import Request
from lipaudit.load.sniff import Kind, read_bytes

if TYPE_CHECKING:
    import numpy as np
    import torch

    from lipaudit.load.labels import Titles

__all__ = ["METADATA_KEY", "LoadedModel", "ModelFile", "Preprocessing", "load_model", "parse_metadata"]


@dataclass(frozen=True, slots=True, eq=False)
class LoadedModel:
    """A model ready for translation.

    Args:
        program: one user input of batch 1; decomposed, functional ATen only.
        input_shape: shape of that input, leading 1 included.
        files: every file that was read.
        format: "onnx", "safetensors", "checkpoint" or "torch.export".
        loader: what read it, with versions.
        trust: "data only", or what was run: the --arch file, classes or a pickle that the user admitted.
        preprocessing: as the model's metadata states it, if they do.
        conversion: how the conversion was checked (ONNX), else None.
        weights_sha256: over sorted names, types, shapes and bytes of the stored weights.
        notes: what a reader of the report must know.
        titles: what the file calls the modules and tensors of the program, whose code has names of ours only.
        architecture: the factory of `--arch` with its arguments; None where the file holds the program.
        parameters: floating-point entries of the file that the output depends on, tied ones once, where the
            converted program cannot tell (ONNX); else None.
        reference: the original program as numpy arrays: n samples (leading n) to n rows of scores.
    """

    program: torch.export.ExportedProgram
    input_shape: tuple[int, ...]
    files: tuple[ModelFile, ...]
    format: str
    loader: str
    trust: str
    preprocessing: Preprocessing | None
    conversion: dict[str, Any] | None
    weights_sha256: str
    notes: tuple[str, ...] = ()
    titles: Titles = field(default_factory=dict)
    architecture: str | None = None
    parameters: int | None = None
    reference: Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]] | None = None


def check_file(path: str | Path) -> None:
    """Read a model's bytes and tell what it is, no more.

    Raises:
        InputUnavailable: no such file.
        InputRefused: the file is not a model this program loads.
    """
    read_apart(read_bytes(Path(path)), Request(name=Path(path).name, kind_only=True))


def needs_architecture(path: str | Path) -> bool:
    """Whether the file holds weights only.

    Raises:
        InputUnavailable: no such file.
        InputRefused: the file is not a model this program loads.
    """
    kind = read_apart(read_bytes(Path(path)), Request(name=Path(path).name, kind_only=True)).kind
    return kind in {Kind.SAFETENSORS, Kind.ZIP_CHECKPOINT, Kind.LEGACY_CHECKPOINT}


def load_model(
    path: str | Path,
    *,
    arch: str | None = None,
    input_shape: tuple[int, ...] | None = None,
    default_shape: tuple[int, ...] | None = None,
    allow_globals: Sequence[str] = (),
    trust_pickle: str | None = None,
    logits: str | None = None,
) -> LoadedModel:
    """Read a model file, in a process of its own, and make a program of it.

    Args:
        path: ONNX, torch.export, safetensors, or a torch.save'd state dict; told apart by content.
        arch: `file.py:factory` or `package.module:factory`, for files that hold weights only.
        input_shape: shape of one sample without the batch axis, where the file does not tell.
        default_shape: taken if neither `input_shape` nor metadata nor graph tell.
        allow_globals: classes a checkpoint's pickle may make, as `package.module.Class`.
        trust_pickle: `sha256:…` of the one pickle that may run what it likes.
        logits: the output to audit, of an ONNX graph that has several.

    Raises:
        UsageError: an option is missing or cannot be meant.
        InputUnavailable: no such file.
        InputRefused: the file is not acceptable; the message says what it is.
        Exception: a defect of ours.
    """
    check_terms(tuple(allow_globals), trust_pickle)
    path = Path(path)
    data = read_bytes(path)
    request = Request(
        name=path.name,
        folder=str(path.parent),
        input_shape=input_shape,
        default_shape=default_shape,
        arch=arch is not None,
        allow_globals=tuple(allow_globals),
        trust_pickle=trust_pickle,
        logits=logits,
    )
    with _quiet():
        try:
            reading = read_apart(data, request)
            if reading.kind is Kind.ONNX:
                from lipaudit.load.onnx import load_onnx  # noqa: PLC0415 - imports torch

                return load_onnx(path, data, reading, input_shape=input_shape, default_shape=default_shape)
            if reading.kind is Kind.EXPORTED:
                from lipaudit.load.exported import load_exported  # noqa: PLC0415 - imports torch

                return load_exported(path, data, input_shape=input_shape, default_shape=default_shape)
            from lipaudit.load.pytorch import load_weights  # noqa: PLC0415 - imports torch

            return load_weights(
                path, data, reading, arch=arch, input_shape=input_shape, default_shape=default_shape
            )
        except LipauditError:
            raise
        except Exception as error:
            if is_foreign(error):
                raise as_refusal(error, path.name) from error
            raise


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """torch, onnx and onnxruntime warn about themselves; that is not the user's business."""
    loggers = [
        logging.getLogger(name) for name in ("torch", "torch.export", "torch._dynamo", "onnx", "onnx2torch")
    ]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
