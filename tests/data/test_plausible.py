"""Chance against scipy's binomial distribution."""

import pytest
import torch
from scipy.stats import binom

from lipaudit.data.plausible import SIGNIFICANCE, is_near_chance


def near(hits, n, classes, labels=None):
    correct = torch.arange(n) < hits
    return is_near_chance(correct, torch.arange(n) % classes if labels is None else labels, classes)


@pytest.mark.parametrize("classes", [2, 5, 10])
@pytest.mark.parametrize("n", [10, 100, 1000])
def test_the_tail_is_the_binomial_one(n, classes):
    for hits in range(0, n, max(1, n // 50)):
        tail = float(binom.sf(hits - 1, n, 1 / classes))
        if abs(tail - SIGNIFICANCE) > 1e-9:
            assert near(hits, n, classes) == (tail > SIGNIFICANCE)


def test_all_correct_is_never_chance():
    assert not near(1, 1, 10)
    assert not near(3, 3, 2)


def test_nothing_correct_is_chance():
    assert near(0, 100, 10)


def test_a_constant_guess_is_chance():
    labels = torch.cat([torch.zeros(90), torch.ones(10)]).long()
    assert near(90, 100, 2, labels)
    assert not near(99, 100, 2, labels)


@pytest.mark.parametrize("hits", [0, 50, 100])
def test_samples_of_one_class_tell_nothing(hits):
    for label in (0, 3):
        assert near(hits, 100, 10, torch.full((100,), label))
    assert not near(9, 9, 10, torch.zeros(9).long())


def test_one_logit_is_two_classes():
    labels = torch.arange(100) % 2
    assert near(55, 100, 1, labels)
    assert not near(80, 100, 1, labels)
