"""Convolutions that multiply every frequency by a matrix of its own: y = irfft2(Q(ω) · rfft2(x)).

For real x half of the spectrum says everything: Q (h, ⌊w/2⌋ + 1, c_out, c_in).  With the discrete Fourier
transform a multiple of an isometry, ‖y‖ ≤ max_ω ‖Q(ω)‖·‖x‖.

A file holds real numbers: `FrequencyFilter` stores real and imaginary parts and multiplies them apart, which
is how exporters to ONNX need it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor, nn

from lipaudit.errors import UsageError
from lipaudit.layers.verified import Fit
from lipaudit.spectral.search import largest_norm

__all__ = ["FrequencyFilter", "filtered", "spectrum_of", "stored_spectrum"]


def spectrum_of(kernel: Tensor, image: tuple[int, ...]) -> Tensor:
    """The symbol of a circular convolution "same": (h, ⌊w/2⌋ + 1, c_out, c_in).

    Args:
        kernel: (c_out, c_in, k, k); taps beyond the image wrap.
        image: (h, w).
    """
    # The centre tap at 0: y[a] = Σ_t K[t]·x[a + t − c], a correlation, hence the conjugate.
    centre = [-((k - 1) // 2) for k in kernel.shape[2:]]
    for axis, (k, n) in enumerate(zip(kernel.shape[2:], image, strict=True), start=2):
        if k > n:
            short = [*kernel.shape]
            short[axis] = n
            places = torch.arange(k, device=kernel.device) % n
            kernel = kernel.new_zeros(short).index_add(axis, places, kernel)
    widths = (0, image[1] - kernel.shape[3], 0, image[0] - kernel.shape[2])
    placed = F.pad(kernel, widths).roll(centre, (2, 3))
    spectrum: Tensor = torch.fft.rfft2(placed)
    return spectrum.conj().permute(2, 3, 0, 1)


def filtered(x: Tensor, matrices: Tensor) -> Tensor:
    """irfft2(Q · rfft2(x)): (N, c_in, h, w) → (N, c_out, h, w)."""
    if not x.shape[0]:
        return filtered(_one_more(x), matrices)[:0]
    batch = x.shape[:-3]
    spectrum = torch.fft.rfft2(x.reshape(-1, *x.shape[-3:])).permute(2, 3, 1, 0)
    product = (matrices @ spectrum).permute(3, 2, 0, 1)
    y: Tensor = torch.fft.irfft2(product, s=x.shape[-2:])
    return y.reshape(*batch, -1, *x.shape[-2:])


def _one_more(images: Tensor) -> Tensor:
    """With an image of zeros appended: of no image at all there is no Fourier transform."""
    return F.pad(images, (0, 0, 0, 0, 0, 0, 0, 1))


def stored_spectrum(matrices: Tensor, fit: Fit) -> tuple[Tensor, Tensor]:
    """Real and imaginary parts of Q, of norm at most 1 at every frequency."""

    def norm(parts: Tensor) -> float:
        wide = parts.to(torch.float64)
        return largest_norm([torch.complex(wide[0], wide[1]).flatten(0, 1)])

    stored = fit(torch.stack([matrices.real, matrices.imag]), norm)
    return stored[0].clone(), stored[1].clone()


class FrequencyFilter(nn.Module):
    """y = crop(irfft2(Q · rfft2(pad(x)))) + b for one size of image.

    Args:
        real, imaginary: (h, ⌊w/2⌋ + 1, c_out, c_in), of the padded image.
        bias: (c_out,) or None.
        pads: zeros around the image (left, right, top, bottom).
        image: (h, w), padded.
    """

    def __init__(
        self,
        real: Tensor,
        imaginary: Tensor,
        bias: Tensor | None,
        pads: tuple[int, int, int, int],
        image: tuple[int, ...],
    ) -> None:
        super().__init__()
        self.real, self.imaginary = nn.Parameter(real), nn.Parameter(imaginary)
        self.bias = None if bias is None else nn.Parameter(bias)
        self.pads, self.image = pads, image

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, h, w) → (N, c_out, h, w), or without N.

        Raises:
            UsageError: the image has another size than the one it was frozen for.
        """
        if x.dim() == 3:
            return self.forward(x[None])[0]
        if not x.shape[0]:
            return self.forward(_one_more(x))[:0]
        left, right, top, bottom = self.pads
        if any(self.pads):
            x = F.pad(x, self.pads)
        if tuple(x.shape[-2:]) != self.image:
            raise UsageError(
                f"frozen for images that are {self.image} with padding, not {tuple(x.shape[-2:])}",
                hint="freeze the model again with an example of the new size",
            )
        spectrum = torch.view_as_real(torch.fft.rfft2(x))
        a, b = spectrum.unbind(-1)

        def at_each(matrices: Tensor, values: Tensor) -> Tensor:
            return torch.einsum("hwoi,nihw->nohw", matrices, values)

        product = torch.complex(
            at_each(self.real, a) - at_each(self.imaginary, b),
            at_each(self.real, b) + at_each(self.imaginary, a),
        )
        y: Tensor = torch.fft.irfft2(product, s=self.image)
        if any(self.pads):
            y = y[:, :, top : self.image[0] - bottom, left : self.image[1] - right]
        return y if self.bias is None else y + self.bias[:, None, None]
