"""idx files: every place and spelling they are found under, and every way they are damaged."""

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch

from lipaudit.data import load_dataset
from lipaudit.data.mnist import OFFICIAL
from lipaudit.errors import InputRefused, InputUnavailable, UsageError

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


@pytest.mark.parametrize("joint", ["-", "."])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_every_spelling_decodes_to_the_same_tensors(tmp_path, write_mnist, digits, joint, suffix):
    write_mnist(tmp_path / "d", joint=joint, suffix=suffix)
    data = load_dataset("mnist", data_dir=tmp_path / "d")
    assert data.name == "mnist:test"
    assert data.images.shape == (12, 1, 5, 4)
    assert data.images.dtype == torch.uint8
    assert np.array_equal(data.images[:, 0].numpy(), digits[0])
    assert data.labels.tolist() == digits[1].tolist()
    assert (data.total, data.space, data.official) == (12, "pixel [0,1]", False)


@pytest.mark.parametrize("inside", ["", "mnist", "MNIST/raw"])
def test_the_folders_below_the_data_dir_are_searched(tmp_path, write_mnist, inside):
    write_mnist(tmp_path / "root" / inside)
    assert len(load_dataset("mnist", data_dir=tmp_path / "root")) == 12


@pytest.mark.parametrize("folder", ["data/MNIST/raw", "cache/lipaudit", "named"])
def test_places_that_need_no_flag(tmp_path, write_mnist, monkeypatch, folder):
    monkeypatch.setenv("LIPAUDIT_DATA", str(tmp_path / "named"))
    write_mnist(tmp_path / folder)
    assert len(load_dataset("mnist")) == 12


def test_the_flag_wins_over_the_variable_and_that_over_the_working_folder(
    tmp_path, write_mnist, monkeypatch, digits
):
    for count, folder in ((2, "flag"), (3, "named"), (4, "data")):
        write_mnist(tmp_path / folder, images=digits[0][:count], labels=digits[1][:count])
    monkeypatch.setenv("LIPAUDIT_DATA", str(tmp_path / "named"))
    assert len(load_dataset("mnist", data_dir=tmp_path / "flag")) == 2
    assert len(load_dataset("mnist")) == 3
    monkeypatch.delenv("LIPAUDIT_DATA")
    assert len(load_dataset("mnist")) == 4


def test_the_split_picks_the_file(tmp_path, write_mnist):
    write_mnist(tmp_path / "d", prefix="train")
    assert load_dataset("mnist:train", data_dir=tmp_path / "d").name == "mnist:train"
    with pytest.raises(InputUnavailable, match="t10k-images"):
        load_dataset("mnist:test", data_dir=tmp_path / "d")


def test_an_unknown_split_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="no split 'val'") as caught:
        load_dataset("mnist:val", data_dir=tmp_path)
    assert "mnist:train" in caught.value.hint


def test_missing_data_names_every_folder_looked_at(tmp_path, monkeypatch):
    monkeypatch.setenv("LIPAUDIT_DATA", "/nowhere/named")
    with pytest.raises(InputUnavailable) as caught:
        load_dataset("mnist", data_dir=tmp_path)
    for folder in (tmp_path, tmp_path / "MNIST/raw", "/nowhere/named/mnist", "data/MNIST/raw"):
        assert str(folder) in caught.value.message
    assert str(tmp_path / "cache" / "lipaudit") in caught.value.message
    assert "--data-dir" in caught.value.hint


def test_a_data_dir_that_is_not_there_is_unavailable(tmp_path):
    with pytest.raises(InputUnavailable, match="no such folder"):
        load_dataset("mnist", data_dir=tmp_path / "absent")


def test_images_without_labels_do_not_count(tmp_path, write_mnist):
    (write_mnist(tmp_path / "d") / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(InputUnavailable):
        load_dataset("mnist", data_dir=tmp_path / "d")


@pytest.fixture
def image_file(tmp_path, write_mnist):
    return write_mnist(tmp_path / "d") / "t10k-images-idx3-ubyte"


def refused(image_file, match):
    with pytest.raises(InputRefused, match=match) as caught:
        load_dataset("mnist", data_dir=image_file.parent)
    assert caught.value.exit_code == 4


@pytest.mark.parametrize("keep", [0, 3, 4, 10, 16, 255])
def test_truncated_idx(image_file, keep):
    image_file.write_bytes(image_file.read_bytes()[:keep])
    refused(image_file, "ends inside its header|but holds only")


def test_trailing_bytes(image_file):
    image_file.write_bytes(image_file.read_bytes() + b"x")
    refused(image_file, "but holds more")


@pytest.mark.parametrize("magic", [b"\0\0\x08\x01", b"\0\0\x0d\x03", b"\x1f\x8b\x08\0", b"PK\x03\x04"])
def test_wrong_magic(image_file, write_idx, digits, magic):
    write_idx(image_file, digits[0], magic=magic)
    refused(image_file, "opens with the bytes")


def test_a_header_that_claims_too_much_costs_no_memory(image_file, write_idx, digits):
    write_idx(image_file, digits[0], claim=(2**31, 2**31, 2**31))
    refused(image_file, "claims")
    write_idx(image_file, digits[0], claim=(2**30, 1, 1))
    refused(image_file, "but holds only 240")


def test_counts_that_disagree(image_file, write_idx, digits):
    write_idx(image_file, digits[0][:-1])
    refused(image_file, "11 images.*12 labels")


def test_a_pointer_file(image_file):
    image_file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    refused(image_file, "Git-LFS pointer")


@pytest.mark.parametrize("damage", ["truncate", "not gzip", "flip"])
def test_broken_gzip(tmp_path, write_mnist, damage):
    file = write_mnist(tmp_path / "z", suffix=".gz") / "t10k-images-idx3-ubyte.gz"
    data = bytearray(file.read_bytes())
    if damage == "flip":
        data[-6] ^= 255
    file.write_bytes({"truncate": data[:-20], "not gzip": b"hello world", "flip": data}[damage])
    refused(file, "gzip")


def test_a_truncated_idx_inside_a_sound_gzip(tmp_path, write_mnist):
    file = write_mnist(tmp_path / "z", suffix=".gz") / "t10k-images-idx3-ubyte.gz"
    file.write_bytes(gzip.compress(gzip.decompress(file.read_bytes())[:-1]))
    refused(file, "but holds only 239")


@pytest.mark.skipif(not (SHARED / "mnist").is_dir(), reason="MNIST itself is not beside the checkout")
@pytest.mark.parametrize(("split", "count"), [("test", 10_000), ("train", 60_000)])
def test_the_real_one_is_official(split, count):
    data = load_dataset(f"mnist:{split}", data_dir=SHARED)
    assert data.images.shape == (count, 1, 28, 28)
    assert data.official is True
    assert data.fingerprint_sha256 == OFFICIAL[split]
    assert torch.bincount(data.labels).min() > 0.08 * count


@pytest.mark.skipif(not (SHARED / "mnist").is_dir(), reason="MNIST itself is not beside the checkout")
def test_the_sample_archive_is_the_first_thousand_test_images():
    sample = Path(__file__).resolve().parents[2] / "sample_models" / "mnist_test.npz"
    assert (
        load_dataset(f"npz:{sample}").fingerprint_sha256
        == load_dataset("mnist", data_dir=SHARED, limit=1000).fingerprint_sha256
    )
