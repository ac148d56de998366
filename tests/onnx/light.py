"""Holds kiln to onnxruntime on the nine `light` networks of the ONNX backend tests, with seeded random weights.

    python tests/onnx/light.py KILN [NETWORK…]

The suite's networks fill their weights with one number each. Here every such weight becomes an initializer of random
numbers, variances positive, scaled so that activations stay finite; the changed network is written to a temporary
folder, and compared as `compare.py` compares. Needs onnx, onnxruntime and what `tests/onnx/fetch` gets.
"""

import pathlib
import sys
import tempfile

import numpy
import onnx
from compare import agrees, difference
from onnx import numpy_helper

SUITE = pathlib.Path(__file__).parents[2] / "target/onnx-backend-tests/light"


def roles(graph):
    """By name of a weight, what it is for: `scale`, `variance`, or another input of its operator."""
    found = {}
    for node in graph.node:
        for at, name in enumerate(node.input):
            if node.op_type == "BatchNormalization":
                found[name] = ["x", "scale", "other", "other", "variance"][at]
    return found


def draw(generator, shape, role):
    if role in ("scale", "variance"):
        return generator.uniform(0.5, 1.5, shape).astype(numpy.float32)
    fan_in = numpy.prod(shape[1:]) if len(shape) > 1 else 100
    bound = numpy.sqrt(3 / max(fan_in, 1))
    return generator.uniform(-bound, bound, shape).astype(numpy.float32)


def randomise(model):
    """Replaces every constant array of floats by random numbers."""
    generator = numpy.random.default_rng(0)
    graph = model.graph
    known = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    role = roles(graph)
    kept = []
    for node in graph.node:
        if node.op_type != "ConstantOfShape":
            kept.append(node)
            continue
        shape = tuple(int(extent) for extent in known[node.input[0]])
        value = numpy_helper.from_array(draw(generator, shape, role.get(node.output[0])), node.output[0])
        graph.initializer.append(value)
    # A softmax of random scores is all but one-hot and would hide what differs.
    if kept[-1].op_type == "Softmax":
        softmax = kept.pop()
        graph.output[0].name = softmax.input[0]
    del graph.node[:]
    graph.node.extend(kept)
    replaced = sum(tensor.data_type == onnx.TensorProto.FLOAT for tensor in graph.initializer)
    assert replaced > 10, f"only {replaced} weights"


def main():
    failed = False
    names = sys.argv[2:] or sorted(path.stem for path in SUITE.glob("*.onnx"))
    for name in names:
        model = onnx.load(SUITE / f"{name}.onnx")
        randomise(model)
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / f"{name}.onnx"
            onnx.save(model, path)
            failed |= not agrees(name, difference(sys.argv[1], path, pathlib.Path(folder)))
    sys.exit(failed)


if __name__ == "__main__":
    main()
