"""Compares kiln with onnxruntime on ONNX files.

    python tests/onnx/compare.py KILN FILE.onnx…

For each file: seeded random inputs, the answers of onnxruntime, those of `KILN run` (compiled, unfused, and by the
interpreter), and the largest difference relative to the largest value. Exits with 1 where one exceeds 1e-4.
"""

import pathlib
import subprocess
import sys
import tempfile

import numpy
import onnxruntime

LIMIT = 1e-4
WAYS = {"fused": [], "unfused": ["--no-fuse"], "interpreter": ["--backend", "interpreter"]}


def difference(kiln, file, folder):
    """The largest relative difference of any output, by way of computing."""
    onnxruntime.set_default_logger_severity(3)
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    generator = numpy.random.default_rng(0)
    feeds, arguments = {}, []
    for at, value in enumerate(session.get_inputs()):
        shape = [dim if isinstance(dim, int) else 1 for dim in value.shape]
        feeds[value.name] = generator.standard_normal(shape, dtype=numpy.float32)
        path = folder / f"input{at}.npy"
        numpy.save(path, feeds[value.name])
        arguments += ["--input", f"{value.name}={path}"]
        for dim in value.shape:
            if isinstance(dim, str):
                arguments += ["-D", f"{dim}=1"]
    expected = session.run(None, feeds)
    differences = {}
    for way, options in WAYS.items():
        outputs = [folder / f"output{at}.npy" for at in range(len(expected))]
        command = [kiln, "run", str(file), *arguments, *options]
        for output in outputs:
            command += ["--output", str(output)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        pairs = [(numpy.load(output), wanted) for output, wanted in zip(outputs, expected)]
        assert all(found.shape == wanted.shape for found, wanted in pairs)
        scale = [numpy.abs(wanted).max() or 1.0 for _, wanted in pairs]
        differences[way] = max(numpy.abs(found - wanted).max() / s for (found, wanted), s in zip(pairs, scale))
    return differences


def agrees(name, differences):
    """Prints a file's differences; whether all are within the limit."""
    print(f"{name:32}", *(f"{way} {value:.1e}" for way, value in differences.items()), flush=True)
    return all(value <= LIMIT for value in differences.values())


def main():
    failed = False
    for file in map(pathlib.Path, sys.argv[2:]):
        with tempfile.TemporaryDirectory() as folder:
            failed |= not agrees(file.name, difference(sys.argv[1], file, pathlib.Path(folder)))
    sys.exit(failed)


if __name__ == "__main__":
    main()
