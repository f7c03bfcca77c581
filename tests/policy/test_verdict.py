"""The precedence of exit codes, as a full matrix."""

from itertools import chain, combinations, product

import pytest
import sample_report as sample

from lipaudit.errors import ExitCode
from lipaudit.policy import decide
from lipaudit.policy.verdict import most_serious

OUTCOMES = ("pass", "fail", "inconclusive")


def subsets(items):
    return [*chain.from_iterable(combinations(items, k) for k in range(len(items) + 1))]


@pytest.mark.parametrize(("found", "incomplete"), [*product(subsets(OUTCOMES), [False, True])])
def test_decide_matrix(found, incomplete):
    verdict, code = decide([sample.budget(outcome) for outcome in found], incomplete=incomplete)
    if "fail" in found:
        assert (verdict, code) == ("fail", 1)
    elif incomplete:
        assert (verdict, code) == ("incomplete", 3)
    elif "inconclusive" in found:
        assert (verdict, code) == ("inconclusive", 1)
    else:
        assert (verdict, code) == ("pass", 0)
    assert sample.report(verdict).exit_code == code


def test_the_order_of_outcomes_does_not_matter():
    for outcomes in product(OUTCOMES, repeat=3):
        budgets = [sample.budget(outcome) for outcome in outcomes]
        assert decide(budgets, incomplete=False) == decide(reversed(budgets), incomplete=False)


@pytest.mark.parametrize("errors", subsets([70, 130, 2, 4, 5]))
@pytest.mark.parametrize("verdict", [0, 1, 3])
def test_errors_outrank_every_verdict_in_their_order(errors, verdict):
    expected = errors[0] if errors else verdict
    assert most_serious([ExitCode(e) for e in reversed(errors)], ExitCode(verdict)) == expected
