"""Installs two photographs to classify, a cat and a cup of coffee (scikit-image's, public domain).

    python3 models/install/photographs.py
"""

import registry


def main() -> None:
    # One fixed wheel, whatever this machine would install.
    platform = ("--only-binary=:all:", "--platform=manylinux_2_28_x86_64", "--python-version=3.11", "--abi=cp311")
    cat, coffee = registry.package_files(
        "scikit-image==0.26.0",
        "74aa5518ccea28121f57a95374581d3b979839adc25bb03f289b1bc9b99c58af",
        "skimage/data/chelsea.png",
        "skimage/data/coffee.png",
        options=platform,
    )
    registry.save("chelsea.png", cat)
    registry.save("coffee.png", coffee)


if __name__ == "__main__":
    main()
