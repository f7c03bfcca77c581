"""The comparison with the reference runtime."""

import numpy as np
import pytest
import torch

from lipaudit.errors import ConversionMismatch, InputRefused
from lipaudit.load.verify import TOLERANCE, compare, probes, refuse_coupling


def run(ours, reference, shape=(1, 2, 6, 6)):
    return compare(ours, reference, probes(shape, np.float32), "m.onnx")


def test_probes_are_seeded_and_not_all_noise():
    first, second = (probes((1, 3, 8, 8), np.float32) for _ in range(2))
    assert len(first) >= 3
    for kind, value in first.items():
        assert value.dtype == np.float32
        assert np.array_equal(value, second[kind])
    smooth = first["smooth image"]
    assert 0 <= smooth.min() < smooth.max() <= 1
    assert np.abs(np.diff(smooth, axis=-1)).max() < 0.5 * np.ptp(smooth)
    assert not first["zeros"].any()


def test_equal_functions_pass_and_the_difference_is_reported():
    outcome = run(lambda x: 2 * x + 1, lambda x: (2 + 1e-6) * x + 1)
    assert 0 < outcome.difference < TOLERANCE
    assert outcome.as_dict()["inputs"] == 7


@pytest.mark.parametrize(
    ("ours", "reference", "kind"),
    [
        (lambda x: x, lambda x: x + 0.01, "zeros"),
        (lambda x: x, lambda x: x * 1.001, "uniform"),
        (lambda x: x, lambda x: np.clip(x, -6, 6), "wide normal"),
        (np.abs, lambda x: x, "normal"),
        (lambda x: x, lambda x: x + 0.01 * np.maximum(np.abs(x) - 100, 0), "normal times 1e2"),
        (lambda x: x, lambda x: x + np.maximum(np.abs(x) - 1000, 0), "normal times 1e4"),
        (lambda x: x * np.nan, lambda x: x, "zeros"),
        (lambda x: x[..., :-1], lambda x: x, "numbers"),
    ],
)
def test_differences_are_named(ours, reference, kind):
    with pytest.raises(ConversionMismatch, match=kind):
        run(ours, reference)


def test_amplified_rounding_far_out_is_no_mismatch():
    def chaotic(x):
        return np.sin(1e4 * x.astype(np.float64) * (np.abs(x) > 40))

    run(lambda x: chaotic(x * (1 + 1e-7)), chaotic)


def test_saturated_outputs_are_compared_absolutely():
    def sigmoid(x):
        return 1 / (1 + np.exp(-np.clip(x.sum(axis=(1, 2, 3)), -30, 30)))

    run(lambda x: sigmoid(x) + 1e-9, sigmoid)


@pytest.mark.parametrize("scale", [1e-8, 1e-12, 1e-20])
def test_tiny_outputs_are_compared_relatively(scale):
    run(lambda x: scale * (2 + 1e-6) * x.astype(float), lambda x: scale * 2 * x.astype(float))
    with pytest.raises(ConversionMismatch, match=r"uniform|normal"):
        run(lambda x: scale * 1.001 * x.astype(float), lambda x: scale * x.astype(float))
    with pytest.raises(InputRefused, match="influence each other"):
        refuse_coupling(lambda x: scale * (x + x.mean(axis=0)), probes((1, 6), np.float32), "m")


def test_outputs_that_are_all_zero_are_compared_absolutely():
    run(lambda x: 0 * x + 1e-12, lambda x: 0 * x)
    with pytest.raises(ConversionMismatch, match="zeros"):
        run(lambda x: 0 * x + 1e-6, lambda x: 0 * x)


def test_nan_of_the_reference_is_refused_unless_far_outside():
    with pytest.raises(InputRefused, match="NaN or infinity on zeros"):
        run(lambda x: x, lambda x: x if x.any() else x + np.nan)
    with np.errstate(over="ignore"):
        wide = run(np.exp, lambda x: np.where(np.abs(x).max() > 10, np.inf, np.exp(x)))
    assert wide.inputs == 4


def test_samples_that_influence_each_other_are_refused():
    inputs = probes((1, 6), np.float32)
    refuse_coupling(lambda x: 2 * x + 1, inputs, "m")
    refuse_coupling(lambda x: x.reshape(1, 6), inputs, "m")
    for coupled in (lambda x: x - x.mean(axis=0), lambda x: x + np.maximum(x.max(axis=0) - 100, 0)):
        with pytest.raises(InputRefused, match="influence each other"):
            refuse_coupling(coupled, inputs, "m")


@pytest.mark.parametrize(
    "coupled",
    [
        lambda x: x.cumsum(0),
        lambda x: x + torch.cat([torch.zeros_like(x[:1]), x[:-1]]),
        lambda x: x + torch.cat([x[1:], torch.zeros_like(x[:1])]),
        lambda x: x + torch.cat([torch.zeros_like(x[:2]), x[:-2]]) if len(x) > 2 else x,
        lambda x: x - x.mean(0, keepdim=True) if len(x) > 1 else x,
    ],
)
def test_rows_that_depend_on_others_are_refused(coupled):
    """On rows before or behind, next to them or further away."""
    inputs = probes((1, 3), np.float32)

    def program(x):
        return coupled(torch.from_numpy(x)).numpy()

    with pytest.raises(InputRefused, match="influence each other"):
        refuse_coupling(program, inputs, "m")


def test_a_program_of_one_sample_is_not_concerned():
    def program(x):
        assert len(x) == 1
        return x

    refuse_coupling(program, probes((1, 3), np.float32), "m")
    refuse_coupling(lambda x: 2 * x, probes((1, 3), np.float32), "m")
