#!/usr/bin/env python3
"""Makes tiny_script.onnx, tiny_dynamo.onnx, tiny_qdq.onnx, tiny_qoperator.onnx and tiny_onnx.json beside this file: a
narrow ResNet of two basic blocks as each of PyTorch's exporters writes it and as ONNX Runtime quantizes it, and what
PyTorch and ONNX Runtime say to the pictures of make_float_logits.py, cut to their first rows and columns.

    pip install -r ../peers/requirements.txt && python3 make_quantized.py

Other releases write other files; the files are the truth, this script only says where they came from. Both quantized
files are the same network in two spellings (u8 and i8 activations, per channel), and ONNX Runtime says the same to
both, on integers and in floats, node by node.
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import nn
from torchvision.models.resnet import BasicBlock

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "peers"))

import compare  # noqa: E402
import networks  # noqa: E402
import pictures  # noqa: E402

SIZE = 32
PICTURES = 4
CLASSES = 5


class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(6)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = BasicBlock(6, 6)
        shortcut = nn.Sequential(nn.Conv2d(6, 10, 1, 2, bias=False), nn.BatchNorm2d(10))
        self.layer2 = BasicBlock(6, 10, 2, shortcut)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(10, CLASSES)

    def forward(self, x):
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        return self.fc(torch.flatten(self.avgpool(self.layer2(self.layer1(x))), 1))


def picture(k):
    y, x, c = np.mgrid[0:SIZE, 0:SIZE, 0:3]
    value = x * (k + 1) + y * (3 - k) + ((x * y * (2 * k + 1)) >> (5 + k)) + 85 * c
    return ((value >> (k & 1)) & 255).astype(np.uint8)


def network(values):
    torch.manual_seed(3)
    net = Tiny()
    for norm in [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]:
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias, 0.0, 0.2)
        norm.momentum = None
    nn.init.normal_(net.fc.weight, 0.0, 1.0)
    with torch.no_grad():
        net.train()(torch.from_numpy(values))
    return net.eval()


def keep(path, name):
    """The file without what exporters note of the machine that they ran on."""
    model = onnx.load(path)
    for noted in [model.graph, *model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output]:
        noted.ClearField("metadata_props")
        noted.ClearField("doc_string")
    model.graph.ClearField("value_info")
    model.ClearField("functions")
    onnx.save(model, HERE / name)


def main():
    values = pictures.normalized([picture(k) for k in range(PICTURES)])
    net = network(values)
    pytorch = networks.logits(net.double(), values.astype(float)).tolist()
    net.float()
    said = []
    with tempfile.TemporaryDirectory() as folder:
        for dynamo in (False, True):
            exported = networks.export(net, Path(folder) / "tiny", SIZE, dynamo)
            keep(exported, f"{exported.stem.replace('-', '_')}.onnx")
            form, activations = ("qdq", "u8") if dynamo else ("qoperator", "s8")
            path = networks.quantize(exported, networks.Quantized(form, activations, True), values, False)
            keep(path, f"tiny_{form}.onnx")
            said += [compare.runtime(path, values, fused) for fused in (True, False)]
            step = networks.output_step(path)
    assert all((one == said[0]).all() for one in said)
    golden = {
        "made_by": f"tests/golden/{Path(__file__).name}",
        "float": pytorch,
        "int8": {"step": step, "logits": said[0].tolist()},
    }
    (HERE / "tiny_onnx.json").write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    main()
