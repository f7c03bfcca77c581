"""The norm of one linear map: bounds that are proved, estimates that are witnessed.

    >>> bracket(Conv(weight, image=32, padding=1)).above.value

`METHODS` prove upper bounds, `ESTIMATES` find witnesses.  A new method is one file and one row here;
its contract tests come by themselves.
"""

from __future__ import annotations

from lipaudit.bound import Bracket
from lipaudit.spectral import (
    dense,
    embedding,
    fft,
    four_way,
    gram,
    gram_circular,
    gram_zero,
    lanczos,
    low_resolution,
    patches,
    reshape,
    schur,
    select,
    supremum,
    toeplitz,
)
from lipaudit.spectral.maps import Conv, Dense, LinearMap
from lipaudit.spectral.method import DEFAULT, Estimator, Method
from lipaudit.spectral.select import AUTO, BALANCED, PROFILES, Attempt, Proof, profile_named

__all__ = [
    "ESTIMATES",
    "METHODS",
    "PROFILES",
    "Attempt",
    "Conv",
    "Dense",
    "LinearMap",
    "Proof",
    "bracket",
    "prove",
]

METHODS: tuple[Method, ...] = (
    schur.METHOD,
    reshape.METHOD,
    four_way.TWO_WAY,
    four_way.FOUR_WAY,
    dense.METHOD,
    fft.METHOD,
    embedding.METHOD,
    low_resolution.METHOD,
    supremum.METHOD,
    gram.METHOD,
    gram_circular.METHOD,
    gram_zero.METHOD,
    toeplitz.METHOD,
    patches.METHOD,
)

ESTIMATES: tuple[Estimator, ...] = (lanczos.ESTIMATOR,)


def prove(
    linear_map: LinearMap, method: str = AUTO, profile: str = BALANCED, memory: int = DEFAULT.memory
) -> Proof:
    """Bracket ‖T‖ and say what each method proved, with the arguments of `bracket`.

    A named method without a statement is no error here: it is the first of `attempts`, the others follow.
    """
    return select.prove(linear_map, METHODS, method, profile_named(profile), memory)


def bracket(
    linear_map: LinearMap, method: str = AUTO, profile: str = BALANCED, memory: int = DEFAULT.memory
) -> Bracket:
    """Bracket the spectral norm ‖T‖ of a linear map.

    Args:
        linear_map: `Dense(weight)` or `Conv(weight, image, …)`.
        method: a name from `METHODS`, or `auto` for the best of those that are affordable.
        profile: `fast`, `balanced` or `tight`: how much a tighter bound may cost.
        memory: bytes that a method's own tensors may take at a time.

    Returns:
        `above` (proved, rounding included) and `below` (witnessed; 0 at worst).

    Raises:
        NotCovered: if the named method has no statement about this map; `auto` covers every map.
        UsageError: if no method or profile has that name.
    """
    return select.prove(linear_map, METHODS, method, profile_named(profile), memory, strictly=True).bracket
