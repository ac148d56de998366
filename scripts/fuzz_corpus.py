"""Writes tests/fuzz: small arrays and pictures of many kinds, which `tests/fuzz.rs` mutates.

    python scripts/fuzz_corpus.py [--output tests/fuzz]
"""

import argparse
import io
from pathlib import Path

import numpy as np
from PIL import Image


def npy(array: np.ndarray, version: tuple[int, int] | None = None) -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array(out, array, version=version, allow_pickle=False)
    return out.getvalue()


def picture(mode: str, kind: str, **options: object) -> bytes:
    image = Image.fromarray((np.arange(6 * 5 * 3) * 7 % 256).astype(np.uint8).reshape(6, 5, 3)).convert(mode)
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path(__file__).parent.parent / "tests/fuzz")
    output: Path = parser.parse_args().output
    output.mkdir(parents=True, exist_ok=True)

    numbers = np.arange(12).reshape(3, 4)
    plain, packed = io.BytesIO(), io.BytesIO()
    np.savez(plain, x=numbers.astype("<f4"), **{"layer.0": numbers.astype("<f8")})
    np.savez_compressed(packed, x=numbers.astype("<f4"), y=np.zeros((8, 8), "<f4"))
    files = {
        "f4.npy": npy(numbers.astype("<f4")),
        "f8_big_endian.npy": npy(numbers.astype(">f8")),
        "f2_fortran.npy": npy(np.asfortranarray(numbers.astype("<f2"))),
        "i8_version_2.npy": npy(numbers.astype("<i8"), (2, 0)),
        "bool_version_3.npy": npy(numbers > 5, (3, 0)),
        "scalar.npy": npy(np.float32(2.5)),
        "empty.npy": npy(np.zeros((0, 3), "<f4")),
        "stored.npz": plain.getvalue(),
        "compressed.npz": packed.getvalue(),
        "rgb.png": picture("RGB", "PNG"),
        "rgba.png": picture("RGBA", "PNG"),
        "grey.png": picture("L", "PNG"),
        "palette.png": picture("P", "PNG"),
        "bit.png": picture("1", "PNG"),
        "rgb.jpg": picture("RGB", "JPEG", quality=80),
        "grey.jpg": picture("L", "JPEG"),
        "progressive.jpg": picture("RGB", "JPEG", progressive=True),
        "cmyk.jpg": picture("CMYK", "JPEG"),
    }
    for name, data in files.items():
        (output / name).write_bytes(data)
    print(f"{len(files)} files, {sum(map(len, files.values()))} bytes")


if __name__ == "__main__":
    main()
