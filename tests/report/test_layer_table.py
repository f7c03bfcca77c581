"""The table of layers: every layer once, no number cut, whatever the width and the names."""

import re

import pytest
import sample_report as sample
import sample_screens as screens
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from lipaudit.bound import Bound, Estimate
from lipaudit.report.layer_rows import COSTLIEST, MOST, omission, rows
from lipaudit.report.layer_table import layer_table
from lipaudit.report.model import Layer
from lipaudit.report.wording import bound_text, estimate_text, printable

NAMES = st.lists(
    st.text(st.sampled_from("ab.0/ \x1b[é層"), min_size=1, max_size=12), min_size=1, max_size=12, unique=True
)
NUMBERS = st.one_of(
    st.just(0.0),
    st.floats(1e-300, 1e300),
    st.floats(1.0, 1.001),
    st.just(float("inf")),
)


def layer(name, value=2.0, running=3.0):
    def bound(number):
        return Bound(number, "exact") if number < float("inf") else Bound.unbounded("no rule")

    below = Estimate(value / 2, "lanczos") if 0 < value < float("inf") else None
    return Layer.of(
        name, "conv2d", bound(value), below, bound(running), origin="net.py:3", shape=(1, 3, 8, 8)
    )


def lines(evidence, width=96, **options):
    return [line.plain for line in layer_table(evidence, width=width, **options)]


@given(names=NAMES, values=st.lists(NUMBERS, min_size=12, max_size=12), width=st.integers(60, 200))
@settings(max_examples=60, deadline=None)
def test_lines_fit_and_numbers_are_whole(names, values, width):
    layers = [
        layer(name, *pair) for name, pair in zip(names, zip(values, values[::-1], strict=True), strict=False)
    ]
    evidence = sample.evidence(layers=tuple(layers))
    shown = lines(evidence, width)
    assert max(map(cell_len, shown)) <= width
    words = " ".join(shown).split()
    for found in layers:
        assert bound_text(found.upper) in words
        assert bound_text(found.running) in words
        assert "lower" not in shown[0] or estimate_text(found.lower) in words
    assert all(line.isprintable() for line in shown)


@given(names=NAMES)
def test_every_layer_has_one_row_whose_path_and_label_are_its_name(names):
    evidence = sample.evidence(layers=tuple(map(layer, names)))
    paths, found = [], []
    for row in rows(evidence, all_layers=False):
        depth = len(row.margin[0]) // 2
        del paths[depth:]
        if row.layer is None:
            paths.append(row.label)
            continue
        found.append(row.layer.name)
        name = printable(row.layer.name)
        assert row.label == name or name.endswith(row.label)
        left = re.sub(r"[./]", "", name.removesuffix(row.label) if row.label != name else "")
        assert row.label == name or re.sub(r"[./]", "", "".join(paths)) == left
    assert found == names


def test_shared_paths_are_printed_once():
    names = ["stem", "layer1.0.conv1", "layer1.0.bn1", "layer1.0", "layer1.1.conv1", "layer1.1.relu", "fc"]
    shown = [
        line.split("  conv2d")[0].rstrip() for line in lines(sample.evidence(layers=tuple(map(layer, names))))
    ]
    assert shown[2:] == [
        "stem",
        "layer1",
        "  0",
        "    conv1",
        "    bn1",
        "    layer1.0",
        "  1",
        "    conv1",
        "    relu",
        "fc",
    ]


def test_one_layer_alone_keeps_its_whole_name():
    names = ["a.b.conv", "relu", "a.b.bn"]
    shown = lines(sample.evidence(layers=tuple(map(layer, names))))
    assert [line.split()[0] for line in shown[2:]] == names


def test_the_deepest_names_do_not_exhaust_the_stack():
    deep = ".".join("a" * 3000)
    evidence = sample.evidence(layers=(layer(f"{deep}.x"), layer(f"{deep}.y")))
    assert max(map(cell_len, lines(evidence, 60))) <= 60


def test_parts_are_marked_and_closed():
    shown = lines(screens.SCREENS["residual"].evidence)
    first = next(k for k, line in enumerate(shown) if line.startswith("└ whole, from input"))
    assert [line[0] for line in shown[first - 4 : first + 2]] == ["│", "│", "│", "│", "└", " "]
    row = shown[first].split()
    assert row[4:] == ["4", "layers", "—", "1.75", "—", "4.375", "semidefinite"]


def test_parts_inside_of_parts():
    block = screens.SCREENS["residual"].evidence.blocks[0]
    inner = block.model_copy(update={"end": block.layers[1], "layers": block.layers[:2]})
    evidence = sample.evidence(**(screens.network(1, 1) | {"blocks": (inner, block)}))
    marks = [line[0] for line in lines(evidence)[2:]]
    assert "".join(marks) == "  ││├││└ "


def test_sixty_layers_are_all_shown_in_order():
    evidence = sample.evidence(layers=tuple(map(sample.conv, range(MOST))))
    assert [row.layer.name for row in rows(evidence, all_layers=False)] == [f"conv{k}" for k in range(MOST)]
    assert omission(evidence, all_layers=False) == ""


def test_long_networks_show_what_costs_most_first():
    evidence = sample.evidence(layers=tuple(map(sample.conv, range(100))))
    shown = [row.layer.name for row in rows(evidence, all_layers=False)]
    assert shown == [f"conv{k}" for k in range(99, 99 - COSTLIEST, -1)]
    assert omission(evidence, all_layers=False).startswith("… 70 layers with no larger gain")
    assert len(rows(evidence, all_layers=True)) == 100
    assert omission(evidence, all_layers=True) == ""


def test_what_has_no_bound_leads_also_inside_of_a_part():
    fields = screens.network(4, 10)
    changed = list(fields["layers"])
    changed[3] = sample.unknown(changed[3].name)
    evidence = sample.evidence(**(fields | {"layers": tuple(changed)}))
    assert rows(evidence, all_layers=False)[0].layer.name == changed[3].name


@pytest.mark.parametrize("blocks", [5, 10, 20])
def test_what_is_left_out_is_counted(blocks):
    evidence = sample.evidence(**screens.network(4, blocks))
    shown = rows(evidence, all_layers=False)
    inside = {name for block in evidence.blocks for name in block.layers}
    said = omission(evidence, all_layers=False)
    if len(evidence.layers) <= MOST:
        return
    counted = dict(re.findall(r"(\d+ (?:layers?|parts?))(?: (inside))?", said))
    singles = [row for row in shown if row.block is None]
    left = len(evidence.layers) - len(inside) - len(singles)
    assert f"{left} layers" in counted
    assert counted[f"{len(inside)} layers"] == "inside"
    parts = len(evidence.blocks) - (len(shown) - len(singles))
    assert (f"{parts} parts" in counted) == (parts > 0)


def test_a_column_without_an_entry_is_left_out():
    evidence = sample.evidence(layers=tuple(map(sample.conv, range(4))))
    assert "shape" in lines(evidence, 160)[0]
    assert "origin" not in lines(evidence, 160)[0]


@pytest.mark.parametrize(
    ("width", "columns"),
    [
        (60, "layer op lower upper running"),
        (96, "layer op lower upper slack running method"),
        (160, "layer op lower upper slack running method shape origin"),
    ],
)
def test_columns_by_width(width, columns):
    names = [f"features.layer{k}.long_name_of_a_convolution" for k in range(4)]
    evidence = sample.evidence(layers=tuple(layer(name, 1 + 2e-9, 1 + 3e-9) for name in names))
    assert lines(evidence, width)[0].split() == columns.split()
