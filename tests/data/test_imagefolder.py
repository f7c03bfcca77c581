"""Folders of images: what torchvision makes of them, nothing decoded in vain, and every kind of damage."""

import os
import struct
import warnings
import zlib

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms
from torchvision.datasets import ImageFolder

from lipaudit.data import imagefolder, load_dataset, make_sizing, picture
from lipaudit.errors import InputRefused, InputUnavailable, UsageError


def photo(seed, height=20, width=30, mode="RGB"):
    """Smooth enough for JPEG to keep."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8))
    return small.resize((width, height), Image.Resampling.BICUBIC).convert(mode)


def put(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return path


@pytest.fixture
def folder(tmp_path):
    """Two classes, five images, folders within folders, and files that are no images."""
    root = tmp_path / "photos"
    put(root / "dog" / "b.png", photo(0))
    put(root / "dog" / "A.JPG", photo(1))
    put(root / "dog" / "more" / "0.bmp", photo(2))
    put(root / "cat" / "z.webp", photo(3))
    put(root / "cat" / "x" / "y.tiff", photo(4))
    (root / "cat" / "notes.txt").write_text("no image")
    (root / "readme.png").write_text("beside the classes")
    return root


def load(folder, resize=None, crop=None, **options):
    return load_dataset(f"imagefolder:{folder}", sizing=make_sizing(resize, crop), **options)


def torchvisions(folder, *steps):
    """What a training script sees: uint8 (N, C, H, W), labels."""
    data = ImageFolder(str(folder), transforms.Compose([*steps, transforms.PILToTensor()]))
    images, labels = zip(*data, strict=True)
    return torch.stack(images), list(labels)


def same(data, expected):
    assert torch.equal(data.images, expected[0])
    assert data.labels.tolist() == expected[1]


def test_the_images_are_torchvisions(folder):
    data = load(folder)
    same(data, torchvisions(folder))
    assert (data.name, data.total, data.official) == ("imagefolder:photos", 5, None)
    assert data.space == "pixel [0,1]"
    assert data.labels.tolist() == [0, 0, 1, 1, 1]
    assert data.images.shape == (5, 3, 20, 30)


@pytest.mark.parametrize(
    ("resize", "crop"),
    [(8, None), ((8,), None), ((7, 9), None), (33, None), (None, 11), (None, (3, 20)), (16, 15),
     (16, (13, 16)), ((25, 8), (5, 8)), (1, 1), ((20, 30), None)],
)  # fmt: skip
@pytest.mark.parametrize(("height", "width"), [(20, 30), (30, 20), (21, 33)])
def test_sizes_are_torchvisions(tmp_path, resize, crop, height, width):
    for i in range(2):
        put(tmp_path / "d" / "class" / f"{i}.png", photo(i, height, width))
    steps = []
    if resize is not None:
        # A single number means the shorter side to torchvision in both spellings.
        steps.append(transforms.Resize(resize if isinstance(resize, int) else list(resize)))
    if crop is not None:
        steps.append(transforms.CenterCrop(crop))
    same(load(tmp_path / "d", resize, crop), torchvisions(tmp_path / "d", *steps))


@pytest.mark.parametrize("mode", ["P", "RGBA", "CMYK", "LA", "1", "L"])
def test_other_modes_beside_colours_are_torchvisions(tmp_path, mode):
    suffix = ".jpg" if mode == "CMYK" else ".png"
    put(tmp_path / "d" / "class" / "0.png", photo(0))
    put(tmp_path / "d" / "class" / f"1{suffix}", photo(1, mode=mode))
    same(load(tmp_path / "d"), torchvisions(tmp_path / "d"))


@pytest.mark.parametrize("modes", [("L", "L"), ("L", "1"), ("1", "LA")])
def test_greyscale_has_one_channel(tmp_path, modes):
    for i, mode in enumerate(modes):
        put(tmp_path / "d" / "class" / f"{i}.png", photo(i, mode=mode))
    data = load(tmp_path / "d", 8)
    assert data.images.shape == (2, 1, 8, 12)
    expected, _ = torchvisions(tmp_path / "d", transforms.Grayscale(), transforms.Resize(8))
    assert torch.equal(data.images, expected)


def test_a_limit_does_not_change_the_channels(tmp_path):
    put(tmp_path / "d" / "a" / "0.png", photo(0, mode="L"))
    put(tmp_path / "d" / "b" / "0.png", photo(1))
    assert load(tmp_path / "d", limit=1).images.shape == (1, 3, 20, 30)


def test_exif_orientation_is_ignored(tmp_path):
    image = photo(0)
    exif = image.getexif()
    exif[0x0112] = 6  # rotated by a quarter
    (tmp_path / "d" / "class").mkdir(parents=True)
    image.save(tmp_path / "d" / "class" / "0.jpg", exif=exif)
    data = load(tmp_path / "d")
    assert data.images.shape[2:] == (20, 30)
    same(data, torchvisions(tmp_path / "d"))


def test_what_is_done_to_images_is_said(folder):
    for resize, crop, words in (
        (8, None, "pixel [0,1] after resizing"),
        (None, 4, "pixel [0,1] after cropping"),
        ((9, 8), (4, 5), "pixel [0,1] after resizing and cropping"),
    ):
        data = load(folder, resize, crop)
        assert data.space == words
        assert data.in_pixels
    assert data.sizing.resize == (9, 8)
    assert data.sizing.crop == (4, 5)
    assert data.sizing.interpolation == "bilinear, antialiased"


# Selection


def test_only_selected_images_are_decoded(folder, monkeypatch):
    decoded = []
    read = imagefolder.read_picture
    monkeypatch.setattr(
        imagefolder,
        "read_picture",
        lambda path, *rest, **more: decoded.append(path.name) or read(path, *rest, **more),
    )
    data = load(folder, limit=2, seed=1)
    assert len(decoded) == len(data) == 2
    whole = load(folder)
    assert torch.equal(data.images, whole.images[data.indices])
    assert torch.equal(data.labels, whole.labels[data.indices])
    assert data.total == 5


def test_damage_outside_the_selection_does_not_matter(folder):
    (folder / "dog" / "b.png").write_bytes(b"damaged")
    assert len(load(folder, limit=3)) == 3
    with pytest.raises(InputRefused):
        load(folder)


def test_the_fingerprint_is_over_what_was_selected(folder):
    one, two = load(folder, limit=2), load(folder)
    assert one.fingerprint_sha256 != two.fingerprint_sha256
    (folder / "dog" / "b.png").write_bytes(b"damaged")
    assert load(folder, limit=2).fingerprint_sha256 == one.fingerprint_sha256
    assert load(folder, 8, limit=2).fingerprint_sha256 != one.fingerprint_sha256


def test_progress_counts_images(folder):
    seen = []

    class Watched:
        def stage(self, name, total):
            seen.append((name, total))

        def advance(self, n=1):
            seen.append(n)

    load(folder, limit=4, progress=Watched())
    assert seen == [("decoding images", 4), 1, 1, 1, 1]


# Paths


def test_paths_are_relative_to_here_or_to_the_data_dir(folder, tmp_path, monkeypatch):
    assert load("photos").total == 5
    monkeypatch.chdir("/")
    assert load("photos", data_dir=tmp_path).total == 5
    with pytest.raises(InputUnavailable, match="no such folder: photos"):
        load("photos")
    monkeypatch.chdir(folder)
    assert load(".").name == "imagefolder:photos"
    assert load("../photos/").name == "imagefolder:photos"


def test_no_path(tmp_path):
    with pytest.raises(UsageError, match="needs a path"):
        load("")
    with pytest.raises(UsageError, match="unknown data set") as caught:
        load_dataset(str(tmp_path))
    assert f"imagefolder:{tmp_path}" in caught.value.hint


def test_folders_without_images(tmp_path):
    (tmp_path / "d").mkdir()
    with pytest.raises(InputRefused, match="no sub-folders"):
        load(tmp_path / "d")
    put(tmp_path / "d" / "a" / "0.png", photo(0))
    (tmp_path / "d" / ".cache").mkdir()
    with pytest.raises(InputRefused, match=r"\.cache holds no image"):
        load(tmp_path / "d")


def test_links_are_followed_and_loops_end(folder, tmp_path):
    expected = load(folder).fingerprint_sha256
    (tmp_path / "elsewhere").mkdir()
    (folder / "cat").rename(tmp_path / "elsewhere" / "cat")
    (folder / "cat").symlink_to(tmp_path / "elsewhere" / "cat")
    (folder / "dog" / "loop").symlink_to(folder / "dog")
    (folder / "dog" / "more" / "up").symlink_to(folder)
    (folder / "dog" / "more" / "self").symlink_to(".")
    assert load(folder).fingerprint_sha256 == expected
    (tmp_path / "linked").symlink_to(folder)
    data = load(tmp_path / "linked")
    assert (data.name, data.fingerprint_sha256) == ("imagefolder:linked", expected)


def test_a_class_that_is_the_folder_itself(folder):
    (folder / "all").symlink_to(folder)
    with pytest.raises(InputRefused, match="all holds no image"):
        load(folder)


def test_a_web_of_links_ends(tmp_path):
    """Followed one by one, twenty levels of two links each are a million folders."""
    top = tmp_path / "web"
    for level in range(20):
        (top / f"{level}").mkdir(parents=True)
    for level in range(19):
        for name in "ab":
            (top / f"{level}" / name).symlink_to(top / f"{level + 1}")
    put(top / "19" / "0.png", photo(0))
    root = tmp_path / "d"
    root.mkdir()
    (root / "class").symlink_to(top / "0")
    assert load(root).total == 1


def test_links_to_nowhere_and_pipes_are_named(folder):
    (folder / "cat" / "a.png").symlink_to("/nowhere")
    with pytest.raises(InputUnavailable, match=r"photos/cat/a\.png"):
        load(folder)
    (folder / "cat" / "a.png").unlink()
    os.mkfifo(folder / "cat" / "a.png")
    with pytest.raises(InputRefused, match=r"photos/cat/a\.png is no regular file"):
        load(folder)


# Damage


def refused(folder, *words, **options):
    with pytest.raises(InputRefused) as caught:
        load(folder, **options)
    assert caught.value.exit_code == 4
    for word in words:
        assert word in caught.value.message


def test_images_of_different_sizes(folder):
    put(folder / "dog" / "b.png", photo(0, 20, 31))
    refused(folder, "photos/cat/z.webp has 20×30", "photos/dog/b.png 20×31")
    assert load(folder, 8, 8).images.shape == (5, 3, 8, 8)


def test_a_crop_that_does_not_fit_is_not_padded(folder):
    refused(folder, "photos/cat/z.webp has 20×30 pixels", crop=21)
    refused(folder, "has 8×12 pixels", resize=8, crop=(4, 13))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".webp", ".tif", ".ppm"])
@pytest.mark.parametrize("keep", [0, 1, 10, 30, 0.5, 0.95])
def test_truncated_images(tmp_path, suffix, keep):
    path = put(tmp_path / "d" / "class" / f"a{suffix}", photo(0))
    content = path.read_bytes()
    path.write_bytes(content[: keep if keep and isinstance(keep, int) else int(keep * len(content))])
    refused(tmp_path / "d", f"d/class/a{suffix} cannot be decoded")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".webp", ".tif", ".ppm"])
def test_mutated_images_are_read_or_refused(tmp_path, suffix):
    path = put(tmp_path / "d" / "class" / f"a{suffix}", photo(0))
    content, rng = path.read_bytes(), np.random.default_rng(0)
    outcomes = set()
    for _ in range(150):
        changed = bytearray(content)
        for place in rng.integers(0, min(len(content), 200), 3):
            changed[place] = rng.integers(256)
        path.write_bytes(changed)
        try:
            outcomes.add(load(tmp_path / "d").images.dtype)
        except InputRefused as error:
            assert f"a{suffix}" in error.message  # noqa: PT017
            outcomes.add(InputRefused)
    # Every part of a PNG has a checksum; the others are read where only pixels changed.
    assert outcomes == {InputRefused} | (set() if suffix == ".png" else {torch.uint8})


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("page.png", b"<!doctype html>"),
        ("script.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n"),
        ("pointer.png", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"),
        ("picture.png", b"GIF89a\x01\x00\x01\x00\x00\x00\x00;"),
    ],
)
def test_what_is_no_image(tmp_path, name, content):
    (tmp_path / "d" / "class").mkdir(parents=True)
    (tmp_path / "d" / "class" / name).write_bytes(content)
    refused(tmp_path / "d", name)


def chunk(kind, content):
    body = kind + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))


def png(width, height, rows):
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("size", [(10_000, 10_000), (100_000, 100_000), (2**31 - 1, 2**31 - 1), (2**27, 1)])
def test_decompression_bombs(tmp_path, size):
    (tmp_path / "d" / "class").mkdir(parents=True)
    (tmp_path / "d" / "class" / "bomb.png").write_bytes(png(*size, bytes(1000)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        refused(tmp_path / "d", "bomb.png")
        refused(tmp_path / "d", "bomb.png", resize=32)


def test_resizing_is_no_bomb_either(tmp_path):
    put(tmp_path / "d" / "class" / "thin.png", photo(0, 1, 1000))
    refused(tmp_path / "d", "thin.png would be resized", resize=4096)
    put(tmp_path / "d" / "class" / "thin.png", photo(0, 1000, 1))
    refused(tmp_path / "d", "thin.png would be resized", resize=4096)


@pytest.mark.parametrize("mode", ["I;16", "I", "F"])
def test_more_than_8_bits_are_refused(tmp_path, mode):
    (tmp_path / "d" / "class").mkdir(parents=True)
    Image.fromarray(np.arange(6, dtype=np.uint16).reshape(2, 3)).convert(mode).save(
        tmp_path / "d/class/a.tif"
    )
    refused(tmp_path / "d", "a.tif has pixels of type")


def test_more_than_the_memory(folder, monkeypatch):
    monkeypatch.setattr(imagefolder, "memory", lambda: 5 * 3 * 20 * 30 - 1)
    refused(folder, "5 images of shape (3, 20, 30) need")
    assert len(load(folder, limit=4)) == 4


def test_a_decoder_that_breaks_in_its_own_way(folder, monkeypatch):
    def broken(*_, **__):
        raise struct.error("unpack requires a buffer of 4 bytes")

    monkeypatch.setattr(picture.Image, "open", broken)
    refused(folder, "cannot be decoded (unpack requires")


def test_odd_names(tmp_path):
    put(tmp_path / "d" / "kläss [1]" / "a b\n.png", photo(0))
    (tmp_path / "d" / "kläss [1]" / os.fsdecode(b"\xff.png")).write_bytes(b"")
    with pytest.raises(InputRefused, match="cannot be decoded"):
        load(tmp_path / "d")


@pytest.mark.parametrize(
    ("resize", "crop"),
    [((), None), ((1, 2, 3), None), (0, None), (None, -1), (None, (2**20, 1)), (True, None), ("8", None)],
)
def test_sizes_that_are_none(resize, crop):
    with pytest.raises(UsageError, match=r"--resize|--crop"):
        make_sizing(resize, crop)


@pytest.mark.parametrize("spec", ["mnist", "cifar10", "npz:a.npz", "none"])
def test_other_data_sets_have_a_size(spec):
    with pytest.raises(UsageError, match="--resize and --crop do not apply to"):
        load_dataset(spec, sizing=make_sizing(8, None))
