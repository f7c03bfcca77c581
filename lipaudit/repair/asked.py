"""Which layers a wish speaks of, which of them may change, and why the others may not.

Asked for are all linear layers (`spectrum.parts`), each by itself, or those that `--layer` names.  **Left
alone** is a layer whose weights are tied, computed or not in the file (`stored`), one inside a part that is
bounded by its structure (`structure`), and one without weights of its own: pooling, resizing, scaling,
repeating, blocks between two Fourier transforms.  A limit for every layer is one for them, too: where one of
them exceeds it, nothing comes out; where it keeps it, nothing has to change.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from lipaudit.errors import Unreached, UsageError
from lipaudit.graph.graph import LayerGraph
from lipaudit.policy.naming import matching
from lipaudit.repair.network import Network
from lipaudit.repair.stored import LeftAlone, StoredLayer, linear_map_of
from lipaudit.repair.structure import structured
from lipaudit.repair.wish import Wish
from lipaudit.report.number import Number
from lipaudit.report.wording import bound_text, shown_up
from lipaudit.spectrum.parts import is_linear

__all__ = ["Asked", "asked_layers", "check_stuck", "linear_names", "reasons"]

_SHOWN = 6
"""Names and reasons in one message."""


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """The layers of a wish.

    Args:
        free: asked for, and may change.
        held: asked for, and left alone.
        idle: names of those that nobody asked for.
    """

    free: Sequence[StoredLayer]
    held: Sequence[LeftAlone]
    idle: Sequence[str]


def linear_names(graph: LayerGraph) -> list[str]:
    """The linear layers, in graph order: all that can amplify, whether or not they can be changed."""
    return [node.name for node in graph if is_linear(node, graph)]


def asked_layers(
    network: Network, found: Sequence[StoredLayer], left: Sequence[LeftAlone], patterns: Collection[str]
) -> Asked:
    """Sort the linear layers.

    Args:
        network: before.
        found: layers whose weights the file stores.
        left: layers with weights that it does not, or not once.
        patterns: of `--layer`; none means all.

    Raises:
        UsageError: a pattern means no linear layer.
    """
    names = linear_names(network.graph)
    for pattern in patterns:
        if not matching(pattern, names):
            region = " … " in pattern  # as `spectrum` calls it
            known = f"{', '.join(names[:_SHOWN])}{', …' if len(names) > _SHOWN else ''}" or "there is none"
            raise UsageError(
                f"--layer {pattern}: no linear layer is called so",
                hint=("a region is limited by no layer's norm; " if region else "")
                + f"linear layers: {known}; * stands for any text",
            )
    asked = {name for pattern in patterns or ("*",) for name in matching(pattern, names)}
    why = {alone.name: alone.why for alone in left}
    why |= {
        node.name: f"only weights of convolutions and dense layers are changed, this is {node.op.name}"
        for node in network.graph
        if node.name in names and linear_map_of(node) is None
    }
    why |= {
        name: f"in a block whose structure bounds it by {shown_up(claim.bound.value)} ({claim.bound.method})"
        for name, claim in structured(network).items()
    }
    return Asked(
        [layer for layer in found if layer.name in asked and layer.name not in why],
        [LeftAlone(name, why[name]) for name in names if name in asked and name in why],
        [name for name in names if name not in asked],
    )


def check_stuck(network: Network, asked: Asked, wish: Wish) -> None:
    """A limit for every layer needs every layer.

    Raises:
        Unreached: one that is left alone exceeds it.
    """
    stuck = [alone for alone in asked.held if not network.stated(alone.name) <= wish.limit]
    if not stuck:
        return
    shown = [
        f"{alone.name} (≤ {bound_text(Number.from_bound(network.stated(alone.name)))})"
        for alone in stuck[:_SHOWN]
    ]
    more = f" and {len(stuck) - _SHOWN} more" if len(stuck) > _SHOWN else ""
    layers = "layer is" if len(stuck) == 1 else "layers are"
    them = "it" if len(stuck) == 1 else "them"
    others = f"Leave {them} out" if wish.layers else "Name the layers to clip (--layer)"
    raise Unreached(
        f"{len(stuck)} {layers} left alone and would stay above {wish.text}: {', '.join(shown)}{more}",
        hint=f"{reasons(stuck)}. {others}, or bound the network instead: --lipschitz C",
    )


def reasons(held: Sequence[LeftAlone]) -> str:
    """`conv, fc: computed when the model runs; …`: layers by the reason why they are left alone."""
    names: dict[str, list[str]] = {}
    for alone in held:
        names.setdefault(alone.why, []).append(alone.name)
    told = [
        f"{', '.join(called[:_SHOWN])}{', …' if len(called) > _SHOWN else ''}: {why}"
        for why, called in names.items()
    ]
    return "; ".join(told[:_SHOWN])
