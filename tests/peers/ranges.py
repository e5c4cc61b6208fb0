#!/usr/bin/env python3
"""Where ranges may come from when there are no photographs: batch normalization says of each channel which mean and
deviation it had in training (Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", 2019).
Compared in PyTorch with rounded weights and activations, because our own bundles have their normalizations folded in;
`resnetd-model quantize --data-free` measures on made-up pictures instead (docs/QUANTIZATION.md).

    ranges.py --weights resnet50.safetensors --calib train.tar --val val.tar [--pictures 1000]
"""

import argparse
import math
import sys
from pathlib import Path

import torch
from torch import nn

from accuracy import Photographs, check_float

BATCH = 16
CALIBRATION = 256


def rectified(mean, deviation):
    """Mean and deviation of what a ReLU leaves of a normal distribution."""
    deviation = deviation.clamp(min=1e-9)
    z = mean / deviation
    density = torch.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    share = (1 + torch.erf(z / math.sqrt(2))) / 2
    first = mean * share + deviation * density
    second = (mean**2 + deviation**2) * share + mean * deviation * density
    return first, (second - first**2).clamp(min=0).sqrt()


class Rounded(nn.Module):
    """Rounds what flows through it to 8 bits, once it has a range; before that it looks for one."""

    def __init__(self):
        super().__init__()
        self.seen, self.range = (0.0, 0.0), None

    def forward(self, x):
        if self.range is None:
            self.seen = min(self.seen[0], x.min().item()), max(self.seen[1], x.max().item())
            return x
        low, high = self.range
        scale = max((high - low) / 255, 1e-9)
        zero = round(-low / scale)
        return ((x / scale).round() + zero).clamp(0, 255).sub(zero) * scale


def prepare(network):
    """Puts a `Rounded` behind every ReLU, shortcut and the average; with what batch normalization says of each."""
    spots = []

    def spot(mean, deviation, relu):
        place = Rounded()
        spots.append((place, mean, deviation, relu))
        return place

    said = lambda bn: (bn.bias.detach(), bn.weight.detach().abs())
    mean, deviation = said(network.bn1)
    network.relu = nn.Sequential(nn.ReLU(), spot(mean, deviation, True))
    mean, deviation = rectified(mean, deviation)
    for stage in (network.layer1, network.layer2, network.layer3, network.layer4):
        for block in stage:
            block.first = nn.Sequential(nn.ReLU(), spot(*said(block.bn1), True))
            block.second = nn.Sequential(nn.ReLU(), spot(*said(block.bn2), True))
            if block.downsample is not None:
                mean, deviation = said(block.downsample[1])
                block.downsample.append(spot(mean, deviation, False))
            own_mean, own_deviation = said(block.bn3)
            mean, deviation = own_mean + mean, (own_deviation**2 + deviation**2).sqrt()
            block.last = nn.Sequential(nn.ReLU(), spot(mean, deviation, True))
            mean, deviation = rectified(mean, deviation)
            block.forward = forward_of(block)
    network.avgpool = nn.Sequential(network.avgpool, spot(mean, deviation, True))
    return spots


def forward_of(block):
    def forward(x):
        y = block.first(block.bn1(block.conv1(x)))
        y = block.second(block.bn2(block.conv2(y)))
        y = block.bn3(block.conv3(y))
        return block.last(y + (x if block.downsample is None else block.downsample(x)))

    return forward


def round_weights(network):
    """8 bits, a scale for each output channel, normalization folded in."""
    pairs = [(network.conv1, network.bn1)]
    for module in network.modules():
        if hasattr(module, "bn3"):
            pairs += [(module.conv1, module.bn1), (module.conv2, module.bn2), (module.conv3, module.bn3)]
            pairs += [(module.downsample[0], module.downsample[1])] if module.downsample is not None else []
    for conv, bn in pairs:
        factor = bn.weight / (bn.running_var + bn.eps).sqrt()
        scale = (conv.weight * factor[:, None, None, None]).abs().amax((1, 2, 3), keepdim=True) / 127 / factor.abs()[:, None, None, None]
        conv.weight.data = (conv.weight / scale.clamp(min=1e-12)).round() * scale
    scale = network.fc.weight.abs().amax(1, keepdim=True) / 127
    network.fc.weight.data = (network.fc.weight / scale).round() * scale


@torch.inference_mode()
def labels(network, values):
    found, batch = [], []
    for value in values:
        batch.append(torch.from_numpy(value))
        if len(batch) == BATCH:
            found.append(network(torch.stack(batch)).argmax(1))
            batch = []
    if batch:
        found.append(network(torch.stack(batch)).argmax(1))
    return torch.cat(found)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--weights", "--calib", "--val"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--pictures", type=int, default=1000)
    args = parser.parse_args()
    network, prepared = check_float.load(args.weights)
    calib, val = Photographs(args.calib, prepared), Photographs(args.val, prepared)
    places = val.spread(args.pictures)
    truth = torch.from_numpy(val.truth[places])
    spots = prepare(network)
    original = labels(network, val.values(places))
    for place, *_ in spots:
        place.seen = (0.0, 0.0)
    labels(network, calib.values(calib.spread(CALIBRATION)))
    round_weights(network)

    def row(name):
        found = labels(network, val.values(places))
        top1, same = ((found == other).float().mean().item() for other in (truth, original))
        print(f"{name:45}{top1:>9.2%}{same:>9.2%}", flush=True)

    print(f"{'float':45}{(original == truth).float().mean().item():>9.2%}")
    for place, *_ in spots:
        place.range = place.seen
    row(f"largest values on {CALIBRATION} photographs")
    for sigmas in (4, 6, 8):
        for place, mean, deviation, relu in spots:
            high = max((mean + sigmas * deviation).max().item(), 1e-6)
            low = 0.0 if relu else min((mean - sigmas * deviation).min().item(), 0.0)
            place.range = low, high
        row(f"batch normalization, {sigmas} deviations")
    return 0


if __name__ == "__main__":
    sys.exit(main())
