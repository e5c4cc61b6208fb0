"""torchvision's and timm's networks with seeded weights, and the files that people make of them: weights, ONNX by both of
PyTorch's exporters, and what ONNX Runtime's static quantizer makes of that."""

import logging
import warnings
from dataclasses import dataclass

import onnx
import timm
import torch
import torchvision
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process
from safetensors.torch import save_file
from torch.ao.quantization import MinMaxObserver, PerChannelMinMaxObserver, QConfig, convert, prepare

import pictures

CLASSES = 50
SETTLING = 4  # batches of 16 pictures

warnings.filterwarnings("ignore")
for chatty in ("torch.onnx", "onnxscript", "root"):
    logging.getLogger(chatty).setLevel(logging.ERROR)


@dataclass(frozen=True)
class Quantized:
    """One way to quantize."""

    form: str  # qdq or qoperator
    activations: str  # u8 or s8
    per_channel: bool
    fake: bool = False  # weights are floats in the file, which it rounds itself, as after quantization-aware training
    end_in_float: bool = False  # the last layer is not quantized

    def __str__(self):
        what = f"{self.form} {self.activations}s8 per {'channel' if self.per_channel else 'tensor'}"
        return what + " fake" * self.fake + " but for its end" * self.end_in_float


def network(name, size, seed):
    """Weights as PyTorch starts them, normalizations as if trained: each its own factors and summands, small factors
    where a block ends, and the statistics of what really flows through it."""
    torch.manual_seed(seed)
    if name.startswith("timm/"):
        net = timm.create_model(name.removeprefix("timm/"), num_classes=CLASSES)
    else:
        net = getattr(torchvision.models, name)(weights=None, num_classes=CLASSES)
    last = "bn3" if hasattr(net.layer1[0], "bn3") else "bn2"
    for path, module in net.named_modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            ends_block = path.startswith("layer") and path.endswith(last)
            torch.nn.init.uniform_(module.weight, *((0.1, 0.4) if ends_block else (0.5, 1.5)))
            torch.nn.init.normal_(module.bias, 0.0, 0.2)
            module.momentum = None  # the mean over all batches
    net.train()
    with torch.no_grad():
        for batch in range(SETTLING):
            net(torch.from_numpy(pictures.normalized(pictures.some(16, size, seed + 1 + batch))))
    return net.eval()


def logits(net, values):
    with torch.no_grad():
        return net(torch.from_numpy(values)).numpy()


def write_weights(net, stem):
    """As safetensors and as PyTorch's own file."""
    state = {key: value.contiguous() for key, value in net.state_dict().items()}
    safe, pth = stem.with_suffix(".safetensors"), stem.with_suffix(".pth")
    save_file(state, safe)
    torch.save(state, pth)
    return [("safetensors", safe), ("pth", pth)]


def export(net, stem, size, dynamo, any_size=False):
    """With `any_size` for any number of pictures of any size, which the file then does not say."""
    path = stem.with_name(f"{stem.name}-{'dynamo' if dynamo else 'script'}{'-any' * any_size}.onnx")
    free = {}
    if any_size and dynamo:
        free["dynamic_shapes"] = ({0: torch.export.Dim.DYNAMIC, 2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC},)
    elif any_size:
        free["dynamic_axes"] = {"image": {0: "batch", 2: "rows", 3: "columns"}}
    example = torch.zeros(2 if any_size else 1, 3, size, size)
    torch.onnx.export(net, (example,), path, dynamo=dynamo, input_names=["image"], verbose=False, **free)
    return path


def eager(net, name, stem, values, reduce_range):
    """What PyTorch itself quantizes (eager mode: prepare, calibrate, convert) and exports: each operator for itself, with casts, and zero
    points that the graph fills."""
    quantizable = getattr(torchvision.models.quantization, name)(weights=None, quantize=False, num_classes=CLASSES)
    quantizable.load_state_dict(net.state_dict(), strict=False)
    quantizable.eval().fuse_model(is_qat=False)
    most = 63 if reduce_range else 127
    weights = PerChannelMinMaxObserver.with_args(dtype=torch.qint8, qscheme=torch.per_channel_symmetric, quant_min=-most, quant_max=most)
    quantizable.qconfig = QConfig(activation=MinMaxObserver.with_args(dtype=torch.quint8), weight=weights)
    prepared = prepare(quantizable)
    logits(prepared, values)
    path = stem.with_name(f"{stem.name}-eager.onnx")
    example = torch.zeros(1, *values.shape[1:])
    torch.onnx.export(convert(prepared), (example,), path, dynamo=False, input_names=["image"], verbose=False)
    return path


class Reader(CalibrationDataReader):
    """Gives the quantizer one picture after the other."""

    def __init__(self, values):
        self.values = iter(values)

    def get_next(self):
        value = next(self.values, None)
        return None if value is None else {"image": value[None]}


def quantize(float_path, way, values, reduce_range, method=CalibrationMethod.MinMax):
    """`reduce_range` halves the weights' range, which ONNX Runtime advises where its own sums of 16 bits overflow."""
    prepared = float_path.with_name(f"{float_path.stem}-prepared.onnx")
    if not prepared.exists():
        onnx.save(onnx.load(float_path), prepared)  # in one file: the next step cannot do with two
        quant_pre_process(str(prepared), str(prepared), skip_symbolic_shape=True)
    path = float_path.with_name(f"{float_path.stem}-{str(way).replace(' ', '-')}.onnx")
    types = {"u8": QuantType.QUInt8, "s8": QuantType.QInt8}
    quantize_static(
        str(prepared),
        str(path),
        Reader(values),
        quant_format=QuantFormat.QDQ if way.form == "qdq" else QuantFormat.QOperator,
        activation_type=types[way.activations],
        weight_type=QuantType.QInt8,
        per_channel=way.per_channel,
        reduce_range=reduce_range,
        calibrate_method=method,
        nodes_to_exclude=dense_layers(prepared) if way.end_in_float else [],
        extra_options={"AddQDQPairToWeight": way.fake},
    )
    return path


def dense_layers(path):
    """Not the first convolution: where a layer begins with sums of floats, their order decides which way some values are
    rounded, and one step there is several in the logits."""
    return [node.name for node in onnx.load(path).graph.node if node.op_type == "Gemm"]


def output_step(path, largest):
    """The scale of the logits: that of the last DequantizeLinear; what 8 bits would have where they stay float."""
    graph = onnx.load(path).graph
    makers = {name: node for node in graph.node for name in node.output}
    last = makers[graph.output[0].name]
    if last.op_type == "Gemm":
        return 2 * largest / 255
    if last.op_type != "DequantizeLinear":
        raise ValueError(f"{path.name} ends with {last.op_type}, not with DequantizeLinear")
    made = {node.output[0]: node.attribute[0].t for node in graph.node if node.op_type == "Constant"}
    scales = made | {tensor.name: tensor for tensor in graph.initializer}
    return float(onnx.numpy_helper.to_array(scales[last.input[1]]))
