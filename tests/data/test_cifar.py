"""CIFAR: every form and place, what is official, and every way to be damaged."""

import gzip
import hashlib
import io
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from lipaudit.data import archive, load_dataset
from lipaudit.data.cifar import _TEN
from lipaudit.errors import InputRefused, InputUnavailable, UnsafeInput, UsageError

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
TRAIN = [f"data_batch_{i}" for i in range(1, 6)]


def records(images, labels, *, coarse=None):
    """The binary version."""
    columns = [np.asarray(labels, np.uint8)[:, None], images.reshape(len(images), -1)]
    if coarse is not None:
        columns.insert(0, np.asarray(coarse, np.uint8)[:, None])
    return np.concatenate(columns, axis=1).tobytes()


@pytest.fixture
def write(python2_pickle):
    """A set in one of its forms, below `root`; `files` maps names to (images, labels)."""

    def batch(form, images, labels):
        if form == "cifar-100-python":
            return python2_pickle(images, labels, key=b"fine_labels")
        if form == "cifar-100-binary":
            return records(images, labels, coarse=labels * 0 + 19)
        return records(images, labels) if form == "cifar-10-batches-bin" else python2_pickle(images, labels)

    def write(root, form, files, *, archived=False, prefix=""):
        suffix = ".bin" if form in {"cifar-10-batches-bin", "cifar-100-binary"} else ""
        contents = {f"{name}{suffix}": batch(form, *samples) for name, samples in files.items()}
        root.mkdir(parents=True, exist_ok=True)
        if archived:
            with tarfile.open(root / ARCHIVES[form], "w:gz") as tar:
                for name, content in contents.items():
                    info = tarfile.TarInfo(f"{prefix}{form}/{name}")
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))
        else:
            (root / form).mkdir(exist_ok=True)
            for name, content in contents.items():
                (root / form / name).write_bytes(content)
        return root

    return write


ARCHIVES = {
    "cifar-10-batches-py": "cifar-10-python.tar.gz",
    "cifar-10-batches-bin": "cifar-10-binary.tar.gz",
    "cifar-100-python": "cifar-100-python.tar.gz",
    "cifar-100-binary": "cifar-100-binary.tar.gz",
}
FORMS10, FORMS100 = list(ARCHIVES)[:2], list(ARCHIVES)[2:]


def same(data, pictures):
    assert np.array_equal(data.images.numpy(), pictures[0])
    assert data.images.dtype == torch.uint8
    assert data.labels.tolist() == pictures[1].tolist()
    assert (data.total, data.space, data.official) == (len(pictures[0]), "pixel [0,1]", False)


@pytest.mark.parametrize("form", FORMS10)
@pytest.mark.parametrize("archived", [False, True])
@pytest.mark.parametrize("inside", ["", "cifar10"])
def test_every_form_decodes_to_the_same_tensors(tmp_path, write, pictures, form, archived, inside):
    write(tmp_path / "root" / inside, form, {"test_batch": pictures}, archived=archived)
    data = load_dataset("cifar10", data_dir=tmp_path / "root")
    same(data, pictures)
    assert data.name == "cifar10:test"


@pytest.mark.parametrize("form", FORMS100)
@pytest.mark.parametrize("archived", [False, True])
@pytest.mark.parametrize("split", ["test", "train"])
def test_cifar100_takes_the_fine_labels(tmp_path, write, pictures, form, archived, split):
    pictures[1][0] = 99
    write(tmp_path / "root", form, {split: pictures}, archived=archived)
    same(load_dataset(f"cifar100:{split}", data_dir=tmp_path / "root"), pictures)


@pytest.mark.parametrize("form", [*FORMS10, *FORMS100])
def test_the_folder_itself_may_be_named(tmp_path, write, pictures, form):
    name, file = ("cifar10", "test_batch") if form in FORMS10 else ("cifar100", "test")
    write(tmp_path / "root", form, {file: pictures})
    same(load_dataset(name, data_dir=tmp_path / "root" / form), pictures)


@pytest.mark.parametrize(
    "place", ["data", "datasets", "home/data", "home/datasets", "cache/lipaudit/cifar10"]
)
def test_places_that_need_no_flag(tmp_path, write, pictures, place):
    write(tmp_path / place, "cifar-10-batches-bin", {"test_batch": pictures})
    same(load_dataset("cifar10"), pictures)


def test_torch_home_is_looked_at(tmp_path, write, pictures, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    write(tmp_path / "torch" / "datasets", "cifar-10-batches-py", {"test_batch": pictures})
    same(load_dataset("cifar10"), pictures)


def test_training_batches_come_in_their_order(tmp_path, write, pictures):
    images, labels = pictures
    files = {name: (images[i : i + 1], labels[i : i + 1]) for i, name in reversed(list(enumerate(TRAIN)))}
    for form in FORMS10:
        write(tmp_path / form, form, files)
        data = load_dataset("cifar10:train", data_dir=tmp_path / form)
        same(data, (images[:5], labels[:5]))
        assert data.name == "cifar10:train"


@pytest.mark.parametrize("form", FORMS10)
def test_some_of_the_training_batches_are_not_the_training_set(tmp_path, write, pictures, form):
    suffix = ".bin" if form == "cifar-10-batches-bin" else ""
    write(tmp_path / "root", form, dict.fromkeys(TRAIN[:2], pictures) | {"test_batch": pictures})
    same(load_dataset("cifar10", data_dir=tmp_path / "root"), pictures)
    with pytest.raises(InputUnavailable, match="only in part") as caught:
        load_dataset("cifar10:train", data_dir=tmp_path / "root")
    for name in TRAIN[2:]:
        assert f"{name}{suffix}" in caught.value.message
    assert f"{TRAIN[0]}{suffix}" not in caught.value.message
    assert "fetch https://www.cs.toronto.edu/" in caught.value.hint


def test_a_whole_set_elsewhere_is_taken_before_a_part(tmp_path, write, pictures):
    write(tmp_path / "root", "cifar-10-batches-bin", dict.fromkeys(TRAIN[:2], pictures))
    write(tmp_path / "data", "cifar-10-batches-py", dict.fromkeys(TRAIN, pictures))
    assert load_dataset("cifar10:train", data_dir=tmp_path / "root").total == 35


def test_an_archive_without_all_batches(tmp_path, write, pictures):
    write(tmp_path / "root", "cifar-10-batches-bin", dict.fromkeys(TRAIN[:2], pictures), archived=True)
    with pytest.raises(InputRefused, match=r"lacks cifar-10-batches-bin/data_batch_3\.bin"):
        load_dataset("cifar10:train", data_dir=tmp_path / "root")


def test_missing_data_say_what_to_fetch_and_where_to_put_it(tmp_path):
    with pytest.raises(InputUnavailable, match=r"cifar100 was not found.*offline") as caught:
        load_dataset("cifar100", data_dir=tmp_path)
    assert str(tmp_path / "cifar100") in caught.value.message
    assert "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz" in caught.value.hint
    assert "eb9058c3a382ffc7106e4002c42a8d85" in caught.value.hint
    assert str(tmp_path / "cache" / "lipaudit" / "cifar100") in caught.value.hint


def test_what_to_fetch_can_be_put_where_the_hint_says(tmp_path, write, pictures):
    write(tmp_path / "cache/lipaudit/cifar10", "cifar-10-batches-py", {"test_batch": pictures}, archived=True)
    same(load_dataset("cifar10"), pictures)


def test_an_unknown_split(tmp_path):
    with pytest.raises(UsageError, match="no split 'val'"):
        load_dataset("cifar10:val", data_dir=tmp_path)


def test_a_file_called_test_is_not_taken_for_cifar100(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "test").write_text("notes")
    with pytest.raises(InputUnavailable):
        load_dataset("cifar100")


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_arrays(tmp_path, pictures, layout):
    images = pictures[0] if layout == "NCHW" else pictures[0].transpose(0, 2, 3, 1)
    (tmp_path / "a").mkdir()
    np.savez(tmp_path / "a" / "cifar10_test.npz", images=images, labels=pictures[1])
    same(load_dataset("cifar10", data_dir=tmp_path / "a"), pictures)
    (tmp_path / "b").mkdir()
    np.savez(tmp_path / "b" / "cifar10.npz", x_test=images, y_test=pictures[1][:, None], x_train=1, y_train=1)
    same(load_dataset("cifar10", data_dir=tmp_path / "b"), pictures)


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (np.zeros((2, 3, 28, 28), np.uint8), [0, 1]),
        (np.zeros((2, 3, 32, 32), np.float32), [0, 1]),
        (np.zeros((2, 3, 32, 32), np.uint8), [0, 10]),
    ],
)
def test_arrays_of_something_else(tmp_path, images, labels):
    np.savez(tmp_path / "cifar10_test.npz", images=images, labels=labels)
    with pytest.raises(InputRefused, match="is not cifar10"):
        load_dataset("cifar10", data_dir=tmp_path)


# Official


@pytest.fixture
def publish(monkeypatch):
    def publish(which, name, content):
        monkeypatch.setitem(which.md5, name, hashlib.md5(content).hexdigest())  # noqa: S324

    return publish


@pytest.mark.parametrize("form", FORMS10)
def test_files_with_the_published_digests_are_official(tmp_path, write, pictures, publish, form):
    root = write(tmp_path / "root", form, {"test_batch": pictures})
    (file,) = (root / form).iterdir()
    publish(_TEN, file.name, file.read_bytes())
    assert load_dataset("cifar10", data_dir=root).official is True
    changed = bytearray(file.read_bytes())
    changed[-100] ^= 1  # a pixel, or a letter of a file's name: both are foreign
    file.write_bytes(changed)
    assert load_dataset("cifar10", data_dir=root).official is False


def test_one_foreign_batch_makes_the_set_foreign(tmp_path, write, pictures, publish):
    root = write(tmp_path / "root", "cifar-10-batches-bin", dict.fromkeys(TRAIN, pictures))
    for name in TRAIN:
        publish(_TEN, f"{name}.bin", records(*pictures))
    assert load_dataset("cifar10:train", data_dir=root).official is True
    publish(_TEN, "data_batch_4.bin", b"")
    assert load_dataset("cifar10:train", data_dir=root).official is False


def test_official_samples_are_official_in_any_form(tmp_path, monkeypatch, write):
    """The digests of the binary files are compared with the decoded tensors."""
    rng = np.random.default_rng(2)
    images = rng.integers(0, 256, (10_000, 3, 32, 32), dtype=np.uint8)
    labels = rng.integers(0, 10, 10_000)
    digest = hashlib.md5(records(images, labels)).hexdigest()  # noqa: S324
    monkeypatch.setitem(_TEN.binary, "test", (digest,))
    np.savez(tmp_path / "cifar10_test.npz", images=images, labels=labels)
    assert load_dataset("cifar10", data_dir=tmp_path, limit=5).official is True
    root = write(tmp_path / "py", "cifar-10-batches-py", {"test_batch": (images, labels)})
    assert load_dataset("cifar10", data_dir=root, limit=5).official is True
    images[9_999, 2, 31, 31] ^= 1
    np.savez(tmp_path / "cifar10_test.npz", images=images, labels=labels)
    assert load_dataset("cifar10", data_dir=tmp_path).official is False


def test_arrays_of_cifar100_cannot_be_compared(tmp_path):
    images, labels = np.zeros((10_000, 32, 32, 3), np.uint8), np.zeros(10_000, int)
    np.savez_compressed(tmp_path / "cifar100_test.npz", images=images, labels=labels)
    assert load_dataset("cifar100", data_dir=tmp_path, limit=1).official is None
    np.savez_compressed(tmp_path / "cifar100_test.npz", images=images[1:], labels=labels[1:])
    assert load_dataset("cifar100", data_dir=tmp_path, limit=1).official is False


# Damage


@pytest.mark.parametrize(
    ("which", "form", "file"),
    [("cifar10", form, "test_batch") for form in FORMS10] + [("cifar100", form, "test") for form in FORMS100],
)
@pytest.mark.parametrize("keep", [0, 1, 100, 3073, 5000])
def test_truncated_batches(tmp_path, write, pictures, which, form, file, keep):
    root = write(tmp_path / "root", form, {file: pictures})
    (path,) = (root / form).iterdir()
    size = 3074 if which == "cifar100" else 3073
    path.write_bytes(path.read_bytes()[:keep])
    if form.endswith(("bin", "binary")) and keep % size == 0:
        pytest.skip("whole images")
    with pytest.raises(InputRefused) as caught:
        load_dataset(which, data_dir=root)
    assert path.name in caught.value.message


def test_labels_out_of_range(tmp_path, write, pictures):
    pictures[1][3] = 10
    for form, words in zip(FORMS10, ("from 0 to 9", "image 3 has label 10"), strict=True):
        write(tmp_path / form, form, {"test_batch": pictures})
        with pytest.raises(InputRefused, match=words):
            load_dataset("cifar10", data_dir=tmp_path / form)


@pytest.mark.parametrize(
    "change",
    [
        {"data": None},
        {"data": np.zeros((7, 100), np.uint8)},
        {"data": np.zeros((7, 3, 32, 32), np.uint8)},
        {"labels": [1] * 6},
        {"labels": (1,) * 7},
        {"labels": [True] * 7},
        {"labels": ["1"] * 7},
        {"labels": [-1] * 7},
        {"labels": None},
    ],
)
def test_pickles_of_something_else(tmp_path, change):
    value = {"data": np.zeros((7, 3072), np.uint8), "labels": [1] * 7} | change
    (tmp_path / "test_batch").write_bytes(pickle.dumps(value, protocol=2))
    with pytest.raises(InputRefused):
        load_dataset("cifar10", data_dir=tmp_path)


def test_a_malicious_batch(tmp_path):
    class Evil:
        def __reduce__(self):
            return Path.touch, (tmp_path / "canary",)

    (tmp_path / "test_batch").write_bytes(pickle.dumps({"data": Evil()}))
    with pytest.raises(UnsafeInput):
        load_dataset("cifar10", data_dir=tmp_path)
    assert not (tmp_path / "canary").exists()


def test_a_pointer_file(tmp_path):
    (tmp_path / "test_batch.bin").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    )
    with pytest.raises(InputRefused, match="Git-LFS pointer"):
        load_dataset("cifar10", data_dir=tmp_path)


# Archives


@pytest.fixture
def archived(tmp_path, write, pictures):
    root = write(tmp_path / "root", "cifar-10-batches-bin", {"test_batch": pictures}, archived=True)
    return root / "cifar-10-binary.tar.gz"


def refused(path, match):
    with pytest.raises(InputRefused, match=match) as caught:
        load_dataset("cifar10", data_dir=path.parent)
    assert path.name in caught.value.message


@pytest.mark.parametrize("keep", [0, 5, 20, 500, 5000])
def test_truncated_archives(archived, keep):
    archived.write_bytes(archived.read_bytes()[:keep])
    refused(archived, "no complete .tar.gz|lacks")


@pytest.mark.parametrize(
    "content",
    [b"<!doctype html>", gzip.compress(b"hello" * 1000), b"version https://git-lfs.github.com\n"],
    ids=["a page", "a compressed text", "a pointer"],
)
def test_what_is_no_archive(archived, content):
    archived.write_bytes(content)
    refused(archived, "no complete .tar.gz|lacks|pointer")


def test_names_may_start_with_a_dot(tmp_path, write, pictures):
    root = tmp_path / "root"
    write(root, "cifar-10-batches-bin", {"test_batch": pictures}, archived=True, prefix="./")
    same(load_dataset("cifar10", data_dir=root), pictures)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE])
def test_links_in_an_archive_are_not_followed(archived, kind):
    info = tarfile.TarInfo("cifar-10-batches-bin/test_batch.bin")
    info.type, info.linkname = kind, "/etc/passwd"
    with tarfile.open(archived, "w:gz") as tar:
        tar.addfile(info)
    refused(archived, "lacks")


def test_paths_that_climb_match_nothing(archived, tmp_path, pictures):
    content = records(*pictures)
    info = tarfile.TarInfo("x/../cifar-10-batches-bin/test_batch.bin")
    info.size = len(content)
    with tarfile.open(archived, "w:gz") as tar:
        tar.addfile(info, io.BytesIO(content))
    refused(archived, "lacks")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["root"]


def test_bombs(archived, monkeypatch):
    """Neither one member nor the whole may expand without end."""
    monkeypatch.setattr(archive, "_MOST", 2**20)
    with tarfile.open(archived, "w:gz") as tar:
        for i in range(5):
            info = tarfile.TarInfo(f"padding {i}")
            info.size = 2**18
            tar.addfile(info, io.BytesIO(bytes(2**18)))
    refused(archived, "expands to more")


def test_a_member_that_claims_too_much(archived):
    info = tarfile.TarInfo("cifar-10-batches-bin/test_batch.bin")
    info.size = 2**40
    archived.write_bytes(gzip.compress(info.tobuf(tarfile.GNU_FORMAT)))
    refused(archived, "has 1099511627776 bytes")
    info.name = "padding"  # which tarfile would skip block by block, for minutes
    archived.write_bytes(gzip.compress(info.tobuf(tarfile.GNU_FORMAT)))
    refused(archived, "padding has 1099511627776 bytes")


@pytest.mark.skipif(not (SHARED / "cifar10").is_dir(), reason="CIFAR-10 itself is not beside the checkout")
@pytest.mark.parametrize("folder", [".", "cifar10", "cifar10/cifar-10-batches-bin"])
def test_the_real_one(folder):
    data = load_dataset("cifar10", data_dir=SHARED / folder, limit=1000)
    assert (data.name, data.total, data.official) == ("cifar10:test", 10_000, False)
    assert data.images.shape == (1000, 3, 32, 32)
    # The first test images: a cat, two ships, an aeroplane, two frogs, a car, a frog, a cat, a car.
    assert data.labels[:10].tolist() == [3, 8, 8, 0, 6, 6, 1, 6, 3, 1]
    means = data.pixels(0, 1000).mean(dim=(0, 2, 3))
    assert torch.allclose(means, torch.tensor([0.4914, 0.4822, 0.4465], dtype=torch.float64), atol=0.02)
    with pytest.raises(InputUnavailable, match=r"lacks data_batch_3.bin, data_batch_4.bin, data_batch_5.bin"):
        load_dataset("cifar10:train", data_dir=SHARED / folder)


def test_a_folder_that_is_locked_is_passed_over(write, pictures, monkeypatch, tmp_path):
    """As another user's ~/data may be; root, who may be running this, can open it all the same."""
    write(tmp_path / "home" / "data", "cifar-10-batches-bin", {"test_batch": pictures})
    is_file = Path.is_file

    def locked(path):
        if path.is_relative_to("data"):
            raise PermissionError(13, "Permission denied")
        return is_file(path)

    monkeypatch.setattr(Path, "is_file", locked)
    same(load_dataset("cifar10"), pictures)
