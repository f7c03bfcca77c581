"""Dense matrices of maps by running torch's own operations on the identity: slow, obvious, independent."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention

CONV = (F.conv1d, F.conv2d, F.conv3d)
TRANSPOSED = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)
MODES = {"zeros": "constant"}


def convolution_matrix(weight, image, options):
    """The matrix of a convolution; `options` as `lipaudit.spectral.Conv` takes them, all per axis."""
    axes, transposed = len(image), options["transposed"]
    settings = {k: options[k] for k in ("stride", "dilation", "groups")}
    channels = weight.shape[0] if transposed else weight.shape[1] * options["groups"]
    cells = channels * math.prod(image)
    x = torch.eye(cells, dtype=torch.float64).reshape(cells, channels, *image)
    if transposed:
        y = TRANSPOSED[axes - 1](x, weight, **settings)
        for axis, (left, right) in enumerate(options["padding"]):
            y = y.narrow(axis + 2, left, y.shape[axis + 2] - left - right)
    else:
        widths = [p for pair in reversed(options["padding"]) for p in pair]
        mode = options["padding_mode"]
        y = CONV[axes - 1](F.pad(x, widths, mode=MODES.get(mode, mode)), weight, **settings)
    return y.reshape(cells, -1).T
