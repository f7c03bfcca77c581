"""Is a pickle data only?  Judged from its opcodes, never by running it.

A pickle is a program for a stack machine; the only way out of it is a *global*, a name that is
imported and called.  `torch.save`d tensors need a short list of them.  This module walks the opcodes
(`pickletools.genops`, which executes nothing), follows the stack and the memo far enough to know every
global's name, and refuses what is not on the list or cannot be resolved.  `torch.load(weights_only=True)`
is the second lock, not the first: its message comes too late and says too little.

What the user admits by name (`--allow-global`) passes here if `admit` finds it admissible, and is recorded.

Format: CPython, `Lib/pickletools.py`; PyTorch, `torch/serialization.py`.
"""

from __future__ import annotations

import io
import pickletools
import zipfile
import zlib
from collections.abc import Collection
from typing import Any

from lipaudit.errors import InputRefused, UnsafeInput
from lipaudit.load.admit import is_admissible

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
_LOCAL_HEADER = 30
"""Bytes before an entry's name; name and content follow."""
_FLAGS = 6
"""More classes than these are a whole program: no flags are offered."""
_HINT = (
    "nothing was executed; ask for, or re-save, the weights alone: "
    'safetensors.torch.save_file(model.state_dict(), "model.safetensors")'
)


def check_zip_checkpoint(data: bytes, name: str, admitted: Collection[str] = ()) -> tuple[str, ...]:
    """Refuse a zip checkpoint whose pickles do more than rebuild tensors.

    Args:
        data: the file.
        name: base name, for messages.
        admitted: globals the user allows.

    Returns:
        Those of `admitted` that the pickles name.

    Raises:
        UnsafeInput: a pickle names a global that tensors do not need.
        InputRefused: damaged, or expands to far more than its size.
    """
    met: list[str] = []
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = archive.infolist()
        _check_layout(entries, len(data), name)
        for entry in entries:
            if not entry.filename.endswith(".pkl"):
                continue
            if entry.file_size > _PICKLE_LIMIT:
                raise InputRefused(f"{name}: {_readable(entry.filename)} is larger than 64 MiB", hint=_HINT)
            try:
                pickled = archive.read(entry)
            except (
                zipfile.BadZipFile,
                RuntimeError,
                NotImplementedError,
                EOFError,
                OSError,
                ValueError,
                zlib.error,
            ):
                raise _damaged(name) from None
            met += _judge(io.BytesIO(pickled), name, admitted).met
    return tuple(dict.fromkeys(met))


def _check_layout(entries: list[zipfile.ZipInfo], size: int, name: str) -> None:
    """One entry per name, none inside another, and no more than the file holds."""
    names = [entry.filename for entry in entries]
    if len(set(names)) < len(names):
        # Two readers may pick different ones: what was judged would not be what is loaded.
        raise UnsafeInput(f"{name}: the archive holds two entries of one name", hint=_HINT)
    if sum(entry.file_size for entry in entries) > 2 * size + (1 << 20):
        raise InputRefused(
            f"{name}: the archive expands to more than twice its size",
            hint="torch.save does not compress: re-save it",
        )
    end = 0
    for entry in sorted(entries, key=lambda entry: entry.header_offset):
        if entry.header_offset < end:
            raise InputRefused(f"{name}: entries of the archive overlap", hint="re-save it with torch.save")
        end = entry.header_offset + _LOCAL_HEADER + entry.compress_size
    if end > size:
        raise _damaged(name)


def check_legacy_checkpoint(data: bytes, name: str, admitted: Collection[str] = ()) -> tuple[str, ...]:
    """Refuse a pickle stream that is not a data-only `torch.save` file of the old format.

    Args:
        data: the file.
        name: base name, for messages.
        admitted: globals the user allows.

    Returns:
        Those of `admitted` that the pickles name.

    Raises:
        UnsafeInput: a pickle names a global that tensors do not need.
        InputRefused: a plain pickle, or damaged.
    """
    stream = io.BytesIO(data)
    first = _judge(stream, name, admitted)
    if first.pushed != _LEGACY_MAGIC:
        while stream.tell() < len(data) and data[stream.tell()] == 0x80:
            _judge(stream, name, admitted)
        raise InputRefused(
            f"{name} is a plain pickle, not a torch.save checkpoint",
            hint="save the weights with safetensors or torch.save(model.state_dict(), …)",
        )
    met = [global_ for _ in range(_LEGACY_PICKLES - 1) for global_ in _judge(stream, name, admitted).met]
    return tuple(dict.fromkeys(met))


def _judge(stream: io.BytesIO, name: str, admitted: Collection[str]) -> _Machine:
    """Walk one pickle.

    Returns:
        The machine after its last opcode.

    Raises:
        UnsafeInput: it met a global that is neither known nor admitted.
        InputRefused: damaged.
    """
    machine = _Machine(name, admitted)
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
            if count > _OPCODE_LIMIT:
                raise InputRefused(f"{name}: a pickle of more than {_OPCODE_LIMIT} operations", hint=_HINT)
            machine.step(opcode, argument)
    except (ValueError, IndexError, KeyError, EOFError, OverflowError, UnicodeDecodeError, AttributeError):
        raise _damaged(name) from None
    if machine.unsafe:
        raise machine.refusal()
    return machine


def _damaged(name: str) -> InputRefused:
    return InputRefused(
        f"{name}: a pickle in it is truncated or damaged", hint="the download or export failed: repeat it"
    )


class _Machine:
    """The pickle machine's stack and memo, holding strings and ignorance.

    `pushed` is the last argument of an opcode, `unsafe` what must not be called, `met` what is admitted.
    """

    def __init__(self, name: str, admitted: Collection[str]) -> None:
        self.name = name
        self.admitted = frozenset(admitted)
        self.pushed: Any = None
        self.met: list[str] = []
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.unsafe: list[str] = []

    def step(self, opcode: pickletools.OpcodeInfo, argument: Any) -> None:  # noqa: ANN401
        """Advance by one opcode."""
        code = opcode.name
        if argument is not None:
            self.pushed = argument
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
        elif (name := f"{module}.{attribute}") in _ALLOWED:
            return
        elif name in self.admitted and "." not in attribute and is_admissible(name):
            self.met.append(name)
        else:
            self.unsafe.append(name)

    def refusal(self) -> UnsafeInput:
        """The error that names what the file wanted."""
        wanted = list(dict.fromkeys(self.unsafe))
        shown = ", ".join(wanted[:3]) + (f" and {len(wanted) - 3} more" if len(wanted) > 3 else "")
        hint = _HINT
        if all(is_admissible(name) for name in wanted) and len(wanted) <= _FLAGS:
            flags = " ".join(f"--allow-global {name}" for name in wanted)
            hint += f"; if you know who wrote these classes and trust them: {flags}"
        elif refused := [name for name in wanted if name in self.admitted]:
            hint += f"; {_readable(refused[0])} is never admitted, because calling it can run anything"
        return UnsafeInput(f"{self.name} wants to call {_readable(shown)} while loading", hint=hint)


def _readable(text: str) -> str:
    """File-controlled text for a terminal: no control characters, not endless."""
    clean = "".join(character if character.isprintable() else "?" for character in text)
    return clean[:200]
