"""Writes tests/weights: the same small arrays in every format that kiln reads, and files that it must refuse.

    python scripts/weight_files.py [--output tests/weights]

All arrays are exact in every format, so each file must load as the same numbers.
"""

import argparse
import io
import json
import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn


def arrays() -> "OrderedDict[str, Tensor]":
    """Arrays of each type, one transposed, and two that are parts of one storage."""
    whole = torch.arange(12, dtype=torch.float32) / 4 - 1
    return OrderedDict(
        {
            "conv.weight": torch.linspace(-2, 1.5, 8).reshape(2, 1, 2, 2),
            "conv.bias": torch.tensor([0.5, -1.25], dtype=torch.float16),
            "bn.weight": torch.tensor([1.5, 3.0], dtype=torch.bfloat16),
            "bn.bias": torch.tensor([1 / 1024, -7.0], dtype=torch.float64),
            "bn.num_batches_tracked": torch.tensor(7),
            "fc.weight": torch.arange(6, dtype=torch.float32).reshape(2, 3).t(),
            "head": whole[:4],
            "tail": whole[4:].reshape(4, 2)[:, 1],
            "empty": torch.zeros(0, 3),
            "scalar": torch.tensor(2.5),
        }
    )


def with_parameters() -> dict[str, object]:
    """A checkpoint as training scripts write them."""
    parameters = {key: nn.Parameter(value, False) for key, value in arrays().items()}
    return {"epoch": 12, "best": 0.5, "lr": [0.1, 0.01], "state_dict": OrderedDict(parameters), "optimizer": {}}


class Hostile:
    """Unpickled as Python does it, this runs a command."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch executed",)


def rezip(source: bytes, *, compression: int = zipfile.ZIP_STORED, **replaced: bytes) -> bytes:
    """A zip archive with some entries replaced, by the last part of their names."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(source)) as old, zipfile.ZipFile(out, "w", compression) as new:
        for info in old.infolist():
            last = info.filename.rpartition("/")[2].replace(".", "_")
            new.writestr(zipfile.ZipInfo(info.filename), replaced.get(last, old.read(info)), compression)
    return out.getvalue()


def saved(value: object, *, legacy: bool = False) -> bytes:
    out = io.BytesIO()
    torch.save(value, out, _use_new_zipfile_serialization=not legacy)
    return out.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path(__file__).parent.parent / "tests/weights")
    output: Path = parser.parse_args().output
    output.mkdir(parents=True, exist_ok=True)

    plain = {key: value.contiguous().clone() for key, value in arrays().items()}
    save_file({k: v.float() if v.is_floating_point() else v for k, v in plain.items()}, output / "f32.safetensors")
    save_file(plain, output / "mixed.safetensors")
    names = sorted(plain)
    shards = {f"shard-{i + 1}-of-2.safetensors": names[i::2] for i in range(2)}
    for file, keys in shards.items():
        save_file({key: plain[key] for key in keys}, output / file)
    weight_map = {key: file for file, keys in shards.items() for key in keys}
    index = {"metadata": {"total_size": 0}, "weight_map": weight_map}
    (output / "sharded.safetensors.index.json").write_text(json.dumps(index, indent=1) + "\n")

    whole = saved(arrays())
    good = {
        "zip.pth": whole,
        "zip_deflated.pth": rezip(whole, compression=zipfile.ZIP_DEFLATED),
        "zip_nested.pth": saved(with_parameters()),
        "legacy.pth": saved(arrays(), legacy=True),
        "legacy_nested.pth": saved(with_parameters(), legacy=True),
    }
    bad = {
        "bad_module.pth": saved(nn.Linear(2, 2)),
        "bad_module_legacy.pth": saved(nn.Linear(2, 2), legacy=True),
        "bad_command.pth": rezip(whole, data_pkl=pickle.dumps(Hostile(), protocol=2)),
        "bad_command_nested.pth": saved({"state_dict": arrays(), "x": Hostile()}),
        "bad_command_legacy.pth": saved({"state_dict": arrays(), "x": Hostile()}, legacy=True),
        "bad_byteorder.pth": rezip(whole, byteorder=b"big"),
        "bad_bomb.pth": rezip(
            saved(OrderedDict(x=torch.zeros(1))), compression=zipfile.ZIP_DEFLATED, **{"0": bytes(17 << 20)}
        ),
    }
    for name, data in (good | bad).items():
        (output / name).write_bytes(data)
        print(f"{name}: {len(data)} bytes")


if __name__ == "__main__":
    main()
