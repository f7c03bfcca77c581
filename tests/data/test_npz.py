"""npz archives: the shapes and types that are taken, and everything that is refused in words."""

from pathlib import Path

import numpy as np
import pytest
import torch

from lipaudit.data import load_dataset, npz
from lipaudit.errors import Incomplete, InputRefused, InputUnavailable, UsageError


def grid(*shape, dtype="float32"):
    return (np.arange(np.prod(shape)).reshape(shape) % 256 / 255).astype(dtype)


LABELS = np.arange(4)


@pytest.mark.parametrize(
    ("shape", "arranged"),
    [
        ((4, 6, 5), (4, 1, 6, 5)),
        ((4, 1, 6, 5), (4, 1, 6, 5)),
        ((4, 3, 6, 5), (4, 3, 6, 5)),
        ((4, 8, 6, 5), (4, 8, 6, 5)),
        ((4, 7), (4, 7)),
    ],
)
def test_channels_first_keeps_the_order(write_npz, shape, arranged):
    images = grid(*shape)
    data = load_dataset(write_npz(images=images, labels=LABELS))
    assert data.images.shape == arranged
    assert data.sample_shape == arranged[1:]
    assert np.array_equal(data.images.numpy().ravel(), images.ravel())
    assert data.name == "npz:set.npz"
    assert data.official is None


@pytest.mark.parametrize("colours", [1, 3])
def test_channels_last_is_moved(write_npz, colours):
    images = grid(4, 6, 5, colours)
    data = load_dataset(write_npz(images=images, labels=LABELS))
    assert data.images.shape == (4, colours, 6, 5)
    assert data.images[2, colours - 1, 4, 3] == images[2, 4, 3, colours - 1]
    assert data.images.is_contiguous()


@pytest.mark.parametrize("shape", [(4, 3, 5, 3), (4, 1, 5, 3), (4, 3, 5, 1), (4, 1, 1, 1)])
def test_two_readings_are_refused(write_npz, shape):
    with pytest.raises(InputRefused, match="first or last"):
        load_dataset(write_npz(images=grid(*shape), labels=LABELS))


@pytest.mark.parametrize("shape", [(4,), (), (4, 1, 2, 3, 4), (4, 0), (4, 0, 5)])
def test_shapes_that_are_no_images(write_npz, shape):
    with pytest.raises(InputRefused, match="images have shape"):
        load_dataset(write_npz(images=np.zeros(shape, np.float32), labels=LABELS))


@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32", "float64", ">f4", ">f8"])
def test_types_that_are_taken(write_npz, dtype):
    images = (grid(4, 7, dtype="float64") * (255 if dtype == "uint8" else 1)).astype(dtype)
    data = load_dataset(write_npz(images=images, labels=LABELS))
    assert data.images.dtype == getattr(torch, images.dtype.name)
    assert np.array_equal(data.images.numpy(), images)


@pytest.mark.parametrize("dtype", ["int64", "int8", "uint16", "bool", "complex64", "U3"])
def test_types_that_are_refused(write_npz, dtype):
    with pytest.raises(InputRefused, match="images are") as caught:
        load_dataset(write_npz(images=np.zeros((4, 7), dtype), labels=LABELS))
    assert "uint8" in caught.value.hint


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_pixels_that_are_not_finite_are_named(write_npz, value):
    images = grid(4, 6, 5)
    images[2, 1, 1] = value
    with pytest.raises(InputRefused, match=r"image 2 holds NaN or infinity \(1 such"):
        load_dataset(write_npz(images=images, labels=LABELS))


@pytest.mark.parametrize(
    "labels",
    [
        np.zeros(4),
        np.zeros((4, 1), int),
        np.eye(4, dtype=int),
        np.zeros(4, bool),
        np.array(3),
        np.array(["1"] * 4),
    ],
)
def test_labels_must_be_a_row_of_integers(write_npz, labels):
    with pytest.raises(InputRefused, match="labels have shape"):
        load_dataset(write_npz(images=grid(4, 7), labels=labels))


@pytest.mark.parametrize(("label", "dtype"), [(-1, "int64"), (-1, "int8"), (2**63, "uint64")])
def test_labels_outside_are_named(write_npz, label, dtype):
    labels = np.array([0, 1, label, 2], dtype)
    with pytest.raises(InputRefused, match=f"label 2 is {label}"):
        load_dataset(write_npz(images=grid(4, 7), labels=labels))


def test_unsigned_labels_become_int64(write_npz):
    data = load_dataset(write_npz(images=grid(4, 7), labels=LABELS.astype(np.uint16)))
    assert data.labels.dtype == torch.int64


def test_counts_that_disagree(write_npz):
    with pytest.raises(InputRefused, match="4 images, but 3 labels"):
        load_dataset(write_npz(images=grid(4, 7), labels=LABELS[:3]))


def test_no_image_is_incomplete_not_green(write_npz):
    with pytest.raises(Incomplete, match="no image") as caught:
        load_dataset(write_npz(images=np.zeros((0, 7), np.float32), labels=np.zeros(0, int)))
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    ("values", "space"),
    [
        ([0.0, 1.0], "pixel [0,1]"),
        ([0.0, 1.0000001], "the file's own units"),
        ([-0.4242, 2.8215], "the file's own units"),
    ],
)
def test_the_space_of_floats_is_what_their_range_says(write_npz, values, space):
    # The offending value is in the last sample: a selection of the first ones must not change the unit.
    images = np.array([[0.5, 0.5]] * 3 + [values], np.float32)
    assert load_dataset(write_npz(images=images, labels=LABELS), limit=1).space == space


def test_missing_keys_list_what_is_there(write_npz):
    with pytest.raises(InputRefused, match="lacks 'images' and 'labels'; it holds 'x', 'y'"):
        load_dataset(write_npz(x=grid(4, 7), y=LABELS))
    with pytest.raises(InputRefused, match="lacks 'labels'"):
        load_dataset(write_npz(images=grid(4, 7)))


def test_objects_are_never_unpickled(write_npz):
    with pytest.raises(InputRefused, match="cannot be decoded"):
        load_dataset(write_npz(images=np.array([[print]] * 4, object), labels=LABELS))


@pytest.mark.parametrize("content", [b"", b"hello", b"\x93NUMPY\x01\x00", b"\x80\x04N."])
def test_not_an_archive(tmp_path, content):
    (tmp_path / "set.npz").write_bytes(content)
    with pytest.raises(InputRefused, match="not an npz archive"):
        load_dataset("npz:set.npz")


def test_a_pointer_file(tmp_path):
    (tmp_path / "set.npz").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(InputRefused, match="Git-LFS"):
        load_dataset("npz:set.npz")


def test_damage_anywhere_is_refused_or_harmless(write_npz):
    path = Path(write_npz(images=grid(4, 7), labels=LABELS).removeprefix("npz:"))
    whole = path.read_bytes()
    for cut in range(0, len(whole), 7):
        path.write_bytes(whole[:cut])
        with pytest.raises(InputRefused):
            load_dataset(f"npz:{path}")
    for at in range(0, len(whole), 3):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 255]) + whole[at + 1 :])
        try:
            data = load_dataset(f"npz:{path}")
        except InputRefused:
            continue
        # A byte of the zip directory that nobody reads.
        assert np.array_equal(data.images.numpy(), grid(4, 7))


def test_where_a_path_is_looked_up(tmp_path, write_npz):
    path = Path(write_npz(images=grid(4, 7), labels=LABELS).removeprefix("npz:"))
    (tmp_path / "below").mkdir()
    path.rename(tmp_path / "below" / "a:b.npz")
    assert load_dataset("npz:below/a:b.npz").name == "npz:a:b.npz"
    assert load_dataset("npz:a:b.npz", data_dir=tmp_path / "below").total == 4
    with pytest.raises(InputUnavailable, match="no such file"):
        load_dataset("npz:a:b.npz")
    with pytest.raises(UsageError, match="needs a path"):
        load_dataset("npz")


def test_more_than_the_memory(write_npz, monkeypatch):
    spec = write_npz(images=np.zeros((10, 100), np.uint8), labels=np.zeros(10, int))
    monkeypatch.setattr(npz, "memory", lambda: 1000)
    with pytest.raises(InputRefused, match="more than this machine's memory"):
        load_dataset(spec)


def test_a_name_that_no_system_takes():
    for text in ("x" * 5000, "a/" * 3000):
        with pytest.raises(InputUnavailable):
            load_dataset(f"npz:{text}")
        with pytest.raises(InputUnavailable):
            load_dataset(f"imagefolder:{text}")


@pytest.mark.parametrize("data_dir", [False, True])
def test_a_misspelt_name_is_recognised(tmp_path, monkeypatch, data_dir):
    folder = tmp_path / "there" if data_dir else tmp_path
    folder.mkdir(exist_ok=True)
    (folder / "test.npz").touch()
    monkeypatch.chdir(tmp_path)
    for name, meant in (("tst.npz", "did you mean npz:test.npz? "), ("other.npz", "")):
        with pytest.raises(InputUnavailable) as caught:
            load_dataset(f"npz:{name}", data_dir=folder if data_dir else None)
        assert caught.value.hint == f"{meant}npz:PATH is relative to the current folder, or to --data-dir"
