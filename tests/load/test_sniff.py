"""Files are told apart by their bytes."""

import io
import json
import zipfile

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper
from safetensors.torch import save as save_safetensors
from torch import nn

from lipaudit.errors import InputRefused, InputUnavailable
from lipaudit.load.sniff import Kind, read_bytes, sniff


def onnx_bytes():
    node = helper.make_node("Relu", ["x"], ["y"])
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, 3)) for name in "xy"]
    return helper.make_model(helper.make_graph([node], "g", ends[:1], ends[1:])).SerializeToString()


def saved(content, **kwargs):
    buffer = io.BytesIO()
    torch.save(content, buffer, **kwargs)
    return buffer.getvalue()


def archive(*names):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as handle:
        for name in names:
            handle.writestr(name, b"x")
    return buffer.getvalue()


def npz():
    buffer = io.BytesIO()
    np.savez(buffer, x=np.ones(3))
    return buffer.getvalue()


def exported():
    buffer = io.BytesIO()
    torch.export.save(torch.export.export(nn.ReLU(), (torch.ones(1),)), buffer)
    return buffer.getvalue()


KNOWN = {
    Kind.ONNX: onnx_bytes,
    Kind.EXPORTED: exported,
    Kind.SAFETENSORS: lambda: save_safetensors({"w": torch.ones(3)}),
    Kind.ZIP_CHECKPOINT: lambda: saved({"w": torch.ones(3)}),
    Kind.LEGACY_CHECKPOINT: lambda: saved({"w": torch.ones(3)}, _use_new_zipfile_serialization=False),
}


@pytest.mark.parametrize("kind", KNOWN)
def test_known_formats(kind):
    assert sniff(KNOWN[kind](), "misleading.txt") is kind


@pytest.mark.parametrize("length", [0x0280, 0x0380, 0x0480, 0x0580, 0x30280])
def test_lengths_of_headers_that_look_like_a_pickle(length):
    """`80 02` to `80 05` begin a pickle, and so may the length that a safetensors file begins with."""
    weights, empty = {"w": torch.ones(3)}, len(save_safetensors({"w": torch.ones(3)}, metadata={"": ""}))
    text = "x" * (length - (empty - 8 - 12))
    data = save_safetensors(weights, metadata={"": text})
    assert int.from_bytes(data[:8], "little") == length
    assert sniff(data, "m.safetensors") is Kind.SAFETENSORS


REFUSED = {
    "empty": lambda: b"",
    "Git-LFS pointer": lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n",
    "HTML or XML page": lambda: b"\n<!DOCTYPE html><html></html>",
    "JSON file": lambda: json.dumps({"message": "Not Found"}).encode(),
    "text file": lambda: "Größe: this is no model\n".encode() * 400,
    "TorchScript archive": lambda: archive("m/constants.pkl", "m/data.pkl", "m/code/__torch__.py"),
    "NumPy archive": npz,
    "NumPy array": lambda: b"\x93NUMPY\x01\x00",
    "HDF5": lambda: b"\x89HDF\r\n\x1a\n" + bytes(100),
    "zip archive without": lambda: archive("readme.txt"),
    "damaged zip": lambda: saved({"w": torch.ones(3)})[:200],
    "damaged safetensors": lambda: save_safetensors({"w": torch.ones(3)})[:-1],
    "looks like an ONNX file but is truncated": lambda: onnx_bytes()[:-3],
    "not a model this program knows": lambda: bytes(range(256)) * 5,
}


@pytest.mark.parametrize("what", REFUSED)
def test_refusals_say_what_the_file_is(what):
    with pytest.raises(InputRefused) as caught:
        sniff(REFUSED[what](), "model.onnx")
    assert what in caught.value.message
    assert caught.value.message.startswith("model.onnx")
    assert caught.value.hint


@pytest.mark.parametrize("kind", KNOWN)
def test_no_truncation_or_flip_crashes(kind):
    whole = KNOWN[kind]()
    random = np.random.default_rng(0)
    for _ in range(60):
        data = bytearray(whole[: random.integers(1, len(whole))])
        data[random.integers(len(data))] ^= int(random.integers(1, 256))
        try:
            sniff(bytes(data), "m")
        except InputRefused:
            continue


def test_missing_file_and_folder_are_unavailable(tmp_path):
    with pytest.raises(InputUnavailable, match="no such file"):
        read_bytes(tmp_path / "none.onnx")
    with pytest.raises(InputUnavailable, match="folder"):
        read_bytes(tmp_path)
    with pytest.raises(InputUnavailable):
        read_bytes(tmp_path / ("x" * 5000))
