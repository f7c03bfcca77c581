"""Small networks with every kind of linear layer, and the dense matrices of their linear parts."""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["KINDS", "filled", "linear_matrix", "norm_of"]

KINDS = {
    "dense": lambda: (nn.Linear(6, 4), (6,)),
    "conv1d": lambda: (nn.Conv1d(2, 3, 3, padding=1), (2, 7)),
    "strided": lambda: (nn.Conv2d(2, 4, 3, stride=2, padding=1), (2, 6, 6)),
    "grouped": lambda: (nn.Conv2d(4, 4, 3, groups=2, padding=1), (4, 5, 5)),
    "dilated": lambda: (nn.Conv2d(2, 3, 3, dilation=2, padding="same"), (2, 6, 6)),
    "even kernel, same": lambda: (
        nn.Conv2d(2, 3, 4, padding="same", padding_mode="circular"),
        (2, 6, 6),
    ),
    "valid": lambda: (nn.Conv2d(2, 3, 3, padding="valid"), (2, 5, 5)),
    "circular": lambda: (nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular"), (2, 6, 6)),
    "reflect": lambda: (nn.Conv2d(2, 3, 3, padding=1, padding_mode="reflect"), (2, 6, 6)),
    "replicate": lambda: (nn.Conv2d(2, 3, 3, padding=2, padding_mode="replicate"), (2, 6, 6)),
    "conv3d": lambda: (nn.Conv3d(1, 2, 2), (1, 4, 4, 4)),
    "transposed": lambda: (
        nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2),
        (4, 4, 4),
    ),
}


def filled(make, seed=0):
    """A layer with seeded normal weights, and the shape of one input."""
    torch.manual_seed(seed)
    layer, shape = make()
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.5)
    return layer.double(), shape


def norm_of(layer, shape):
    """A batch norm that fits behind a layer, with statistics and scales as after training."""
    channels = layer(torch.zeros(1, *shape, dtype=torch.float64)).shape[1]
    make = (nn.BatchNorm1d, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[len(shape) - 1]
    norm = make(channels)
    nn.init.uniform_(norm.running_var, 0.2, 3)
    nn.init.normal_(norm.running_mean)
    nn.init.normal_(norm.weight)
    return norm.double()


@torch.no_grad()
def linear_matrix(module, shape):
    """The matrix (outputs, inputs) of an affine module, by torch alone: the images of the unit vectors."""
    module = module.eval()
    size = torch.Size(shape).numel()
    basis = torch.eye(size, dtype=torch.float64).reshape(size, *shape)
    offset = module(torch.zeros(1, *shape, dtype=torch.float64))
    return (module(basis) - offset).flatten(1).T
