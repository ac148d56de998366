"""Exports networks of torchvision and timm with seeded random weights by PyTorch's two ONNX exporters.

    python tests/onnx/export.py FOLDER [NETWORK…]

writes FOLDER/NETWORK-torchscript.onnx and FOLDER/NETWORK-dynamo.onnx, as the exporters leave them.
"""

import pathlib
import sys

import timm
import torch
import torchvision

NETWORKS = {
    "alexnet": torchvision.models.alexnet,
    "resnet18": torchvision.models.resnet18,
    "resnet50": torchvision.models.resnet50,
    "mobilenetv1_100": lambda: timm.create_model("mobilenetv1_100"),
    "mobilenet_v2": torchvision.models.mobilenet_v2,
}


def randomise(network):
    """Statistics that are not trivial, so that a normalisation that is left out shows."""
    for name, buffer in network.named_buffers():
        if name.endswith("running_mean"):
            buffer.uniform_(-0.2, 0.2)
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name in sys.argv[2:] or NETWORKS:
        torch.manual_seed(0)
        network = NETWORKS[name]().eval()
        with torch.no_grad():
            randomise(network)
        image = torch.zeros(1, 3, 224, 224)
        for exporter, dynamo in [("torchscript", False), ("dynamo", True)]:
            torch.onnx.export(network, (image,), folder / f"{name}-{exporter}.onnx", dynamo=dynamo)


if __name__ == "__main__":
    main()
