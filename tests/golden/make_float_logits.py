#!/usr/bin/env python3
"""Makes tiny_resnet.safetensors and float_logits.json beside this file.

A ResNet of bottleneck blocks as torchvision builds it, with the same parameter names, but narrow (8 channels in the
stem, 4, 8, 12 and 16 in the stages, expansion 4) and with 1, 2, 1 and 1 blocks, so that there are shortcuts with and
without a convolution. Seeded weights; the batch normalizations carry the statistics of the pictures below, then
disturbed, so that folding them wrongly shows. The logits are PyTorch's, computed in float64.

    pip install torch torchvision safetensors && python3 make_float_logits.py

Torch may change what a seed gives, and safetensors writes the metadata in another order each time; the files are the
truth, this script only says where they came from.
"""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.models.resnet import Bottleneck

SIDE = 224
PICTURES = 4
MEAN = [0.485, 0.456, 0.406]
STD = [0.229, 0.224, 0.225]
METADATA = {
    "made_by": "tests/golden/make_float_logits.py",
    "labels": json.dumps([f"class {number}" for number in range(10)]),
    "mean": ",".join(map(str, MEAN)),
    "std": ",".join(map(str, STD)),
    "resize": str(SIDE),
    "crop": str(SIDE),
    "interpolation": "bilinear, antialiased",
}
FORMULA = "value(k, y, x, c) = ((x * (k + 1) + y * (3 - k) + ((x * y * (2 * k + 1)) >> (5 + k)) + 85 * c) >> (k & 1)) & 255"
HERE = Path(__file__).parent


class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = stage(8, 4, 1, 1)
        self.layer2 = stage(16, 8, 2, 2)
        self.layer3 = stage(32, 12, 1, 2)
        self.layer4 = stage(48, 16, 1, 2)
        self.fc = nn.Linear(64, 10)

    def forward(self, x):
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean((2, 3)))


def stage(inputs, planes, blocks, stride):
    shortcut = nn.Sequential(nn.Conv2d(inputs, 4 * planes, 1, stride, bias=False), nn.BatchNorm2d(4 * planes))
    first = Bottleneck(inputs, planes, stride, shortcut)
    return nn.Sequential(first, *(Bottleneck(4 * planes, planes) for _ in range(blocks - 1)))


def pictures():
    """N, C, H, W of integers 0 to 255."""
    k = torch.arange(PICTURES).view(-1, 1, 1, 1)
    c = torch.arange(3).view(1, -1, 1, 1)
    y = torch.arange(SIDE).view(1, 1, -1, 1)
    x = torch.arange(SIDE).view(1, 1, 1, -1)
    return ((x * (k + 1) + y * (3 - k) + ((x * y * (2 * k + 1)) >> (5 + k)) + 85 * c) >> (k & 1)) & 255


def settle(network, inputs):
    """Gives every batch normalization the statistics of the pictures, then disturbs them."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        nn.init.uniform_(norm.weight, 0.4, 1.6)
        nn.init.uniform_(norm.bias, -0.4, 0.4)
        norm.momentum = 1.0
    network.train()(inputs)
    for norm in norms:
        spread = norm.running_var.sqrt()
        norm.running_mean += 0.3 * spread * torch.randn_like(spread)
        norm.running_var *= torch.empty_like(spread).uniform_(0.6, 1.6)


@torch.no_grad()
def main():
    torch.manual_seed(8)
    network = Tiny()
    values = pictures()
    mean, std = (torch.tensor(v, dtype=torch.float64).view(1, 3, 1, 1) for v in (MEAN, STD))
    inputs = (values.double() / 255 - mean) / std
    settle(network, inputs.float())
    network.fc.weight *= 3
    network.eval()
    in_float32 = network(inputs.float())
    tensors = {name: t.contiguous() for name, t in network.state_dict().items() if "num_batches" not in name}
    save_file(tensors, HERE / "tiny_resnet.safetensors", METADATA)

    logits = network.double()(inputs)
    apart = ((logits - in_float32).abs().amax(1) / logits.abs().amax(1)).max()
    assert apart < 1e-5, f"float32 is {apart:.1e} away"
    golden = {
        "made_by": "tests/golden/make_float_logits.py: PyTorch in float64; float32 agrees within 1e-5 of the largest logit",
        "weights": "tiny_resnet.safetensors",
        "pictures": FORMULA + ", for picture k of 0..4, row y and column x of 0..224, channel c of 0..3 (R, G, B); integers",
        "input": "(value / 255 - mean[c]) / std[c], no resizing",
        "mean": MEAN,
        "std": STD,
        "value_sums": [int(picture.sum()) for picture in values],
        "logits": [[float(f"{value:.7g}") for value in row] for row in logits.tolist()],
    }
    text = json.dumps(golden, indent=1).replace("\n   ", " ").replace("\n  ]", " ]")
    (HERE / "float_logits.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
