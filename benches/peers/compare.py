"""Times kiln and its peers on the same networks with the same weights, in turn, with the same number of threads.

    python benches/peers/compare.py [--networks mobilenet resnet50] [--engines kiln onnxruntime] [--threads 1 2]

Prints a table of medians, and writes everything measured to results.json and a plot to results.png.
"""

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

import report
from engines import ENGINES
from networks import NETWORKS, Network, load, reference

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
RUST_ENGINES = ["kiln", "tract"]
LARGEST_ERROR = 1e-3
"""A peer whose answer is further off than this does not count as one."""
SETTLE = 0.05
"""Seconds in which the last engine's threads go to sleep before the next one runs."""


@dataclass
class Measurement:
    network: str
    threads: int
    engine: str
    version: str = ""
    problem: str = ""
    """Why there are no times, where there are none."""
    error: float = float("nan")
    """max|answer - reference| / max|reference|, the reference in float64."""
    first_answers_ms: tuple[float, ...] = ()
    """From an empty process with the engine's runtime not yet loaded to the first answer, a process each."""
    memory_bytes: int = 0
    """Growth of the peak resident memory by the first answer."""
    times_ms: tuple[float, ...] = ()

    @property
    def median_ms(self) -> float:
        return statistics.median(self.times_ms) if self.times_ms else float("nan")

    @property
    def first_answer_ms(self) -> float:
        return statistics.median(self.first_answers_ms) if self.first_answers_ms else float("nan")

    def take(self, ready: dict) -> None:
        """What a worker reports once it has answered."""
        self.version = ready["version"]
        self.memory_bytes = ready["memory_bytes"]
        self.first_answers_ms += (ready["first_answer_ms"],)

    @property
    def counts(self) -> bool:
        return bool(self.times_ms) and self.error <= LARGEST_ERROR


class Worker:
    """A running `worker.py serve` or one of workers/src/bin."""

    def __init__(self, engine: str, network: Network, folder: Path, threads: int) -> None:
        self.engine = engine
        if engine == "kiln":
            command = [rust_worker(engine), folder, str(threads), *model_arguments(network)]
        elif engine in RUST_ENGINES:
            command = [rust_worker(engine), folder, str(threads)]
        else:
            command = [sys.executable, HERE / "worker.py", "serve", engine, folder, str(threads)]
        self.log = folder / f"{engine}.log"
        self.process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log.open("w"),
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": str(threads)},
        )

    def reply(self) -> dict | list:
        line = self.process.stdout.readline()
        if not line:
            last = self.log.read_text().strip().splitlines()[-1:] or ["it ended without a word"]
            raise RuntimeError(last[0])
        return json.loads(line)

    def measure(self, seconds: float) -> list[float]:
        print(seconds, file=self.process.stdin, flush=True)
        return self.reply()

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def rust_worker(engine: str) -> Path:
    return HERE / f"workers/target/release/{engine}-worker"


def model_arguments(network: Network) -> list[str]:
    defines = [part for name, value in network.parameters.items() for part in ("-D", f"{name}={value}")]
    return [str(ROOT / f"models/{network.model}.kiln"), *defines]


def prepare(key: str, folder: Path, engines: list[str]) -> dict[str, str]:
    """Writes the network in every engine's form; returns why, by engine, where that failed."""
    network = NETWORKS[key]
    folder.mkdir(parents=True, exist_ok=True)
    image = np.random.default_rng(0).uniform(-1, 1, network.image_shape()).astype(np.float32)
    np.save(folder / "image.npy", image)
    kiln = [ROOT / "target/release/kiln", "run", *model_arguments(network), "--random-weights", "1"]
    files = ["--save-weights", folder / "weights.safetensors", "--input", folder / "image.npy"]
    subprocess.run(kiln + files, check=True, stdout=subprocess.DEVNULL)

    module = load(network, load_file(folder / "weights.safetensors"))
    source = torch.from_numpy(image)
    names = {"input_names": ["image"], "output_names": ["logits"]}
    torch.onnx.export(module, (source,), folder / "net.onnx", dynamo=False, **names)
    np.save(folder / "reference.npy", reference(module, source).numpy())

    problems = {}
    for engine in engines:
        if engine in RUST_ENGINES:
            continue
        log = folder / f"{engine}.convert.log"
        command = [sys.executable, HERE / "worker.py", "convert", engine, key, folder]
        with log.open("w") as output:
            failed = subprocess.run(command, stdout=output, stderr=output).returncode
        if failed:
            problems[engine] = f"conversion: {(log.read_text().strip().splitlines() or ['no message'])[-1]}"
    return problems


def compare(key: str, folder: Path, engines: list[str], threads: int, options: argparse.Namespace) -> list[Measurement]:
    """Loads every engine, checks its answer, and lets them run in turn, in a new order each round."""
    problems = json.loads((folder / "problems.json").read_text())
    expected = np.load(folder / "reference.npy").reshape(-1)
    measurements = {engine: Measurement(key, threads, engine, problem=problems.get(engine, "")) for engine in engines}
    workers = []
    try:
        # In any order: who starts first pays for memory that a virtual machine takes back while nobody uses it.
        for engine, measurement in random.sample(list(measurements.items()), len(measurements)):
            if measurement.problem:
                continue
            worker = Worker(engine, NETWORKS[key], folder, threads)
            workers.append(worker)
            try:
                measurement.take(worker.reply())
                answer = np.load(folder / f"{engine}.npy").reshape(-1)
                measurement.error = float(np.abs(answer - expected).max() / np.abs(expected).max())
            except RuntimeError as problem:
                measurement.problem = str(problem)
        ready = [worker for worker in workers if not measurements[worker.engine].problem]
        for _ in range(options.rounds):
            random.shuffle(ready)
            for worker in ready:
                time.sleep(SETTLE)
                measurements[worker.engine].times_ms += tuple(worker.measure(options.seconds / options.rounds))
    finally:
        for worker in workers:
            worker.close()
    start_again(key, folder, [m for m in measurements.values() if not m.problem], threads, options.starts)
    return list(measurements.values())


def start_again(key: str, folder: Path, measurements: list[Measurement], threads: int, starts: int) -> None:
    """Starts each engine some more times, in turn and alone: which of its memory a virtual machine has at hand is chance."""
    for _ in range(starts):
        for measurement in random.sample(measurements, len(measurements)):
            worker = Worker(measurement.engine, NETWORKS[key], folder, threads)
            try:
                measurement.take(worker.reply())
            finally:
                worker.close()


def build() -> None:
    subprocess.run(["cargo", "build", "--release", "--locked"], cwd=ROOT, check=True)
    subprocess.run(["cargo", "build", "--release", "--locked"], cwd=HERE / "workers", check=True)


def machine() -> dict:
    """What the measurements were taken on."""
    model = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    return {
        "cpu": model[0].split(":")[1].strip() if model else platform.processor(),
        "cores": os.cpu_count(),
        "load_before": os.getloadavg()[0],
        "commit": commit,
    }


def main() -> None:
    every_engine = ["kiln", *ENGINES, "tract"]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--engines", nargs="+", choices=every_engine, default=every_engine)
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--seconds", type=float, default=6, help="for each engine, network and thread count")
    parser.add_argument("--rounds", type=int, default=12, help="turns that the seconds are divided into")
    parser.add_argument("--starts", type=int, default=4, help="more starts of each engine, to time its first answer")
    parser.add_argument("--reuse", action="store_true", help="the converted networks of the last run")
    parser.add_argument("--no-build", action="store_true", help="kiln and the workers as they were last built")
    parser.add_argument("--work", type=Path, default=ROOT / "target/peers", help="where converted networks go")
    parser.add_argument("--output", type=Path, default=ROOT / "target/peers", help="where the results go")
    options = parser.parse_args()

    if not options.no_build:
        build()
    measured_on = machine()
    measurements: list[Measurement] = []
    for key in options.networks:
        folder = (options.work / key).resolve()
        if not options.reuse or not (folder / "problems.json").exists():
            print(f"{NETWORKS[key].title}: converting", file=sys.stderr)
            (folder / "problems.json").unlink(missing_ok=True)
            problems = prepare(key, folder, options.engines)
            (folder / "problems.json").write_text(json.dumps(problems))
        for threads in options.threads:
            print(f"{NETWORKS[key].title}: {report.counted(threads)}", file=sys.stderr)
            measurements += compare(key, folder, options.engines, threads, options)

    options.output.mkdir(parents=True, exist_ok=True)
    figures = ["median_ms", "first_answer_ms", "counts"]
    results = [asdict(m) | {figure: getattr(m, figure) for figure in figures} for m in measurements]
    (options.output / "results.json").write_text(
        json.dumps({"machine": measured_on, "measurements": results}, indent=1) + "\n"
    )
    report.print_table(measurements, measured_on)
    report.plot(measurements, measured_on, options.output / "results.png")


if __name__ == "__main__":
    main()
