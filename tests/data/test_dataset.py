"""Selection, fingerprint, pixels, labels."""

import hashlib

import numpy as np
import pytest
import torch

from lipaudit.data import DATASETS, check_labels, load_dataset
from lipaudit.errors import InputRefused, UsageError


@pytest.fixture
def spec(write_npz):
    rng = np.random.default_rng(1)
    return write_npz(images=rng.integers(0, 256, (50, 4, 3), dtype=np.uint8), labels=np.arange(50) % 10)


def test_none_is_no_data_set():
    assert load_dataset("none") is None


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_below_one_is_a_usage_error_even_without_data(limit):
    with pytest.raises(UsageError, match="at least one sample"):
        load_dataset("none", limit=limit)


def test_a_negative_seed_is_a_usage_error(spec):
    with pytest.raises(UsageError, match="seed"):
        load_dataset(spec, limit=3, seed=-1)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("mnst", "did you mean mnist?"),
        ("MNIST", "did you mean mnist?"),
        ("non", "did you mean none?"),
        ("imagenet", "known are"),
        ("digits.npz", "write npz:digits.npz"),
        ("", "known are"),
        ("none:test", "did you mean none?"),
    ],
)
def test_an_unknown_name_lists_what_exists(text, hint):
    with pytest.raises(UsageError, match="unknown data set") as caught:
        load_dataset(text)
    assert caught.value.exit_code == 2
    assert hint in caught.value.hint
    for source in DATASETS.values():
        assert source.usage in caught.value.hint


def test_a_limit_takes_the_first(spec):
    data = load_dataset(spec, limit=7)
    assert data.indices.tolist() == list(range(7))
    assert (len(data), data.total) == (7, 50)
    assert torch.equal(data.images, load_dataset(spec).images[:7])


def test_a_limit_beyond_the_set_takes_all(spec):
    assert len(load_dataset(spec, limit=51)) == 50
    assert load_dataset(spec, limit=51, seed=3).indices.tolist() == list(range(50))


def test_a_seed_draws_without_replacement_in_file_order(spec):
    whole = load_dataset(spec)
    data = load_dataset(spec, limit=20, seed=5)
    drawn = data.indices.tolist()
    assert drawn == sorted(set(drawn))
    assert len(drawn) == 20
    assert drawn != list(range(20))
    assert torch.equal(data.images, whole.images[data.indices])
    assert torch.equal(data.labels, whole.labels[data.indices])


def test_draws_repeat_differ_by_seed_and_nest(spec):
    first = load_dataset(spec, limit=20, seed=5).indices.tolist()
    assert load_dataset(spec, limit=20, seed=5).indices.tolist() == first
    assert load_dataset(spec, limit=20, seed=6).indices.tolist() != first
    assert set(load_dataset(spec, limit=10, seed=5).indices.tolist()) < set(first)


def test_the_draw_is_the_same_on_every_machine(spec):
    # NumPy promises this bit stream; a report from another machine must name the same samples.
    keys = np.random.PCG64(0).random_raw(50)
    assert load_dataset(spec, limit=5, seed=0).indices.tolist() == sorted(np.argsort(keys)[:5].tolist())


def test_the_fingerprint_by_hand(write_npz):
    images, labels = np.arange(6, dtype=np.uint8).reshape(2, 3), np.array([1, 0])
    header = b'{"images":{"dtype":"uint8","shape":[2,3]},"labels":{"dtype":"int64","shape":[2]}}\n'
    expected = hashlib.sha256(header + bytes(range(6)) + bytes([1] + [0] * 15)).hexdigest()
    assert load_dataset(write_npz(images=images, labels=labels)).fingerprint_sha256 == expected


def test_the_fingerprint_forgets_the_container(tmp_path, write_mnist, write_npz, digits):
    one = load_dataset("mnist", data_dir=write_mnist(tmp_path / "a", suffix=".gz"))
    two = load_dataset(write_npz(images=digits[0][..., None], labels=digits[1].astype(np.uint8)))
    assert one.fingerprint_sha256 == two.fingerprint_sha256


def test_the_fingerprint_sees_every_difference(write_npz):
    images, labels = np.zeros((4, 6, 5), np.uint8), np.arange(4)
    changed = images.copy()
    changed[3, 5, 4] = 1
    seen = {
        load_dataset(write_npz(images=i, labels=y), limit=n).fingerprint_sha256
        for i, y, n in [
            (images, labels, None),
            (changed, labels, None),
            (images, labels[::-1], None),
            (images, labels, 3),
            (images.reshape(4, 5, 6), labels, None),
            (images.reshape(4, 30), labels, None),
            (images.astype(np.float32), labels, None),
        ]
    }
    assert len(seen) == 7


def test_the_fingerprint_ignores_the_byte_order(write_npz):
    images = np.linspace(0, 1, 28).reshape(4, 7)
    small = load_dataset(write_npz(images=images.astype("<f8"), labels=np.arange(4)))
    big = load_dataset(write_npz(images=images.astype(">f8"), labels=np.arange(4)))
    assert small.fingerprint_sha256 == big.fingerprint_sha256


def test_bytes_become_pixels_by_a_float64_division(spec):
    data = load_dataset(spec)
    pixels = data.pixels(10, 13)
    assert pixels.dtype == torch.float64
    assert pixels.shape == (3, 1, 4, 3)
    assert pixels.flatten().tolist() == [value / 255 for value in data.images[10:13].flatten().tolist()]
    assert data.pixels(48, 60).shape[0] == 2


def test_floats_stay_as_they_are(write_npz):
    images = np.array([[-0.5, 3.25]], np.float16)
    assert load_dataset(write_npz(images=images, labels=np.array([0]))).pixels(0, 1).tolist() == [
        [-0.5, 3.25]
    ]


def test_labels_are_checked_against_the_model(spec):
    data = load_dataset(spec)
    check_labels(data, 10)
    with pytest.raises(
        InputRefused, match=r"sample 8 has label 8, but the model has 8 classes \(0 to 7\); 10 of"
    ):
        check_labels(data, 8)


def test_the_sample_named_is_the_one_in_the_file(spec):
    data = load_dataset(spec, limit=20, seed=5)
    first = next(index for index in data.indices.tolist() if index % 10 >= 5)
    with pytest.raises(InputRefused, match=f"sample {first} has label {first % 10}"):
        check_labels(data, 5)
