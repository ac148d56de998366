"""Trains models/digits.kiln's network on the 8×8 handwritten digits of scikit-learn.

Writes the trained weights, the held-out images and labels, and a few of them as PNG into models/.
Everything is seeded: the same versions of the packages on the same CPU write the same files.

    python scripts/train_digits.py [--output models]
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn import functional as F

SEED = 0
HELD_OUT = 450
EPOCHS = 40
BATCH = 64
REQUIRED_ACCURACY = 0.97


class Digits(nn.Module):
    """The network of models/digits.kiln; attribute names are its labels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(32)
        self.conv3 = nn.Conv2d(32, 64, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(64)
        self.fc = nn.Linear(64, 10)

    def forward(self, image: Tensor) -> Tensor:
        """`image [n, 1, 8, 8]` in [0, 1] → logits `[n, 10]`."""
        x = F.relu(self.bn1(self.conv1(image)))
        x = F.max_pool2d(F.relu(self.bn2(self.conv2(x))), 2)
        x = F.relu(self.bn3(self.conv3(x)))
        return self.fc(x.mean(dim=(2, 3)))


def shifted(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each image moved by up to one pixel along each axis: the training set has only 1347 of them."""
    rows, columns = torch.randint(-1, 2, (2, len(images)), generator=generator).tolist()
    padded = F.pad(images, (1, 1, 1, 1))
    return torch.stack([p[:, 1 + r : 9 + r, 1 + c : 9 + c] for p, r, c in zip(padded, rows, columns)])


def train(images: Tensor, labels: Tensor) -> Digits:
    torch.manual_seed(SEED)
    generator = torch.Generator().manual_seed(SEED)
    net = Digits()
    steps = EPOCHS * -(-len(images) // BATCH)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-2, total_steps=steps)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(images), generator=generator).split(BATCH):
            loss = F.cross_entropy(net(shifted(images[batch], generator)), labels[batch], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return net.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path(__file__).parent.parent / "models")
    output: Path = parser.parse_args().output

    # Threads share out sums differently, which changes the last bits of the weights.
    torch.set_num_threads(1)
    data = load_digits()
    images = (data.images[:, None] / 16).astype(np.float32)
    labels = data.target.astype(np.int64)
    train_images, test_images, train_labels, test_labels = train_test_split(
        images, labels, test_size=HELD_OUT, stratify=labels, random_state=SEED
    )

    net = train(torch.from_numpy(train_images), torch.from_numpy(train_labels))
    with torch.inference_mode():
        answers = net(torch.from_numpy(test_images)).argmax(dim=1).numpy()
    accuracy = (answers == test_labels).mean()
    print(f"{(answers == test_labels).sum()} of {HELD_OUT} held-out digits right: {accuracy:.2%}")
    if accuracy < REQUIRED_ACCURACY:
        raise SystemExit(f"that is less than the {REQUIRED_ACCURACY:.0%} required; nothing was written")

    # PyTorch counts batches for momentum schedules; inference has no use for it.
    state = {key: value for key, value in net.state_dict().items() if not key.endswith("num_batches_tracked")}
    save_file(state, output / "digits.safetensors")
    np.save(output / "digits_test_images.npy", test_images)
    np.save(output / "digits_test_labels.npy", test_labels)
    (output / "digits.labels.txt").write_text("".join(f"{digit}\n" for digit in range(10)))
    (output / "digits").mkdir(exist_ok=True)
    for digit in range(10):
        first = test_images[test_labels == digit][0, 0]
        Image.fromarray(np.rint(first * 255).astype(np.uint8)).save(output / f"digits/{digit}.png")


if __name__ == "__main__":
    main()
