"""A policy with a budget of every kind and a waiver of one of them, for tests of real audits."""

from __future__ import annotations

import json
from collections.abc import Sequence

__all__ = ["policy_text"]

TEMPLATE = """
[[budget]]
id = "lip"
metric = "lipschitz"
max = {lipschitz}
[[budget]]
id = "layers"
metric = "lipschitz"
layers = {layers}
max = {each}
[[budget]]
id = "cert"
metric = "certified_accuracy"
eps = "{eps}"
min = "{certified}"
[[budget]]
id = "clean"
metric = "clean_accuracy"
min = "{clean}"
{more}
[[waiver]]
budget = "layers"
{of}reason = "scaled on purpose"
owner = "me"
expires = {expires}
"""


def policy_text(
    *,
    lipschitz: float,
    layers: Sequence[str],
    each: float,
    eps: str,
    certified: str,
    clean: str,
    more: str = "",
    of: Sequence[str] = (),
    expires: str = "2999-01-31",
) -> str:
    """The file.

    Args:
        lipschitz: limit of the network.
        layers: patterns of layers, each of which has the limit `each`; this budget is waived.
        each: see `layers`.
        eps: a radius, at which a share of `certified` is asked for.
        certified: see `eps`.
        clean: share of correct answers.
        more: further budgets or requirements.
        of: patterns of the layers that the waiver is about; none: the budget as a whole.
        expires: the waiver's last day.
    """
    about = f"layers = {json.dumps(list(of))}\n" if of else ""
    return TEMPLATE.format(
        lipschitz=lipschitz,
        layers=json.dumps(list(layers)),
        each=each,
        eps=eps,
        certified=certified,
        clean=clean,
        more=more,
        of=about,
        expires=expires,
    )
