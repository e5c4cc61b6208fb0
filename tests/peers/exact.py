"""A quantized network in exact arithmetic: float64 between the roundings that its file asks for, each operator as ONNX
and ONNX Runtime document it. Says who is right where two engines round a sum near the middle to different sides.

It runs the integer operators that ONNX Runtime makes of either spelling, on all pictures at once.
"""

import numpy as np
import onnx
import onnxruntime
import torch
from onnx.numpy_helper import to_array


def fused(path):
    """The graph with ONNX Runtime's integer operators in it, channels first."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.add_session_config_entry("session.qdqisint8allowed", "1")
    options.optimized_model_filepath = str(path.with_name("fused.onnx"))
    options.log_severity_level = 3
    onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return onnx.load(options.optimized_model_filepath).graph


class Network:
    def __init__(self, path):
        self.graph = fused(path)
        self.constants = {tensor.name: to_array(tensor) for tensor in self.graph.initializer}

    def logits(self, values):
        tensors = {self.graph.input[0].name: values.astype(np.float64)}
        for node in self.graph.node:
            tensors[node.output[0]] = self.run(node, tensors)
        return tensors[self.graph.output[0].name]

    def run(self, node, tensors):
        def constant(slot):
            return self.constants[node.input[slot]]

        def real(slot, scale):
            """What an input stands for."""
            given = tensors if node.input[slot] in tensors else self.constants
            zero = constant(scale + 1).astype(np.float64)
            return (given[node.input[slot]] - zero) * constant(scale).astype(np.float64)

        def rounded(x, scale):
            zero, kind = constant(scale + 1), np.iinfo(constant(scale + 1).dtype)
            return (np.rint(x / float(constant(scale))) + float(zero)).clip(kind.min, kind.max)

        told = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        first = tensors[node.input[0]]
        match node.op_type:
            case "QuantizeLinear":
                return rounded(first, 1)
            case "DequantizeLinear":
                return real(0, 1)
            case "QLinearConv":
                return self.conv(node, first, told)
            case "QLinearAdd":
                return rounded(real(0, 1) + real(3, 4), 6)
            case "QLinearGlobalAveragePool":
                return rounded(real(0, 1).mean(axis=(2, 3), keepdims=True), 3)
            case "QLinearAveragePool":
                window = told["kernel_shape"], told["strides"], told.get("pads", [0, 0])[:2]
                how = {"ceil_mode": bool(told.get("ceil_mode")), "count_include_pad": bool(told.get("count_include_pad"))}
                return rounded(torch.nn.functional.avg_pool2d(torch.from_numpy(real(0, 1)), *window, **how).numpy(), 3)
            case "ReduceMean":
                return first.mean(axis=(2, 3), keepdims=bool(told.get("keepdims", 1)))
            case "MaxPool":
                window = told["kernel_shape"], told["strides"], told["pads"][:2]
                return torch.max_pool2d(torch.from_numpy(first), *window).numpy()
            case "Flatten" | "Reshape":
                return first.reshape(len(first), -1)
            case "Gemm":  # left in float by the quantizer
                return first @ constant(1).T.astype(np.float64) + constant(2).astype(np.float64)
            case "QGemm":
                weights = constant(3).T if told.get("transB") else constant(3)
                return self.products(node, (first - float(constant(2))) @ weights.astype(np.float64), 6, 7)
        raise ValueError(f"{node.op_type} is no part of a fused ResNet")

    def conv(self, node, first, told):
        x = torch.from_numpy(first - float(self.constants[node.input[2]]))
        weights = torch.from_numpy(self.constants[node.input[3]].astype(np.float64))
        window = {"stride": told["strides"], "padding": told["pads"][:2], "groups": told.get("group", 1)}
        return self.products(node, torch.conv2d(x, weights, **window).numpy(), 8, 6)

    def products(self, node, sums, bias, output):
        """Bias and rounding of whole sums, at whose slots the bias and the output's scale are."""
        x_scale, w_scale, scale, zero = (
            self.constants[node.input[slot]].astype(np.float64) for slot in (1, 4, output, output + 1)
        )
        shape = [1, -1] + [1] * (sums.ndim - 2)
        sums = sums + self.constants[node.input[bias]].astype(np.float64).reshape(shape)
        kind = np.iinfo(self.constants[node.input[output + 1]].dtype)
        factor = (x_scale * w_scale / scale).reshape(shape)
        return (np.rint(sums * factor) + zero).clip(kind.min, kind.max)
