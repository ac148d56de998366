"""Writes tests/state_dicts.txt: the names and shapes of the arrays in the weight files of torchvision and timm.

Each network is a line `[name]`, then one line for each module: its path, and `array shape` for each of its arrays.
`num_batches_tracked` counts training steps and is left out.
"""

from pathlib import Path

import timm
import torch
import torchvision

RESNETS = ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"]


def main() -> None:
    with torch.device("meta"):
        networks = {name: torchvision.models.get_model(name) for name in [*RESNETS, "alexnet", "mobilenet_v2"]}
        networks["mobilenetv1_100"] = timm.create_model("mobilenetv1_100")
    lines = []
    for name, network in networks.items():
        modules: dict[str, list[str]] = {}
        for key, array in network.state_dict().items():
            path, _, suffix = key.rpartition(".")
            if suffix != "num_batches_tracked":
                modules.setdefault(path, []).append(f"{suffix} {'x'.join(map(str, array.shape))}")
        lines.append(f"[{name}]")
        lines += [f"{path}: {', '.join(arrays)}" for path, arrays in modules.items()]
    output = Path(__file__).parent.parent / "tests/state_dicts.txt"
    output.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
