"""`--help` and `--help-all`, written from the options themselves, so that they cannot lie.

A dozen options are shown first; `--help-all` shows every one.  80 columns.
"""

from __future__ import annotations

from collections.abc import Iterable
from textwrap import wrap

from lipaudit.cli.commands import COMMANDS, command_named
from lipaudit.errors import ExitCode

__all__ = ["help_text"]

_WIDTH = 80
_LEFT = 26

_HEAD = """\
Proves how much a neural network can amplify a perturbation (its l2 Lipschitz
constant, per layer and as a whole) and within which l2 radius its answers on a
data set cannot change.

Usage:
  lipaudit MODEL [--dataset D] [options]

MODEL is an ONNX file, a torch.export program (.pt2), or a safetensors file or
PyTorch checkpoint with --arch.
"""

_EXAMPLES = """\
Examples:
  lipaudit model.onnx
  lipaudit model.onnx -d mnist --max-lipschitz 20 -o report.json
  lipaudit model.onnx -d npz:test.npz --min-certified 36/255:60% -q
  lipaudit weights.safetensors --arch net.py:make -d mnist
"""

_OF_COMMANDS = {
    "compare": """\
Examples:
  lipaudit compare a.onnx b.onnx -d mnist --plot curves.svg
  lipaudit compare before=old.onnx after=new.onnx -d npz:test.npz --no-cost
  lipaudit compare a.onnx w.safetensors --arch w.safetensors=net.py:make
  lipaudit compare models/*/model.onnx -d cifar10 -o table.md --json
""",
    "gate": """\
Examples:
  lipaudit gate report.json
  lipaudit gate report.json --max-lipschitz 10 --min-certified 36/255:60%
  lipaudit gate report.json --policy release.toml -o judged.json -q
""",
    "verify": """\
Examples:
  lipaudit verify report.json --model model.onnx
  lipaudit verify report.json -m model.onnx -d npz:test.npz --recheck 500
  lipaudit verify report.intoto.json --key signer.pub.pem --model model.onnx
  lipaudit verify report.json -m weights.pth --arch net.py:make --json
""",
    "diff-model": """\
Examples:
  lipaudit diff-model a.onnx b.onnx
  lipaudit diff-model weights.pth model.onnx --arch net.py:make
  lipaudit diff-model a.onnx b.onnx -d npz:test.npz --limit 100 --json
""",
    "clip": """\
Examples:
  lipaudit clip model.onnx --lipschitz 100 -d mnist -o clipped.onnx
  lipaudit clip model.onnx --layer-norm 1 --layer 'conv*' -o clipped.onnx
  lipaudit clip weights.safetensors --arch net.py:make --lipschitz 20 \\
    -o clipped.safetensors
It audits the model before and after: minutes for a small network.
""",
    "spectrum": """\
Examples:
  lipaudit spectrum model.onnx
  lipaudit spectrum model.onnx --layer 'features.*' --top 20 -o values.csv
  lipaudit spectrum weights.safetensors --arch net.py:make --plot spectra.svg
  lipaudit spectrum model.onnx --all --json
""",
}
"""Examples of commands of their own, below their options."""

_FIXED = (
    ("-h, --help", "This text; --help-all shows every option."),
    ("--help-all", "Every option, and the exit codes."),
)
_THIS = ("-h, --help", "This text.")
_ALSO_FIXED = (("-V, --version", "Print the version."),)


def help_text(command: str = "", *, everything: bool = False) -> str:
    """The help of one command; "" and `audit` are the program's own.

    Args:
        command: a name from `COMMANDS`, the first word of some, or "".
        everything: whether hidden options and exit codes are shown as well.
    """
    if command not in ("", "audit"):
        names = [name for name in COMMANDS if name == command or name.startswith(f"{command} ")]
        return "\n".join(map(_command_help, names))
    rows = [*_option_rows("audit", everything=everything), *_FIXED, *(_ALSO_FIXED if everything else ())]
    parts = [_HEAD, _section("Options", rows), _section("Commands", _command_rows())]
    parts.append(_section("Exit codes", _code_rows()) if everything else _EXAMPLES)
    return "\n".join(parts)


def _command_help(command: str) -> str:
    """A command of its own: how it is called, what it does, its options."""
    usage = " ".join([f"lipaudit {command}", *_arguments(command)])
    rows = [*_option_rows(command, everything=True), _THIS]
    text = "\n".join(wrap(command_named(command).help, _WIDTH))
    parts = [
        f"Usage:\n  {usage}{' [options]' if len(rows) > 1 else ''}\n\n{text}\n",
        _section("Options", rows),
    ]
    return "\n".join([*parts, *filter(None, [_OF_COMMANDS.get(command)])])


def _arguments(command: str) -> list[str]:
    return [p.metavar or p.name for p in command_named(command).params if p.param_type_name == "argument"]


def _option_rows(command: str, *, everything: bool) -> Iterable[tuple[str, str]]:
    for option in command_named(command).params:
        if option.param_type_name == "option" and (everything or not option.hidden):
            names = ", ".join(sorted(option.opts, key=len))
            yield f"{names} {option.metavar}" if option.metavar else names, option.help


def _command_rows() -> Iterable[tuple[str, str]]:
    for name in COMMANDS:
        words = " ".join([name, *_arguments(name)])
        extra = " The default." if name == "audit" else ""
        yield words, f"{command_named(name).help}{extra}"


def _code_rows() -> Iterable[tuple[str, str]]:
    return ((str(code.value), code.meaning) for code in ExitCode)


def _section(title: str, rows: Iterable[tuple[str, str]]) -> str:
    lines = [f"{title}:"]
    for left, right in rows:
        first, *rest = wrap(right, _WIDTH - _LEFT, break_on_hyphens=False)
        if len(left) > _LEFT - 4:
            lines.append(f"  {left}")
            lines.append(" " * _LEFT + first)
        else:
            lines.append(f"  {left}".ljust(_LEFT) + first)
        lines += [" " * _LEFT + line for line in rest]
    return "\n".join(lines) + "\n"
