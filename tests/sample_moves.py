"""Samples of what reduces, sorts, moves and joins cells."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from sample_kind import BOX, LINE, MAP, SPATIAL, VECTOR, Call, Sample, seeded
from torch import Tensor, nn

__all__ = ["reduction_samples", "resize_samples", "shape_samples", "softmax_samples"]


def reduction_samples() -> list[Sample]:
    def yes(name: str, f: Callable[[Tensor], Tensor]) -> Sample:
        return Sample(name, Call(f), MAP, linear=True)

    def peak(name: str, f: Callable[[Tensor], Tensor]) -> Sample:
        return Sample(name, Call(f), MAP, true=1)

    return [
        yes("mean", lambda x: x.mean((2, 3))),
        yes("mean of all", torch.mean),
        yes("mean kept", lambda x: x.mean(-1, keepdim=True)),
        yes("sum", lambda x: x.sum((1, -1), keepdim=True)),
        yes("sum of all", torch.sum),
        yes("sum of nothing named", lambda x: x.sum([])),
        peak("amax", lambda x: x.amax((2, 3))),
        peak("amin", lambda x: x.amin(1, keepdim=True)),
        peak("max of all", torch.max),
        peak("min of all", torch.min),
        peak("max over", lambda x: x.max(1).values),
        peak("min over", lambda x: x.min(-1, keepdim=True).values),
        peak("vector_norm", lambda x: torch.linalg.vector_norm(x, dim=(1, 3))),
        peak("vector_norm of all", torch.linalg.vector_norm),
        peak("vector_norm inf", lambda x: torch.linalg.vector_norm(x, float("inf"), -1, keepdim=True)),
        Sample(
            "vector_norm 1",
            Call(lambda x: torch.linalg.vector_norm(x, 1, dim=1)),
            MAP,
            true=MAP[1] ** 0.5,
        ),
        peak("topk", lambda x: x.topk(3, dim=2).values),
        peak("topk smallest", lambda x: x.topk(2, largest=False).values),
        Sample("msort", Call(lambda x: torch.msort(x[0])[None]), MAP, true=1),
        Sample("sort", Call(lambda x: x.sort(1).values), MAP, true=1),
        Sample(
            "sort stable",
            Call(lambda x: torch.sort(x, dim=-1, descending=True, stable=True).values),
            MAP,
            true=1,
        ),
    ]


def resize_samples() -> list[Sample]:
    def up(kind: str, shape: tuple[int, ...], **options: object) -> Sample:
        said = " ".join(f"{key} {value}" for key, value in options.items())
        module = nn.Upsample(mode=kind, **options)  # type: ignore[arg-type]
        return Sample(f"resize {kind} {said}", module, shape, linear=True)

    def aa(kind: str, size: tuple[int, int]) -> Sample:
        f = lambda x: F.interpolate(x, size=size, mode=kind, antialias=True)  # noqa: E731
        return Sample(f"resize {kind} antialiased {size}", Call(f), MAP, linear=True)

    return [
        up("linear", LINE, scale_factor=2),
        up("linear", LINE, size=3, align_corners=True),
        *(
            up(kind, MAP, **options)
            for kind in ("bilinear", "bicubic")
            for options in (
                {"scale_factor": 2.0},
                {"scale_factor": (1.7, 0.6)},
                {"size": (3, 11)},
                {"size": (9, 4), "align_corners": True},
                {"size": (1, 1), "align_corners": True},
            )
        ),
        up("trilinear", BOX, scale_factor=2),
        aa("bilinear", (2, 3)),
        aa("bicubic", (3, 9)),
    ]


def shape_samples() -> list[Sample]:
    picks, spread = torch.tensor([0, 2, 2, 1]), torch.tensor([[[[3, 3, 0], [1, 1, 1]]]])

    def yes(name: str, f: Callable[..., Tensor], **buffers: Tensor) -> Sample:
        return Sample(name, Call(f, **buffers), MAP, linear=True)

    return [
        yes("view", lambda x: x.view(1, 8, 15)),
        yes("reshape", lambda x: x.permute(0, 2, 3, 1).reshape(1, -1)),
        yes("flatten", lambda x: x.flatten(1)),
        yes("unflatten", lambda x: x.unflatten(3, (2, 3))),
        yes("unsqueeze", lambda x: x.unsqueeze(2)),
        yes("squeeze", lambda x: x[:, :1].squeeze()),
        yes("squeeze dim", lambda x: x[:, :1].squeeze(1)),
        yes("squeeze dims", lambda x: x[:, :1].squeeze((0, 1))),
        yes("permute", lambda x: x.permute(0, 3, 1, 2)),
        yes("transpose", lambda x: x.transpose(1, -1)),
        yes("t", lambda x: x.flatten(1).t()),
        yes("flip", lambda x: x.flip((1, 3))),
        yes("roll", lambda x: x.roll((1, -2), (2, 3))),
        yes("roll all", lambda x: x.roll(5)),
        yes("repeat", lambda x: x.repeat(1, 2, 1, 3)),
        yes("expand", lambda x: x[:, :, :1].expand(1, 4, 5, 6)),
        yes("expand with new axes", lambda x: x.expand(3, 1, 4, 5, 6)),
        yes("select", lambda x: x[:, -2]),
        yes("slice", lambda x: x[:, 1:, ::2, -5:-1]),
        yes("slice strided", lambda x: x[..., 1::3]),
        yes("index_select", lambda x, i: x.index_select(1, i), i=picks),
        yes("index", lambda x, i: x[:, i], i=picks),
        yes("index of pairs", lambda x, i, j: x[:, :, i, j], i=picks, j=picks.flip(0)),
        yes("index around", lambda x, i, j: x[:, i, :, j], i=picks, j=picks.clone()),
        yes("gather", lambda x, i: x.gather(2, i.expand(1, 4, 2, 3)), i=spread),
        yes("pad", lambda x: F.pad(x, (1, 2, 0, -1))),
        yes("pad with a value", lambda x: F.pad(x, (1, 0, 2, 1), value=7.0)),
        *(
            yes(f"pad {mode}", lambda x, mode=mode: F.pad(x, (2, 1, 1, 2), mode))
            for mode in ("circular", "reflect", "replicate")
        ),
        yes("upsample_nearest2d", nn.Upsample(scale_factor=2)),
        yes("upsample to size", nn.Upsample(size=(7, 9))),
        Sample("upsample_nearest1d", nn.Upsample(scale_factor=3), LINE, linear=True),
        Sample("upsample_nearest3d", nn.Upsample(scale_factor=2), BOX, linear=True),
        *(
            Sample(
                f"pad {mode} {d}d",
                Call(lambda x, d=d, mode=mode: F.pad(x, (1, 1) * d, mode)),
                SPATIAL[d],
                linear=True,
            )
            for mode in ("circular", "reflect", "replicate")
            for d in (1, 3)
        ),
        Sample("pixel_shuffle", nn.PixelShuffle(2), MAP, linear=True),
        Sample("pixel_unshuffle", nn.PixelUnshuffle(2), (1, 2, 4, 6), linear=True),
        Sample("unfold", Call(lambda x: x.unfold(2, 3, 2)), MAP, linear=True),
        Sample("im2col", nn.Unfold((3, 2), dilation=(1, 2), padding=1, stride=(2, 1)), MAP, linear=True),
        Sample("channel_shuffle", nn.ChannelShuffle(2), MAP, linear=True),
        # Two slices of one tensor are added up as if they were two tensors.
        Sample("split", Call(lambda x: torch.cat(x.split(3, 3)[::-1], 1)), MAP, linear=True, exact=False),
        yes("split sizes", lambda x: x.split([1, 2, 2], 2)[1]),
        yes("chunk", lambda x: x.chunk(3, -1)[2]),
        yes("unbind", lambda x: x.unbind(-1)[4]),
        yes("clone", lambda x: x.clone() * 2),
        yes("dropout", nn.Dropout()),
        yes("contiguous", lambda x: x.transpose(2, 3).contiguous()),
        yes("detached weight", lambda x, i: x + i.detach(), i=seeded(8, 6)),
        yes("cat", lambda x: torch.cat([x, x], 1)),
        yes("cat with a constant", lambda x, c: torch.cat([c, x], 2), c=seeded(9, 1, 4, 2, 6)),
        yes("stack", lambda x: torch.stack([x, x.flip(1), x], -1)),
    ]


def softmax_samples() -> list[Sample]:
    return [
        Sample("softmax", nn.Softmax(1), VECTOR, true=0.5),
        Sample("softmax over rows", nn.Softmax(2), (1, 3, 4)),
        Sample("log_softmax", nn.LogSoftmax(1), VECTOR),
        Sample("logsumexp", Call(lambda x: x.logsumexp(1, keepdim=True)), VECTOR, true=1),
    ]
