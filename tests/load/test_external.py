"""External data: plain files of the model's own folder, whose sizes are known before they are read."""

import os

import numpy as np
import pytest
from onnx import TensorProto, helper

from lipaudit.errors import InputRefused, InputUnavailable
from lipaudit.load.external import embed

CONTENT = np.float32([1, 2, 3, 4]).tobytes()


def weight(name="w", location="w.bin", dims=(4,), **entries):
    tensor = TensorProto(name=name, data_type=1, dims=dims, data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def model(*weights, nodes=(), functions=()):
    return helper.make_model(helper.make_graph(nodes, "g", [], [], list(weights)), functions=functions)


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "model"
    made.mkdir()
    (made / "w.bin").write_bytes(CONTENT)
    (tmp_path / "secret.bin").write_bytes(CONTENT)
    return made


def test_bytes_are_taken_from_where_they_are(folder):
    (folder / "sub").mkdir()
    (folder / "sub" / "v.bin").write_bytes(b"xx" + CONTENT)
    proto = model(weight(), weight("v", "sub/v.bin", offset=2, length=16), weight("u", dims=(2,), length=8))
    told = []
    files = embed(proto, folder, told.append)
    assert files == {"w.bin": CONTENT, "sub/v.bin": b"xx" + CONTENT}
    assert told == [34]
    assert [tensor.raw_data for tensor in proto.graph.initializer] == [CONTENT, CONTENT, CONTENT[:8]]
    assert not any(tensor.external_data or tensor.data_location for tensor in proto.graph.initializer)


def test_tensors_in_attributes_subgraphs_and_functions_are_found(folder):
    inner = helper.make_graph(
        [helper.make_node("Constant", [], ["c"], value=weight("c"))], "inner", [], [], [weight("i")]
    )
    outer = helper.make_node("If", ["f"], ["y"], then_branch=inner)
    function = helper.make_function(
        "own",
        "F",
        [],
        ["c"],
        [helper.make_node("Constant", [], ["c"], value=weight("c"))],
        [helper.make_opsetid("", 17)],
    )
    proto = model(nodes=[outer], functions=[function])
    embed(proto, folder)
    assert b"w.bin" not in proto.SerializeToString()


@pytest.mark.parametrize(
    "location",
    [
        *(
            "../secret.bin",
            "/etc/passwd",
            "sub/../../secret.bin",
            r"..\secret.bin",
            r"C:\x",
            "C:x",
            r"\\host\x",
        ),
        *("", ".", "./", "..", "w.bin\0", "//etc/passwd"),
    ],
)
def test_what_leaves_the_folder_is_refused(folder, location):
    with pytest.raises(InputRefused, match="outside of the model's folder"):
        embed(model(weight(location=location)), folder)


def test_links_are_refused(folder, tmp_path):
    (folder / "soft.bin").symlink_to(tmp_path / "secret.bin")
    (folder / "near.bin").symlink_to("w.bin")
    (folder / "loop.bin").symlink_to("loop.bin")
    (folder / "out").symlink_to(tmp_path)
    for location in ("soft.bin", "near.bin", "loop.bin", "out/secret.bin"):
        with pytest.raises(InputRefused, match="is a symbolic link"):
            embed(model(weight(location=location)), folder)
    os.link(tmp_path / "secret.bin", folder / "hard.bin")
    with pytest.raises(InputRefused, match="is a hard link"):
        embed(model(weight(location="hard.bin")), folder)


def test_what_is_no_file_is_refused_at_once(folder):
    os.mkfifo(folder / "pipe.bin")
    (folder / "sub").mkdir()
    for location in ("pipe.bin", "sub"):
        with pytest.raises(InputRefused, match="is not a regular file"):
            embed(model(weight(location=location)), folder)


@pytest.mark.parametrize("location", ["none.bin", "none/w.bin", "w.bin/x", "x" * 300])
def test_what_is_not_there_is_unavailable(folder, location):
    with pytest.raises(InputUnavailable):
        embed(model(weight(location=location)), folder)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"dims": (1 << 40,)}, "takes 4398046511104 bytes, its external data 16"),
        ({"dims": (1 << 31, 1 << 31)}, "takes"),
        ({"dims": (5,), "length": 20}, "too short"),
        ({"offset": 1 << 40}, "too short"),
        ({"offset": 16}, "takes 16 bytes, its external data 0"),
        ({"offset": 4, "length": 16}, "too short"),
        ({"length": 12}, "takes 16 bytes, its external data 12"),
        ({"length": 1 << 60}, "is no number|too short"),
        ({"dims": (-4,)}, "negative extent"),
        ({"offset": "-4"}, "is no number"),
        ({"offset": "1_0"}, "is no number"),
        ({"length": "٣"}, "is no number"),
        ({"length": "9" * 5000}, "is no number"),
    ],
)
def test_sizes_are_held_against_each_other_first(folder, changed, says, monkeypatch):
    monkeypatch.setattr(
        "lipaudit.load.external._read", lambda *_: pytest.fail("read before the sizes were known")
    )
    with pytest.raises(InputRefused, match=says):
        embed(model(weight(**changed)), folder)


def test_a_sparse_file_of_many_gigabytes_is_not_read(folder):
    with (folder / "w.bin").open("wb") as file:
        file.truncate(1 << 36)
    with pytest.raises(InputRefused, match="larger than 2 GiB"):
        embed(model(weight(length=16)), folder)


def test_many_tensors_over_the_same_bytes_are_no_multiplication(folder):
    with (folder / "w.bin").open("wb") as file:
        file.truncate(1 << 28)
    with pytest.raises(InputRefused, match="larger than 2 GiB"):
        embed(model(*(weight(f"w{i}", dims=(1 << 26,)) for i in range(9))), folder)


def test_no_descriptor_is_left_open(folder):
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0  # noqa: PTH112, PTH208
    for location in ("w.bin", "none.bin", "../x"):
        with pytest.raises((InputRefused, InputUnavailable)):
            embed(model(weight(), weight("v", location, dims=(9,))), folder)
    after = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0  # noqa: PTH112, PTH208
    assert after == before
