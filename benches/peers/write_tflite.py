"""The network in LiteRT's format: the same int8 weights and scales as the int8 ONNX file, int8 from input to output.

No converter is needed (they want all of TensorFlow): a file is a flatbuffer whose schema comes with LiteRT's wheel.
"""

import sys

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as tfl

import network
from network import Add, Conv, Dense, MaxPool, Mean
from write_onnx import Quantized

OPERATORS = {
    # version of the operator that takes int8
    "CONV_2D": 3,
    "ADD": 2,
    "MAX_POOL_2D": 2,
    "MEAN": 2,
    "FULLY_CONNECTED": 4,
    "PAD": 2,
}
RELU = tfl.ActivationFunctionType.RELU
NONE = tfl.ActivationFunctionType.NONE


class Writer:
    def __init__(self, quantized):
        self.quantized = quantized
        self.buffers = [tfl.BufferT()]  # the first one is empty, for tensors without a constant
        self.tensors = []
        self.operators = []
        self.codes = []
        self.activations = {}

    def tensor(self, name, shape, kind, scale, zero=0, axis=0, values=None):
        buffer = 0
        if values is not None:
            data = tfl.BufferT()
            data.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), dtype=np.uint8)
            buffer = len(self.buffers)
            self.buffers.append(data)
        tensor = tfl.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name, list(shape), kind, buffer
        if scale is not None:
            scales = np.atleast_1d(np.asarray(scale, dtype=np.float32))
            quantization = tfl.QuantizationParametersT()
            quantization.scale = scales
            quantization.zeroPoint = np.full(len(scales), zero, dtype=np.int64)
            quantization.quantizedDimension = axis
            tensor.quantization = quantization
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def activation(self, name, shape):
        """i8, where ONNX has u8: the zero point moves by 128."""
        scale, zero = self.quantized.activation(name)
        index = self.tensor(name, shape, tfl.TensorType.INT8, scale, zero - 128)
        self.activations[name] = index, shape
        return index

    def constant(self, name, values):
        return self.tensor(name, values.shape, tfl.TensorType.INT32, None, values=values.astype(np.int32))

    def weights(self, layer, order):
        """Weights in the order that the operator wants, and biases in units of the sums."""
        weights, scale, biases = self.quantized.weights(layer)
        source_scale, _ = self.quantized.activation(layer.source)
        scale = np.broadcast_to(np.asarray(scale, dtype=np.float32), (layer.outputs,))
        unit = scale * np.float32(source_scale)
        values = weights.transpose(order)
        first = self.tensor(layer.name + ".weight", values.shape, tfl.TensorType.INT8, scale, values=values)
        sums = np.round(biases / unit).astype(np.int32)
        second = self.tensor(layer.name + ".bias", sums.shape, tfl.TensorType.INT32, unit, values=sums)
        return first, second

    def operator(self, name, inputs, output, options_type, options):
        if name not in self.codes:
            self.codes.append(name)
        operator = tfl.OperatorT()
        operator.opcodeIndex = self.codes.index(name)
        operator.inputs, operator.outputs = list(inputs), [output]
        operator.builtinOptionsType = getattr(tfl.BuiltinOptions, options_type)
        operator.builtinOptions = options
        self.operators.append(operator)

    def padded(self, name, border):
        """Zeros around a picture, as torchvision pads where it has a stride (SAME would shift by a pixel)."""
        index, (_, height, width, channels) = self.activations[name]
        scale, zero = self.quantized.activation(name)
        shape = (1, height + 2 * border, width + 2 * border, channels)
        output = self.tensor(f"{name}.padded{border}", shape, tfl.TensorType.INT8, scale, zero - 128)
        sides = self.constant(f"{name}.border{border}", np.array([[0, 0], [border] * 2, [border] * 2, [0, 0]]))
        self.operator("PAD", [index, sides], output, "PadOptions", tfl.PadOptionsT())
        return output

    def add(self, layer):
        source, shape = self.activations[layer.source]
        if isinstance(layer, Conv):
            options = tfl.Conv2DOptionsT()
            options.strideH = options.strideW = layer.stride
            options.dilationHFactor = options.dilationWFactor = 1
            options.fusedActivationFunction = RELU if layer.relu else NONE
            options.padding = tfl.Padding.SAME
            if layer.stride > 1 and layer.kernel > 1:
                source = self.padded(layer.source, layer.kernel // 2)
                options.padding = tfl.Padding.VALID
            first, second = self.weights(layer, (0, 2, 3, 1))
            side = shape[1] // layer.stride
            output = self.activation(layer.name, (1, side, side, layer.outputs))
            self.operator("CONV_2D", [source, first, second], output, "Conv2DOptions", options)
        elif isinstance(layer, MaxPool):
            options = tfl.Pool2DOptionsT()
            options.strideH = options.strideW = 2
            options.filterHeight = options.filterWidth = 3
            options.padding = tfl.Padding.VALID
            source = self.padded(layer.source, 1)
            output = self.activation(layer.name, (1, shape[1] // 2, shape[2] // 2, shape[3]))
            self.operator("MAX_POOL_2D", [source], output, "Pool2DOptions", options)
        elif isinstance(layer, Add):
            options = tfl.AddOptionsT()
            options.fusedActivationFunction = RELU
            other, _ = self.activations[layer.other]
            output = self.activation(layer.name, shape)
            self.operator("ADD", [source, other], output, "AddOptions", options)
        elif isinstance(layer, Mean):
            options = tfl.ReducerOptionsT()
            axes = self.constant(layer.name + ".axes", np.array([1, 2]))
            output = self.activation(layer.name, (1, shape[3]))
            self.operator("MEAN", [source, axes], output, "ReducerOptions", options)
        elif isinstance(layer, Dense):
            first, second = self.weights(layer, (0, 1))
            output = self.activation(layer.name, (1, layer.outputs))
            options = tfl.FullyConnectedOptionsT()
            self.operator("FULLY_CONNECTED", [source, first, second], output, "FullyConnectedOptions", options)

    def file(self):
        graph = tfl.SubGraphT()
        graph.tensors, graph.operators, graph.name = self.tensors, self.operators, "main"
        graph.inputs = [self.activations["image"][0]]
        graph.outputs = [self.activations["logits"][0]]
        model = tfl.ModelT()
        model.version, model.subgraphs, model.buffers = 3, [graph], self.buffers
        model.operatorCodes = []
        for name in self.codes:
            code = tfl.OperatorCodeT()
            code.builtinCode = code.deprecatedBuiltinCode = getattr(tfl.BuiltinOperator, name)
            code.version = OPERATORS[name]
            model.operatorCodes.append(code)
        builder = flatbuffers.Builder(1 << 20)
        builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
        return bytes(builder.Output())


def write(arch, onnx_path, path):
    writer = Writer(Quantized(onnx_path))
    writer.activation("image", (1, network.SIZE, network.SIZE, 3))
    for layer in network.layers(arch):
        writer.add(layer)
    with open(path, "wb") as out:
        out.write(writer.file())


if __name__ == "__main__":
    write(*sys.argv[1:])
