"""From Python: what `lipaudit clip` does, without files and screens."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lipaudit.clock import Progress
from lipaudit.repair.biases import FIT
from lipaudit.repair.methods import FASTCLIP
from lipaudit.repair.model_repair import Repaired, repair_model
from lipaudit.repair.wish import Wish
from lipaudit.report.repair import FileFormat

__all__ = ["clip_model"]


def clip_model(  # noqa: PLR0913 - the options of the command line
    model: str | Path,
    *,
    lipschitz: float | None = None,
    layer_norm: float | None = None,
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
        lipschitz: the certified bound of the network shall be at most that; either this or `layer_norm`.
        layer_norm: the certified norm of every linear layer (of `layers`) shall be at most that.
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
    """
    wish = Wish(
        lipschitz=lipschitz,
        layer_norm=layer_norm,
        how=how,
        biases=biases,
        layers=(layers,) if isinstance(layers, str) else tuple(layers),
    )
    own: FileFormat = "onnx" if options.get("arch") is None else "safetensors"
    wanted = (own,) if formats is None else (formats,) if isinstance(formats, str) else tuple(formats)
    return repair_model(model, wish, wanted, progress=progress, **options)
