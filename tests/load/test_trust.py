"""The tiers of trust in a pickle: data only, classes admitted by name, one file admitted by its digest."""

import hashlib
import io
import os
import pickle
import struct
import sys
import zipfile
from argparse import Namespace
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from lipaudit.cli import main
from lipaudit.errors import InputRefused, UnsafeInput, UsageError
from lipaudit.load import load_model
from lipaudit.load.admit import check_terms, is_admissible, resolve
from lipaudit.load.checkpoint import read_checkpoint
from lipaudit.load.isolated import read_apart
from lipaudit.load.reading import Request
from lipaudit.load.safety import check_legacy_checkpoint, check_zip_checkpoint
from lipaudit.load.sniff import Kind

ARCH = """
from torch import nn

def net():
    return nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
"""
PACKAGE = """
import subprocess

class Config:
    def __init__(self, width=3):
        self.width = width

class Job(subprocess.Popen):
    pass

def helper(*args):
    raise SystemExit

Alias = subprocess.Popen
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of the user's, installed."""
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "userpackage.py").write_text(PACKAGE)
    monkeypatch.syspath_prepend(str(folder))
    yield "userpackage"
    sys.modules.pop("userpackage", None)


@pytest.fixture
def canary(tmp_path):
    path = tmp_path / "executed"
    yield path
    assert not path.exists(), "the pickle was executed"


def state():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)).state_dict()


def saved(content, **kwargs):
    buffer = io.BytesIO()
    torch.save(content, buffer, **kwargs)
    return buffer.getvalue()


def zipped(pickled):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/version", "3\n")
    return buffer.getvalue()


def here(data, *allowed, trust=None):
    kind = Kind.ZIP_CHECKPOINT if data.startswith(b"PK") else Kind.LEGACY_CHECKPOINT
    judge = {Kind.ZIP_CHECKPOINT: check_zip_checkpoint, Kind.LEGACY_CHECKPOINT: check_legacy_checkpoint}[kind]
    met = () if trust else judge(data, "m", allowed)
    return read_checkpoint(data, met, Request(name="m", allow_globals=allowed, trust_pickle=trust))


# Malicious pickles never run


class Calls:
    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def text(value):
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def getattr_chain(path):
    """getattr(__import__('os'), 'sys' + 'tem')(…): no dangerous name stands in the file in one piece."""
    join = b"cbuiltins\ngetattr\n(" + text("sys") + text("join") + b"tR(" + text("tem") + b"tR"
    return (
        b"\x80\x02cbuiltins\ngetattr\n(cbuiltins\n__import__\n("
        + text("os")
        + b"tR"
        + join
        + b"tR("
        + (text(f"touch {path}") + b"tR.")
    )


def computed_name(path):
    return (
        b"\x80\x04cbuiltins\nstr\n("
        + text("os")
        + b"tR"
        + text("system")
        + b"\x93("
        + text(f"touch {path}")
        + b"tR."
    )


def numpy_scalar(path):
    """NumPy's reconstruction with a pickle inside of an object array."""
    inner = pickle.dumps(Calls(os.system, f"touch {path}"), protocol=2)
    return pickle.dumps(Calls(np.load, io.BytesIO), protocol=2)[:0] + (
        b"\x80\x02cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n("
        + text("O8")
        + b"tR"
        + text(repr(inner))
        + b"tR."
    )


def torch_hook(path):
    """torch.load itself, and the rebuilding of hooks."""
    return (
        b"\x80\x02ctorch.serialization\nload\n(" + text(str(path)) + b"tR0"
        b"ctorch._utils\n_rebuild_parameter_with_state\n(cos\nsystem\n(" + text(f"touch {path}") + b"tRtR."
    )


MALICIOUS = {
    "os.system": lambda p: pickle.dumps(Calls(os.system, f"touch {p}"), protocol=2),
    "builtins.eval": lambda p: pickle.dumps(Calls(eval, f"open({str(p)!r}, 'w')"), protocol=2),
    "getattr chain": getattr_chain,
    "computed name": computed_name,
    "numpy reconstruction": numpy_scalar,
    "torch.load and hooks": torch_hook,
    "extension code": lambda p: b"\x80\x02\x82\x01(" + text(f"touch {p}") + b"tR.",
    "__reduce__ in a state dict": lambda p: pickle.dumps(
        OrderedDict(w=Calls(os.system, f"touch {p}")), protocol=4
    ),
    "BUILD with setstate": lambda p: (
        b"\x80\x02cbuiltins\nexec\n(" + text(f"open({str(p)!r},'w')") + b"tRN}b."
    ),
    "subprocess.Popen": lambda p: (
        b"\x80\x02csubprocess\nPopen\n(" + text("touch") + b"l" + text(str(p)) + b"atR."
    ),
}


def legacy(pickled):
    head = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}]
    return b"".join(pickle.dumps(part, protocol=2) for part in head) + pickled + pickle.dumps([], protocol=2)


@pytest.mark.parametrize("wrap", [zipped, legacy, bytes])
@pytest.mark.parametrize("kind", MALICIOUS)
def test_malicious_pickles_never_run(kind, wrap, canary):
    data = wrap(MALICIOUS[kind](canary))
    for allowed in ((), ("numpy.dtype", "numpy.core.multiarray.scalar"), ("collections.Counter",)):
        with pytest.raises(InputRefused):
            here(data, *allowed)


@pytest.mark.parametrize("kind", MALICIOUS)
def test_malicious_pickles_never_run_in_the_command(kind, canary, tmp_path, capfd):
    path = tmp_path / "m.pth"
    path.write_bytes(zipped(MALICIOUS[kind](canary)))
    assert main([str(path)]) == 4
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("kind", MALICIOUS)
def test_torch_is_the_second_lock(kind, canary):
    """If the first one were to fail."""
    with pytest.raises(InputRefused):
        read_checkpoint(zipped(MALICIOUS[kind](canary)), (), Request(name="m"))


# --allow-global


@pytest.mark.parametrize(
    "name",
    [
        *("os.system", "posix.system", "nt.system", "subprocess.Popen", "builtins.eval", "builtins.exec"),
        *("builtins.getattr", "builtins.__import__", "importlib.import_module", "io.FileIO", "_io.FileIO"),
        *("torch.load", "torch.hub.load", "torch.package.PackageImporter", "torch.jit.load", "numpy.load"),
        *("functools.partial", "operator.attrgetter", "pickle.loads", "ctypes.CDLL", "__main__.Config"),
        *("__builtin__.eval", "shutil.rmtree", "runpy.run_path", "code.InteractiveInterpreter", "pip.main"),
        *("lipaudit.audit", "logging.FileHandler", "socket.socket", "webbrowser.open", "pty.spawn"),
    ],
)
def test_what_can_run_anything_is_never_admitted(name):
    assert not is_admissible(name)
    with pytest.raises(UsageError, match="never admitted"):
        check_terms((name,), None)


@pytest.mark.parametrize("name", ["", "Config", "a.b c", "a..b", "a.b()", ".a", "a.", "ext 1.x"])
def test_what_is_no_name_is_a_usage_error(name):
    with pytest.raises(UsageError, match="is no name"):
        check_terms((name,), None)


@pytest.mark.parametrize(
    ("name", "error", "says"),
    [
        ("userpackage.helper", UnsafeInput, "only classes are admitted"),
        ("userpackage.Job", UnsafeInput, r"derives from, subprocess\.Popen"),
        ("userpackage.Alias", UnsafeInput, r"stands for, or derives from, subprocess\.Popen"),
        ("userpackage.subprocess", UnsafeInput, "is a module"),
        ("userpackage.Absent", InputRefused, "cannot be imported"),
        ("no_such_package_xyz.Config", InputRefused, "must be installed"),
    ],
)
def test_a_name_is_not_enough(name, error, says, package):
    del package
    with pytest.raises(error, match=says):
        resolve(name)


def test_admitted_class_is_named_made_and_recorded(package, tmp_path, capfd):
    module = __import__(package)
    path, arch, out = tmp_path / "m.pth", tmp_path / "arch.py", tmp_path / "r.json"
    path.write_bytes(saved({"state_dict": state(), "config": module.Config(7)}))
    arch.write_text(ARCH)
    call = [str(path), "--arch", f"{arch}:net", "--input-shape", "4", "--no-attack"]
    assert main(call) == 4
    told = capfd.readouterr().err
    assert "userpackage.Config" in told
    flag = "--allow-global userpackage.Config"
    assert flag in told
    assert main([*call, *flag.split(), "-o", str(out)]) == 0
    assert "runs the --arch file; lets the pickle make userpackage.Config (--allow-global)" in out.read_text()
    assert "userpackage" in " ".join(capfd.readouterr().out.split())


@pytest.mark.parametrize("zipped_", [True, False])
def test_harmless_values_of_the_standard_library(zipped_):
    content = {"state_dict": state(), "args": Namespace(lr=0.1), "path": Path("a")}
    data = saved(content, _use_new_zipfile_serialization=zipped_)
    path = f"{type(Path()).__module__.partition('.')[0]}.PosixPath"
    with pytest.raises(UnsafeInput) as caught:
        here(data)
    assert f"--allow-global argparse.Namespace --allow-global {path}" in caught.value.hint
    read = here(data, "argparse.Namespace", path, "uuid.UUID")
    assert read.trust == f"lets the pickle make argparse.Namespace, {path} (--allow-global)"
    assert any("does not need uuid.UUID" in note for note in read.notes)
    assert list(read.state) == list(state())


def test_numpy_scalars(package):
    del package
    data = saved({"state_dict": state(), "best": np.float64(0.5)})
    with pytest.raises(UnsafeInput) as caught:
        here(data)
    flags = caught.value.hint.split("--allow-global ")[1:]
    assert here(data, *(flag.strip() for flag in flags)).state.keys() == state().keys()


def test_a_whole_module_gives_its_state_dict():
    data = saved({"model": nn.Sequential(nn.Linear(4, 3), nn.ReLU())})
    names = [
        f"torch.nn.modules.{name}" for name in ("container.Sequential", "linear.Linear", "activation.ReLU")
    ]
    with pytest.raises(UnsafeInput) as caught:
        here(data, *names[:2])
    assert f"--allow-global {names[2]}" in caught.value.hint
    read = here(data, *names)
    assert list(read.state) == ["0.weight", "0.bias"]
    assert any("whole Sequential" in note for note in read.notes)


def test_dangerous_wishes_get_no_flag():
    for pickled in (MALICIOUS["os.system"]("x"), MALICIOUS["builtins.eval"]("x")):
        with pytest.raises(UnsafeInput) as caught:
            here(zipped(pickled))
        assert "--allow-global" not in caught.value.hint
        assert "safetensors" in caught.value.hint


# --trust-pickle


def digest(data):
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def test_trusted_pickle_runs_in_the_child_and_is_recorded(tmp_path):
    ran = tmp_path / "ran"
    data = zipped(pickle.dumps({"w": [1], "call": Calls(os.system, f"echo $PPID > {ran}")}, protocol=2))
    with pytest.raises(InputRefused, match="not a state dict"):
        read_apart(data, Request(name="m", trust_pickle=digest(data)))
    assert int(ran.read_text()) != os.getpid()
    made = saved({"state_dict": state(), "call": Calls(os.getcwd)})
    reading = read_apart(made, Request(name="m", trust_pickle=digest(made)))
    assert reading.trust == f"runs the pickle {digest(made)} (--trust-pickle)"
    assert reading.names == tuple(state())


@pytest.mark.parametrize("kind", MALICIOUS)
def test_another_digest_runs_nothing(kind, canary):
    data = zipped(MALICIOUS[kind](canary))
    with pytest.raises(InputRefused, match=f"its digest is {digest(data)}"):
        here(data, trust=digest(b"another file"))


@pytest.mark.parametrize(
    "stated", ["", "sha256:", "sha256:12", "0" * 64, "sha256:" + "G" * 64, "md5:" + "0" * 64]
)
def test_a_digest_is_stated_in_full(stated):
    with pytest.raises(UsageError, match="is no digest"):
        check_terms((), stated)


def test_options_that_cannot_be_meant(tmp_path):
    with pytest.raises(UsageError, match="one of them"):
        check_terms(("a.B",), digest(b""))
    (tmp_path / "m").write_bytes(
        (Path(__file__).parents[2] / "sample_models" / "mnist_plain" / "model.safetensors").read_bytes()
    )
    for options in ({"allow_globals": ("a.B",)}, {"trust_pickle": digest(b"")}):
        with pytest.raises(UsageError, match="holds no pickle"):
            load_model(tmp_path / "m", **options)


# Tensors that are not what they seem


@pytest.mark.parametrize("place", [b"cuda:0", b"cuda:7", b"mps", b"mps:0", b"xpu:0", b"hpu"])
@pytest.mark.parametrize("zipped_", [True, False])
def test_storages_of_other_devices_come_to_the_cpu(place, zipped_):
    data = saved(state(), _use_new_zipfile_serialization=zipped_)
    old, new = (b"X" + struct.pack("<I", len(name)) + name for name in (b"cpu", place))
    if zipped_:
        buffer = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(data)) as before, zipfile.ZipFile(buffer, "w") as after:
            for entry in before.infolist():
                content = before.read(entry)
                if entry.filename.endswith("data.pkl"):
                    assert old in content
                    content = content.replace(old, new)
                after.writestr(entry.filename, content)
        moved = buffer.getvalue()
    else:
        assert old in data
        moved = data.replace(old, new)
    read = here(moved).state
    for key, value in state().items():
        assert torch.equal(read[key], value)
        assert read[key].device.type == "cpu"


def test_endless_views_are_refused():
    for shape in ((1 << 40,), (1 << 20, 1 << 20)):
        data = saved({"w": torch.zeros(1).expand(shape)})
        with pytest.raises(InputRefused, match="claim"):
            here(data)
    assert here(saved({"w": torch.ones(3).expand(5, 3)})).state["w"].shape == (5, 3)


def test_tied_weights_are_two_tensors():
    weight = torch.ones(3)
    assert list(here(saved({"a": weight, "b": weight})).state) == ["a", "b"]


def archive(*entries, compress=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compress) as made:
        for name, content in entries:
            made.writestr(name, content)
    return bytearray(buffer.getvalue())


def test_entries_that_overlap_are_refused():
    data = archive(
        ("a/data.pkl", pickle.dumps({}, protocol=2)), ("a/data/0", bytes(100)), ("a/data/1", bytes(100))
    )
    central = [i for i in range(len(data)) if data[i : i + 4] == b"PK\x01\x02"]
    data[central[2] + 42 : central[2] + 46] = data[central[1] + 42 : central[1] + 46]
    with pytest.raises(InputRefused, match=r"overlap|damaged"):
        here(bytes(data))


def test_archives_in_archives_are_not_opened():
    bomb = bytes(archive(("x", bytes(1 << 24)), compress=zipfile.ZIP_DEFLATED))
    data = archive(("a/data.pkl", pickle.dumps({}, protocol=2)), ("a/inner.zip", bomb))
    with pytest.raises(InputRefused):
        here(bytes(data))


def test_names_that_are_no_text_survive():
    read = read_apart(saved({"\ud800 \x00é": torch.ones(2)}), Request(name="m"))
    assert read.names == ("\ud800 \x00é",)


def test_deeply_nested_pickles_are_refused():
    nested = b"\x80\x02" + b"(" * 100_000 + b"t" * 100_000 + b"."
    with pytest.raises(InputRefused):
        here(zipped(nested))
    lists = b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b"."
    with pytest.raises(InputRefused):
        here(zipped(lists))


def test_tar_checkpoints_are_named():
    data = io.BytesIO()
    import tarfile  # noqa: PLC0415 - only here

    with tarfile.open(fileobj=data, mode="w") as made:
        made.addfile(tarfile.TarInfo("storages"))
    with pytest.raises(InputRefused, match="tar archive"):
        read_apart(data.getvalue(), Request(name="m"))
