"""Samples of Fourier transforms, and of calls on complex tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from sample_kind import LINE, Call, Sample, seeded
from torch import Tensor

__all__ = ["complex_samples", "complex_seeded", "fourier_samples"]

REAL, PAIRS = (1, 3, 4, 5), (1, 3, 4, 2)
aten = torch.ops.aten


def complex_seeded(seed: int, *shape: int) -> Tensor:
    """Fixed complex normal numbers."""
    return torch.view_as_complex(seeded(seed, *shape, 2))


def spelled(x: Tensor) -> Tensor:
    """What decomposition writes in other words; in this shape nothing is decomposed."""
    z = torch.fft.fft(x).conj().resolve_conj().contiguous().reshape(1, 4, 7).flatten(1).unflatten(1, (4, 7))
    parts = z.chunk(2, 1)
    return torch.cat([parts[0].real, parts[1].imag, z.to(torch.complex128).real], 1)


def fourier_samples() -> list[Sample]:
    def yes(
        name: str, f: Callable[[Tensor], Tensor], shape: tuple[int, ...], options: dict[str, Any]
    ) -> Sample:
        # Filled up with zeros, a transform does not reach its norm.
        exact = not {"n", "s"} & set(options)
        return Sample(f"{name} {options}", Call(f), shape, linear=True, exact=exact)

    def from_real(name: str, **options: Any) -> Sample:
        f = getattr(torch.fft, name)
        return yes(name, lambda x: torch.view_as_real(f(x, **options).resolve_conj()), REAL, options)

    def from_pairs(name: str, **options: Any) -> Sample:
        f = getattr(torch.fft, name)

        def run(x: Tensor) -> Tensor:
            z = f(torch.view_as_complex(x), **options)
            return torch.view_as_real(z.resolve_conj()) if z.is_complex() else z

        return yes(f"{name} of pairs", run, (1, 3, 5, 4, 2), options)

    def inner(f: Callable[[Tensor], Tensor], *, pairs: bool) -> Call:
        def run(x: Tensor) -> Tensor:
            z = f(torch.view_as_complex(x) if pairs else x)
            return torch.view_as_real(z) if z.is_complex() else z

        return Call(run)

    return [
        *(from_real(name) for name in ("fft", "fft2", "fftn", "ifft", "ifft2", "ifftn", "rfft", "rfft2")),
        *(from_real(name) for name in ("rfftn", "ihfft", "ihfft2", "ihfftn")),
        *(from_real("rfft", norm=norm) for norm in ("ortho", "forward", "backward")),
        *(from_real("rfft", n=n, dim=2) for n in (1, 3, 6)),
        from_real("rfftn", s=(2, 7)),
        from_real("fftn", s=(5, -1), dim=(1, -1)),
        from_real("rfft2", s=(3, 8), dim=(3, 1), norm="ortho"),
        from_real("ihfft", norm="ortho"),
        *(from_pairs(name) for name in ("fft", "ifft", "fft2", "ifft2", "fftn", "ifftn", "irfft", "irfft2")),
        *(from_pairs(name) for name in ("irfftn", "hfft", "hfft2", "hfftn")),
        *(from_pairs("irfft", norm=norm, n=5) for norm in ("ortho", "forward")),
        *(from_pairs("irfft", n=n, dim=-2) for n in (1, 2, 4, 7, 12)),
        from_pairs("irfftn", s=(6, 5), dim=(1, 2)),
        from_pairs("hfft", n=7, norm="forward"),
        from_pairs("fft2", s=(2, 9)),
        Sample(
            "_fft_r2c", inner(lambda x: aten._fft_r2c(x, [2, 3], 1, True), pairs=False), REAL, linear=True
        ),
        Sample(
            "_fft_r2c whole", inner(lambda x: aten._fft_r2c(x, [1], 0, False), pairs=False), REAL, linear=True
        ),
        Sample(
            "_fft_c2c", inner(lambda z: aten._fft_c2c(z, [1, 2], 2, False), pairs=True), PAIRS, linear=True
        ),
        Sample("_fft_c2r", inner(lambda z: aten._fft_c2r(z, [1, 2], 1, 6), pairs=True), PAIRS, linear=True),
    ]


def complex_samples() -> list[Sample]:
    line, square, stack = complex_seeded(1, 4), complex_seeded(2, 4, 4), complex_seeded(3, 3, 5, 4)
    picks = torch.tensor([0, 2, 2, 1])

    def yes(name: str, f: Callable[..., Tensor], **buffers: Tensor) -> Sample:
        def run(x: Tensor, *constants: Tensor) -> Tensor:
            z = f(torch.view_as_complex(x), *constants)
            return torch.view_as_real(z.resolve_conj()) if z.is_complex() else z

        exact = not name.endswith("twice")
        return Sample(f"complex {name}", Call(run, **buffers), PAIRS, linear=True, exact=exact)

    return [
        yes("view", lambda z: z.view(1, 12)),
        yes("reshape", lambda z: z.permute(0, 2, 1).reshape(4, 3)),
        yes("flatten", lambda z: z.flatten(1)),
        yes("unflatten", lambda z: z.unflatten(-1, (2, 2))),
        yes("squeeze", lambda z: z.squeeze()),
        yes("squeeze dim", lambda z: z.squeeze(0)),
        yes("squeeze dims", lambda z: z[:, :1].squeeze((0, 1))),
        yes("unsqueeze", lambda z: z.unsqueeze(-1)),
        yes("permute", lambda z: z.permute(0, -1, 1)),
        yes("transpose", lambda z: z.transpose(-1, 1)),
        yes("flip", lambda z: z.flip((0, 1, -1))),
        yes("roll", lambda z: z.roll((1, -1), (1, -1))),
        yes("repeat", lambda z: z.repeat(2, 1, 2)),
        yes("expand", lambda z: z[..., :1].expand(-1, -1, 3)),
        yes("select", lambda z: z[..., -1]),
        yes("slice", lambda z: z[:, 1:, ::2]),
        yes("index_select", lambda z, i: z.index_select(-1, i), i=picks),
        yes("index", lambda z, i: z[..., i], i=picks),
        yes("pad", lambda z: F.pad(z, (1, 2, 0, -1))),
        yes("split twice", lambda z: torch.cat(z.split(2, -1)[::-1], -1)),
        yes("split sizes", lambda z: z.split([1, 3], -1)[1]),
        yes("chunk", lambda z: z.chunk(2, -1)[0]),
        yes("unbind", lambda z: z.unbind(-1)[3]),
        yes("cat", lambda z, c: torch.cat([z, c, z], -1), c=complex_seeded(4, 1, 3, 2)),
        yes("stack", lambda z: torch.stack([z, z.flip(-1)], -1)),
        yes("clone", lambda z: z.clone()),
        yes("contiguous", lambda z: z.transpose(1, 2).contiguous()),
        yes("detached", lambda z, c: z + c.detach(), c=line),
        yes("add constant", lambda z, c: c + z, c=line),
        yes("add number", lambda z: z + (2 - 1j)),
        yes("sub twice", lambda z: torch.sub(z, z.flip(-1), alpha=2)),
        yes("rsub", lambda z: 3 - z),
        yes("neg", lambda z: -z),
        yes("mul", lambda z, c: c * z, c=line),
        yes("mul column", lambda z, c: z * c, c=complex_seeded(5, 3, 1)),
        yes("mul all", lambda z, c: z * c, c=complex_seeded(6, 3, 4)),
        yes("mul larger", lambda z, c: z[..., :1] * c, c=complex_seeded(7, 5, 1, 4)),
        yes("mul number", lambda z: z * (0.1 + 2j)),
        yes("mul real", lambda z, c: z * c, c=seeded(8, 4)),
        yes("mul real number", lambda z: z * 0.1),
        yes("div", lambda z, c: z / c, c=seeded(9, 3, 1)),
        yes("div number", lambda z: z / 3),
        yes("mm", lambda z, w: torch.mm(z[0], w), w=square),
        yes("bmm", lambda z, w: torch.bmm(w, z.mT), w=square[None]),
        yes("matmul", lambda z, w: z @ w, w=square),
        yes("matmul of a stack", lambda z, w: w @ z[0, :, :, None], w=stack),
        yes("matmul with a vector", lambda z, w: z @ w, w=line),
        yes("matmul of a conjugate", lambda z, w: z @ w.mH, w=square),
        yes("einsum", lambda z, w: torch.einsum("bck,cok->bok", z, w), w=complex_seeded(10, 3, 2, 4)),
        yes("einsum stack", lambda z, w: torch.einsum("sok,bsk->bso", w, z), w=stack),
        yes("real", lambda z: z.real),
        yes("imag", lambda z: z.imag),
        yes("conj", lambda z: z.conj()),
        yes("parts twice", lambda z: torch.complex(z.imag, z.real)),
        Sample("complex spellings", Call(spelled), LINE, linear=True, exact=False),
        Sample(
            "to complex", Call(lambda x: torch.view_as_real(x.to(torch.complex128) * 1j)), REAL, linear=True
        ),
    ]
