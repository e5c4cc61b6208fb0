"""A ResNet of torchvision's parameter names and any depth and widths, which are those of its tensors.

`Plan` is what the shapes of a state dict say; a network is built of a plan, and so is one of fresh weights.
Reads safetensors and PyTorch's .pth (tensors only, no pickled code).
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

BLOCKS = {
    "resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3), "resnet50": (3, 4, 6, 3),
    "resnet101": (3, 4, 23, 3), "resnet152": (3, 8, 36, 3),
}
BASIC = ("resnet18", "resnet34")


class BadWeights(Exception):
    """What is wrong with a file of weights, and the remedy."""


@dataclass
class Block:
    """Output channels of each convolution in turn (two in a basic block, three in a bottleneck), the groups of the 3x3,
    and whether a convolution is on the shortcut."""

    widths: list[int]
    groups: int = 1
    shortcut: bool = False


@dataclass
class Plan:
    stem: int
    kernel: int
    classes: int
    stages: list[list[Block]] = field(default_factory=list)

    @property
    def blocks(self):
        return [len(stage) for stage in self.stages]

    @property
    def name(self):
        basic = len(self.stages[0][0].widths) == 2
        for name, blocks in BLOCKS.items():
            if list(blocks) == self.blocks and (name in BASIC) == basic:
                return name
        return "resnet-" + "-".join(map(str, self.blocks))


class Residual(nn.Module):
    """conv1, bn1, relu, conv2, bn2(, relu, conv3, bn3), plus the shortcut, relu. The stride is in the first 3x3."""

    def __init__(self, inputs, block, stride):
        super().__init__()
        kernels = (3, 3) if len(block.widths) == 2 else (1, 3, 1)
        self.count, strided = len(kernels), kernels.index(3)
        before = inputs
        for i, (width, kernel) in enumerate(zip(block.widths, kernels)):
            grouped = block.groups if kernel == 3 else 1
            conv = nn.Conv2d(before, width, kernel, stride if i == strided else 1, kernel // 2, groups=grouped, bias=False)
            self.add_module(f"conv{i + 1}", conv)
            self.add_module(f"bn{i + 1}", nn.BatchNorm2d(width))
            before = width
        self.downsample = None
        if block.shortcut:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, before, 1, stride, bias=False), nn.BatchNorm2d(before))

    @property
    def last(self):
        """The batch normalization before the addition."""
        return getattr(self, f"bn{self.count}")

    def forward(self, x):
        y = x
        for i in range(1, self.count + 1):
            y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y))
            if i < self.count:
                y = torch.relu(y)
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    def __init__(self, plan):
        super().__init__()
        self.plan = plan
        self.conv1 = nn.Conv2d(3, plan.stem, plan.kernel, 2, plan.kernel // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(plan.stem)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        inputs = plan.stem
        for number, stage in enumerate(plan.stages, 1):
            made = []
            for i, block in enumerate(stage):
                made.append(Residual(inputs, block, 2 if number > 1 and i == 0 else 1))
                inputs = block.widths[-1]
            self.add_module(f"layer{number}", nn.Sequential(*made))
        self.fc = nn.Linear(inputs, plan.classes)
        self.frozen = []  # modules, in a list: registered once, under their own names

    def freeze(self, prefixes):
        """The parts that are called so (conv1, layer2, layer3.0) keep their weights and their batch statistics."""
        parts = dict(self.named_modules())
        for prefix in prefixes:
            if not prefix or prefix not in parts:
                raise BadWeights(f"no part called {prefix!r}: there are conv1, bn1, layer1, layer1.0 and so on")
            parts[prefix].requires_grad_(False)
            self.frozen.append(parts[prefix])
        if not any(parameter.requires_grad for parameter in self.parameters()):
            raise BadWeights("every part is frozen: nothing is left to train")

    def train(self, mode=True):
        super().train(mode)
        for part in self.frozen:
            part.eval()
        return self

    def stages(self):
        return [getattr(self, f"layer{number}") for number in range(1, len(self.plan.stages) + 1)]

    def features(self, x):
        """What the last layer reads, [n, channels]."""
        x = self.maxpool(torch.relu(self.bn1(self.conv1(x))))
        for stage in self.stages():
            x = stage(x)
        return x.mean((2, 3))

    def forward(self, x):
        return self.fc(self.features(x))


def fresh(arch, classes, width=64):
    """A network of seeded weights (He's initialization), every block an identity at first (Goyal et al. 2017). `arch`
    is a published name, or blocks per stage as in 1,1,1,1 (bottlenecks)."""
    blocks = BLOCKS.get(arch) or tuple(int(part) for part in arch.split(","))
    plan, before = Plan(width, 7, classes), width
    for number, count in enumerate(blocks):
        inner = width << number
        widths = [inner, inner] if arch in BASIC else [inner, inner, 4 * inner]
        changes = before != widths[-1]  # then a convolution is on the first shortcut
        plan.stages.append([Block(widths, shortcut=i == 0 and changes) for i in range(count)])
        before = widths[-1]
    network = ResNet(plan)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, Residual):
            nn.init.zeros_(module.last.weight)
    return network


def plan_of(tensors):
    """The plan that the tensors' shapes follow."""
    def shape(name, rank):
        if name not in tensors or tensors[name].ndim != rank:
            raise BadWeights(f"no tensor {name} of {rank} dimensions: these are not a ResNet's weights with torchvision's names")
        return tensors[name].shape

    plan = Plan(shape("conv1.weight", 4)[0], shape("conv1.weight", 4)[2], shape("fc.weight", 2)[0])
    while f"layer{len(plan.stages) + 1}.0.conv1.weight" in tensors:
        stage, prefix = [], f"layer{len(plan.stages) + 1}"
        while f"{prefix}.{len(stage)}.conv1.weight" in tensors:
            block = f"{prefix}.{len(stage)}"
            count = 3 if f"{block}.conv3.weight" in tensors else 2
            widths = [shape(f"{block}.conv{i + 1}.weight", 4)[0] for i in range(count)]
            per_group = shape(f"{block}.conv2.weight", 4)[1]
            stage.append(Block(widths, max(1, widths[0] // per_group), f"{block}.downsample.0.weight" in tensors))
        plan.stages.append(stage)
    if not plan.stages:
        raise BadWeights("no tensor layer1.0.conv1.weight: these are not a ResNet's weights with torchvision's names")
    return plan


def build(tensors, classes=None, new_head=False):
    """The network of these tensors; for another number of `classes`, or others, its last layer is a new one."""
    tensors = {re.sub(r"^(module|_orig_mod)\.", "", name): value for name, value in tensors.items()}
    plan = plan_of(tensors)
    replaced = new_head or classes not in (None, plan.classes)
    if replaced:
        plan.classes = classes or plan.classes
        tensors = {name: value for name, value in tensors.items() if not name.startswith("fc.")}
    network = ResNet(plan)
    try:
        missing, unknown = network.load_state_dict(tensors, strict=False)
    except RuntimeError as error:  # a tensor's shape is unlike its neighbours'
        raise BadWeights(" ".join(str(error).split())[:400]) from error
    missing = [name for name in missing if not name.endswith("num_batches_tracked") and not (replaced and name.startswith("fc."))]
    if missing or unknown:
        raise BadWeights(f"not a ResNet that this builds: missing {missing[:3]}, unknown {unknown[:3]}")
    return network


def read(path):
    """Tensors as f32, and the file's metadata (empty for .pth)."""
    path = Path(path)
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, "pt") as file:
                return {name: _float(file.get_tensor(name)) for name in file.keys()}, file.metadata() or {}
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError) as error:
        raise BadWeights(f"{path}: {error}") from error
    except Exception as error:  # torch.load has many kinds, most of them pages long
        raise BadWeights(f"{path}: not a file of tensors only: {str(error).splitlines()[0]}") from error
    for key in ("state_dict", "model"):
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
    if not isinstance(found, dict) or not all(isinstance(value, torch.Tensor) for value in found.values()):
        raise BadWeights(f"{path}: not a state dict of named tensors")
    return {name: _float(value) for name, value in found.items()}, {}


def _float(tensor):
    return tensor.float() if tensor.is_floating_point() else tensor
