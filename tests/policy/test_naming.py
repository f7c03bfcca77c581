"""Names of modules in budgets and waivers: a limit means all that a module does, an exception one layer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lipaudit.policy.naming import excused, meant

LAYERS = (
    "fc",
    "fc:linear_1",
    "fc2",
    "act:mul",
    "act:relu",
    "conv[1]",
    "conv1",
    "conv[1]:relu",
    "a*",
    "ab",
    "b.c",
    "b:add",
    "d.e:f",
)


@pytest.mark.parametrize(
    ("pattern", "limited", "free"),
    [
        ("fc", {"fc", "fc:linear_1"}, {"fc"}),
        ("act", {"act:mul", "act:relu"}, {"act:mul", "act:relu"}),
        ("fc:linear_1", {"fc:linear_1"}, {"fc:linear_1"}),
        ("fc*", {"fc", "fc:linear_1", "fc2"}, {"fc", "fc:linear_1", "fc2"}),
        ("conv[1]", {"conv[1]", "conv[1]:relu"}, {"conv[1]"}),
        ("conv[12]", set(), set()),
        ("conv?1]", {"conv[1]", "conv[1]:relu"}, {"conv[1]"}),
        ("f?", {"fc", "fc:linear_1"}, {"fc"}),
        ("?", {"b.c", "b:add", "d.e:f"}, set()),
        ("d.?", {"d.e:f"}, set()),
        ("conv[*", {"conv[1]", "conv[1]:relu"}, {"conv[1]", "conv[1]:relu"}),
        ("a*", {"a*", "ab", "act:mul", "act:relu"}, {"a*"}),
        ("*", set(LAYERS), set(LAYERS)),
        ("b", {"b.c", "b:add"}, {"b:add"}),
        ("d", {"d.e:f"}, set()),
        ("d.*", {"d.e:f"}, {"d.e:f"}),
        ("f", set(), set()),
        ("fc:", set(), set()),
    ],
)
def test_names_and_patterns(pattern, limited, free):
    assert meant([pattern], LAYERS) == limited
    assert excused([pattern], LAYERS) == free


@pytest.mark.parametrize("pattern", ["*", "fc*", "f?1", "*1"])
@pytest.mark.parametrize("tail", ["", ":relu", ".x", "[1]"])
def test_no_name_of_a_layer_takes_another_one_out_of_a_limit(pattern, tail):
    assert "fc1" in meant([pattern], ["fc1", pattern + tail])


def test_a_layer_that_is_gone_leaves_its_exception_and_its_limit_to_none():
    assert excused(["fc[1]"], ["fc1"]) == meant(["fc[1]"], ["fc1"]) == frozenset()


NAMES = st.lists(st.text("ab:.*[]?", min_size=1, max_size=4), max_size=6)


@given(NAMES, NAMES)
def test_an_exception_never_reaches_further_than_a_limit(patterns, layers):
    assert excused(patterns, layers) <= meant(patterns, layers) <= set(layers)
    assert set(patterns) & set(layers) <= excused(patterns, layers)


@given(NAMES, NAMES, NAMES)
def test_more_layers_never_limit_fewer(patterns, layers, others):
    assert meant(patterns, layers) <= meant(patterns, [*layers, *others])
