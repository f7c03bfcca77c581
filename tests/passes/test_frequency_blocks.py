"""Layers between transforms have the norm of a dense Jacobian, and nothing else is taken for one."""

import math

import pytest
import torch
from fourier_layers import complex_seeded, half_filter, orthogonal, whole_filter
from small_graph import bound_of, lifted, op_names, raw_graph, seeded_like, simplified
from torch import Tensor

from lipaudit.passes.linear_blocks import blocks_between
from lipaudit.rounding import UNIT


class Both:
    """A function with its buffers as a graph before and after the passes, and what SVD says of it."""

    def __init__(self, function, *shape, **buffers):
        self.function, self.buffers, self.shape = function, buffers, shape
        self.raw = raw_graph(function, *shape, **buffers)
        self.simple = simplified(function, *shape, **buffers)
        self.fired = op_names(self.simple).count("frequency_blocks")
        self.bound = bound_of(self.simple).value
        points = torch.randn(2, *shape[1:], dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        wanted = torch.stack([function(p[None], *buffers.values()).flatten() for p in points])
        found, error = lifted(self.simple)(points)
        assert bool(((wanted - found).norm(dim=1) <= 2 * error + 1e-13).all())
        assert bool((error <= 1e-9 * (1 + points.flatten(1).norm(dim=1))).all())
        slope = torch.func.jacrev(lambda x: function(x, *buffers.values()).flatten())(points[:1])
        self.norm = float(torch.linalg.matrix_norm(slope.reshape(len(found[0]), -1), 2))
        assert self.norm * (1 - 1e-13) <= self.bound <= bound_of(self.raw).value * (1 + 1e-9)


def half(seed, n, m, c_out, c_in):
    return complex_seeded(seed, n * (m // 2 + 1), c_out, c_in)


SIZES = [(1, 1), (1, 2), (2, 1), (2, 2), (3, 3), (4, 4), (5, 6), (6, 5), (3, 7)]


@pytest.mark.parametrize(("n", "m"), SIZES)
def test_one_matrix_is_the_largest_at_all_sizes(n, m):
    """One of 1.7 among unitary ones, at each frequency that stands for two (where the bound is attained)."""
    q = orthogonal(1, n * (m // 2 + 1), 3, 2)
    index = min(1, m // 2) + (m // 2 + 1) * (n // 2)
    q[index] *= 1.7
    both = Both(half_filter, 1, 2, n, m, q=q)
    assert both.fired == 1
    assert both.bound == pytest.approx(1.7, rel=1e-9)
    if m >= 3:
        assert both.norm == pytest.approx(1.7, rel=1e-9)


@pytest.mark.parametrize(("n", "m"), [(4, 4), (5, 6), (6, 5)])
@pytest.mark.parametrize("channels", [(1, 1), (3, 2), (2, 3)])
def test_random_matrices_with_real_weights_behind_them_are_exact(n, m, channels):
    """Spectra of real kernels are conjugate at mirrored frequencies: nothing is projected away."""
    kernel = torch.randn(*channels, n, m, dtype=torch.float64, generator=torch.Generator().manual_seed(n))
    q = torch.fft.rfft2(kernel).permute(2, 3, 0, 1).reshape(-1, *channels)
    both = Both(half_filter, 1, channels[1], n, m, q=q)
    assert both.fired == 1
    assert both.bound == pytest.approx(both.norm, rel=1e-9)
    whole = Both(whole_filter, 1, channels[1], n, m, q=torch.fft.fft2(kernel).permute(2, 3, 0, 1))
    assert whole.fired == 1
    assert whole.bound == pytest.approx(both.norm, rel=1e-9)


@pytest.mark.parametrize("norm", ["backward", "ortho", "forward"])
def test_normalisations_and_axes_do_not_matter(norm):
    w = complex_seeded(3, 5, 4, 3)

    def channels_last(x, w):
        return torch.fft.irfft2(
            torch.fft.rfft2(x, dim=(1, 2), norm=norm) * w, s=(5, 6), dim=(1, 2), norm=norm
        )

    both = Both(channels_last, 1, 5, 6, 3, w=w)
    assert both.fired == 1
    assert both.bound == pytest.approx(float(w.abs().max()), rel=1e-9)
    mixed = Both(lambda x, w: torch.fft.irfft(w * torch.fft.rfft(x, norm="ortho"), n=6), 1, 6, w=w[0, :, 0])
    assert mixed.bound == pytest.approx(float(w[0, :, 0].abs().max()) / math.sqrt(6), rel=1e-9)


@pytest.mark.parametrize("shape", [(1, 2, 7), (1, 2, 3, 4, 5)])
def test_one_and_three_dimensions(shape):
    axes = tuple(range(2, len(shape)))
    extents = (*shape[2:-1], shape[-1] // 2 + 1)
    w = complex_seeded(4, 3, 2, *extents)
    equation = "bc...,oc...->bo...".replace("...", "xyz"[: len(axes)])

    def layer(x, w):
        z = torch.einsum(equation, torch.fft.rfftn(x, dim=axes), w)
        return torch.fft.irfftn(z, s=shape[2:], dim=axes)

    both = Both(layer, *shape, w=w)
    assert both.fired == 1
    blocks = w.movedim((0, 1), (-2, -1)).flatten(0, -3)
    assert both.bound == pytest.approx(float(torch.linalg.matrix_norm(blocks, 2).max()), rel=1e-9)


def test_transforms_of_other_lengths_are_bounded_as_what_they_are():
    q = orthogonal(5, 4 * 3, 2, 2)
    for extents in [(4, 5), (4, 8), (2, 3), (7, 9), (4, 2)]:
        both = Both(lambda x, q, s=extents: half_filter(x, q, s), 1, 2, 4, 4, q=q)
        assert both.fired == 1
        assert both.bound <= both.norm * math.sqrt(2) * (1 + 1e-9)
    padded = Both(lambda x: torch.fft.irfft(torch.fft.rfft(x, n=9), n=9)[..., :6], 1, 6)
    assert padded.bound == pytest.approx(1, rel=1e-9)
    cropped = Both(lambda x: torch.fft.irfft(torch.fft.rfft(x, n=4), n=4), 1, 6)
    assert cropped.bound == pytest.approx(1, rel=1e-9)


def test_low_pass_and_pooling_of_spectra():
    mask = torch.zeros(4, dtype=torch.float64)
    mask[:2] = 1.0
    both = Both(lambda x, mask: torch.fft.irfft(torch.fft.rfft(x) * mask, n=6), 1, 6, mask=mask)
    assert both.bound == pytest.approx(1, rel=1e-9)
    pooled = Both(lambda x: torch.fft.irfft(torch.fft.rfft(x)[..., :3], n=4), 1, 2, 8)
    assert pooled.norm <= pooled.bound <= pooled.norm * math.sqrt(2) * (1 + 1e-9)


def split(x: Tensor, real: Tensor, imag: Tensor) -> Tensor:
    """Real arithmetic on the parts, by hand."""
    z = torch.view_as_real(torch.fft.rfft2(x))
    a, b = z[..., 0], z[..., 1]
    one = torch.einsum("bchw,oc->bohw", a, real) - torch.einsum("bchw,oc->bohw", b, imag)
    two = torch.einsum("bchw,oc->bohw", a, imag) + torch.einsum("bchw,oc->bohw", b, real)
    return torch.fft.irfft2(torch.complex(one, two), s=x.shape[-2:])


def test_parts_that_run_apart_meet_again():
    q = orthogonal(6, 3, 3)
    both = Both(split, 1, 3, 4, 4, real=q.real.contiguous(), imag=q.imag.contiguous())
    assert both.fired == 1
    assert both.bound == pytest.approx(1, rel=1e-9)


def test_several_products_in_a_row_are_one():
    first, second = complex_seeded(7, 12, 3, 2), complex_seeded(8, 12, 2, 3)

    def layer(x, first, second):
        z = torch.fft.rfft2(x).permute(2, 3, 1, 0).reshape(12, 2, 1)
        y = (z + second @ (first @ z)).reshape(4, 3, 2, 1).permute(3, 2, 0, 1)
        return torch.fft.irfft2(y, s=(4, 4))

    both = Both(layer, 1, 2, 4, 4, first=first, second=second)
    whole = torch.eye(2) + second @ first
    assert both.fired == 1
    assert both.bound == pytest.approx(float(torch.linalg.matrix_norm(whole, 2).max()), rel=1e-9)


def rebuilt(x: Tensor, *, conjugate: bool) -> Tensor:
    """The whole spectrum put together from its half; without the conjugate it is another signal's."""
    z = torch.fft.rfft(x)
    mirrored = z[..., 1:3].flip(-1)
    return torch.fft.ifft(torch.cat([z, mirrored.conj() if conjugate else mirrored], -1)).real


def test_spectra_filled_up_by_hand():
    right = Both(lambda x: rebuilt(x, conjugate=True), 1, 6)
    assert right.fired == 1
    assert right.bound == pytest.approx(1, rel=1e-9)
    wrong = Both(lambda x: rebuilt(x, conjugate=False), 1, 6)
    assert wrong.norm <= wrong.bound

    def twice(x):  # the mirrored half counts double
        z = torch.fft.rfft(x)
        return torch.fft.ifft(torch.cat([z, 2 * z[..., 1:3].flip(-1)], -1)).real

    assert Both(twice, 1, 6).bound >= 1.5


def test_a_spectrum_that_is_read_twice():
    def layer(x, w):
        z = torch.fft.rfft(x)
        return torch.cat([torch.fft.irfft(z * w, n=6), torch.fft.irfft(z, n=6)], -1)

    both = Both(layer, 1, 6, w=complex_seeded(9, 4))
    assert both.fired == 2

    def seen(x, w):
        z = torch.fft.rfft(x)
        return torch.cat([torch.fft.irfft(z * w, n=6), torch.view_as_real(z).flatten(1)], -1)

    assert Both(seen, 1, 6, w=complex_seeded(9, 4)).norm >= math.sqrt(6)


def test_what_is_not_linear_between_transforms_stays_apart():
    def relu(x):
        return torch.fft.irfft(torch.view_as_complex(torch.view_as_real(torch.fft.rfft(x)).relu()), n=6)

    both = Both(relu, 1, 6)
    assert both.fired == 0
    for name in ("abs", "exp", "tanh"):
        graph = simplified(
            lambda x, name=name: torch.fft.irfft(getattr(torch.fft.rfft(x), name)() + 0j, n=6), 1, 6
        )
        assert "frequency_blocks" not in op_names(graph)
        assert bound_of(graph).value == math.inf
        # It still runs, on complex numbers.
        x = seeded_like(graph, 1)
        wanted = torch.fft.irfft(getattr(torch.fft.rfft(x), name)() + 0j, n=6)
        torch.testing.assert_close(graph.values(x)[graph.output], wanted)
    square = simplified(lambda x: torch.fft.irfft(torch.fft.rfft(x) ** 2, n=6), 1, 6)
    assert bound_of(square).value == math.inf
    both = simplified(lambda x: torch.fft.irfft(torch.fft.rfft(x) * torch.fft.rfft(x.flip(1)), n=6), 1, 6)
    assert bound_of(both).value == math.inf


def test_constants_in_the_spectrum_change_nothing_but_are_no_part_of_a_layer():
    c = complex_seeded(10, 4)
    both = Both(lambda x, c: torch.fft.irfft(torch.fft.rfft(x) + c, n=6), 1, 6, c=c)
    assert both.fired == 0
    assert both.norm == pytest.approx(1)


def test_two_signals_meet_in_the_spectrum():
    def layer(x):
        return torch.fft.irfft(torch.fft.rfft(x[:, :1]) + torch.fft.rfft(x[:, 1:]), n=6)

    both = Both(layer, 1, 2, 6)
    assert both.norm == pytest.approx(math.sqrt(2))


def test_frequencies_that_mix_are_one_matrix():
    w = complex_seeded(11, 4, 4)
    both = Both(lambda x, w: torch.fft.irfft(torch.fft.rfft(x) @ w, n=6), 1, 6, w=w)
    assert both.norm <= both.bound <= both.norm * 2


def test_repeated_cells_weigh_less():
    both = Both(lambda x: torch.fft.irfft(torch.fft.rfft(x[:, :1]).expand(-1, 3, -1).clone(), n=6), 1, 1, 6)
    assert both.norm == pytest.approx(math.sqrt(3))
    assert both.bound == pytest.approx(math.sqrt(3), rel=1e-9)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_sizes_of_weights_do_not_matter(scale):
    both = simplified(half_filter, 1, 2, 4, 4, q=orthogonal(12, 12, 2, 2) * scale)
    assert bound_of(both).value == pytest.approx(scale, rel=1e-9)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_matrices_that_are_not_finite_have_no_bound(bad):
    q = orthogonal(13, 12, 2, 2)
    q[3, 0, 0] = bad
    assert bound_of(simplified(half_filter, 1, 2, 4, 4, q=q)).value == math.inf


def test_a_zero_matrix_gives_zero():
    zero = torch.zeros(12, 2, 2, dtype=torch.complex128)
    assert bound_of(simplified(half_filter, 1, 2, 4, 4, q=zero)).value < 1e-140


def test_matrices_that_would_not_fit_leave_the_plain_gains(monkeypatch):
    monkeypatch.setattr("lipaudit.passes.linear_blocks.LARGEST", 100)
    both = Both(half_filter, 1, 2, 4, 4, q=orthogonal(14, 12, 2, 2))
    assert both.fired == 0
    assert both.bound == pytest.approx(math.sqrt(2), rel=1e-6)


STACK, DENSE, SCALE = (
    torch.randn(shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    for shape in ((3, 2, 4), (2, 2), (3, 1, 1))
)
LINEAR = {
    "stack": lambda x: STACK @ x,
    "stack and scale": lambda x: torch.cat([STACK @ x, x[:, :2] * SCALE], 1),
    "mixed": lambda x: x @ DENSE + x.flip(1),
    "twice": lambda x: (STACK.mT @ (STACK @ x)) - 2 * x,
    "pad and move": lambda x: torch.nn.functional.pad(x[:, 1:], (0, 0, 1, 0)) - x.roll(1, 0),
    "stacked": lambda x: torch.stack([x[0] @ DENSE, x[1], -x[2]]),
    "nothing": lambda x: x.permute(0, 2, 1),
}


@pytest.mark.parametrize("name", LINEAR)
def test_linear_parts_are_the_blocks_of_their_jacobian(name):
    buffers = {"STACK": STACK, "DENSE": DENSE, "SCALE": SCALE}
    graph = raw_graph(lambda x, *_: LINEAR[name](x[0])[None], 1, 3, 4, 2, **buffers)
    x = seeded_like(graph, 1)
    slope = torch.func.jacrev(lambda v: graph.values(v)[graph.output])(x).reshape(-1, x.numel())
    blocks = blocks_between(graph, "input", graph.node(graph.output))
    made, error = blocks.matrices(torch.device("cpu"))
    assert error <= 1e6 * UNIT * (1 + float(slope.norm()))
    assert float(torch.linalg.matrix_norm(made, 2).max()) == pytest.approx(
        float(torch.linalg.matrix_norm(slope, 2)), rel=1e-12
    )
    # Outside of the classes' blocks nothing is left, and what is inside is all there.
    same = blocks.class_out[:, None] == blocks.class_in[None, :]
    assert not bool(slope[~same].any())
    assert float(made.square().sum()) == pytest.approx(float(slope.square().sum()), rel=1e-12)


@pytest.mark.parametrize("power", [-1000, -600, -530, -513, 0, 500])
def test_factors_of_any_size_neither_vanish_nor_overflow(power):
    """1/norm² overflows below 2^-512: what weighs more than a number can is still no constant."""
    factors = torch.tensor([0.5, 1.0], dtype=torch.float64) * 2.0**power
    graph = simplified(lambda x, m: torch.fft.irfft(torch.fft.rfft(x) * m, n=3), 1, 3, m=factors)
    assert bound_of(graph).value >= 2.0**power


def test_an_infinite_bound_says_why():
    factors = torch.tensor([1.0, 2.0**513], dtype=torch.float64)
    graph = simplified(lambda x, m: torch.fft.irfft(torch.fft.rfft(x) * m, n=3), 1, 3, m=factors)
    found = bound_of(graph)
    assert found.value >= 2.0**513
    assert found.is_finite or found.note


@pytest.mark.slow
def test_weights_of_several_layers_may_not_round_up():
    """Transforms that divide by n, between factors of 2^179: the product is a number, its inverse is none."""
    n = 2047
    factors = [2.0**179, 2.0**179, math.sqrt(2 / 3.02) * 2.0**179]
    masks = {f"m{i}": torch.full((n // 2 + 1,), f, dtype=torch.float64) for i, f in enumerate(factors)}
    for mask in masks.values():
        mask[0] = 0

    def function(x, *masks):
        for mask in masks:
            x = torch.fft.irfft(torch.fft.rfft(x, norm="forward") * mask, n=n)
        return x

    x = torch.cos(2 * math.pi * torch.arange(n).double() / n)[None]
    witness = float(function(x, *masks.values()).norm() / x.norm())
    assert bound_of(simplified(function, 1, n, **masks)).value >= witness * (1 - 1e-12)
