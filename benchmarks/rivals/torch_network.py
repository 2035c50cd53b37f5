"""The residual network of `hansa.model.network` in PyTorch eager: one local epoch, timed; runs in torch's environment.

`torch_network.py FOLDER CORES STEPS WAY` reads `case.json` and raw single-precision arrays that `network_step.py` left
in FOLDER, computes the sum of clipped day gradients, writes it to `torch-WAY.bin`, and prints JSON with the seconds of
each step.

| way | gradient |
|---|---|
| shifts | each day's gradient by `torch.func.vmap(grad)`; convolution as shifted products, as in hansa |
| conv | likewise, convolution by `conv1d` with one group a channel |
| loop | each day's gradient by its own backward pass, convolution by `conv1d` |
| batch | one backward pass over all days, no clipping: what federated training without privacy would do |
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

TAPS = 3
DILATIONS = (1, 4, 16)
LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)


class Case:
    """Arrays and sizes of the measured step."""

    def __init__(self, folder: Path) -> None:
        described = json.loads((folder / "case.json").read_text())
        self.layout = described["layout"]
        self.clip = described["clip"]
        self.warm_up = described["warm_up"]
        self.near, self.far = described["start_steps"]
        arrays = {name: read(folder / f"{name}.bin", size) for name, size in described["arrays"].items()}
        self.vector, self.spillover = arrays["parameters"], arrays["spillover"]
        self.days = tuple(arrays[name] for name in ("inputs", "clock", "linear", "target", "weight"))


def read(path: Path, size: list[int]) -> torch.Tensor:
    return torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.float32).reshape(size)


def split(vector: torch.Tensor, layout: list[Any]) -> dict[str, torch.Tensor]:
    parts, start = {}, 0
    for name, size in layout:
        length = 1
        for one in size:
            length *= one
        parts[name] = vector[start : start + length].reshape(size)
        start += length
    return parts


def glu(doubled: torch.Tensor) -> torch.Tensor:
    return functional.glu(doubled, dim=-1)


def convolved(hidden: torch.Tensor, taps: torch.Tensor, dilation: int, *, by_shifts: bool) -> torch.Tensor:
    """Mix (day, bar, basket, width) causally along bars, each channel by itself."""
    past = (TAPS - 1) * dilation
    days, bars, baskets, width = hidden.shape
    if by_shifts:
        padded = functional.pad(hidden, (0, 0, 0, 0, past, 0))
        mixed = padded[:, :bars] * taps[0]
        for tap in range(1, TAPS):
            mixed = mixed + padded[:, tap * dilation : tap * dilation + bars] * taps[tap]
        return mixed
    rows = hidden.permute(0, 2, 3, 1).reshape(days * baskets, width, bars)
    mixed = functional.conv1d(functional.pad(rows, (past, 0)), taps.T[:, None], dilation=dilation, groups=width)
    return mixed.reshape(days, baskets, width, bars).permute(0, 3, 1, 2)


def losses(case: Case, vector: torch.Tensor, days: tuple[torch.Tensor, ...], *, by_shifts: bool) -> torch.Tensor:
    """Return the mean pinball loss of each day."""
    inputs, clock, linear, target, weight = days
    count, bars, baskets, _ = inputs.shape
    w = split(vector, case.layout)
    nodes = w["node"].expand(count, bars, *w["node"].shape)
    times = clock[:, :, None, :].expand(count, bars, baskets, clock.shape[-1])
    hidden = torch.cat([inputs, nodes, times], dim=3) @ w["enter"] + w["enter_bias"]
    for dilation in DILATIONS:
        name = f"conv_{dilation}"
        mixed = convolved(hidden, w[f"{name}_taps"], dilation, by_shifts=by_shifts)
        gated = glu(mixed @ w[f"{name}_glu"] + w[f"{name}_glu_bias"])
        gain, bias = w[f"{name}_norm_gain"], w[f"{name}_norm_bias"]
        hidden = hidden + functional.layer_norm(gated, gated.shape[-1:], gain, bias, eps=1e-3)
    share = torch.sigmoid(w["graph_gate"])
    learned = torch.softmax(functional.softplus(w["graph_source"] @ w["graph_sink"].T), dim=1)
    graph = (1 - share) * case.spillover + share * learned
    around = torch.einsum("ij,dtjw->dtiw", graph, hidden)
    hidden = glu(torch.cat([hidden, around], dim=3) @ w["graph_glu"] + w["graph_glu_bias"])
    hidden = functional.silu(hidden @ w["head"] + w["head_bias"])
    raw = hidden @ w["out"] + w["out_bias"]
    median = raw[..., 2]
    low = median - functional.softplus(raw[..., 1] + case.near)
    high = median + functional.softplus(raw[..., 3] + case.near)
    lowest = low - functional.softplus(raw[..., 0] + case.far)
    highest = high + functional.softplus(raw[..., 4] + case.far)
    offsets = torch.stack([lowest, low, median, high, highest], dim=-1)[:, case.warm_up :]
    error = (target - linear)[..., None] - offsets
    level = torch.tensor(LEVELS)
    pinball = torch.maximum(level * error, (level - 1) * error).mean(dim=-1)
    return (pinball * weight).sum(dim=(1, 2)) / weight.sum(dim=(1, 2)).clamp(min=1.0)


def clipped_sum(gradients: torch.Tensor, clip: float) -> torch.Tensor:
    norms = gradients.norm(dim=1).clamp(min=1e-30)
    return torch.clamp(clip / norms, max=1.0) @ gradients


def epoch(case: Case, way: str) -> torch.Tensor:
    if way in {"shifts", "conv"}:

        def one(vector: torch.Tensor, *day: torch.Tensor) -> torch.Tensor:
            return losses(case, vector, tuple(part[None] for part in day), by_shifts=way == "shifts")[0]

        each = torch.func.vmap(torch.func.grad(one), in_dims=(None, 0, 0, 0, 0, 0))
        return clipped_sum(each(case.vector, *case.days), case.clip)
    vector = case.vector.clone().requires_grad_()
    if way == "batch":
        (found,) = torch.autograd.grad(losses(case, vector, case.days, by_shifts=False).sum(), vector)
        return found
    gradients = []
    for day in range(case.days[0].shape[0]):
        one_day = tuple(part[day : day + 1] for part in case.days)
        gradients += torch.autograd.grad(losses(case, vector, one_day, by_shifts=False).sum(), vector)
    return clipped_sum(torch.stack(gradients), case.clip)


def main() -> None:
    folder, cores, steps, way = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    torch.set_num_threads(cores)
    case = Case(folder)
    epoch(case, way)
    seconds = []
    for _ in range(steps):
        begin = time.perf_counter()
        found = epoch(case, way)
        seconds.append(time.perf_counter() - begin)
    (folder / f"torch-{way}.bin").write_bytes(bytes(found.detach().contiguous().view(torch.uint8).tolist()))
    print(json.dumps({"seconds": seconds, "torch": torch.__version__}))


if __name__ == "__main__":
    main()
