"""Pickles are judged from their opcodes and never run."""

import io
import os
import pickle
import pickletools
import struct
import zipfile
from collections import OrderedDict

import pytest
import torch
from torch import nn

from lipaudit.errors import InputRefused, UnsafeInput, UsageError
from lipaudit.load import load_model


class Runs:
    """Reduces to a call of `function(*arguments)`."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.fixture
def marker(tmp_path):
    path = tmp_path / "executed"
    yield path
    assert not path.exists(), "the pickle was executed"


def stack_global(module, name, argument, *, through_memo=False):
    """A protocol-4 pickle that calls module.name(argument) with STACK_GLOBAL."""

    def text(value):
        raw = value.encode()
        return b"\x8c" + bytes([len(raw)]) + raw

    body = text(module) + b"\x94" + text(name) + b"\x94"
    body += b"00h\x00h\x01" if through_memo else b""
    return (
        b"\x80\x04" + body + b"\x93" + b"X" + struct.pack("<I", len(argument)) + argument.encode() + b"\x85R."
    )


def zip_checkpoint(pickled, extra=()):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/version", "3\n")
        for name, content in extra:
            archive.writestr(name, content)
    return buffer.getvalue()


def legacy(pickled):
    head = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}]
    return b"".join(pickle.dumps(part, protocol=2) for part in head) + pickled + pickle.dumps([], protocol=2)


def saved(content, **kwargs):
    buffer = io.BytesIO()
    torch.save(content, buffer, **kwargs)
    return buffer.getvalue()


def touch(marker):
    return f"touch {marker}"


PAYLOADS = {
    "os.system by REDUCE": lambda m: pickle.dumps(Runs(os.system, touch(m)), protocol=2),
    "builtins.eval by STACK_GLOBAL": lambda m: stack_global("builtins", "eval", f"open({str(m)!r},'w')"),
    "through the memo": lambda m: stack_global(
        "builtins", "exec", f"open({str(m)!r},'w')", through_memo=True
    ),
    "GLOBAL os system": lambda m: b"cos\nsystem\n(V" + touch(m).encode() + b"\ntR.",
    "INST": lambda m: b"(V" + touch(m).encode() + b"\nios\nsystem\n.",
    "hidden in a state dict": lambda m: pickle.dumps(
        OrderedDict(weight=[1, {"deep": Runs(os.system, touch(m))}]), protocol=2
    ),
}
WANTED = {"builtins.eval by STACK_GLOBAL": "builtins.eval", "through the memo": "builtins.exec"}


@pytest.mark.parametrize(
    "wrap", [zip_checkpoint, legacy, lambda pickled: b"\x80\x02" + pickled.removeprefix(b"\x80\x02")]
)
@pytest.mark.parametrize("payload", PAYLOADS)
def test_malicious_pickle_is_named_and_not_run(payload, wrap, tmp_path, marker):
    pickled = PAYLOADS[payload](marker)
    wrapped = wrap(pickled)
    if pickled[:2] == b"\x80\x04" and wrapped[:4] == b"\x80\x02\x80\x04":
        wrapped = pickled
    path = tmp_path / "model.pth"
    path.write_bytes(wrapped)
    with pytest.raises(UnsafeInput) as caught:
        load_model(path)  # judged before --arch is asked for
    assert WANTED.get(payload, "system") in caught.value.message
    assert "safetensors" in caught.value.hint


def test_other_pickles_of_an_archive_are_judged_too(tmp_path, marker):
    path = tmp_path / "m.pth"
    evil = pickle.dumps(Runs(os.system, touch(marker)), protocol=2)
    path.write_bytes(zip_checkpoint(pickle.dumps({}, protocol=2), [("archive/other.pkl", evil)]))
    with pytest.raises(UnsafeInput, match="system"):
        load_model(path)


def test_two_entries_of_one_name_are_refused(tmp_path):
    path = tmp_path / "m.pth"
    with pytest.warns(UserWarning, match="Duplicate name"):
        data = zip_checkpoint(pickle.dumps({}, protocol=2), [("archive/data.pkl", b"N.")])
    path.write_bytes(data)
    with pytest.raises(UnsafeInput, match="two entries"):
        load_model(path)


def test_computed_global_is_refused(tmp_path):
    # The name is the result of a call: it cannot be known without running it.
    pickled = b"\x80\x04\x8c\x02os\x94ccollections\nOrderedDict\n)R\x93."
    pickletools.dis(pickled, out=io.StringIO())
    path = tmp_path / "m.pth"
    path.write_bytes(zip_checkpoint(pickled))
    with pytest.raises(UnsafeInput, match="computes while loading"):
        load_model(path)


@pytest.mark.parametrize("code", [b"\x82\x01", b"\x83\x01\x00", b"\x84\x01\x00\x00\x00"])
def test_extension_registry_is_refused(code, tmp_path):
    path = tmp_path / "m.pth"
    path.write_bytes(zip_checkpoint(b"\x80\x02" + code + b")R."))
    with pytest.raises(UnsafeInput, match="extension code"):
        load_model(path)


def test_whole_module_is_refused_by_name(tmp_path):
    path = tmp_path / "m.pth"
    path.write_bytes(saved(nn.Sequential(nn.Linear(2, 2))))
    with pytest.raises(UnsafeInput, match=r"torch\.nn\.modules\.container\.Sequential"):
        load_model(path)


@pytest.mark.parametrize(
    "pickled",
    [b"", b"\x80\x02", b"\x80\x02(", b"\x80\x02R.", b"\x80\x02}q\x00X\xff\xff", b"\x80\x02h\x07.", b"."],
)
def test_damaged_pickle_is_refused(pickled, tmp_path):
    path = tmp_path / "m.pth"
    path.write_bytes(zip_checkpoint(pickled))
    with pytest.raises(InputRefused, match="truncated or damaged"):
        load_model(path)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_plain_state_dicts_pass(zipped, dtype, tmp_path):
    path = tmp_path / "m.pth"
    state = OrderedDict(weight=torch.ones(2, 3, dtype=dtype), steps=torch.tensor(3))
    path.write_bytes(
        saved(
            {"state_dict": state, "epoch": 3, "p": nn.Parameter(torch.ones(1))},
            _use_new_zipfile_serialization=zipped,
        )
    )
    with pytest.raises(UsageError, match=r"weight \[2, 3\]"):
        load_model(path)


def test_plain_pickle_is_no_checkpoint(tmp_path):
    path = tmp_path / "m.pkl"
    path.write_bytes(pickle.dumps({"weight": [1.0, 2.0]}, protocol=4))
    with pytest.raises(InputRefused, match="plain pickle"):
        load_model(path)


def test_zip_bomb_is_refused(tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}, protocol=2))
        archive.writestr("archive/data/0", bytes(1 << 24))
    path = tmp_path / "m.pth"
    path.write_bytes(buffer.getvalue())
    with pytest.raises(InputRefused, match="expands"):
        load_model(path)
