"""Batch norm whose statistics are those of the whole batch, also where several processes hold parts of it."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F

EPS = 1e-5
"""Added to a variance before its root is taken, and taken away again: the pass that finds variances gives 1 / root."""


class Norm(nn.BatchNorm2d):
    """Batch norm; in a group of processes it normalizes by the statistics of all their faces.

    PyTorch's own SyncBatchNorm works on GPUs only.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        if not (self.training and grouped()):
            return super().forward(x)
        y, mean, variance, count = _Shared.apply(x, self.weight, self.bias, self.eps)  # type: ignore[no-untyped-call]
        self._remember(mean, variance * count / (count - 1))
        return y  # type: ignore[no-any-return]

    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)


def grouped() -> bool:
    """Whether this process trains together with others."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


class _Shared(torch.autograd.Function):
    """Ioffe and Szegedy 2015, arXiv:1502.03167, with every mean taken over the faces of all processes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, ...]:
        mean, variance, count = _statistics(x)
        ctx.save_for_backward(x, weight, mean, torch.rsqrt(variance + eps), count)
        ctx.eps = eps
        y = F.batch_norm(x, mean, variance, weight, bias, False, 0.0, eps)
        ctx.mark_non_differentiable(mean, variance, count)
        return y, mean, variance, count

    @staticmethod
    def backward(ctx: Any, dy: Tensor, *_: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, weight, mean, scale, count = ctx.saved_tensors
        _, gamma, bias = torch.ops.aten.native_batch_norm_backward(
            dy, x, weight, None, None, mean, scale, True, ctx.eps, [False, True, True]
        )  # this process's part of the sums; DDP adds up the parts
        sums = _total(torch.stack([bias, gamma]).double())  # (2, C)
        slope = (weight * scale).double()
        shift, share = -(sums / count) * slope
        share = share * scale
        dx = torch.addcmul(_wide(shift - share * mean, x), x, _wide(share, x))  # (B, C, H, W)
        return dx.addcmul_(dy, _wide(slope, x)), gamma, bias, None


def _wide(channels: Tensor, like: Tensor) -> Tensor:
    return channels.to(like.dtype)[:, None, None]


def _total(part: Tensor) -> Tensor:
    """The sum over all processes, added up in the same order in each.

    So small a tensor costs the time of its messages only, and gloo's all_gather sends fewer in a row than its
    all_reduce: a third of the time between two processes of one machine.
    """
    parts = [torch.empty_like(part) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, part)
    return torch.stack(parts).sum(dim=0)


def _statistics(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and biased variance of each channel over all processes, (C,), and how many values they are of.

    Both are float32, or float64 where ``x`` is.
    """
    kind = torch.promote_types(x.dtype, torch.float32)
    count = torch.tensor([x.numel() / x.shape[1]], dtype=torch.float64, device=x.device)
    # On CPUs torch.var_mean, and sums by several operators, take four to ten times as long as the norm's own pass.
    _, mean, scale = torch.native_batch_norm(x, None, None, None, None, True, 0.0, EPS)
    mean, variance = mean.double(), scale.double() ** -2 - EPS
    sums = torch.cat([mean * count, (variance + mean**2) * count, count])  # (2C + 1,)
    sums = _total(sums)
    mean, square = (sums[:-1] / sums[-1]).chunk(2)
    return mean.to(kind), (square - mean**2).clamp_min(0).to(kind), sums[-1]
