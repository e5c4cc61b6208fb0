"""One engine that has a Python package, in a process of its own: run.py ENGINE MODEL THREADS WARMUP ITERS

Two lines of JSON, as from the runners in src/: the first as soon as the first label is there. An engine is a function
that loads a model and returns an inference, picture to logits; what it leaves behind between two inferences is its own.
"""

import json
import sys
import time

import numpy as np

from network import picture


def onnxruntime(model, threads):
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    image = picture()
    return lambda: session.run(None, {"image": image})[0]


def openvino(model, threads):
    import openvino as ov

    hints = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1}
    request = ov.Core().compile_model(model, "CPU", hints).create_infer_request()
    request.set_input_tensor(ov.Tensor(picture()))

    def infer():
        request.infer()
        return request.get_output_tensor().data

    return infer


def litert(model, threads):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model, num_threads=threads)  # XNNPACK is its default
    interpreter.allocate_tensors()
    source, result = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    scale, zero = source["quantization"]
    image = np.round(picture() / scale) + zero
    image = np.clip(image, -128, 127).astype(np.int8).transpose(0, 2, 3, 1)
    interpreter.set_tensor(source["index"], np.ascontiguousarray(image))

    def infer():
        interpreter.invoke()
        return interpreter.get_tensor(result["index"])

    return infer


def ncnn(model, threads):
    import ncnn as library

    net = library.Net()
    net.opt.num_threads = threads
    if net.load_param(model + ".param") or net.load_model(model + ".bin"):
        raise SystemExit(f"ncnn cannot load {model}")
    image = library.Mat(picture()[0])

    def infer():
        extractor = net.create_extractor()
        extractor.input("image", image)
        failed, logits = extractor.extract("logits")
        if failed:
            raise SystemExit("ncnn: the network does not run")
        return np.asarray(logits)

    return infer


ENGINES = {engine.__name__: engine for engine in (onnxruntime, openvino, litert, ncnn)}


def main():
    engine, model, threads, warmup, iters = sys.argv[1:]
    started = time.perf_counter()
    infer = ENGINES[engine](model, int(threads))
    load_ms = (time.perf_counter() - started) * 1000
    label = int(np.argmax(infer()))
    print(json.dumps({"load_ms": load_ms, "label": label}), flush=True)
    for _ in range(int(warmup) - 1):
        infer()
    times = []
    for _ in range(int(iters)):
        started = time.perf_counter()
        infer()
        times.append((time.perf_counter() - started) * 1000)
    print(json.dumps({"times_ms": times}))


if __name__ == "__main__":
    main()
