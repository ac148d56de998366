"""The networks that are compared: kiln's model file and the same network as a torch module.

A module's `state_dict` keys are the model file's weight names, so weights that kiln drew load into it unchanged.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torchvision
from torch import Tensor, nn


@dataclass(frozen=True)
class Network:
    title: str
    model: str
    """File in models/, without its extension."""
    build: Callable[[], nn.Module]
    resolution: int
    parameters: dict[str, int | float] = field(default_factory=dict)
    """What the file's parameters are set to, as by `-D`."""

    def image_shape(self) -> tuple[int, int, int, int]:
        return (1, 3, self.resolution, self.resolution)


class Separable(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv_dw = nn.Conv2d(inputs, inputs, 3, stride, padding=1, groups=inputs, bias=False)
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv_pw = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.act = nn.ReLU6()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn2(self.conv_pw(self.act(self.bn1(self.conv_dw(x))))))


class MobileNetV1(nn.Module):
    """Howard et al., 2017, table 1, with the parameter names of timm's `mobilenetv1_100`."""

    STAGES = [[(64, 1)], [(128, 2), (128, 1)], [(256, 2), (256, 1)], [(512, 2)] + 5 * [(512, 1)], [(1024, 2), (1024, 1)]]

    def __init__(self, alpha: float) -> None:
        super().__init__()
        channels = int(32 * alpha)
        self.conv_stem = nn.Conv2d(3, channels, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.act = nn.ReLU6()
        self.blocks = nn.Sequential()
        for stage in self.STAGES:
            blocks = nn.Sequential()
            for outputs, stride in stage:
                blocks.append(Separable(channels, int(outputs * alpha), stride))
                channels = int(outputs * alpha)
            self.blocks.append(blocks)
        self.classifier = nn.Linear(channels, 1000)

    def forward(self, image: Tensor) -> Tensor:
        x = self.blocks(self.act(self.bn1(self.conv_stem(image))))
        return self.classifier(x.mean(dim=(2, 3)))


class AlexNet(nn.Module):
    """Krizhevsky et al., 2012: grouped convolutions 2, 4 and 5, response normalisation, overlapping pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 96, 11, stride=4)
        self.conv2 = nn.Conv2d(96, 256, 5, padding=2, groups=2)
        self.conv3 = nn.Conv2d(256, 384, 3, padding=1)
        self.conv4 = nn.Conv2d(384, 384, 3, padding=1, groups=2)
        self.conv5 = nn.Conv2d(384, 256, 3, padding=1, groups=2)
        self.fc6 = nn.Linear(9216, 4096)
        self.fc7 = nn.Linear(4096, 4096)
        self.fc8 = nn.Linear(4096, 1000)
        # torch divides alpha by the size, the paper does not.
        self.norm = nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)
        self.pool = nn.MaxPool2d(3, stride=2)

    def forward(self, image: Tensor) -> Tensor:
        x = self.pool(self.norm(self.conv1(image).relu()))
        x = self.pool(self.norm(self.conv2(x).relu()))
        x = self.conv4(self.conv3(x).relu()).relu()
        x = self.pool(self.conv5(x).relu()).flatten(1)
        return self.fc8(self.fc7(self.fc6(x).relu()).relu())


NETWORKS = {
    "mobilenet": Network("MobileNetV1 1.0/224", "mobilenet_v1", lambda: MobileNetV1(1.0), 224),
    "mobilenet-small": Network(
        "MobileNetV1 0.5/160", "mobilenet_v1", lambda: MobileNetV1(0.5), 160, {"alpha": 0.5, "resolution": 160}
    ),
    "resnet50": Network("ResNet-50", "resnet", torchvision.models.resnet50, 224, {"depth": 50}),
    "resnet18": Network("ResNet-18", "resnet", torchvision.models.resnet18, 224, {"depth": 18}),
    "alexnet": Network("AlexNet (2012)", "alexnet", AlexNet, 227),
}


def load(network: Network, weights: dict[str, Tensor]) -> nn.Module:
    """The network with these weights, in inference mode."""
    module = network.build()
    missing, unexpected = module.load_state_dict(weights, strict=False)
    missing = [key for key in missing if not key.endswith("num_batches_tracked")]
    if missing or unexpected:
        raise ValueError(f"{network.title}: weights lack {missing} and have {unexpected} that torch does not know")
    return module.eval().requires_grad_(False)


@torch.inference_mode()
def reference(module: nn.Module, image: Tensor) -> Tensor:
    """The answer in float64: the oracle."""
    return module.double()(image.double()).float()
