"""What layers are called, where a pattern means none of them: the ones that are spelt alike come first."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

__all__ = ["layers_called"]

_SHOWN = 3


def layers_called(pattern: str, layers: Sequence[str]) -> str:
    """`layers are called conv1, conv2, …`; names are the network's own, so they may be hostile.

    Args:
        pattern: what means no layer.
        layers: the names of all layers, in the network's order.
    """
    near = get_close_matches(pattern, layers, n=_SHOWN) or list(layers[:_SHOWN])
    more = ", …" if len(layers) > len(near) else ""
    return f"layers are called {', '.join(near)}{more}" if near else "there are no layers"
