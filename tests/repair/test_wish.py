"""A limit is meant as it is written, and kept as budgets judge it."""

import math
from fractions import Fraction

import pytest

from lipaudit.errors import UsageError
from lipaudit.policy import parse_budgets
from lipaudit.repair.wish import Wish

LIMITS = [
    "0.1",
    "0.3",
    "23.7539866",
    "1/3",
    "0.30000000000000000001",
    "0.29999999999999999999",
    "1e-300",
    "20",
]


@pytest.mark.parametrize("text", LIMITS)
def test_the_limit_is_the_largest_double_that_a_budget_of_the_same_text_lets_pass(text):
    wish = Wish(lipschitz=text)
    (budget,) = parse_budgets(max_lipschitz=text)
    assert Fraction(wish.limit) <= budget.limit.value < Fraction(math.nextafter(wish.limit, math.inf))
    assert wish.text == text


def test_numbers_are_meant_as_they_print():
    assert Wish(layer_norm=23.7539866).limit < 23.7539866  # whose double is above the decimal
    assert Wish(layer_norm=0.5).limit == 0.5
    assert Wish(layer_norm=20.0).text == "20"


@pytest.mark.parametrize("limit", [0, -1, 0.0, float("nan"), float("inf"), "ten", "1/0", "1e999", True, ""])
def test_what_is_no_positive_number_is_refused(limit):
    with pytest.raises(UsageError):
        Wish(lipschitz=limit)
