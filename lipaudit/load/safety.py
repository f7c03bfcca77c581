"""Is a pickle data only?  Judged from its opcodes, never by running it.

A pickle is a program for a stack machine; the only way out of it is a *global*, a name that is
imported and called.  `torch.save`d tensors need a short list of them.  This module walks the opcodes
(`pickletools.genops`, which executes nothing), follows the stack and the memo far enough to know every
global's name, and refuses what is not on the list or cannot be resolved.  `torch.load(weights_only=True)`
is the second lock, not the first: its message comes too late and says too little.

Format: CPython, `Lib/pickletools.py`; PyTorch, `torch/serialization.py`.
"""

from __future__ import annotations

import io
import pickletools
import zipfile
from typing import Any

from lipaudit.errors import InputRefused, UnsafeInput

__all__ = ["check_legacy_checkpoint", "check_zip_checkpoint"]

_STORAGES = (
    *("Double", "Float", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool"),
    *("ComplexFloat", "ComplexDouble", "Untyped", "Typed"),
)
_DTYPES = (
    *("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"),
    *("complex64", "complex128"),
)

_ALLOWED = frozenset(
    {f"torch.{kind}Storage" for kind in _STORAGES}
    | {f"torch.storage.{kind}Storage" for kind in _STORAGES}
    | {f"torch.{dtype}" for dtype in _DTYPES}
    | {
        "torch._utils._rebuild_tensor",
        "torch._utils._rebuild_tensor_v2",
        "torch._utils._rebuild_parameter",
        "torch._utils._rebuild_parameter_with_state",
        "torch._tensor._rebuild_from_type_v2",
        "torch.nn.parameter.Parameter",
        "torch.Tensor",
        "torch.Size",
        "torch.device",
        "torch.serialization._get_layout",
        "collections.OrderedDict",
        "_codecs.encode",
        "builtins.bytearray",
        "builtins.set",
        "__builtin__.set",
    }
)

_STRINGS = frozenset(
    {"STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"}
)
_PUTS = frozenset({"PUT", "BINPUT", "LONG_BINPUT"})
_GETS = frozenset({"GET", "BINGET", "LONG_BINGET"})
_EXTENSIONS = frozenset({"EXT1", "EXT2", "EXT4"})
_MARK = object()
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PICKLES = 5
"""Magic number, protocol, system, object, storage keys; raw numbers follow."""
_PICKLE_LIMIT = 64 << 20
_OPCODE_LIMIT = 20_000_000
_HINT = (
    "nothing was executed; ask for, or re-save, the weights alone: "
    'safetensors.torch.save_file(model.state_dict(), "model.safetensors")'
)


def check_zip_checkpoint(data: bytes, name: str) -> None:
    """Refuse a zip checkpoint whose pickles do more than rebuild tensors.

    Raises:
        UnsafeInput: a pickle names a global that tensors do not need.
        InputRefused: damaged, or expands to far more than its size.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = archive.infolist()
        names = [entry.filename for entry in entries]
        if len(set(names)) < len(names):
            # Two readers may pick different ones: what was judged would not be what is loaded.
            raise UnsafeInput(f"{name}: the archive holds two entries of one name", hint=_HINT)
        if sum(entry.file_size for entry in entries) > 2 * len(data) + (1 << 20):
            raise InputRefused(
                f"{name}: the archive expands to more than twice its size",
                hint="torch.save does not compress: re-save it",
            )
        for entry in entries:
            if not entry.filename.endswith(".pkl"):
                continue
            if entry.file_size > _PICKLE_LIMIT:
                raise InputRefused(f"{name}: {entry.filename} is larger than 64 MiB", hint=_HINT)
            try:
                pickled = archive.read(entry)
            except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, OSError, ValueError):
                raise _damaged(name) from None
            _judge(io.BytesIO(pickled), name)


def check_legacy_checkpoint(data: bytes, name: str) -> None:
    """Refuse a pickle stream that is not a data-only `torch.save` file of the old format.

    Raises:
        UnsafeInput: a pickle names a global that tensors do not need.
        InputRefused: a plain pickle, or damaged.
    """
    stream = io.BytesIO(data)
    first = _judge(stream, name)
    if first != _LEGACY_MAGIC:
        while stream.tell() < len(data) and data[stream.tell()] == 0x80:
            _judge(stream, name)
        raise InputRefused(
            f"{name} is a plain pickle, not a torch.save checkpoint",
            hint="save the weights with safetensors or torch.save(model.state_dict(), …)",
        )
    for _ in range(_LEGACY_PICKLES - 1):
        _judge(stream, name)


def _judge(stream: io.BytesIO, name: str) -> Any:  # noqa: ANN401 - an opcode's argument
    """Walk one pickle; return the argument of its last pushing opcode (the magic number's value)."""
    machine = _Machine(name)
    pushed: Any = None
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
            if count > _OPCODE_LIMIT:
                raise InputRefused(f"{name}: a pickle of more than {_OPCODE_LIMIT} operations", hint=_HINT)
            machine.step(opcode, argument)
            if argument is not None:
                pushed = argument
    except (ValueError, IndexError, KeyError, EOFError, OverflowError, UnicodeDecodeError, AttributeError):
        raise _damaged(name) from None
    if machine.unsafe:
        raise machine.refusal()
    return pushed


def _damaged(name: str) -> InputRefused:
    return InputRefused(
        f"{name}: a pickle in it is truncated or damaged", hint="the download or export failed: repeat it"
    )


class _Machine:
    """The pickle machine's stack and memo, holding strings and ignorance."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.unsafe: list[str] = []

    def step(self, opcode: pickletools.OpcodeInfo, argument: Any) -> None:  # noqa: ANN401
        """Advance by one opcode."""
        code = opcode.name
        if code in _STRINGS:
            self.stack.append(argument)
        elif code in _PUTS:
            self.memo[int(argument)] = self.stack[-1]
        elif code == "MEMOIZE":
            self.memo[len(self.memo)] = self.stack[-1]
        elif code in _GETS:
            self.stack.append(self.memo[int(argument)])
        elif code == "STACK_GLOBAL":
            attribute, module = self.stack.pop(), self.stack.pop()
            self._meet(module, attribute)
            self.stack.append(None)
        elif code == "DUP":
            self.stack.append(self.stack[-1])
        elif code in _EXTENSIONS:
            self.unsafe.append(f"extension code {argument}")
            self.stack.append(None)
        else:
            if code in {"GLOBAL", "INST"}:
                module, _, attribute = argument.partition(" ")
                self._meet(module, attribute)
            self._shuffle(opcode)

    def _shuffle(self, opcode: pickletools.OpcodeInfo) -> None:
        """Pop and push as the opcode's own table says; what is pushed is not known."""
        before = opcode.stack_before
        if pickletools.markobject in before:
            below = before.index(pickletools.markobject)
            while self.stack.pop() is not _MARK:
                pass
            before = before[:below]
        for _ in before:
            # An opcode that wants an object and finds a mark is POP on a mark, or a forgery.
            if self.stack.pop() is _MARK and opcode.name != "POP":
                raise ValueError(opcode.name)
        after = opcode.stack_after
        self.stack.extend(_MARK if kind is pickletools.markobject else None for kind in after)

    def _meet(self, module: Any, attribute: Any) -> None:  # noqa: ANN401
        if not isinstance(module, str) or not isinstance(attribute, str):
            self.unsafe.append("a function whose name it computes while loading")
        elif f"{module}.{attribute}" not in _ALLOWED:
            self.unsafe.append(f"{module}.{attribute}")

    def refusal(self) -> UnsafeInput:
        """The error that names what the file wanted."""
        wanted = list(dict.fromkeys(self.unsafe))
        shown = ", ".join(wanted[:3]) + (f" and {len(wanted) - 3} more" if len(wanted) > 3 else "")
        return UnsafeInput(f"{self.name} wants to call {_readable(shown)} while loading", hint=_HINT)


def _readable(text: str) -> str:
    """File-controlled text for a terminal: no control characters, not endless."""
    clean = "".join(character if character.isprintable() else "?" for character in text)
    return clean[:200]
