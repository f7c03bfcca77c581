"""`lipaudit diff-model A B`: load both, compare, tell."""

from __future__ import annotations

from dataclasses import dataclass

from lipaudit.cli import interrupts, streams, values
from lipaudit.errors import ExitCode, InputRefused, UsageError
from lipaudit.load.factory import parse_arch

__all__ = ["DiffRequest", "run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffRequest:
    """One `lipaudit diff-model` as it was typed."""

    a: str
    b: str
    arch: str | None = None
    arch_b: str | None = None
    input_shape: str | None = None
    dataset: str = "none"
    limit: int | None = None
    data_dir: str | None = None
    offline: bool = False
    tolerance: float = 1e-4
    as_json: bool = False


def run(request: DiffRequest) -> ExitCode:
    """Compare and print.

    Returns:
        0 if the models are the same, 1 if they are not.

    Raises:
        LipauditError: whatever keeps them from being compared.
    """
    values.at_least("--limit", request.limit, 1)
    shape = values.shape("--input-shape", request.input_shape)
    if not 0 < request.tolerance < 1:
        raise UsageError(
            f"--tolerance {request.tolerance:g} must lie between 0 and 1", hint="1e-4 is the default"
        )
    for arch in (request.arch, request.arch_b):
        if arch is not None:
            parse_arch(arch)
    for model in (request.a, request.b):
        values.existing_file(model)
    values.needs_data(request.dataset, {"--limit": request.limit, "--data-dir": request.data_dir})
    with streams.libraries_on_stderr(verbose=False):
        with interrupts.loading():
            from lipaudit.data import load_dataset  # noqa: PLC0415 -- imports torch
            from lipaudit.difference import compare_models  # noqa: PLC0415
            from lipaudit.difference.text import to_json, to_text  # noqa: PLC0415
        data = load_dataset(
            request.dataset, data_dir=request.data_dir, limit=request.limit, offline=request.offline
        )
        try:
            found = compare_models(
                request.a,
                request.b,
                arch=request.arch,
                arch_b=request.arch_b,
                input_shape=shape,
                data=data,
                tolerance=request.tolerance,
            )
        except SystemExit as error:
            raise InputRefused(
                f"the --arch file ended the program (exit code {error.code!r})",
                hint="it should only define the network; put scripts under `if __name__ == '__main__':`",
            ) from error
    if request.as_json:
        streams.write_data(to_json(found))
    else:
        streams.write_screen(to_text(found))
    return ExitCode.PASS if found.same else ExitCode.BUDGET
