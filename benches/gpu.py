"""kiln beside PyTorch on a GPU: batch 1 and 32, f32, tf32 and f16, medians of device times.

    python3 benches/gpu.py KILN [--json FILE] [--budget SECONDS] [--models resnet50,…] [--dry-run]

PyTorch runs eager, as a captured CUDA graph, and compiled with mode="max-autotune", each channels-last with cuDNN's
benchmark on; TF32 is off for f32 and on for tf32. kiln and PyTorch take turns. Runs take turns between copies of the
inputs, as many as fill the second-level cache twice (at most 16); kiln's and the captured graphs' activations turn with
them. kiln's times are those of its own captured graph (`kiln bench --backend cuda`), taken by the same events.

What matters most comes first, and the JSON is written after every step: when the budget is used up, what is there is
there. Compiling with max-autotune takes minutes, so it has a process of its own that can be stopped. Where PyTorch or
its GPU is missing, kiln is measured alone. --dry-run does all that takes no GPU. Exit code 3: there is no GPU.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import time

try:
    import torch
except ImportError:
    torch = None

# PyTorch's name, kiln's file, what is defined in it; the most important first.
MODELS = {
    "mobilenetv1": ("mobilenet_v1", []),
    "resnet50": ("resnet", ["-D", "depth=50"]),
    "resnet18": ("resnet", ["-D", "depth=18"]),
    "alexnet": ("alexnet_torchvision", []),
    # Only for trying this program out: it has no counterpart.
    "digits": ("digits", []),
}
DEFAULT_MODELS = ["mobilenetv1", "resnet50", "resnet18", "alexnet"]
PRECISIONS = ["f32", "tf32", "f16"]
WAYS = ["eager", "cuda_graph", "max_autotune"]
MOST_COPIES = 16
# Seconds of measuring in a round, rounds, the least time that a row takes, and the most that a compilation may take.
ROUND_SECONDS, ROUNDS, ROW_SECONDS, COMPILE_SECONDS = 0.4, 3, 15, 150


def mobilenetv1():
    def convolution(inputs, outputs, size, stride=1, groups=1):
        layer = torch.nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False)
        return [layer, torch.nn.BatchNorm2d(outputs), torch.nn.ReLU6(inplace=True)]

    layers, channels = convolution(3, 32, 3, 2), 32
    for stage, (outputs, count) in enumerate([(64, 1), (128, 2), (256, 2), (512, 6), (1024, 2)]):
        for block in range(count):
            stride = 2 if stage > 0 and block == 0 else 1
            layers += convolution(channels, channels, 3, stride, groups=channels) + convolution(channels, outputs, 1)
            channels = outputs
    return torch.nn.Sequential(*layers, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(1024, 1000))


def build(name):
    if name == "mobilenetv1":
        return mobilenetv1().eval()
    import torchvision

    return getattr(torchvision.models, name)(weights=None).eval()


def device_ms(run, seconds):
    """The device's times for `run(i)`, i counting up."""
    for i in range(3):
        run(i)
    torch.cuda.synchronize()
    times, end = [], time.monotonic() + seconds
    while len(times) < 20 or time.monotonic() < end:
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        run(len(times))
        stop.record()
        stop.synchronize()
        times.append(start.elapsed_time(stop))
    return statistics.median(times)


def captured(model, inputs):
    """One graph for each copy of the inputs."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            model(inputs[0])
    torch.cuda.current_stream().wait_stream(stream)
    graphs, outputs = [], []
    for x in inputs:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            outputs.append(model(x))
        graphs.append(graph)
    return lambda i: graphs[i % len(graphs)].replay()


def prepare(name, batch, precision):
    """PyTorch's model and copies of its inputs, on the device."""
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
    dtype = torch.float16 if precision == "f16" else torch.float32
    model = build(name).cuda().to(dtype=dtype, memory_format=torch.channels_last)
    shape = (batch, 3, 224, 224)
    size = batch * 3 * 224 * 224 * dtype.itemsize
    cache = getattr(torch.cuda.get_device_properties(0), "L2_cache_size", 50 << 20)
    copies = min(max(-(-2 * cache // size), 2), MOST_COPIES)
    new = lambda: torch.randn(shape, device="cuda", dtype=dtype).to(memory_format=torch.channels_last)
    return model, [new() for _ in range(copies)]


class NoDevice(Exception):
    """kiln's sentence that says so."""


def kiln_report(kiln, name, batch, precision):
    """What `kiln bench` measures."""
    file, defines = MODELS[name]
    command = [kiln, "bench", f"models/{file}.kiln", *defines, "-D", f"batch={batch}", "--random-weights", "1"]
    command += ["--backend", "cuda", "--precision", precision, "--seconds", str(ROUND_SECONDS), "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode == 3:
        raise NoDevice(done.stderr.strip())
    if done.returncode != 0:
        return {"error": done.stderr.strip()}
    report = json.loads(done.stdout)
    keys = ["fused_ms", "unfused_ms", "max_rel_diff", "launches", "copies", "compile_ms", "device"]
    return {key: report[key] for key in keys}


def rounds(kiln, name, batch, precision, ways):
    """kiln and each of PyTorch's `ways` (name: run) in turns; the median of the rounds."""
    ours, theirs = [], {way: [] for way in ways}
    for _ in range(ROUNDS):
        ours.append(kiln_report(kiln, name, batch, precision))
        for way, run in ways.items():
            theirs[way].append(device_ms(run, ROUND_SECONDS))
    errors = [report for report in ours if "error" in report]
    middle = sorted(ours, key=lambda report: report.get("fused_ms", 0))[len(ours) // 2]
    return (errors or [middle])[0], {way: statistics.median(times) for way, times in theirs.items()}


def plain(kiln, name, batch, precision):
    """kiln, PyTorch eager and as a captured graph."""
    if torch is None or not torch.cuda.is_available() or name == "digits":
        return {"kiln": rounds(kiln, name, batch, precision, {})[0], "pytorch": {}}
    with torch.inference_mode():
        model, inputs = prepare(name, batch, precision)
        ways = {"eager": lambda i: model(inputs[i % len(inputs)]), "cuda_graph": captured(model, inputs)}
        ours, theirs = rounds(kiln, name, batch, precision, ways)
    del ways, model, inputs
    torch.cuda.empty_cache()
    return {"kiln": ours, "pytorch": theirs}


def compiled(kiln, name, batch, precision):
    """kiln and PyTorch compiled. Run in a process of its own."""
    with torch.inference_mode():
        model, inputs = prepare(name, batch, precision)
        fast = torch.compile(model, mode="max-autotune")
        ours, theirs = rounds(kiln, name, batch, precision, {"max_autotune": lambda i: fast(inputs[i % len(inputs)])})
    return {"kiln_beside_max_autotune": ours, "pytorch": theirs}


def compiled_in_time(kiln, row, seconds):
    """`compiled` in a process that is stopped when its time is over, with all processes that it started."""
    command = [sys.executable, __file__, kiln, "--compiled", json.dumps(row)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        output, errors = child.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        child.communicate()
        return {"pytorch": {"max_autotune_error": f"not compiled within {seconds:.0f} s"}}
    if child.returncode != 0:
        # The compiler needs a C compiler and Triton, which a machine may lack.
        return {"pytorch": {"max_autotune_error": (errors.strip().splitlines() or ["failed"])[-1][:200]}}
    return json.loads(output.splitlines()[-1])


def steps(models, batches):
    """Rows and what is measured of them, the most important first."""
    groups = [models[:2], models[2:]]
    for group in groups:
        for batch in batches:
            for precisions in [PRECISIONS[:1], PRECISIONS[1:]]:
                rows = [(name, batch, precision) for precision in precisions for name in group]
                yield from (("plain", row) for row in rows)
                yield from (("compiled", row) for row in rows)


def table(results):
    lines = ["| model | batch | precision | kiln | " + " | ".join(f"PyTorch {way}" for way in WAYS) + " |"]
    lines.append("|---" * (4 + len(WAYS)) + "|")
    for (name, batch, precision), row in results.items():
        ours = row.get("kiln", {})
        own = f"{ours['fused_ms']:.4f} ms" if "fused_ms" in ours else ours.get("error", "–")
        theirs = row.get("pytorch", {})
        cells = [f"{theirs[way]:.4f} ms" if way in theirs else theirs.get(f"{way}_error", "–") for way in WAYS]
        lines.append(f"| {name} | {batch} | {precision} | {own} | {' | '.join(cells)} |")
    return "\n".join(lines)


def save(path, results, skipped):
    """The file is whole at any time."""
    if path is None:
        return
    rows = [dict(zip(["model", "batch", "precision"], row), **result) for row, result in results.items()]
    versions = {} if torch is None else {"pytorch": torch.__version__, "cudnn": torch.backends.cudnn.version()}
    with open(f"{path}.part", "w") as file:
        json.dump({"versions": versions, "rows": rows, "not_reached": skipped}, file, indent=1)
    os.replace(f"{path}.part", path)


def dry_run(kiln, models, batches):
    """All of it that takes no GPU: kiln's side is compiled, PyTorch's built and run small on the CPU."""
    for name in models:
        file, defines = MODELS[name]
        for batch in batches:
            for precision in PRECISIONS:
                command = [kiln, "ptx", f"models/{file}.kiln", *defines, "-D", f"batch={batch}"]
                command += ["--target", "sm_90", "--precision", precision, "-o", os.devnull]
                subprocess.run(command, check=True)
        if torch is not None and name != "digits":
            with torch.inference_mode():
                shape = tuple(build(name).to(memory_format=torch.channels_last)(torch.zeros(1, 3, 64, 64)).shape)
            assert shape == (1, 1000), shape
    for kind, row in steps(models, batches):
        print("planned:", kind, *row)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("kiln")
    parser.add_argument("--json")
    parser.add_argument("--budget", type=float, default=300)
    parser.add_argument("--models", default=",".join(DEFAULT_MODELS))
    parser.add_argument("--batches", default="1,32")
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--compiled", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    kiln, end = arguments.kiln, time.monotonic() + arguments.budget
    models, batches = arguments.models.split(","), [int(batch) for batch in arguments.batches.split(",")]
    if arguments.compiled:
        print(json.dumps(compiled(kiln, *json.loads(arguments.compiled))))
        return
    if arguments.dry_run:
        dry_run(kiln, models, batches)
        print("a dry run: nothing ran on a GPU", file=sys.stderr)
        sys.exit(3)
    has_gpu = torch is not None and torch.cuda.is_available()
    if not has_gpu:
        print("PyTorch is missing or sees no GPU: kiln alone", flush=True)
    else:
        print(f"{torch.cuda.get_device_name()}, PyTorch {torch.__version__}, cuDNN {torch.backends.cudnn.version()}")
    results, skipped = {}, []
    for kind, row in steps(models, batches):
        left = end - time.monotonic()
        if kind == "compiled" and (not has_gpu or row[0] == "digits"):
            continue
        if left < ROW_SECONDS:
            skipped.append([kind, *row])
            continue
        try:
            if kind == "plain":
                measured = plain(kiln, *row)
            else:
                measured = compiled_in_time(kiln, row, min(left, COMPILE_SECONDS))
        except NoDevice as missing:
            print(missing, file=sys.stderr)
            sys.exit(3)
        except Exception as error:  # one row that fails must not take the others with it
            measured = {"error": f"{type(error).__name__}: {error}"[:300]}
        result = results.setdefault(row, {})
        pytorch = {**result.get("pytorch", {}), **measured.get("pytorch", {})}
        result.update(measured, pytorch=pytorch)
        save(arguments.json, results, skipped)
        print(f"{kind} {row}: {json.dumps(measured)}", file=sys.stderr, flush=True)
    save(arguments.json, results, skipped)
    print(table(results))
    for kind, *row in skipped:
        print(f"not reached in time: {kind} {' '.join(map(str, row))}")
    if any("error" in row or "error" in row.get("kiln", {}) for row in results.values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
