"""Which methods are tried, for how much, and what is told about each."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
import torch
from zoo import normal

from lipaudit.errors import NotCovered, UsageError
from lipaudit.spectral import METHODS, PROFILES, Conv, Dense, bracket, prove, select
from lipaudit.spectral.method import Method, prepare

CIRCLE = Conv(normal(2, 3, 3, 3), 6, padding=1, padding_mode="circular")


def method(name, cost, value, seen=None):
    """A method that says `value` about a normalised map (NotCovered if None), and records its effort."""

    def compute(plain, start, effort):
        if seen is not None:
            seen.append((start, effort))
        if value is None:
            raise NotCovered(f"{name} is silent")
        return value * float(torch.linalg.vector_norm(plain.weight))

    return Method(name, "a stand-in", lambda _: cost, compute, lambda *_: False)


def told(methods, profile="balanced", weight=None):
    linear_map = Dense(torch.diag(torch.tensor([1.0, 0.0])) if weight is None else weight)
    return select.prove(linear_map, methods, "auto", select.profile_named(profile), 2**31)


def test_the_cheapest_is_asked_first_and_what_is_too_dear_is_said():
    proof = told([method("dear", 1e15, 1.0), method("cheap", 1.0, 3.0), method("middling", 1e11, 1.5)])
    assert [a.method for a in proof.attempts] == ["cheap", "middling", "dear"]
    assert proof.bracket.above.method == "middling"
    assert proof.attempts[2].bound is None
    assert "1.0e+15" in proof.attempts[2].note
    assert "1.0e+12" in proof.attempts[2].note
    assert proof.attempts[2].seconds == 0 < proof.attempts[0].seconds


def test_a_tight_bracket_ends_the_search():
    proof = told([method("exact", 1.0, 1 + 1e-9), method("other", 2.0, 1.0)])
    assert proof.bracket.above.method == "exact"
    assert "tight already" in proof.attempts[1].note


def test_silence_has_its_reason():
    proof = told([method("mute", 1.0, None), method("never", math.inf, 1.0), method("last", 1e15, 2.0)])
    notes = {a.method: a.note for a in proof.attempts}
    assert notes["mute"] == "mute is silent"
    assert "not asked" in notes["never"]
    assert notes["last"] == ""  # however dear: a bound is needed
    assert proof.bracket.above.method == "last"


def test_a_method_that_another_outdoes_is_asked_by_name_only():
    better, worse = method("better", 2.0, 1.5), replace(method("worse", 1.0, 1.0), outdone_by="better")
    proof = told([worse, better])
    assert proof.bracket.above.method == "better"
    assert {a.method: a.note for a in proof.attempts}["worse"] == "not asked: better is as tight"
    assert told([worse]).bracket.above.method == "worse"  # nothing outdoes it here
    named = select.prove(
        Dense(torch.eye(2)), [worse, better], "worse", select.profile_named("balanced"), 2**31
    )
    assert named.bracket.above.method == "worse"


def test_no_method_is_outdone_by_one_that_says_less():
    names = {m.name for m in METHODS}
    for linear_map in (Dense(normal(5, 4)), Conv(normal(2, 3, 3, 3), 6, padding=1), CIRCLE):
        for row in METHODS:
            assert row.outdone_by in {"", *(names - {row.name})}
            if row.outdone_by and row.cost(prepare(linear_map)[0]) < math.inf:
                rival = next(m for m in METHODS if m.name == row.outdone_by)
                if rival.cost(prepare(linear_map)[0]) == math.inf:
                    continue
                assert rival.bound(linear_map).value <= row.bound(linear_map).value * (1 + 1e-6)


def test_a_map_that_nobody_covers_is_unbounded():
    proof = told([method("mute", 1.0, None)])
    assert not proof.bracket.above.is_finite
    assert proof.bracket.above.note


def test_an_infinite_bound_is_no_reason_to_spend_everything():
    proof = told([method("overflow", 1.0, math.inf), method("dear", 1e16, 1.0)])
    assert proof.attempts[1].bound is None


def test_a_zero_map_is_not_searched_further():
    proof = told([method("one", 1.0, 1.0), method("two", 2.0, 1.0)], weight=torch.zeros(2, 2))
    assert proof.bracket.above.value == 0
    assert proof.attempts[1].seconds == 0


@pytest.mark.parametrize("profile", PROFILES, ids=lambda p: p.name)
def test_methods_are_told_the_effort(profile):
    seen: list = []
    methods = [method("one", 1.0, 3.0, seen)]
    select.prove(Dense(normal(2, 2)), methods, "auto", profile, 2**28)
    select.prove(Dense(normal(2, 2)), methods, "one", profile, 2**29)
    assert [effort.tolerance for _, effort in seen] == [profile.tolerance] * 2
    assert [effort.memory for _, effort in seen] == [2**28, 2**29]
    assert all(start > 0 for start, _ in seen)  # the witness is worth trying first


def test_a_tighter_profile_affords_at_least_as_much_at_every_slack():
    for quick, thorough in itertools.pairwise(PROFILES):
        assert thorough.tolerance <= quick.tolerance
        for exponent in range(-120, 30):
            above = 1 + 10 ** (exponent / 10)
            assert quick.operations(above, 1.0) <= thorough.operations(above, 1.0)
    for profile in PROFILES:
        affordable = [profile.operations(1 + 10 ** (e / 10), 1.0) for e in range(-120, 30)]
        assert affordable == sorted(affordable)
        assert affordable[0] == 0 < affordable[-1] == profile.operations(1.0, 0.0)


def test_profiles_change_what_is_tried_and_never_what_is_true():
    linear_map = Conv(normal(6, 6, 3, 3), 12, padding=1)
    values = {}
    for profile in PROFILES:
        proof = prove(linear_map, profile=profile.name)
        assert proof.bracket == bracket(linear_map, profile=profile.name)
        values[profile.name] = proof.bracket.above.value
        assert proof.bracket.below.value <= proof.bracket.above.value
        assert {a.method for a in proof.attempts} == {m.name for m in METHODS}
    # Up to what the profiles call close enough.
    assert values["tight"] * (1 - 1e-6) <= values["balanced"] <= values["fast"] * (1 + 1e-6)


def test_a_named_method_is_the_only_attempt():
    proof = prove(Dense(normal(4, 4)), "schur")
    assert [a.method for a in proof.attempts] == ["schur"]


def test_a_named_method_without_a_statement_is_followed_by_the_others():
    linear_map = Dense(normal(4, 4))
    proof, usual = prove(linear_map, "fft"), prove(linear_map)
    assert proof.attempts[0].method == "fft"
    assert proof.attempts[0].bound is None
    assert "circular" in proof.attempts[0].note
    assert {a.method for a in proof.attempts} == {a.method for a in usual.attempts}
    assert len(proof.attempts) == len(usual.attempts)
    assert proof.bracket == usual.bracket
    with pytest.raises(NotCovered, match="circular"):
        bracket(linear_map, "fft")


def test_unknown_names_are_suggested():
    with pytest.raises(UsageError, match="embeding") as caught:
        prove(Dense(normal(2, 2)), "embeding")
    assert "did you mean embedding?" in caught.value.hint
    with pytest.raises(UsageError, match="turbo") as caught:
        bracket(Dense(normal(2, 2)), profile="turbo")
    assert all(p.name in caught.value.hint for p in PROFILES)
