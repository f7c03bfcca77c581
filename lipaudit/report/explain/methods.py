"""The spectral methods: upper bounds on the norm of one linear map."""

from __future__ import annotations

from functools import partial

from lipaudit.report.explain.entry import Entry

__all__ = ["METHODS"]

_method = partial(Entry, kind="method")
_CHEAP = "It costs next to nothing, so it is asked first and often left behind by a dearer method."
_HORN = "Horn, Johnson (2013), Matrix Analysis, 2nd ed."
_GRAM = (
    "Delattre, Barthélemy, Araujo, Allauzen (2023), Efficient bound of Lipschitz constant for convolutional "
    "layers by Gram iteration, ICML"
)
_SEDGHI = "Sedghi, Gupta, Long (2019), The singular values of convolutional layers, ICLR"
_SINGLA = (
    "Singla, Feizi (2021), Fantastic Four: differentiable bounds on singular values of convolution layers, "
    "ICLR"
)

METHODS: tuple[Entry, ...] = (
    _method(
        name="schur",
        short="√(largest row sum × largest column sum) of the absolute weights.",
        why=f"{_CHEAP} It covers every map, so that no map is left without a bound.",
        todo="Where it is what counts, the layer was too large for the others: --profile tight.",
        reference=f"{_HORN}, 5.6.P21",
    ),
    _method(
        name="reshape",
        short="The kernel as one matrix, times the root of how often an input cell is read.",
        why=f"{_CHEAP} For a k×k kernel of stride 1 it may be k times too large. As an "
        "operation a reshape moves entries, with constant 1 (see `moves`).",
        reference="Tsuzuku, Sato, Sugiyama (2018), Lipschitz-margin training, NeurIPS, sec. 4",
    ),
    _method(
        name="two-way",
        short="The smaller norm of the kernel's two mixed reshapes, times √(number of taps).",
        why=f"{_CHEAP} Two matrices in place of four.",
        reference="Singla, Feizi (2019), Bounding singular values of convolution layers, arXiv 1911.10258",
    ),
    _method(
        name="four-way",
        short="The smallest norm of the kernel's four reshapes, times √(number of taps).",
        why=f"{_CHEAP} It holds for every image size.",
        reference=_SINGLA,
    ),
    _method(
        name="dense",
        short="The map written out as a matrix, whose norm is proved by a verified Cholesky factorisation.",
        why="As tight as float64 allows. For dense layers and small convolutions.",
        reference="Rump (2006), Verification of positive definiteness, BIT 46",
    ),
    _method(
        name="fft",
        short="Circular padding: the largest singular value over the exact grid of frequencies.",
        why="There the norm is exactly that maximum. Each frequency is a small matrix of its own.",
        reference=_SEDGHI,
    ),
    _method(
        name="embedding",
        short="Zero padding: the map is part of a circular one on a larger grid, whose norm is computed.",
        why="Usually within a few per cent of the truth. The grid must be larger than the image: a grid "
        "of its size gives numbers below the truth.",
        reference=f"{_SEDGHI} (the circular case)",
    ),
    _method(
        name="low-resolution",
        short="Any image size: a coarse grid of frequencies, times a factor for what lies between.",
        why="Its cost does not grow with the image. The factor is what it loses.",
        reference="Delattre, Barthélemy, Allauzen (2024), Spectral norm of convolutional layers with "
        "circular and zero paddings, arXiv 2402.00240",
    ),
    _method(
        name="supremum",
        short="Any image size: the largest singular value over all frequencies, by branch and bound.",
        why="Within 1e-7 of the limit for large images, and the same work at every size.",
        reference="Borwein, Erdélyi (1995), Polynomials and Polynomial Inequalities, ch. 5 (Bernstein–Szegő)",
    ),
    _method(
        name="gram",
        short="Gram iteration: repeated squaring G → GGᵀ of the map's matrix, closed by a cheap norm.",
        why="It converges from above, so that it may stop at any step. All rounding is counted.",
        reference=_GRAM,
    ),
    _method(
        name="gram-circular",
        short="Circular padding: Gram iteration on the matrix of each frequency.",
        why="The published method for circular convolutions; `fft` is tighter and is preferred.",
        reference=f"{_GRAM}, sec. 4",
    ),
    _method(
        name="gram-zero",
        short="Any image size: Gram iteration on the kernel itself, closed by its ∞-norm.",
        why="The published method for zero padding; `supremum` is tighter and is preferred.",
        reference="Delattre, Barthélemy, Allauzen (2024), arXiv 2402.00240",
    ),
    _method(
        name="exact",
        short="The finite convolution's own norm, by a banded Cholesky factorisation, for every padding.",
        why="About 1e-7 above the truth. For small images and few channels: its cost grows with the cube of "
        "a row. Of an operation without weights (a mean, say) it means that its constant is known exactly.",
        reference="George, Liu (1981), Computer Solution of Large Sparse Positive Definite Systems, ch. 4",
    ),
    _method(
        name="patches",
        short="Reflected, replicated or uneven circular borders: overlapping patches in place of the whole.",
        why="A few per cent above the truth at any size, where other methods lose a factor of up to two.",
        reference="Cycon, Froese, Kirsch, Simon (1987), Schrödinger Operators, ch. 3.1 (localisation)",
    ),
)
"""In the order of `spectral.METHODS`."""
