"""kiln beside PyTorch on a GPU: batch 1 and 32, f32, tf32 and f16, medians of device times.

    python3 benches/gpu.py KILN [--json FILE] [--batches 1,32] [--seconds 2]

PyTorch runs eager, as a captured CUDA graph, and compiled with mode="max-autotune", each channels-last with cuDNN's
benchmark on; TF32 is off for f32 and on for tf32. Each replay reads another copy of its inputs. kiln's times are those of
its own captured graph (`kiln bench --backend cuda`).
"""

import argparse
import json
import statistics
import subprocess
import time

import torch

MODELS = [
    ("mobilenet_v1", [], "timm:mobilenetv1_100"),
    ("resnet", ["-D", "depth=18"], "resnet18"),
    ("resnet", ["-D", "depth=50"], "resnet50"),
    ("alexnet_torchvision", [], "alexnet"),
]
# Copies of the inputs that runs take turns with.
COPIES = 8


def build(name):
    if name.startswith("timm:"):
        import timm

        return timm.create_model(name.split(":")[1], pretrained=False)
    import torchvision

    return getattr(torchvision.models, name)(weights=None)


def device_ms(run, seconds):
    """The median of the device's time for `run(i)`, i counting up."""
    for i in range(5):
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
    with torch.cuda.stream(stream):
        for _ in range(3):
            model(inputs[0])
    torch.cuda.current_stream().wait_stream(stream)
    graphs = []
    for x in inputs:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            model(x)
        graphs.append(graph)
    return lambda i: graphs[i % COPIES].replay()


def pytorch(name, batch, precision, seconds):
    torch.backends.cudnn.benchmark = True
    allow = precision == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = allow
    torch.backends.cudnn.allow_tf32 = allow
    dtype = torch.float16 if precision == "f16" else torch.float32
    model = build(name).eval().cuda().to(dtype=dtype, memory_format=torch.channels_last)
    shape = (batch, 3, 224, 224)
    inputs = [
        torch.randn(shape, device="cuda", dtype=dtype).to(memory_format=torch.channels_last) for _ in range(COPIES)
    ]
    rows = {}
    with torch.inference_mode():
        rows["eager"] = device_ms(lambda i: model(inputs[i % COPIES]), seconds)
        rows["cuda_graph"] = device_ms(captured(model, inputs), seconds)
        try:
            compiled = torch.compile(model, mode="max-autotune")
            rows["max_autotune"] = device_ms(lambda i: compiled(inputs[i % COPIES]), seconds)
        except Exception as error:  # the compiler needs a C compiler and Triton, which a machine may lack
            rows["max_autotune_error"] = str(error).splitlines()[0][:200]
    return rows


def kiln_ms(kiln, model, defines, batch, precision, seconds):
    command = [kiln, "bench", f"models/{model}.kiln", *defines, "-D", f"batch={batch}", "--random-weights", "1"]
    command += ["--backend", "cuda", "--precision", precision, "--seconds", str(seconds), "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        return {"error": done.stderr.strip()}
    report = json.loads(done.stdout)
    return {key: report[key] for key in ["fused_ms", "unfused_ms", "max_rel_diff", "launches", "device"]}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("kiln")
    parser.add_argument("--json")
    parser.add_argument("--batches", default="1,32")
    parser.add_argument("--seconds", type=float, default=1.0)
    arguments = parser.parse_args()
    print(f"{torch.cuda.get_device_name()}, PyTorch {torch.__version__}, cuDNN {torch.backends.cudnn.version()}")
    print("| model | batch | precision | kiln | PyTorch eager | CUDA graph | max-autotune |")
    print("|---|---|---|---|---|---|---|")
    results = []
    for model, defines, name in MODELS:
        for batch in map(int, arguments.batches.split(",")):
            for precision in ["f32", "tf32", "f16"]:
                ours = kiln_ms(arguments.kiln, model, defines, batch, precision, arguments.seconds)
                theirs = pytorch(name, batch, precision, arguments.seconds)
                results.append({"model": name, "batch": batch, "precision": precision, "kiln": ours, "pytorch": theirs})
                own = f"{ours['fused_ms']:.3f} ms" if "fused_ms" in ours else ours["error"]
                cells = [f"{theirs[key]:.3f} ms" if key in theirs else "–" for key in ["eager", "cuda_graph", "max_autotune"]]
                print(f"| {name} | {batch} | {precision} | {own} | {' | '.join(cells)} |", flush=True)
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump(results, file, indent=1)


if __name__ == "__main__":
    main()
