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


def moved(z: Tensor, picks: Tensor) -> Tensor:
    """Moves of z (1, 3, 4), side by side."""
    made = [
        z.view(1, 12),
        z.permute(0, 2, 1).reshape(4, 3),
        z.unflatten(-1, (2, 2)).squeeze(),
        z[:, :1].squeeze(1),
        z[:, :1].squeeze((0, 1)),
        z.unsqueeze(-1).transpose(-1, 1).contiguous().clone().detach(),
        z.roll((1, -1), (1, -1)),
        z[..., :1].expand(-1, -1, 3),
        z[..., -1],
        z[:, 1:, ::2],
        z.index_select(-1, picks),
        z[..., picks],
        z.split([1, 3], -1)[1],
        z.chunk(2, -1)[0],
        z.unbind(-1)[3],
    ]
    return torch.cat([each.reshape(-1) for each in made])[None]


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

    def side_by_side(names: str, *, pairs: bool) -> Sample:
        """Many of them on one tensor."""

        def run(x: Tensor) -> Tensor:
            made = [
                getattr(torch.fft, name)(torch.view_as_complex(x) if pairs else x) for name in names.split()
            ]
            rows = [torch.view_as_real(z.resolve_conj()) if z.is_complex() else z for z in made]
            return torch.cat([row.flatten(1) for row in rows], 1)

        shape = (1, 3, 5, 4, 2) if pairs else REAL
        return Sample(f"fft {names}", Call(run), shape, linear=True, exact=False)

    return [
        side_by_side("fft fft2 fftn ifft ifft2 ifftn rfft rfft2 rfftn ihfft ihfft2 ihfftn", pairs=False),
        side_by_side("fft ifft fft2 ifft2 fftn ifftn irfft irfft2 irfftn hfft hfft2 hfftn", pairs=True),
        from_real("rfft2", norm="ortho"),
        from_real("rfft", n=6, dim=2),
        from_real("rfftn", s=(2, 7)),
        from_real("fftn", s=(5, -1), dim=(1, -1)),
        from_real("rfft2", s=(3, 8), dim=(3, 1), norm="ortho"),
        from_real("ihfft", norm="ortho"),
        from_pairs("irfft2"),
        from_pairs("irfft", n=5, norm="ortho"),
        *(from_pairs("irfft", n=n, dim=-2) for n in (1, 4, 12)),
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
        yes("moves twice", moved, i=picks),
        yes("permute", lambda z: z.permute(0, -1, 1)),
        yes("flip", lambda z: z.flip((0, 1, -1))),
        yes("repeat", lambda z: z.repeat(2, 1, 2)),
        yes("pad", lambda z: F.pad(z, (1, 2, 0, -1))),
        yes("split twice", lambda z: torch.cat(z.split(2, -1)[::-1], -1)),
        yes("cat", lambda z, c: torch.cat([z, c, z], -1), c=complex_seeded(4, 1, 3, 2)),
        yes("stack", lambda z: torch.stack([z, z.flip(-1)], -1)),
        yes("add constant", lambda z, c: c + z, c=line),
        yes("sums twice", lambda z: -torch.sub(z, (3 - z).flip(-1), alpha=2) + (2 - 1j)),
        yes("mul", lambda z, c: c * z, c=line),
        yes("mul column", lambda z, c: z * c, c=complex_seeded(5, 3, 1)),
        yes("mul all", lambda z, c: z * c, c=complex_seeded(6, 3, 4)),
        yes("mul larger", lambda z, c: z[..., :1] * c, c=complex_seeded(7, 5, 1, 4)),
        yes("mul number", lambda z: z * (0.1 + 2j)),
        yes("mul real", lambda z, c: z * c, c=seeded(8, 4)),
        yes("mul real number", lambda z: z * 0.1),
        yes("div", lambda z, c: z / c, c=seeded(9, 3, 1)),
        yes("bmm", lambda z, w: torch.bmm(w, z.mT), w=square[None]),
        yes("matmul", lambda z, w: z @ w, w=square),
        yes("matmul of a stack", lambda z, w: w @ z[0, :, :, None], w=stack),
        yes("matmul with a vector", lambda z, w: z @ w, w=line),
        yes("matmul of a conjugate", lambda z, w: z @ w.mH, w=square),
        yes("einsum", lambda z, w: torch.einsum("bck,cok->bok", z, w), w=complex_seeded(10, 3, 2, 4)),
        yes("einsum stack", lambda z, w: torch.einsum("sok,bsk->bso", w, z), w=stack),
        yes("conj", lambda z: z.conj()),
        yes("parts twice", lambda z: torch.complex(z.imag, z.real)),
        Sample("complex spellings", Call(spelled), LINE, linear=True, exact=False),
        Sample(
            "to complex", Call(lambda x: torch.view_as_real(x.to(torch.complex128) * 1j)), REAL, linear=True
        ),
    ]
