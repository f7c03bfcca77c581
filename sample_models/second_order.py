"""The loss of `mnist_softplus`: what is left of every margin at a distance, by slope and curvature.

For z = W softplus(Jx + a) + d and c = w_y - w_t the margin g = z_y - z_t obeys

    g(x + delta) >= g(x) - r |grad g(x)| - r^2/2 K_yt,      |delta| <= r,
    K_yt = b max_j max(0, -c_j) u^2,      b = 1/4 >= softplus'',      u >= |J|.

Cross-entropy sees the right-hand side in place of g, so gamma b max|dW| u^2 with gamma = r^2/2 is what keeps
the curvature small.  u^2 = |(JJ')^4|_F^(1/4) is at least the square of the norm, and differentiable.

After Singla, Feizi (2020), "Second-Order Provable Defenses against Adversarial Attacks", ICML, whose
regulariser is the same product.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["second_order_loss"]


def second_order_loss(network: nn.Sequential, images: Tensor, labels: Tensor, radius: float) -> Tensor:
    """Cross-entropy of the margins that are certain within `radius`.

    Args:
        network: flatten, dense layer, softplus, dense layer.
        images: (n, 1, 28, 28).
        labels: (n,).
        radius: in the units of the images.
    """
    inner, outer = network[1], network[3]
    hidden = inner(images.flatten(1))
    scores = outer(functional.softplus(hidden))
    apart = outer.weight[labels][:, None] - outer.weight
    slopes = (apart * torch.sigmoid(hidden)[:, None]) @ inner.weight
    lengths = (slopes.square().sum(2) + 1e-12).sqrt()
    pairs = outer.weight[:, None] - outer.weight
    bends = (-pairs).clamp(min=0).amax(2) / 4 * squared_norm(inner.weight)
    raised = scores + radius * lengths + radius**2 / 2 * bends[labels]
    own = scores.gather(1, labels[:, None])
    return functional.cross_entropy(raised.scatter(1, labels[:, None], own), labels)


def squared_norm(weight: Tensor) -> Tensor:
    """|(JJ')^4|_F^(1/4) >= |J|^2."""
    gram = weight @ weight.T
    size = gram.detach().norm()
    return size * torch.linalg.matrix_power(gram / size, 4).norm() ** 0.25
