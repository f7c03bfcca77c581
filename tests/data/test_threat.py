"""Layouts by shape alone, and exact channel numbers."""

from fractions import Fraction

import pytest
import torch

from lipaudit.data.threat import arrange, parse_channels, place
from lipaudit.errors import InputRefused, UsageError

GREY, RGB = (1, 28, 28), (3, 32, 30)


@pytest.mark.parametrize(
    ("images", "model", "layout"),
    [
        (GREY, GREY, "chw"),
        (RGB, RGB, "chw"),
        ((3, 3, 3), (3, 3, 3), "chw"),
        (RGB, (32, 30, 3), "hwc"),
        (GREY, (28, 28, 1), "hwc"),
        (GREY, (28, 28), "chw"),
        (GREY, (1, 28, 28, 1), "chw"),
        (GREY, (784,), "flat"),
        (GREY, (784, 1), "flat"),
        (GREY, (1, 1, 784), "flat"),
        ((784,), (784,), "flat"),
        ((784,), (1, 784), "flat"),
    ],
)
def test_what_is_decided_without_asking(images, model, layout):
    assert arrange(images, model, None) == layout


@pytest.mark.parametrize(
    ("images", "model"),
    [
        (RGB, (3 * 32 * 30,)),
        (RGB, (3, 30, 32)),
        (RGB, (1, 32, 30)),
        ((8, 6, 5), (6, 5, 8)),
        (GREY, (1, 32, 32)),
        (GREY, (3, 28, 28)),
        (GREY, (14, 56)),
        (GREY, (4, 14, 14)),
        ((784,), GREY),
        ((784,), (28, 28)),
        (GREY, ()),
    ],
)
def test_what_is_refused(images, model):
    with pytest.raises(InputRefused, match="shapes of model and data disagree") as caught:
        arrange(images, model, None)
    assert str(images) in caught.value.message
    assert str(model) in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("images", "model", "hint"),
    [
        (RGB, (2880,), "--layout flat"),
        ((784,), GREY, "--layout chw"),
        ((8, 6, 5), (6, 5, 8), "--layout hwc"),
        (RGB, (3, 30, 32), "no --layout"),
        (GREY, (1, 32, 32), "not for this model"),
    ],
)
def test_the_hint_says_what_would_fit(images, model, hint):
    with pytest.raises(InputRefused) as caught:
        arrange(images, model, None)
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("images", "model", "layout"),
    [
        (RGB, RGB, "chw"),
        (RGB, (32, 30, 3), "hwc"),
        ((3, 3, 3), (3, 3, 3), "hwc"),
        (RGB, (2880,), "flat"),
        (GREY, (28, 28), "hwc"),
        ((784,), GREY, "chw"),
    ],
)
def test_an_explicit_layout_is_obeyed(images, model, layout):
    assert arrange(images, model, layout) == layout


@pytest.mark.parametrize(
    ("images", "model", "layout"),
    [
        (RGB, RGB, "hwc"),
        (RGB, RGB, "flat"),
        (RGB, (32, 30, 3), "chw"),
        (GREY, (784,), "chw"),
        ((2880,), RGB, "hwc"),
        ((2880,), RGB, "flat"),
    ],
)
def test_an_explicit_layout_must_fit(images, model, layout):
    with pytest.raises(InputRefused, match=f"in layout {layout}"):
        arrange(images, model, layout)


def test_an_unknown_layout_is_a_usage_error():
    with pytest.raises(UsageError, match="unknown layout 'whc'"):
        arrange(RGB, RGB, "whc")


@pytest.mark.parametrize(
    ("images", "model", "layout"),
    [
        (RGB, (32, 30, 3), "hwc"),
        (RGB, RGB, "chw"),
        (RGB, (2880,), "flat"),
        (GREY, (1, 28, 28, 1), "chw"),
        ((2880,), RGB, "chw"),
    ],
)
def test_placing_moves_entries_and_keeps_distances(images, model, layout):
    batch = torch.rand(2, *images, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    placed = place(batch, arrange(images, model, layout), model)
    assert placed.shape == (2, *model)
    assert sorted(placed[0].flatten().tolist()) == sorted(batch[0].flatten().tolist())


def test_channels_last_means_channels_last():
    batch = torch.arange(24.0).reshape(1, 3, 4, 2)
    assert place(batch, "hwc", (4, 2, 3))[0, 1, 0].tolist() == batch[0, :, 1, 0].tolist()
    assert place(batch, "flat", (24,))[0].tolist() == list(range(24))


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("0.5", ["1/2"]),
        ("0.485,0.456,0.406", ["97/200", "57/125", "203/500"]),
        ("1/255", ["1/255"]),
        ("-1, +2 ,.5,5.", ["-1", "2", "1/2", "5"]),
        ("1e-3,2.5E2,0.5/3", ["1/1000", "250", "1/6"]),
    ],
)
def test_channel_numbers_are_exact(text, numbers):
    assert parse_channels(text, "--mean") == tuple(Fraction(number) for number in numbers)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "nan",
        "inf",
        "-inf",
        "0.5,,0.5",
        "0.5,",
        "1/0",
        "1/2/3",
        "1 2",
        "0x1",
        "1_0",
        "٣",
        "1e9999999",
    ],
)
def test_what_is_no_channel_number(text):
    with pytest.raises(UsageError, match="--std") as caught:
        parse_channels(text, "--std")
    assert caught.value.exit_code == 2
