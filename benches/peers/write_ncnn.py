"""The network in ncnn's format: the same int8 weights and scales as the int8 ONNX file.

This is what ncnn's own quantizer (ncnn2int8) writes: convolutions and the dense layer in int8, their input quantized to
-127..127; between two convolutions in a row int8 is passed on (102), sums and pooling run in float (2).
"""

import struct
import sys
from pathlib import Path

import numpy as np

import network
from network import Add, Conv, Dense, MaxPool, Mean
from write_onnx import Quantized

INT8 = 0x000D4B38  # says that int8 weights follow


class Writer:
    def __init__(self, arch, quantized):
        self.quantized = quantized
        self.layers = list(network.layers(arch))
        self.lines = ["Input image 0 1 image 0=224 1=224 2=3"]
        self.data = bytearray()
        self.blobs = 1
        readers = [source for layer in self.layers for source in sources(layer)]
        self.readers = {name: readers.count(name) for name in readers}
        self.copies = {}

    def line(self, kind, name, inputs, parameters):
        """One layer; what it gives is split where it has several readers, since ncnn wants a blob per reader."""
        taken = [self.copies[i].pop(0) if i in self.copies else i for i in inputs]
        self.lines.append(f"{kind} {name} {len(taken)} 1 {' '.join(taken)} {name} {parameters}".rstrip())
        self.blobs += 1
        count = self.readers.get(name, 1)
        if count > 1:
            self.copies[name] = [f"{name}.{i}" for i in range(count)]
            self.lines.append(f"Split {name}.split 1 {count} {name} {' '.join(self.copies[name])}")
            self.blobs += count

    def input_scale(self, name):
        """Steps per unit: ncnn has no zero point, so an input that ONNX holds in 0..255 gets half as many steps."""
        scale, zero = self.quantized.activation(name)
        return 127 / (scale * max(zero, 255 - zero))

    def weights(self, layer, passes_on):
        weights, scale, biases = self.quantized.weights(layer)
        self.data += struct.pack("<I", INT8) + weights.tobytes() + bytes(-weights.size % 4)
        self.data += biases.astype("<f4").tobytes()
        self.data += (1 / np.broadcast_to(scale, (layer.outputs,))).astype("<f4").tobytes()
        self.data += struct.pack("<f", self.input_scale(layer.source))
        if passes_on:
            self.data += struct.pack("<f", self.input_scale(layer.name))

    def add(self, layer):
        if isinstance(layer, Conv):
            readers = [other for other in self.layers if layer.name in sources(other)]
            passes_on = all(isinstance(reader, Conv) for reader in readers)
            size = layer.outputs * layer.inputs * layer.kernel**2
            self.line(
                "Convolution", layer.name, [layer.source],
                f"0={layer.outputs} 1={layer.kernel} 3={layer.stride} 4={layer.kernel // 2} 5=1 6={size} "
                f"8={102 if passes_on else 2} 9={int(layer.relu)}",
            )
            self.weights(layer, passes_on)
        elif isinstance(layer, MaxPool):
            self.line("Pooling", layer.name, [layer.source], "0=0 1=3 2=2 3=1 5=1")
        elif isinstance(layer, Add):
            self.line("BinaryOp", layer.name + ".sum", [layer.source, layer.other], "0=0")
            self.line("ReLU", layer.name, [layer.name + ".sum"], "")
        elif isinstance(layer, Mean):
            self.line("Pooling", layer.name, [layer.source], "0=1 4=1")
        elif isinstance(layer, Dense):
            self.line(
                "InnerProduct", layer.name, [layer.source],
                f"0={layer.outputs} 1=1 2={layer.outputs * layer.inputs} 8=2",
            )
            self.weights(layer, False)


def sources(layer):
    return [layer.source, layer.other] if isinstance(layer, Add) else [layer.source]


def write(arch, onnx_path, path):
    """`path` without an ending: .param and .bin are written."""
    writer = Writer(arch, Quantized(onnx_path))
    for layer in writer.layers:
        writer.add(layer)
    head = f"7767517\n{len(writer.lines)} {writer.blobs}\n"
    Path(f"{path}.param").write_text(head + "\n".join(writer.lines) + "\n", encoding="ascii")
    Path(f"{path}.bin").write_bytes(writer.data)


if __name__ == "__main__":
    write(*sys.argv[1:])
