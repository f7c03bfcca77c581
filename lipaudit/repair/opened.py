"""A model as an audit sees it, together with the tensors that its file stores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lipaudit.clock import Clock
from lipaudit.data import Dataset, load_dataset, make_sizing
from lipaudit.load import LoadedModel, load_model
from lipaudit.load.reading import Request
from lipaudit.load.sniff import Kind
from lipaudit.pipeline import device_named
from lipaudit.repair.model_weights import ModelWeights, onnx_with, read_weights, safetensors_with
from lipaudit.report.repair import FileFormat
from lipaudit.subject import Stated, Subject, Trying, make_subject

__all__ = ["Opened", "listed", "loaded_as", "open_model"]

SAMPLES = 64
"""Of the data set, on whose activations losses are measured."""


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """A model that was loaded.

    Args:
        loaded: its program.
        subject: its graph behind the preprocessing, and the samples.
        weights: what the file stores.
        options: the keyword arguments of an audit.
    """

    loaded: LoadedModel
    subject: Subject
    weights: ModelWeights
    options: Mapping[str, Any]

    @property
    def stated(self) -> dict[str, Any]:
        """The options, the preprocessing that was assumed among them: nobody shall guess a second time."""
        options = dict(self.options)
        if self.subject.assumption is not None:
            used = self.subject.preprocessing
            options |= {"scale": used.scale, "layout": used.layout}
            options |= {"mean": used.mean or None, "std": used.std or None}
        return options

    @property
    def format(self) -> FileFormat:
        """Of the file that holds the model with other tensors."""
        return "onnx" if self.weights.kind is Kind.ONNX else "safetensors"

    @property
    def of_rewritten(self) -> dict[str, Any]:
        """The options for that file: what a checkpoint had to be trusted for is not in it."""
        trusted = {} if self.format == "onnx" else {"allow_global": (), "trust_pickle": None}
        return {**self.stated, **trusted}

    def rewritten(self, tensors: Mapping[str, Tensor], folder: str, stem: str) -> Path:
        """Write that file: the model with some tensors replaced, by their keys."""
        path = Path(folder) / f"{stem}.{self.format}"
        write = onnx_with if self.format == "onnx" else safetensors_with
        path.write_bytes(write(self.weights, tensors))
        return path

    def samples(self, count: int = SAMPLES) -> Tensor | None:
        """Some of the data set, evenly spread: (n, …) float64; None without one."""
        data = self.subject.samples
        if data is None:
            return None
        step = max(1, len(data) // count)
        chosen = [data.pixels(i, i + 1) for i in range(0, len(data), step)][:count]
        return torch.cat(chosen).to(self.subject.graph.device)


def open_model(path: Path, options: Mapping[str, Any], clock: Clock) -> Opened:
    """Load model and data as `pipeline.audit` does with these options.

    Raises:
        LipauditError: as `audit`.
    """
    sizing = make_sizing(options.get("resize"), options.get("crop"))
    where = {key: options[key] for key in ("data_dir", "offline") if key in options}

    def draw(**selection: Any) -> Dataset | None:  # noqa: ANN401 - limit and seed
        return load_dataset(options.get("dataset", "none"), sizing=sizing, **where, **selection)

    data = draw(limit=options.get("limit"), seed=options.get("seed"))
    shape = None if data is None else data.sample_shape
    arch, given = options.get("arch"), options.get("input_shape")
    admitted = tuple(listed(options.get("allow_global", ())))
    pickle, logits = options.get("trust_pickle"), options.get("logits")
    loaded = loaded_as(path, options, shape)
    request = Request(
        name=path.name,
        folder=str(path.parent),
        input_shape=given,
        default_shape=shape,
        arch=arch is not None,
        allow_globals=admitted,
        trust_pickle=pickle,
        logits=logits,
    )
    stated = Stated.by(loaded, *(options.get(key) for key in ("mean", "std", "scale", "layout")))
    target = device_named(options.get("device", "auto"))
    trying = Trying.on(draw, clock.advance)
    subject = make_subject(loaded, stated, data, trying, target, options.get("threat_space", "pixel"))
    return Opened(loaded, subject, read_weights(path, request), options)


def loaded_as(path: Path, options: Mapping[str, Any], shape: tuple[int, ...] | None) -> LoadedModel:
    """The program of a file, with the options of an audit and the shape of a sample.

    Raises:
        LipauditError: as `load_model`.
    """
    return load_model(
        path,
        arch=options.get("arch"),
        input_shape=options.get("input_shape"),
        default_shape=shape,
        allow_globals=tuple(listed(options.get("allow_global", ()))),
        trust_pickle=options.get("trust_pickle"),
        logits=options.get("logits"),
    )


def listed(texts: str | Sequence[str]) -> list[str]:
    """One text counts as a list of one."""
    return [texts] if isinstance(texts, str) else list(texts)
