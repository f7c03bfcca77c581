"""BatchNormalization in inference mode, and the norms that look at one sample only."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor

from lipaudit.load.converters import NodeArgs, Rule, Unconvertible

__all__ = ["RULES"]


def _batch_norm(args: NodeArgs) -> Callable[..., Tensor]:
    args.one_output()
    epsilon = float(args.attr("epsilon", 1e-5))
    args.attr("momentum", 0.9)  # moves the statistics in training only
    args.attr("is_test", 1)
    args.attr("consumed_inputs", None)
    if args.attr("training_mode", 0):
        raise Unconvertible("training_mode = 1 couples the samples of a batch; export in eval mode")
    if not args.attr("spatial", 1):
        raise Unconvertible("spatial = 0 is not supported")

    def run(x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, var: Tensor) -> Tensor:
        return F.batch_norm(x, mean, var, weight, bias, training=False, momentum=0.0, eps=epsilon)

    return run


def _instance_norm(args: NodeArgs) -> Callable[..., Tensor]:
    epsilon = float(args.attr("epsilon", 1e-5))
    return lambda x, weight, bias: F.instance_norm(
        x, None, None, weight, bias, use_input_stats=True, eps=epsilon
    )


def _layer_norm(args: NodeArgs) -> Callable[..., Tensor]:
    args.one_output()
    axis, epsilon = int(args.attr("axis", -1)), float(args.attr("epsilon", 1e-5))
    args.attr("stash_type", 1)

    def run(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        shape = list(x.shape[axis:])
        bias = None if bias is None else bias.expand(shape)
        return F.layer_norm(x, shape, weight.expand(shape), bias, epsilon)

    return run


def _group_norm(args: NodeArgs) -> Callable[..., Tensor]:
    epsilon, groups = float(args.attr("epsilon", 1e-5)), int(args.attr("num_groups"))
    args.attr("stash_type", 1)
    if args.opset < 21:
        raise Unconvertible("before opset 21 its scale is per group, which is not supported")
    return lambda x, weight, bias: F.group_norm(x, groups, weight, bias, epsilon)


def _local_response(args: NodeArgs) -> Callable[..., Tensor]:
    size, bias = int(args.attr("size")), float(args.attr("bias", 1.0))
    alpha, beta = float(args.attr("alpha", 1e-4)), float(args.attr("beta", 0.75))
    return lambda x: F.local_response_norm(x, size, alpha, beta, bias)


def _lp_normalization(args: NodeArgs) -> Callable[..., Tensor]:
    axis, order = int(args.attr("axis", -1)), int(args.attr("p", 2))

    def run(x: Tensor) -> Tensor:
        length = x.norm(p=order, dim=axis, keepdim=True)
        return x / torch.where(length > 0, length, 1.0)  # onnxruntime leaves zero vectors alone

    return run


RULES: dict[str, Rule] = {
    "BatchNormalization": _batch_norm,
    "GroupNormalization": _group_norm,
    "InstanceNormalization": _instance_norm,
    "LRN": _local_response,
    "LayerNormalization": _layer_norm,
    "LpNormalization": _lp_normalization,
}
