"""A loaded network as an ONNX file, with its preprocessing in the metadata."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import warnings
from collections.abc import Mapping

import onnx
import torch

from lipaudit.errors import UsageError
from lipaudit.load import METADATA_KEY, LoadedModel

__all__ = ["check_exporter", "exported_onnx"]


def check_exporter() -> None:
    """Told before the work.

    Raises:
        UsageError: what torch exports with is not installed.
    """
    if importlib.util.find_spec("onnxscript") is None:
        raise UsageError(
            "writing ONNX from weights needs onnxscript, which is not installed",
            hint="pip install onnxscript, or write safetensors: -o clipped.safetensors",
        )


def exported_onnx(loaded: LoadedModel, metadata: Mapping[str, str]) -> bytes:
    """The program as torch exports it, batch 1.

    Args:
        loaded: the network.
        metadata: of its weights' file; the preprocessing is handed on.

    Raises:
        UsageError: onnxscript is not installed.
    """
    check_exporter()
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            exported = torch.onnx.export(loaded.program, (), dynamo=True, external_data=False, verbose=False)
    finally:
        logger.setLevel(level)
    assert exported is not None  # noqa: S101 - of the dynamo exporter
    model: onnx.ModelProto = exported.model_proto
    if METADATA_KEY in metadata:
        model.metadata_props.add(key=METADATA_KEY, value=metadata[METADATA_KEY])
    return bytes(model.SerializeToString())
