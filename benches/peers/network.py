"""ResNet as a list of layers with seeded weights: what every writer beside this writes in its engine's own format.

The architecture is torchvision's (v1.5: the stride of a block is on its 3x3 convolution), batch normalization folded.
Weights are He's; the last convolution of a block is scaled down, so that sums do not grow along the network.
"""

from dataclasses import dataclass

import numpy as np

BLOCKS = {"resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3)}
CLASSES = 1000
SIZE = 224
SEED = 1


@dataclass
class Conv:
    name: str
    source: str
    inputs: int
    outputs: int
    kernel: int
    stride: int
    relu: bool
    gain: float = 1.0


@dataclass
class MaxPool:
    """3x3 with stride 2 and padding 1."""

    name: str
    source: str


@dataclass
class Add:
    """The sum of two, then ReLU."""

    name: str
    source: str
    other: str


@dataclass
class Mean:
    """Over the picture: channels remain."""

    name: str
    source: str


@dataclass
class Dense:
    name: str
    source: str
    inputs: int
    outputs: int


def layers(arch):
    """In the order in which they run; a layer's name is also that of what it gives, the first source is "image"."""
    yield Conv("stem", "image", 3, 64, 7, 2, True)
    yield MaxPool("pool", "stem")
    source, channels = "pool", 64
    for stage, count in enumerate(BLOCKS[arch]):
        width = 64 << stage
        for block in range(count):
            stride = 2 if stage > 0 and block == 0 else 1
            name = f"s{stage + 1}b{block + 1}"
            yield Conv(name + "a", source, channels, width, 1, 1, True)
            yield Conv(name + "b", name + "a", width, width, 3, stride, True)
            yield Conv(name + "c", name + "b", width, width * 4, 1, 1, False, 0.25)
            if block == 0:
                yield Conv(name + "d", source, channels, width * 4, 1, stride, False)
            yield Add(name, name + "c", name + "d" if block == 0 else source)
            source, channels = name, width * 4
    yield Mean("mean", source)
    yield Dense("logits", "mean", channels, CLASSES)


def weights(arch):
    """Name to (weights in OIHW or OI, biases), float32."""
    random = np.random.default_rng(SEED)
    made = {}
    for layer in layers(arch):
        if isinstance(layer, Conv):
            shape = (layer.outputs, layer.inputs, layer.kernel, layer.kernel)
            spread = layer.gain * np.sqrt(2 / (layer.inputs * layer.kernel**2))
        elif isinstance(layer, Dense):
            shape, spread = (layer.outputs, layer.inputs), np.sqrt(1 / layer.inputs)
        else:
            continue
        drawn = random.standard_normal(shape, dtype=np.float32) * np.float32(spread)
        made[layer.name] = drawn, random.uniform(-0.1, 0.1, layer.outputs).astype(np.float32)
    return made


def picture():
    """The same picture of noise for everyone: values between 0 and 1, NCHW, as in src/lib.rs."""
    i = np.arange(3 * SIZE * SIZE, dtype=np.uint32) * np.uint32(2654435761)
    return ((i >> 24).astype(np.float32) / np.float32(255)).reshape(1, 3, SIZE, SIZE)
