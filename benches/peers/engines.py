"""The engines that kiln is compared with, each set up as its own documentation recommends for latency at f32.

An engine is two functions: `convert` writes what it runs into a folder, once; `load` returns a call that
computes the answer for one fixed image.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor, nn

Run = Callable[[], np.ndarray]


class Engine(Protocol):
    package: str
    """The distribution whose version is reported."""

    @staticmethod
    def convert(module: nn.Module, image: Tensor, folder: Path) -> None:
        """Writes the engine's form of `module` into `folder`, which has `net.onnx` already."""

    @staticmethod
    def load(folder: Path, image: np.ndarray, threads: int) -> Run:
        """Loads the engine's form of the network for runs on `image [1, 3, h, w]`."""


class OnnxRuntime:
    package = "onnxruntime"

    @staticmethod
    def convert(module: nn.Module, image: Tensor, folder: Path) -> None:
        pass

    @staticmethod
    def load(folder: Path, image: np.ndarray, threads: int) -> Run:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(folder / "net.onnx", options, providers=["CPUExecutionProvider"])
        return lambda: session.run(None, {"image": image})[0]


class OpenVino:
    package = "openvino"

    @staticmethod
    def convert(module: nn.Module, image: Tensor, folder: Path) -> None:
        pass

    @staticmethod
    def load(folder: Path, image: np.ndarray, threads: int) -> Run:
        import openvino

        config = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": str(threads),
            "INFERENCE_PRECISION_HINT": "f32",
        }
        request = openvino.Core().compile_model(folder / "net.onnx", "CPU", config).create_infer_request()
        return lambda: request.infer([image], share_inputs=True, share_outputs=True)[0]


class LiteRt:
    package = "ai-edge-litert"

    @staticmethod
    def convert(module: nn.Module, image: Tensor, folder: Path) -> None:
        import litert_torch

        channels_last = litert_torch.to_channel_last_io(module, args=[0]).eval()
        litert_torch.convert(channels_last, (image.permute(0, 2, 3, 1),)).export(str(folder / "net.tflite"))

    @staticmethod
    def load(folder: Path, image: np.ndarray, threads: int) -> Run:
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(str(folder / "net.tflite"), num_threads=threads)
        interpreter.allocate_tensors()
        source = interpreter.get_input_details()[0]["index"]
        answer = interpreter.get_output_details()[0]["index"]
        channels_last = np.ascontiguousarray(image.transpose(0, 2, 3, 1))

        def run() -> np.ndarray:
            interpreter.set_tensor(source, channels_last)
            interpreter.invoke()
            return interpreter.get_tensor(answer)

        return run


class Ncnn:
    package = "ncnn"

    @staticmethod
    def convert(module: nn.Module, image: Tensor, folder: Path) -> None:
        import pnnx

        pnnx.export(module, str(folder / "net.pt"), (image,), fp16=False)

    @staticmethod
    def load(folder: Path, image: np.ndarray, threads: int) -> Run:
        import ncnn

        net = ncnn.Net()
        net.opt.num_threads = threads
        net.opt.use_vulkan_compute = False
        net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
        net.opt.use_bf16_storage = False
        if net.load_param(str(folder / "net.ncnn.param")) or net.load_model(str(folder / "net.ncnn.bin")):
            raise RuntimeError("ncnn cannot load the network")
        source = ncnn.Mat(image[0]).clone()

        def run() -> np.ndarray:
            extractor = net.create_extractor()
            extractor.input("in0", source)
            failed, answer = extractor.extract("out0")
            if failed:
                raise RuntimeError(f"ncnn answers with error {failed}")
            return np.array(answer)

        return run


class Mnn:
    package = "MNN"

    @staticmethod
    def convert(module: nn.Module, image: Tensor, folder: Path) -> None:
        convert = Path(sys.executable).parent / "mnnconvert"
        subprocess.run(
            [convert, "-f", "ONNX", "--modelFile", folder / "net.onnx", "--MNNModel", folder / "net.mnn"], check=True
        )

    @staticmethod
    def load(folder: Path, image: np.ndarray, threads: int) -> Run:
        import MNN

        config = {"backend": "CPU", "numThread": threads, "precision": "high"}
        runtime = MNN.nn.create_runtime_manager((config,))
        module = MNN.nn.load_module_from_file(str(folder / "net.mnn"), ["image"], ["logits"], runtime_manager=runtime)
        source = MNN.expr.placeholder(list(image.shape), MNN.expr.NCHW)
        source.write(image)
        return lambda: np.array(module.forward([source])[0].read())


class TorchEager:
    package = "torch"

    @staticmethod
    def convert(module: nn.Module, image: Tensor, folder: Path) -> None:
        import torch

        torch.save(module, folder / "net.torch")

    @staticmethod
    def load(folder: Path, image: np.ndarray, threads: int) -> Run:
        import torch

        torch.set_num_threads(threads)
        sys.path.insert(0, str(Path(__file__).parent))
        module = torch.load(folder / "net.torch", weights_only=False).to(memory_format=torch.channels_last)
        source = torch.from_numpy(image).to(memory_format=torch.channels_last)

        @torch.inference_mode()
        def run() -> np.ndarray:
            return module(source).numpy()

        return run


class TorchCompile:
    package = "torch"

    @staticmethod
    def convert(module: nn.Module, image: Tensor, folder: Path) -> None:
        TorchEager.convert(module, image, folder)

    @staticmethod
    def load(folder: Path, image: np.ndarray, threads: int) -> Run:
        import torch
        import torch._inductor.config

        torch._inductor.config.freezing = True
        torch.set_num_threads(threads)
        module = torch.load(folder / "net.torch", weights_only=False).to(memory_format=torch.channels_last)
        compiled = torch.compile(module)
        source = torch.from_numpy(image).to(memory_format=torch.channels_last)

        @torch.no_grad()
        def run() -> np.ndarray:
            return compiled(source).numpy()

        return run


ENGINES: dict[str, type[Engine]] = {
    "onnxruntime": OnnxRuntime,
    "openvino": OpenVino,
    "litert": LiteRt,
    "ncnn": Ncnn,
    "mnn": Mnn,
    "torch": TorchEager,
    "torch.compile": TorchCompile,
}


def engine_version(name: str) -> str:
    return version(ENGINES[name].package)
