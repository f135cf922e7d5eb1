"""What the idioms compute: functions of a network that holds the layers, and of its inputs."""

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn


def conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )


def loop_of_cells(n: Any, x: Tensor) -> Tensor:
    h = x.new_zeros(x.shape[0], 12)
    for t in range(x.shape[1]):
        h = n["cell"](x[:, t], h)
    return n["head"](h)


def lstm_cells(n: Any, x: Tensor) -> Tensor:
    h, c = x.new_zeros(x.shape[0], 12), x.new_zeros(x.shape[0], 12)
    for t in range(x.shape[1]):
        h, c = n["cell"](x[:, t], (h, c))
    return n["head"](h)


def both_ends(n: Any, x: Tensor) -> Tensor:
    _, (h, _) = n["lstm"](x)
    return n["head"](torch.cat([h[-2], h[-1]], dim=1))


def streaming(n: Any, x: Tensor, h: Tensor, c: Tensor) -> Any:
    y, (h, c) = n["lstm"](x, (h.transpose(0, 1), c.transpose(0, 1)))
    return n["head"](y[:, -1]), h.transpose(0, 1), c.transpose(0, 1)


def masked_mean(n: Any, x: Tensor) -> Tensor:
    e = n["embed"](x)
    mask = (x != 0).unsqueeze(-1).float()
    return n["head"]((e * mask).sum(1) / mask.sum(1).clamp(min=1))


def causal(n: Any, x: Tensor) -> Tensor:
    b, t, c = x.shape
    q, k, v = n["qkv"](x).view(b, t, 3, 4, c // 4).permute(2, 0, 3, 1, 4)
    mask = torch.tril(torch.ones(t, t)).view(1, 1, t, t)
    scores = (q @ k.transpose(-2, -1)) * (c // 4) ** -0.5
    scores = scores.masked_fill(mask == 0, float("-inf"))
    y = F.softmax(scores, dim=-1) @ v
    return n["head"](y.transpose(1, 2).contiguous().view(b, t, c))


def gpt(n: Any, x: Tensor) -> Tensor:
    x = n["tokens"](x) + n["places"](torch.arange(x.shape[1]))
    y = n["norm"](x)
    q, k, v = n["qkv"](y).chunk(3, dim=-1)
    x = x + F.scaled_dot_product_attention(q, k, v, is_causal=True)
    return n["head"](x)


def attention_pool(n: Any, x: Tensor) -> Tensor:
    weights = torch.softmax(n["score"](torch.tanh(n["lift"](x))).squeeze(-1), dim=1)
    return n["head"](torch.bmm(weights.unsqueeze(1), x).squeeze(1))


def statistics(n: Any, x: Tensor) -> Tensor:
    y = F.relu(n["conv"](x.transpose(1, 2)))
    return n["head"](torch.cat([y.mean(dim=2), y.std(dim=2)], dim=1))


def revin(n: Any, x: Tensor) -> Tensor:
    mean = x.mean(1, keepdim=True).detach()
    scale = torch.sqrt(x.var(1, keepdim=True, unbiased=False) + 1e-5).detach()
    y = n["mix"](((x - mean) / scale).transpose(1, 2)).transpose(1, 2)
    return y * scale + mean


def chomp(n: Any, x: Tensor) -> Tensor:
    y = F.relu(n["one"](x.transpose(1, 2))[:, :, :-2])
    y = F.relu(n["two"](y)[:, :, :-4])
    return n["head"](y[:, :, -1])


def wavenet(n: Any, x: Tensor) -> Tensor:
    x = n["in"](x.transpose(1, 2))
    skips = torch.zeros(())
    for k in ("a", "b", "c"):
        y = n[k](F.pad(x, (n[k].dilation[0], 0)))
        y = torch.tanh(y[:, :8]) * torch.sigmoid(y[:, 8:])
        skips = skips + y
        x = x + y
    return n["head"](F.relu(skips).mean(-1))


def frames(n: Any, x: Tensor) -> Tensor:
    """Log energies of a filter bank written as a convolution, normalised by their mean."""
    y = n["bank"](x.flatten(1).unsqueeze(1))
    energy = torch.log(y.pow(2) + 1e-3)
    energy = energy - energy.mean(dim=2, keepdim=True)
    return n["head"](energy.flatten(1))


def greedy(n: Any, x: Tensor) -> Any:
    y = n["net"](x.transpose(1, 2)).transpose(1, 2)
    return F.log_softmax(y, dim=-1), y.argmax(dim=-1)


def crnn(n: Any, x: Tensor) -> Tensor:
    y = n["conv"](x)
    b, c, h, w = y.shape
    y = y.permute(0, 3, 1, 2).reshape(b, w, c * h)
    y, _ = n["gru"](y)
    return n["head"](y)


def unet(n: Any, x: Tensor) -> Tensor:
    a = n["down1"](x)
    b = n["down2"](F.max_pool2d(a, 2))
    u = n["up"](b)
    return n["out"](torch.cat([u, a], dim=1))


def squeeze(n: Any, x: Tensor) -> Tensor:
    y = n["conv"](x)
    b, c, _, _ = y.size()
    w = n["fc"](F.adaptive_avg_pool2d(y, 1).view(b, c)).view(b, c, 1, 1)
    return n["head"]((y * w.expand_as(y)).mean((2, 3)))


def cbam(n: Any, x: Tensor) -> Tensor:
    y = n["conv"](x)
    both = torch.cat([torch.max(y, 1)[0].unsqueeze(1), torch.mean(y, 1).unsqueeze(1)], dim=1)
    return n["head"]((y * torch.sigmoid(n["gate"](both))).mean((-2, -1)))


def eca(n: Any, x: Tensor) -> Tensor:
    y = n["conv"](x)
    w = n["gate"](F.adaptive_avg_pool2d(y, 1).squeeze(-1).transpose(-1, -2))
    w = torch.sigmoid(w.transpose(-1, -2).unsqueeze(-1))
    return n["head"]((y * w).flatten(2).mean(-1))


def coordinates(n: Any, x: Tensor) -> Tensor:
    y = n["conv"](x)
    _, _, h, w = y.shape
    rows = F.adaptive_avg_pool2d(y, (None, 1))
    columns = F.adaptive_avg_pool2d(y, (1, None)).permute(0, 1, 3, 2)
    rows, columns = torch.split(F.relu(n["mix"](torch.cat([rows, columns], 2))), [h, w], dim=2)
    gate = torch.sigmoid(rows) * torch.sigmoid(columns.permute(0, 1, 3, 2))
    return n["head"]((y * gate).mean((2, 3)))


def pyramid(n: Any, x: Tensor) -> Any:
    a = n["one"](x)
    b = n["two"](a)
    c = n["three"](b)
    q = n["b"](b) + F.interpolate(n["c"](c), size=b.shape[-2:], mode="nearest")
    p = n["a"](a) + F.interpolate(q, size=a.shape[-2:], mode="bilinear", align_corners=False)
    return {"p3": p, "p4": q}


def spp(n: Any, x: Tensor) -> Tensor:
    y = n["conv"](x)
    parts = [F.adaptive_max_pool2d(y, k).flatten(1) for k in (1, 2, 3)]
    return n["head"](torch.cat(parts, 1))


def yolo(n: Any, x: Tensor) -> Tensor:
    y = n["head"](n["conv"](x))
    b, _, h, w = y.shape
    y = y.view(b, 2, 7, h, w).permute(0, 1, 3, 4, 2)
    rows, columns = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    grid = torch.stack([columns, rows], -1).float()
    centre = (y[..., 0:2].sigmoid() + grid) * 8
    size = torch.exp(y[..., 2:4]) * torch.tensor([[10.0, 13.0], [16.0, 30.0]]).view(1, 2, 1, 1, 2)
    return torch.cat([centre, size, y[..., 4:].sigmoid()], -1).view(b, -1, 7)


def keypoints(n: Any, x: Tensor) -> Tensor:
    """Soft-argmax: the mean place under a softmax over pixels."""
    maps = n["head"](n["conv"](x))
    b, k, h, w = maps.shape
    p = F.softmax(maps.view(b, k, -1), dim=-1).view(b, k, h, w)
    down = (p.sum(3) * torch.linspace(-1, 1, h)).sum(-1)
    across = (p.sum(2) * torch.linspace(-1, 1, w)).sum(-1)
    return torch.stack([across, down], -1)


def vae(n: Any, x: Tensor) -> Any:
    y = n["enc"](x).flatten(1)
    mean, log_variance = n["mean"](y), n["var"](y)
    return mean, torch.exp(0.5 * log_variance)


def siamese(n: Any, x: Tensor, y: Tensor) -> Tensor:
    a, b = n["net"](x), n["net"](y)
    return F.cosine_similarity(a, b).unsqueeze(1)


def prototypes(n: Any, x: Tensor) -> Tensor:
    a = n["net"](x)
    return -((a.unsqueeze(1) - n["net"][-1].weight[:4].unsqueeze(0)) ** 2).sum(-1)


def distances(n: Any, x: Tensor) -> Tensor:
    return -torch.cdist(n["net"](x), n["net"][-1].weight[:4])


def experts(n: Any, x: Tensor) -> Tensor:
    gates = F.softmax(n["gate"](x), dim=-1)
    outputs = torch.stack([n[k](x) for k in ("a", "b", "c")], dim=1)
    return torch.einsum("be,beo->bo", gates, outputs)


def top(n: Any, x: Tensor) -> Any:
    p = F.softmax(n["head"](n["conv"](x).mean((2, 3))), dim=1)
    return p.max(dim=1)


def class_token(n: Any, x: Tensor) -> Tensor:
    y = n["patch"](x).flatten(2).transpose(1, 2)
    y = torch.cat([n["token"].weight[None].expand(y.shape[0], -1, -1), y], dim=1)
    return n["head"](n["layer"](y)[:, 0])


def super_resolution(n: Any, x: Tensor) -> Tensor:
    y = F.pixel_shuffle(n["net"](x), 2)
    return y + F.interpolate(x, scale_factor=2, mode="bicubic", align_corners=False)


def blur(n: Any, x: Tensor) -> Tensor:
    y = F.max_pool2d(n["conv"](x), 2, 1)
    weight = torch.tensor([1.0, 2.0, 1.0])
    kernel = (weight[:, None] * weight / 16).expand(8, 1, 3, 3)
    y = F.conv2d(F.pad(y, (1, 2, 1, 2), mode="reflect"), kernel, stride=2, groups=8)
    return n["head"](y.mean((2, 3)))


def standardised(n: Any, x: Tensor) -> Tensor:
    x = (x - x.amin((1, 2, 3), keepdim=True)) / (x.amax((1, 2, 3), keepdim=True) + 1e-6)
    return n["head"](n["conv"](x).mean((2, 3)))


def memory(n: Any, x: Tensor) -> Tensor:
    """Linear attention with elu + 1."""
    q, k, v = n["qkv"](x).chunk(3, -1)
    q, k = F.elu(q) + 1, F.elu(k) + 1
    found = torch.einsum("bnd,bne->bde", k, v)
    shares = 1 / (torch.einsum("bnd,bd->bn", q, k.sum(1)) + 1e-6)
    return torch.einsum("bnd,bde,bn->bne", q, found, shares)


def vlad(n: Any, x: Tensor) -> Tensor:
    share = n["assign"](x).softmax(-1)
    residual = x.unsqueeze(2) - n["centres"].weight
    v = (share.unsqueeze(-1) * residual).sum(1)
    return F.normalize(F.normalize(v, dim=2).flatten(1), dim=1)


def words(n: Any, x: Tensor) -> Tensor:
    y = F.relu(n["conv"](n["embed"](x).permute(0, 2, 1)))
    return n["head"](F.max_pool1d(y, y.shape[2]).squeeze(2))


def anomaly(n: Any, x: Tensor) -> Tensor:
    y = x.flatten(1)
    return ((n["net"](y) - y) ** 2).mean(1)


def gru_text(n: Any, x: Tensor) -> Tensor:
    _, h = n["gru"](n["embed"](x))
    return n["head"](h[-1])
