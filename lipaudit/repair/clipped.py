"""From Python: what `lipaudit clip` does, without files and screens; errors name arguments, not flags."""

from __future__ import annotations

import re
from collections.abc import Sequence
from inspect import signature
from pathlib import Path
from typing import Any

from lipaudit.clock import Progress
from lipaudit.errors import LipauditError
from lipaudit.pipeline import audit
from lipaudit.repair.biases import FIT
from lipaudit.repair.methods import FASTCLIP
from lipaudit.repair.model_repair import Repaired, repair_model
from lipaudit.repair.wish import Wish
from lipaudit.report.repair import FileFormat

__all__ = ["clip_model"]

_FLAG = re.compile(r"(?<![\w-])--([a-z]+(?:-[a-z]+)*)( C\b)?")
_OTHERS = {"layer": "layers", "no-attack": "attack=False"}
"""Flags that are no argument's name with hyphens."""


def clip_model(  # noqa: PLR0913 - the options of the command line
    model: str | Path,
    *,
    lipschitz: str | float | None = None,
    layer_norm: str | float | None = None,
    how: str = FASTCLIP,
    biases: str = FIT,
    layers: str | Sequence[str] = (),
    formats: FileFormat | Sequence[FileFormat] | None = None,
    progress: Progress | None = None,
    **options: Any,  # noqa: ANN401 - those of `lipaudit.audit`
) -> Repaired:
    """Make a network's weights smaller until a bound is certified.

    Args:
        model: path of an ONNX file, or of weights together with `arch`.
        lipschitz: the certified bound of the network shall be at most that (a number, meant as it prints, or
            exact text such as 3/2); either this or `layer_norm`.
        layer_norm: the certified norm of every linear layer (of `layers`), each by itself, shall be at most
            that.
        how: `fastclip`, `rescaling`, `spectral-rescaling` or `fft`.
        biases: `fit` (to the smaller weights) or `keep`.
        layers: names or patterns of the layers that it is about; all if empty.
        formats: `onnx`, `safetensors` or both; by default the model's own.
        progress: shown to a person.
        options: as of `lipaudit.audit`: data set, radii, architecture, preprocessing, methods.

    Returns:
        `files`, the content by format; `repair`, the record that `clip --json` prints; and the reports of the
        audits, `before` and `after`.  Nothing is written.

    Raises:
        UsageError: a wish that cannot be meant.
        Unreached: the limit cannot be kept.
        LipauditError: as `lipaudit.audit`.
        TypeError: an option that nobody knows.
    """
    unknown = next((name for name in options if name not in signature(audit).parameters), None)
    if unknown is not None:
        raise TypeError(f"clip_model() got an unexpected keyword argument {unknown!r}")
    own: FileFormat = "onnx" if options.get("arch") is None else "safetensors"
    wanted = (own,) if formats is None else (formats,) if isinstance(formats, str) else tuple(formats)
    try:
        wish = Wish(
            lipschitz=lipschitz,
            layer_norm=layer_norm,
            how=how,
            biases=biases,
            layers=(layers,) if isinstance(layers, str) else tuple(layers),
        )
        return repair_model(model, wish, wanted, progress=progress, **options)
    except LipauditError as error:
        error.message, error.hint = (_FLAG.sub(_argument, text) for text in (error.message, error.hint))
        error.args = (error.message,)
        raise


def _argument(flag: re.Match[str]) -> str:
    """`layer_norm=C` for `--layer-norm C`."""
    name, value = flag.groups(default="")
    return _OTHERS.get(name, name.replace("-", "_")) + ("=C" if value else "")
