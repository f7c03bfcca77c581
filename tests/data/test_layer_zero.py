"""Preprocessing as part of the network, against numpy written down once more."""

from fractions import Fraction
from itertools import product

import numpy as np
import pytest
import torch
from small_graph import bound_of, lifted, raw_graph

from lipaudit.data.layer_zero import prepend
from lipaudit.data.threat import arrange
from lipaudit.errors import InputRefused
from lipaudit.load.preprocessing import Preprocessing
from lipaudit.passes import simplify

SHAPES = {"chw": (3, 4, 5), "hwc": (4, 5, 3), "flat": (60,)}
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def fractions(*texts):
    return tuple(Fraction(str(t)) for t in texts)


def reference(images, layout, scale, mean, std):
    """What a numpy pipeline feeds the network: images (N, C, H, W)."""
    pixels = images.numpy().astype(np.float64)
    mean, std = (
        np.broadcast_to(np.array(v or d, dtype=np.float64), 3) for v, d in ((mean, [0.0]), (std, [1.0]))
    )
    pixels = (scale * pixels - mean[:, None, None]) / std[:, None, None]
    if layout == "hwc":
        pixels = pixels.transpose(0, 2, 3, 1)
    return torch.from_numpy(np.ascontiguousarray(pixels.reshape(len(pixels), *SHAPES[layout])))


def network(layout):
    """A model that shows its input: relu of x and of −x."""
    return raw_graph(lambda x: torch.cat([torch.relu(x), torch.relu(-x)], 1), 1, *SHAPES[layout])


@pytest.mark.parametrize("layout", SHAPES)
@pytest.mark.parametrize("scale", [Fraction(1), Fraction(255), Fraction(1, 255)])
@pytest.mark.parametrize("channels", [None, 1, 3])
def test_the_network_sees_what_a_numpy_pipeline_gives_it(layout, scale, channels):
    mean, std = (() if channels is None else v[:channels] for v in (MEAN, STD))
    preprocessing = Preprocessing(layout=layout, scale=scale, mean=fractions(*mean), std=fractions(*std))
    graph = prepend(network(layout), preprocessing, (3, 4, 5), layout)
    assert graph.input_shape == (1, 3, 4, 5)
    images = torch.rand(4, 3, 4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    wanted = reference(images, layout, float(scale), mean, std)
    wanted = torch.cat([wanted.clamp(min=0), (-wanted).clamp(min=0)], 1)
    for made in (graph, simplify(graph)):
        found = made.run(images).reshape(wanted.shape)
        torch.testing.assert_close(found, wanted, rtol=1e-13, atol=1e-13)
        if channels is None and scale == 1:
            assert torch.equal(found, wanted)
    slope = float(scale) / min(std, default=1.0)
    bound = bound_of(graph).value
    assert slope * 2**0.5 * (1 - 1e-12) <= bound <= slope * 2**0.5 * (1 + 1e-9)


@pytest.mark.parametrize("layout", SHAPES)
def test_the_diagonal_has_exactly_the_largest_factor(layout):
    std = fractions("0.3", "0.1", "-0.07")
    raw = raw_graph(lambda x: x * 1.0, 1, *SHAPES[layout])
    graph = prepend(raw, Preprocessing(scale=Fraction(2), std=std), (3, 4, 5), layout)
    bound = Fraction(bound_of(simplify(graph)).value)
    assert Fraction(200, 7) <= bound <= Fraction(200, 7) * (1 + Fraction(1, 10**14))


@pytest.mark.parametrize("layout", ["chw", "hwc"])
def test_layouts_of_cubes_are_told_apart(layout):
    """With C = H = W the shapes agree, and only the order of the axes differs."""
    raw = raw_graph(lambda x: x.flatten(1)[:, :9], 1, 3, 3, 3)
    preprocessing = Preprocessing(layout=layout, mean=fractions(*MEAN), std=fractions(*STD))
    graph = prepend(raw, preprocessing, (3, 3, 3), arrange((3, 3, 3), (3, 3, 3), layout))
    images = torch.rand(5, 3, 3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    mean, std = (np.array(v)[:, None, None] for v in (MEAN, STD))
    seen = (images.numpy() - mean) / std
    seen = seen if layout == "chw" else seen.transpose(0, 2, 3, 1)
    wanted = torch.from_numpy(np.ascontiguousarray(seen)).flatten(1)[:, :9]
    for made in (graph, simplify(graph)):
        torch.testing.assert_close(made.run(images).flatten(1), wanted, rtol=1e-14, atol=1e-14)


def test_one_channel_flattened_needs_no_permutation():
    raw = raw_graph(lambda x: 2 * x, 1, 20)
    graph = prepend(raw, Preprocessing(mean=fractions("0.5")), (1, 4, 5), "flat")
    images = torch.rand(3, 1, 4, 5, dtype=torch.float64)
    torch.testing.assert_close(
        graph.run(images).flatten(1), 2 * (images.flatten(1) - 0.5), rtol=0, atol=1e-15
    )


def test_vectors_keep_their_order():
    raw = raw_graph(lambda x: 2 * x, 1, 6)
    graph = prepend(raw, Preprocessing(scale=Fraction(1, 2)), (6,), "flat")
    x = torch.rand(3, 6, dtype=torch.float64)
    assert torch.equal(graph.run(x).flatten(1), x)


def test_without_a_data_set_the_models_own_shape_is_kept():
    raw = raw_graph(lambda x: 2 * x, 1, 3, 4, 5)
    graph = prepend(raw, Preprocessing(mean=fractions(*MEAN), std=fractions(*STD)), None, "chw")
    assert graph.input_shape == raw.input_shape
    x = torch.rand(2, 3, 4, 5, dtype=torch.float64)
    wanted = 2 * reference(x, "chw", 1.0, MEAN, STD)
    torch.testing.assert_close(graph.run(x)[:, 0], wanted, rtol=1e-13, atol=1e-13)


def test_nothing_is_added_when_nothing_is_asked_for():
    raw = raw_graph(lambda x: 2 * x, 1, 3, 4, 5)
    graph = prepend(raw, Preprocessing(), (3, 4, 5), "chw")
    assert [node.op for node in graph] == [node.op for node in raw]


@pytest.mark.parametrize(
    ("mean", "std", "sample", "layout"),
    [
        (MEAN, (), (60,), "flat"),
        (MEAN[:2], (), (3, 4, 5), "chw"),
        ((), STD[:2], (3, 4, 5), "hwc"),
        (MEAN[:2], (), (3, 4, 5), "flat"),
    ],
)
def test_channels_that_do_not_fit_are_refused(mean, std, sample, layout):
    raw = raw_graph(lambda x: 2 * x, 1, *SHAPES[layout])
    preprocessing = Preprocessing(mean=fractions(*mean), std=fractions(*std))
    with pytest.raises(InputRefused, match="mean or std"):
        prepend(raw, preprocessing, sample, layout)


def test_factors_beyond_float64_are_refused():
    raw = raw_graph(lambda x: 2 * x, 1, 4)
    for preprocessing in (
        Preprocessing(scale=Fraction(10**200), std=(Fraction(1, 10**200),)),
        Preprocessing(mean=(Fraction(10**200),), std=(Fraction(1, 10**200),)),
    ):
        with pytest.raises(InputRefused):
            prepend(raw, preprocessing, (4,), "flat")


def test_factors_that_underflow_do_not_become_zero():
    """A factor of 0 would make every radius infinite."""
    raw = raw_graph(lambda x: x * 1e300, 1, 4)
    preprocessing = Preprocessing(scale=Fraction(1, 10**200), std=(Fraction(10**200),))
    try:
        graph = prepend(raw, preprocessing, (4,), "flat")
    except InputRefused:
        return
    assert Fraction(bound_of(simplify(graph)).value) >= Fraction(1, 10**100)


def test_the_bound_and_error_count_the_rounding_of_the_factors():
    """One pixel, one weight: the exact value of the affine map is a fraction."""
    raw = raw_graph(lambda x: x * 3.0, 1, 1)
    for scale, mean, std in product(("1", "255", "1/255"), ("0.1307", "1/3"), ("0.3081", "7e-9", "1/7")):
        s, m, d = Fraction(scale), Fraction(mean), Fraction(std)
        graph = simplify(prepend(raw, Preprocessing(scale=s, mean=(m,), std=(d,)), (1,), "flat"))
        assert Fraction(bound_of(graph).value) >= 3 * s / d
        for pixel in (0.0, 1.0, 0.1307, 1 / 3):
            found, error = lifted(graph)(torch.tensor([[pixel]], dtype=torch.float64))
            exact = 3 * (s * Fraction(pixel) - m) / d
            assert abs(Fraction(float(found)) - exact) <= Fraction(float(error))
