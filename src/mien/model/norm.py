"""Batch norm whose statistics are those of the whole batch, also where several processes hold parts of it."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F


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
        ctx.save_for_backward(x, weight, mean, variance, count)
        ctx.eps = eps
        y = F.batch_norm(x, mean, variance, weight, bias, False, 0.0, eps)
        ctx.mark_non_differentiable(mean, variance, count)
        return y, mean, variance, count

    @staticmethod
    def backward(ctx: Any, dy: Tensor, *_: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, weight, mean, variance, count = ctx.saved_tensors
        unit = F.batch_norm(x, mean, variance, eps=ctx.eps)  # (B, C, H, W)
        bias, gamma = dy.sum((0, 2, 3)), (dy * unit).sum((0, 2, 3))  # this process's part; DDP adds up the parts
        sums = torch.stack([bias, gamma]).double()
        dist.all_reduce(sums)
        slope = (weight * torch.rsqrt(variance + ctx.eps)).to(dy.dtype)
        shift, share = -(sums / count).to(dy.dtype) * slope
        dx = unit.mul_(_wide(share)).add_(_wide(shift)).addcmul_(dy, _wide(slope))
        return dx, gamma, bias, None


def _wide(channels: Tensor) -> Tensor:
    return channels[:, None, None]


def _statistics(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and biased variance of each channel over all processes, (C,), and how many values they are of.

    Both are float32, or float64 where ``x`` is.
    """
    kind = torch.promote_types(x.dtype, torch.float32)
    own = x.numel() / x.shape[1]
    mean = x.sum((0, 2, 3), dtype=kind) / own  # torch.var_mean takes ten times as long as these sums
    variance = (x - _wide(mean)).square_().sum((0, 2, 3)) / own
    count = torch.tensor([own], dtype=torch.float64, device=x.device)
    mean, variance = mean.double(), variance.double()
    sums = torch.cat([mean * count, (variance + mean**2) * count, count])  # (2C + 1,)
    dist.all_reduce(sums)
    mean, square = (sums[:-1] / sums[-1]).chunk(2)
    return mean.to(kind), (square - mean**2).clamp_min(0).to(kind), sums[-1]
