"""Installs MobileNetV1 1.0 at 224×224 with TensorFlow's ImageNet weights (Apache-2.0), out of a frozen graph.

    pip install numpy && python3 models/install/mobilenet_v1.py

Such a graph is a protocol buffer `GraphDef`: field 1 is a node with a name (1), an operator (2) and attributes (5);
a constant's attribute "value" is a tensor (8) with a shape (2) and its bytes (4).
"""

from collections.abc import Iterator

import numpy as np
import registry


def constants(graph: bytes) -> Iterator[tuple[str, np.ndarray]]:
    for number, node in registry.fields(graph):
        if number != 1:
            continue
        name = next(value for field, value in registry.fields(node) if field == 1).decode()
        attributes = (dict(registry.fields(value)) for field, value in registry.fields(node) if field == 5)
        for attribute in attributes:
            if attribute[1] != b"value":
                continue
            tensor = dict(registry.fields(dict(registry.fields(attribute[2]))[8]))
            dims = (dim for field, dim in registry.fields(tensor.get(2, b"")) if field == 2)
            shape = [dict(registry.fields(dim)).get(1, 0) for dim in dims]
            # 1 is DT_FLOAT; a tensor of one repeated value has no bytes.
            if tensor[1] == 1 and 4 in tensor:
                yield name, np.frombuffer(tensor[4], "<f4").reshape(shape)


def convert(found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Arrays under the names of timm's `mobilenetv1_100`, filters first."""
    arrays: dict[str, np.ndarray] = {}

    def layer(source: str, conv: str, norm: str, filters: tuple[int, ...], kind: str = "weights") -> None:
        source = f"MobilenetV1/{source}"
        arrays[f"{conv}.weight"] = found[f"{source}/{kind}"].transpose(filters)
        parts = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
        for key, part in parts.items():
            arrays[f"{norm}.{key}"] = found[f"{source}/BatchNorm/{part}"]

    layer("Conv2d_0", "conv_stem", "bn1", (3, 2, 0, 1))
    blocks = [f"blocks.{i}.{j}" for i, count in enumerate([1, 2, 2, 6, 2]) for j in range(count)]
    for number, block in enumerate(blocks, 1):
        layer(f"Conv2d_{number}_depthwise", f"{block}.conv_dw", f"{block}.bn1", (2, 3, 0, 1), "depthwise_weights")
        layer(f"Conv2d_{number}_pointwise", f"{block}.conv_pw", f"{block}.bn2", (3, 2, 0, 1))
    # Class 0 is "none of them"; the others are ImageNet's.
    logits = "MobilenetV1/Logits/Conv2d_1c_1x1"
    arrays["classifier.weight"] = found[f"{logits}/weights"][0, 0, :, 1:].transpose()
    arrays["classifier.bias"] = found[f"{logits}/biases"][1:]
    return arrays


def main() -> None:
    (graph,) = registry.package_files(
        "nudity==0.2.3",
        "d26e10346f00ad76b1166a221f1b56877d154ca343e82c6e6c8e738ca5f27d5f",
        "nudity/files/retrained_graph.pb",
    )
    registry.save_arrays("mobilenet_v1.safetensors", convert(dict(constants(graph))))
    registry.save_labels()
    registry.save_settings(
        "mobilenet_v1.json",
        model="../mobilenet_v1.kiln",
        weights="mobilenet_v1.safetensors",
        labels="imagenet.labels.txt",
        define={"padding": "same", "epsilon": "1e-3"},
        mean=[0.5, 0.5, 0.5],
        std=[0.5, 0.5, 0.5],
    )


if __name__ == "__main__":
    main()
