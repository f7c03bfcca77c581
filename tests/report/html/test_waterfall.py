"""The waterfall: every layer once and in order, each row beginning where the one before ended."""

import itertools
import math

import pytest
import sample_report as sample
from hypothesis import given
from hypothesis import strategies as st

from lipaudit.bound import Bound, Estimate
from lipaudit.report.html.waterfall import stretches
from lipaudit.report.model import Layer

RUNNING = st.lists(st.sampled_from([0.0, 0.5, 1.0, 3.0, 1e9, math.inf]), max_size=80)


def layers_of(running):
    return tuple(
        Layer.of(
            f"layer{k}",
            "conv2d",
            Bound(2.0, "dense"),
            Estimate(1.0, "ascent"),
            Bound(value, "composition") if value < math.inf else Bound.unbounded("no rule"),
        )
        for k, value in enumerate(running)
    )


@given(RUNNING, st.sets(st.integers(0, 79), max_size=4))
def test_rows_lead_from_one_to_the_last_value(running, kept):
    layers = layers_of(running)
    rows = stretches(layers, frozenset(f"layer{k}" for k in kept))
    assert [layer for row in rows for layer in row.layers] == list(layers)
    assert all(one.after == two.before for one, two in itertools.pairwise(rows))
    assert all(row.after == row.layers[-1].running.value for row in rows)
    if rows:
        assert rows[0].before == 1.0


def test_a_long_network_has_few_rows_and_its_largest_steps_alone():
    running = [1.0] * 100 + [10.0] * 100 + [5.0] * 100
    rows = stretches(layers_of(running), frozenset({"layer250"}))
    assert len(rows) <= 2 * 17 + 1
    alone = {row.layers[0].name for row in rows if len(row.layers) == 1}
    assert {"layer100", "layer200", "layer250"} <= alone


@pytest.mark.parametrize("count", [1, 32])
def test_a_short_network_has_a_row_per_layer(count):
    assert len(stretches(layers_of([2.0] * count))) == count


def test_the_sample_is_long():
    rows = stretches(sample.large_report().evidence.layers)
    assert sum(len(row.layers) for row in rows) == 200
    assert len(rows) <= 33
