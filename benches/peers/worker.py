"""One engine in a process of its own, so that engines share neither threads nor heap.

    python worker.py convert ENGINE NETWORK FOLDER
    python worker.py serve ENGINE FOLDER THREADS

`serve` loads FOLDER's network, answers FOLDER/image.npy once into FOLDER/ENGINE.npy and prints a `Ready` as one line
of JSON. Then, for every line with a number of seconds on stdin, it runs for that long and prints the milliseconds of
each run as one line of JSON. `workers/src/lib.rs` speaks the same protocol.
"""

import json
import os
import sys
import time
from pathlib import Path

import numpy as np

from engines import ENGINES, engine_version


def serve(name: str, folder: Path, threads: int) -> None:
    # Engines log to stdout; the protocol keeps a copy of it to itself.
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)

    image = np.load(folder / "image.npy")
    before = peak_resident_bytes()
    start = time.perf_counter()
    run = ENGINES[name].load(folder, image, threads)
    answer = run()
    first_answer = time.perf_counter() - start
    np.save(folder / f"{name}.npy", np.asarray(answer, dtype=np.float32).reshape(1, -1))
    ready = {
        "version": engine_version(name),
        "first_answer_ms": first_answer * 1e3,
        "memory_bytes": peak_resident_bytes() - before,
    }
    print(json.dumps(ready), file=replies)

    for line in sys.stdin:
        end = time.perf_counter() + float(line)
        run()
        times = []
        while not times or time.perf_counter() < end:
            start = time.perf_counter()
            run()
            times.append((time.perf_counter() - start) * 1e3)
        print(json.dumps(times), file=replies)


def peak_resident_bytes() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("the kernel does not report VmHWM")


def convert(name: str, network: str, folder: Path) -> None:
    import torch
    from safetensors.torch import load_file

    from networks import NETWORKS, load

    module = load(NETWORKS[network], load_file(folder / "weights.safetensors"))
    image = torch.from_numpy(np.load(folder / "image.npy"))
    ENGINES[name].convert(module, image, folder)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["convert", name, network, folder]:
            convert(name, network, Path(folder))
        case ["serve", name, folder, threads]:
            serve(name, Path(folder), int(threads))
        case _:
            raise SystemExit(__doc__)
