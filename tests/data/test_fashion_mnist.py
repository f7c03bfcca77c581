"""Fashion-MNIST, whose files have MNIST's names."""

import hashlib

import numpy as np
import pytest

from lipaudit.data import load_dataset, mnist
from lipaudit.data.published import Remote
from lipaudit.errors import InputRefused, InputUnavailable


@pytest.mark.parametrize("inside", ["", "fashion-mnist", "FashionMNIST/raw", "fashion"])
def test_the_folders_below_the_data_dir_are_searched(tmp_path, write_mnist, inside):
    write_mnist(tmp_path / "root" / inside)
    data = load_dataset("fashion-mnist", data_dir=tmp_path / "root")
    assert (data.name, len(data), data.official) == ("fashion-mnist:test", 12, False)


def test_its_own_folder_comes_before_digits_beside_it(tmp_path, write_mnist, digits):
    for count, folder in ((2, "MNIST/raw"), (3, "FashionMNIST/raw"), (4, "")):
        write_mnist(tmp_path / "root" / folder, images=digits[0][:count], labels=digits[1][:count])
    assert len(load_dataset("fashion-mnist", data_dir=tmp_path / "root")) == 3
    assert len(load_dataset("mnist", data_dir=tmp_path / "root")) == 2


def test_it_is_not_looked_for_among_digits(tmp_path, write_mnist):
    write_mnist(tmp_path / "root" / "MNIST" / "raw")
    with pytest.raises(InputUnavailable, match="fashion-mnist was not found") as caught:
        load_dataset("fashion-mnist", data_dir=tmp_path / "root")
    assert "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/t10k-images" in caught.value.hint


def publish(monkeypatch, which, folder):
    remotes = []
    for stem in ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"):
        content = (folder / stem).read_bytes()
        digests = hashlib.md5(content).hexdigest(), hashlib.sha256(content).hexdigest()  # noqa: S324
        remotes.append(Remote(stem, *digests, ()))
    monkeypatch.setitem(which.remotes, "test", tuple(remotes))


def test_compressed_files_with_the_published_digests_are_official(tmp_path, monkeypatch, write_mnist):
    folder = write_mnist(tmp_path / "root", suffix=".gz")
    publish(monkeypatch, mnist._CLOTHES, folder)
    assert load_dataset("fashion-mnist", data_dir=folder).official is True
    write_mnist(folder)  # torchvision keeps both; the compressed ones can be recognised
    assert load_dataset("fashion-mnist", data_dir=folder).official is True
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    assert load_dataset("fashion-mnist", data_dir=folder).official is False


def test_clothes_are_not_taken_for_digits_nor_the_other_way_round(tmp_path, monkeypatch, write_mnist):
    folder = write_mnist(tmp_path / "root", suffix=".gz")
    for which, other in ((mnist._CLOTHES, "mnist"), (mnist._DIGITS, "fashion-mnist")):
        with monkeypatch.context() as patch:
            publish(patch, which, folder)
            with pytest.raises(InputRefused, match=f"holds {which.name}, not {other}"):
                load_dataset(other, data_dir=folder)


def test_unpacked_files_of_the_right_shape_cannot_be_judged(tmp_path, write_mnist):
    """Nobody published digests of them."""
    images, labels = np.zeros((10_000, 28, 28), np.uint8), np.zeros(10_000, np.uint8)
    folder = write_mnist(tmp_path / "plain", images=images, labels=labels)
    assert load_dataset("fashion-mnist", data_dir=folder).official is None
    assert load_dataset("mnist", data_dir=folder).official is False
    folder = write_mnist(tmp_path / "compressed", images=images, labels=labels, suffix=".gz")
    assert load_dataset("fashion-mnist", data_dir=folder).official is False
