"""The network in ONNX: in float, and from it in int8 by ONNX Runtime's own quantizer (QDQ, per channel, U8S8)."""

import logging
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

import network
from network import Add, Conv, Dense, MaxPool, Mean

OPSET = 17
PICTURES = 8


def nodes(layer):
    """What a layer is in ONNX; its weights are NAME.weight and NAME.bias."""
    out = layer.name
    if isinstance(layer, Conv):
        pad = layer.kernel // 2
        inner = out + ".sum" if layer.relu else out
        yield helper.make_node(
            "Conv", [layer.source, out + ".weight", out + ".bias"], [inner], out + ".conv",
            kernel_shape=[layer.kernel] * 2, strides=[layer.stride] * 2, pads=[pad] * 4,
        )
        if layer.relu:
            yield helper.make_node("Relu", [inner], [out], out + ".relu")
    elif isinstance(layer, MaxPool):
        yield helper.make_node(
            "MaxPool", [layer.source], [out], out, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4
        )
    elif isinstance(layer, Add):
        yield helper.make_node("Add", [layer.source, layer.other], [out + ".sum"], out + ".add")
        yield helper.make_node("Relu", [out + ".sum"], [out], out + ".relu")
    elif isinstance(layer, Mean):
        yield helper.make_node("GlobalAveragePool", [layer.source], [out + ".map"], out + ".pool")
        yield helper.make_node("Flatten", [out + ".map"], [out], out + ".flat")
    elif isinstance(layer, Dense):
        yield helper.make_node(
            "Gemm", [layer.source, out + ".weight", out + ".bias"], [out], out, transB=1
        )


def write_float(arch, path):
    tensors = [
        numpy_helper.from_array(values, f"{name}.{kind}")
        for name, pair in network.weights(arch).items()
        for kind, values in zip(("weight", "bias"), pair)
    ]
    graph = helper.make_graph(
        [node for layer in network.layers(arch) for node in nodes(layer)],
        arch,
        [helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, [1, 3, network.SIZE, network.SIZE])],
        [helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, [1, network.CLASSES])],
        tensors,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)


class Noise(CalibrationDataReader):
    """The picture that is classified, then others of noise."""

    def __init__(self):
        random = np.random.default_rng(network.SEED)
        shape = network.picture().shape
        others = [random.random(shape, dtype=np.float32) for _ in range(PICTURES - 1)]
        self.left = iter([network.picture(), *others])

    def get_next(self):
        picture = next(self.left, None)
        return None if picture is None else {"image": picture}


def write_int8(arch, path):
    whole = Path(path).with_suffix(".float.onnx")
    write_float(arch, whole)
    logging.getLogger().setLevel(logging.ERROR)  # it advises a pre-processing that folds what is folded here
    quantize_static(
        whole, path, Noise(), quant_format=QuantFormat.QDQ, per_channel=True,
        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
    )
    whole.unlink()


class Quantized:
    """What an int8 ONNX file says of a layer, for the writers of other formats."""

    def __init__(self, path):
        graph = onnx.load(path).graph
        self.values = {t.name: numpy_helper.to_array(t) for t in graph.initializer}

    def weights(self, layer):
        """(int8 weights, float32 scale per output, float32 biases)"""
        name = layer.name
        scale = self.values[f"{name}.weight_scale"]
        biases = self.values[f"{name}.bias_quantized"] * self.values[f"{name}.bias_quantized_scale"]
        return self.values[f"{name}.weight_quantized"], scale, biases.astype(np.float32)

    def activation(self, name):
        """(scale, zero point as u8) of what a layer gives; a maximum keeps the scale of what it is taken from."""
        name = {"pool": "stem"}.get(name, name)
        for spelled in (name, name + ".sum", name + ".map"):
            if f"{spelled}_scale" in self.values:
                return float(self.values[f"{spelled}_scale"]), int(self.values[f"{spelled}_zero_point"])
        raise KeyError(f"{name} has no scale")


if __name__ == "__main__":
    write_int8(*sys.argv[1:])
