"""The best bound within reason: cheap methods first, until the bracket is tight enough for the profile.

`prove(map)` takes the smallest bound of all methods it tried and the largest estimate, and keeps what
every method said.  It always has a bound, since the Schur test covers every map.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from lipaudit.bound import Bound, Bracket, Estimate
from lipaudit.errors import NotCovered, UsageError
from lipaudit.spectral.lanczos import ESTIMATOR
from lipaudit.spectral.maps import LinearMap
from lipaudit.spectral.method import Effort, Method, prepare

__all__ = [
    "AUTO",
    "BALANCED",
    "PROFILES",
    "Attempt",
    "Profile",
    "Proof",
    "check_memory",
    "chosen",
    "profile_named",
    "prove",
]

LEAST_MEMORY = 2**24
"""Bytes; below it not even small matrices could be held."""
AUTO = "auto"
"""The name that stands for the best of all affordable methods."""


@dataclass(frozen=True, slots=True)
class Profile:
    """How much a tighter bound may cost.

    Args:
        name: what `--profile` calls it.
        worth: pairs (slack, float operations), loosest first: what one further method may cost while the
            slack is above a value; below the last one nothing more is tried.
        tolerance: what each method is told (`Effort`).
        witness: the same for the search from below (`Estimator`).
        search: float operations after which a search over frequencies takes what it has (`Effort`).
    """

    name: str
    worth: tuple[tuple[float, float], ...]
    tolerance: float
    witness: float
    search: float

    def operations(self, above: float, below: float) -> float:
        """Float operations that a further bound may cost, by how loose the present one is."""
        if above == 0:
            return 0.0
        slack = above / below if below > 0 else math.inf
        return next((cost for limit, cost in self.worth if slack > limit), 0.0)


BALANCED = "balanced"
PROFILES = (
    Profile("fast", ((1.2, 5e11), (1.05, 6e10), (1.01, 5e9), (1.001, 2e9), (1 + 1e-5, 1e8)), 1e-5, 1e-3, 5e9),
    # Half a minute on one core for what is loose, a second for the last per cent, less for the rest.
    Profile(BALANCED, ((1.05, 1e12), (1.01, 1e11), (1.001, 2e10), (1 + 1e-6, 2e9)), 3e-7, 1e-4, 2e10),
    # Minutes, until the bracket is as tight as a printed number of six digits.
    Profile("tight", ((1 + 1e-6, 1e13), (1 + 1e-9, 1e10)), 1e-9, 1e-8, 1e12),
)
"""From quick to tight."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """What came of one method on one map.

    Args:
        method: its name.
        bound: what it proved; None if it was not tried or has no statement.
        seconds: wall time; 0 if it was not tried.
        note: why there is no bound.
    """

    method: str
    bound: Bound | None
    seconds: float = 0.0
    note: str = ""


@dataclass(frozen=True, slots=True)
class Proof:
    """A bracket and how it came about.

    Args:
        bracket: the smallest bound and the witness.
        attempts: one per method that was considered, in the order of their costs.
        witness_seconds: wall time of the search from below.
    """

    bracket: Bracket
    attempts: tuple[Attempt, ...]
    witness_seconds: float


def profile_named(name: str) -> Profile:
    """The profile of that name.

    Raises:
        UsageError: if there is none.
    """
    found = next((p for p in PROFILES if p.name == name), None)
    if found is None:
        names = ", ".join(p.name for p in PROFILES)
        raise UsageError(f"no profile is called {name!r}", hint=f"choose one of {names}")
    return found


def chosen(methods: Sequence[Method], name: str) -> Sequence[Method]:
    """The methods that a name stands for: all of them for `auto`, else one.

    Raises:
        UsageError: if no method has that name.
    """
    found = methods if name == AUTO else [m for m in methods if m.name == name]
    if not found:
        names = [AUTO, *(m.name for m in methods)]
        close = get_close_matches(name, names, n=1)
        meant = f"did you mean {close[0]}? " if close else ""
        raise UsageError(
            f"no spectral method is called {name!r}", hint=f"{meant}choose one of {', '.join(names)}"
        )
    return found


def check_memory(memory: int) -> None:
    """Enough for small matrices?

    Raises:
        UsageError: if it is not a whole number of bytes from 16 MiB on.
    """
    if not isinstance(memory, int) or memory < LEAST_MEMORY:
        raise UsageError(f"memory={memory!r}: bytes, at least 16MiB, are needed", hint="such as 2**31")


def prove(
    linear_map: LinearMap,
    methods: Sequence[Method],
    method: str,
    profile: Profile,
    memory: int,
    *,
    strictly: bool = False,
) -> Proof:
    """Bracket the norm by one named method, or by the best of all that are affordable.

    Args:
        linear_map: a `Dense` or `Conv`.
        methods: the table to choose from.
        method: a method's name, or `auto`.  Where the named one has no statement about this map its attempt
            stands first, without a bound, and the others follow.
        profile: how much a bound may cost.
        memory: bytes that a method's tensors may take at a time.
        strictly: ask no others than the named method.

    Raises:
        NotCovered: if the named method has no statement about this map, and `strictly`.
        UsageError: if no method has that name, or memory is no amount to work with.
    """
    candidates = chosen(methods, method)
    check_memory(memory)
    effort = Effort(profile.tolerance, memory, profile.search)
    started = time.perf_counter()
    below = ESTIMATOR.estimate(linear_map, tolerance=profile.witness)
    seconds = time.perf_counter() - started
    attempts = [] if method == AUTO else [_timed(candidates[0], linear_map, below, effort)]
    if strictly and attempts and attempts[0].bound is None:
        raise NotCovered(attempts[0].note)
    if not any(a.bound for a in attempts):
        rest = [m for m in methods if m.name != method]
        attempts += _attempts(linear_map, rest, below, profile, effort)
    bounds = [a.bound for a in attempts if a.bound is not None]
    nothing = Bound.unbounded("no method covers this map")
    above = min(bounds, key=lambda bound: bound.value, default=nothing)
    return Proof(Bracket(above, below), tuple(attempts), seconds)


def _timed(method: Method, linear_map: LinearMap, below: Estimate, effort: Effort) -> Attempt:
    started = time.perf_counter()
    bound, note = None, ""
    try:
        bound = method.bound(linear_map, below.value, effort)
    except NotCovered as error:
        note = error.message
    return Attempt(method.name, bound, time.perf_counter() - started, note)


def _attempts(
    linear_map: LinearMap, methods: Sequence[Method], below: Estimate, profile: Profile, effort: Effort
) -> list[Attempt]:
    plain, _ = prepare(linear_map)
    best: float | None = None
    costs = {m.name: m.cost(plain) for m in methods}
    found, names = [], {name for name, cost in costs.items() if cost < math.inf}
    for method in sorted(methods, key=lambda m: costs[m.name]):
        cost = costs[method.name]
        worth = math.inf if best is None else profile.operations(best, below.value)
        if cost == math.inf:
            attempt = Attempt(method.name, None, note="not asked: no statement about such a map")
        elif method.outdone_by in names:
            attempt = Attempt(method.name, None, note=f"not asked: {method.outdone_by} is as tight")
        elif cost > worth:
            attempt = Attempt(method.name, None, note=_too_dear(cost, worth))
        else:
            attempt = _timed(method, linear_map, below, effort)
        if attempt.bound is not None:
            best = min(attempt.bound.value, math.inf if best is None else best)
        found.append(attempt)
    return found


def _too_dear(cost: float, worth: float) -> str:
    if worth == 0:
        return "not tried: the bracket was tight already"
    return f"not tried: about {cost:.1e} float operations, where {worth:.1e} were affordable"
