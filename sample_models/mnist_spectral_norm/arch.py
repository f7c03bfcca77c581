"""A network for MNIST sold as 1-Lipschitz: trained with torch's `spectral_norm` on every linear map.

For a convolution that normalises the kernel reshaped to a (c_out, c_in * 5 * 5) matrix, which is not the
convolution: the true norm may be up to sqrt(5 * 5) times larger.  The claim is wrong on purpose, so that an
audit has something to find.  Here the weights are plain: what `spectral_norm` made of them is stored.

The input is (N, 1, 28, 28), pixels in [0, 1].

Miyato, Kataoka, Koyama, Yoshida (2018), "Spectral Normalization for Generative Adversarial Networks", ICLR.
"""

from __future__ import annotations

from torch import nn

__all__ = ["build"]


def build() -> nn.Module:
    """The network, with fresh weights."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * 7 * 7, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )
