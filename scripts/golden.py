"""Writes tests/golden: what PyTorch answers for networks with reproducible random weights.

kiln draws the same weights bit for bit (`weights::random`), so a golden vector is 1000 numbers and no
weights. PyTorch evaluates in float64: the answer is an oracle, not another rounding.

    python scripts/golden.py [--output tests/golden]
"""

import argparse
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import timm
import torch
import torchvision
from torch import Tensor, nn
from torchvision.models import resnet

SEED = 1
INPUT_SHAPE = (1, 3, 224, 224)


@dataclass(frozen=True)
class Case:
    """A network as PyTorch builds it, and the shipped model that must agree with it."""

    name: str
    model: str
    """File in models/, without its extension."""
    parameters: dict[str, int | float]
    """What the file's parameters are set to, as by `-D`."""
    network: nn.Module


def cases() -> Iterator[Case]:
    yield Case("alexnet", "alexnet_torchvision", {}, torchvision.models.alexnet())
    yield Case("resnet18", "resnet", {"depth": 18}, torchvision.models.resnet18())
    yield Case("resnet50", "resnet", {"depth": 50}, torchvision.models.resnet50())
    yield Case("mobilenetv1_100", "mobilenet_v1", {}, timm.create_model("mobilenetv1_100"))
    yield Case("mobilenet_v2", "mobilenet_v2", {}, torchvision.models.mobilenet_v2())


def uniform(key: str, shape: tuple[int, ...], low: float, high: float, seed: int = SEED) -> np.ndarray:
    """f32 array in [low, high): element i of `key` is a pure function of (key, i, seed)."""
    state = np.uint64(fnv1a64(key.encode()) ^ seed)
    count = math.prod(shape)
    with np.errstate(over="ignore"):
        z = state + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z ^= z >> np.uint64(30)
        z *= np.uint64(0xBF58476D1CE4E5B9)
        z ^= z >> np.uint64(27)
        z *= np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    unit = (z >> np.uint64(40)).astype(np.float32) / np.float32(2**24)
    low, high = np.float32(low), np.float32(high)
    return (low + (high - low) * unit).reshape(shape)


def fnv1a64(data: bytes) -> int:
    """The 64-bit FNV-1a hash."""
    hashed = 0xCBF29CE484222325
    for byte in data:
        hashed = (hashed ^ byte) * 0x100000001B3 % 2**64
    return hashed


def initial_range(module: nn.Module, name: str, scale: float) -> tuple[float, float]:
    """The range that kiln's layer of this kind gives a parameter (src/dsl); `scale` is its `initial_scale`."""
    match module, name:
        case nn.Conv2d() | nn.Linear(), "weight":
            fan_in = module.weight[0].numel()
            bound = math.sqrt(6 / fan_in)
            return -bound, bound
        case nn.Conv2d() | nn.Linear(), "bias":
            return -0.1, 0.1
        case nn.BatchNorm2d(), "weight":
            return 0.5 * scale, 1.5 * scale
        case nn.BatchNorm2d(), "bias":
            return -0.2 * scale, 0.2 * scale
        case nn.BatchNorm2d(), "running_mean":
            return -0.2, 0.2
        case nn.BatchNorm2d(), "running_var":
            return 0.5, 1.5
    raise ValueError(f"no range for {name} of {module}")


def ends_residual_branch(network: nn.Module, path: str) -> bool:
    """Whether this is the batch norm that models/resnet.kiln gives a small initial scale."""
    parent, _, label = path.rpartition(".")
    match network.get_submodule(parent):
        case resnet.BasicBlock():
            return label == "bn2"
        case resnet.Bottleneck():
            return label == "bn3"
    return False


def randomize(network: nn.Module) -> None:
    """Gives every parameter and every running statistic its reproducible random value."""
    for path, module in network.named_modules():
        scale = 0.25 if ends_residual_branch(network, path) else 1.0
        for name, value in module.state_dict().items():
            if "." in name or name == "num_batches_tracked":
                continue
            low, high = initial_range(module, name, scale)
            array = uniform(f"{path}.{name}", tuple(value.shape), low, high)
            getattr(module, name).data.copy_(torch.from_numpy(array))


@torch.inference_mode()
def answer(network: nn.Module, image: Tensor) -> np.ndarray:
    return network.double().eval()(image.double()).float().numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path(__file__).parent.parent / "tests/golden")
    output: Path = parser.parse_args().output
    output.mkdir(parents=True, exist_ok=True)

    image = torch.from_numpy(uniform("image", INPUT_SHAPE, -1, 1))
    index = []
    for case in cases():
        randomize(case.network)
        logits = answer(case.network, image)
        assert np.isfinite(logits).all(), case.name
        np.save(output / f"{case.name}.npy", logits)
        index.append({"name": case.name, "model": case.model, "parameters": case.parameters})
        print(f"{case.name}: {logits.shape}, largest {np.abs(logits).max():.4g}")
    (output / "cases.json").write_text(json.dumps({"seed": SEED, "cases": index}, indent=2) + "\n")


if __name__ == "__main__":
    main()
