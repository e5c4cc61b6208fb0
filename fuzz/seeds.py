#!/usr/bin/env python3
"""Makes the inputs that the fuzz targets begin with, into fuzz/seeds/: small sound examples of everything that is read
from outside, so that a fuzzer need not find out what a JPEG or a bundle is. Their bytes depend on nothing but this file.
Inputs that were finds lie beside them and are left alone."""
import pathlib
import struct
import zlib

HERE = pathlib.Path(__file__).parent / "seeds"


def seed(target, name, data):
    (HERE / target).mkdir(parents=True, exist_ok=True)
    (HERE / target / name).write_bytes(data if isinstance(data, bytes) else data.encode())


def jpeg(width, height, components=1, restart=0, progressive=False):
    """A grey or YCbCr JPEG of flat blocks: one Huffman code each for `no change` and `end of block`."""
    segment = lambda marker, body: b"\xff" + bytes([marker]) + struct.pack(">H", len(body) + 2) + body
    quantization = segment(0xDB, b"\0" + bytes([8] * 64))
    sampling = [0x22, 0x11, 0x11] if components == 3 else [0x11]
    frame = struct.pack(">BHHB", 8, height, width, components)
    frame += b"".join(bytes([i + 1, sampling[i], 0]) for i in range(components))
    # code `00`: a difference of 0 bits, or the end of a block; `01`: one bit, and a value in the second place
    table = lambda kind, second: segment(0xC4, bytes([kind, 0, 2] + [0] * 14 + [0, second]))
    scan = bytes([components]) + b"".join(bytes([i + 1, 0]) for i in range(components))
    scan += bytes([0, 0 if progressive else 63, 0])
    side = 16 if components == 3 else 8
    units = -(-width // side) * -(-height // side)
    blocks = units * (6 if components == 3 else 1)
    # first a difference of +1 (01 1), later ones of 0 (00), each block then at its end (00, but in progressive)
    bits = "".join(("011" if n == 0 else "00") + ("" if progressive else "00") for n in range(blocks))
    bits += "1" * (-len(bits) % 8)
    body = bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)).replace(b"\xff", b"\xff\0")
    parts = [b"\xff\xd8", quantization, segment(0xC2 if progressive else 0xC0, frame), table(0, 1), table(0x10, 1)]
    if restart:
        parts.append(segment(0xDD, struct.pack(">H", restart)))
    return b"".join([*parts, segment(0xDA, scan), body, b"\xff\xd9"])


def png(width, height, colour, depth=8):
    chunk = lambda kind, body: struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    row = -(-width * channels * depth // 8)
    pixels = b"".join(bytes([y % 5]) + bytes((x * 7 + y) % 256 for x in range(row)) for y in range(height))
    palette = chunk(b"PLTE", bytes(range(48))) if colour == 3 else b""
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
            + palette + chunk(b"IDAT", zlib.compress(pixels, 9)) + chunk(b"IEND", b""))


MANIFEST = """{"format": 1, "name": "n", "arch": "resnet50", "labels": ["x", "y"], "preprocessing": {"resize": 16, "crop": 16,
"interpolation": "bilinear", "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "channel_order": "rgb"}, "activation": "softmax",
"quantization": null, "provenance": {"source": "", "sha256": null, "tool": ""}, "accuracy": null,
"checksum": "00000000000000000000000000000000"}"""
CONV = """resnetd_conv(image, name = "a", stride = [2, 2], padding = [[1, 1], [1, 1]], border = [124, 116, 104], relu = true,
input_scale = 1.0, input_zero = 0, output_scale = 0.08, output_zero = 0)"""
NEXT = """resnetd_conv(%s, name = "b", stride = [1, 1], padding = [[0, 0], [0, 0]], border = [], relu = false, input_scale = 0.08,
input_zero = 0, output_scale = 0.05, output_zero = 130)"""
ADD = """resnetd_conv_add(%s, %s, name = "b", stride = [1, 1], padding = [[0, 0], [0, 0]], border = [], relu = true,
input_scale = 0.05, input_zero = 130, output_scale = 0.06, output_zero = 0, residual_scale = 0.08, residual_zero = 0)"""
END = """v = resnetd_global_average(%s, input_scale = 0.06, input_zero = 0, output_scale = 0.02, output_zero = 0);
y = resnetd_dense(v, name = "c", input_scale = 0.02, input_zero = 0);"""
POOL = "resnetd_max_pool(%s, kernel = [3, 3], stride = [2, 2], padding = [[1, 1], [1, 1]])"


def graph(*body, external='tract_core_external(shape = [1, 16, 16, 3], datum_type = "U8")'):
    lines = "\n".join((f"image = {external};",) + body)
    return f"version 1.0;\nextension tract_registry resnetd;\nextension tract_registry tract_core;\ngraph n(image) -> (y) {{\n{lines}\n}}\n"


def entry(name, data):
    header = bytearray(512)
    header[:len(name)] = name.encode()
    header[100:108] = b"0000644\0"
    header[124:136] = b"%011o\0" % len(data)
    header[156:157] = b"0"
    header[257:265] = b"ustar  \0"
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + data + bytes(-len(data) % 512)


def tensor(shape, kind, bits, values):
    dims = struct.pack("<8I", *shape, *[0] * (8 - len(shape)))
    header = struct.pack("<4BII", 0x4E, 0xEF, 1, 0, len(values), len(shape)) + dims + struct.pack("<II", bits, kind)
    return header + bytes(128 - len(header)) + values


def bundles():
    float_graph = graph('w = variable<scalar>(label = "w", shape = [2, 3, 1, 1]);', "s = sum_reduce(image, axes = [2, 3]);", "y = conv(s, w);",
                        external="external(shape = [1, 3, 16, 16])")
    dense = graph("v = resnetd_global_average(image, input_scale = 1.0, input_zero = 0, output_scale = 1.0, output_zero = 0);",
                  'y = resnetd_dense(v, name = "c", input_scale = 1.0, input_zero = 0);')
    weights = tensor([2, 3, 1, 1], 0, 32, struct.pack("<6f", 1, 2, 3, 4, 5, 6))
    seed("bundle", "float", entry("resnetd.json", MANIFEST.encode()) + entry("graph.nnef", float_graph.encode()) + entry("w.dat", weights))
    seed("bundle", "dense", entry("resnetd.json", MANIFEST.encode()) + entry("graph.nnef", dense.encode())
         + entry("c_weights.dat", tensor([2, 1, 1, 3], 3, 8, bytes(6))))
    seed("bundle", "manifest", entry("resnetd.json", MANIFEST.encode()))
    stem = f"a = {CONV};"
    seed("graph", "plain", graph(stem, f"p = {POOL % 'a'};", f"b = {NEXT % 'p'};", END % "b"))
    seed("graph", "shortcut", graph(stem, f"b = {NEXT % 'a'};", f"d = {ADD % ('b', 'a')};", END % "d"))
    seed("graph", "dense", graph(stem, END % "a"))
    seed("graph", "float", float_graph)


def texts():
    for name, text in {
        "v4l2": "v4l2:/dev/video0?size=1280x720&fps=29.97&format=YUYV", "images": "images:photos/?*.jpg?fps=2&loop=true", "demo": "demo:",
        "exec": "exec:rpicam-vid -n -t 0 --codec mjpeg -o -", "http": "http://user:word@camera.local:8080/stream.mjpg?x=1",
        "mjpeg": "mjpeg:-", "y4m": "y4m:film.y4m?loop=true",
    }.items():
        seed("uri", name, text)
    seed("page", "look", "camera=front%20door&region=t%C3%BCr&class_id=7\nHost:localhost:8080\nSec-Fetch-Site:same-origin\n")
    seed("page", "address", "before=1764000000000-a\nhost:[::1]:80\nAuthorization:Basic OjA=\n")
    seed("page", "token", "before=1\nHost:localhost\nContent-Type:application/json; charset=utf-8\nAuthorization:Bearer 0123456789abcdef\nOrigin:http://localhost\n")
    seed("page", "rebinding", "camera=%ff&class_id=x\nHost:evil.example\n")
    seed("config", "one", 'source = "demo:"\nmodel = "a.nnef.tar"\nsocket = "/run/x.sock"\nthreads = 2\nsmoothing_ms = 0\nstale_s = 9\n')
    seed("config", "several", 'models = ["a", "b"]\n[[camera]]\nname = "front"\nsource = "v4l2:/dev/video0"\n[[camera]]\nname = "back"\nsource = "demo:"\n')
    seed("config", "folder", "models = 'models' # a comment\n")
    info = '{"name":"n","arch":"resnet50","precision":"int8","labels":10}'
    lines = [
        '{"type":"hello","protocol":1,"version":"0.1.0","cameras":["front"],"model":%s}' % info,
        '{"type":"model","timestamp":1.5,"model":%s,"reason":"start","detail":"","others":[{"name":"b","avg_ms":1.5,"rss_mib":2}]}' % info,
        '{"type":"classification","camera":"front","frame_id":1,"timestamp":1764000000.123,"model":"n","image":{"width":4,"height":3},'
        '"predictions":[{"class":"golf ball","class_id":6,"confidence":0.9312}],"top":"golf ball","confidence":0.9,'
        '"timing":{"capture_ms":1.2,"preprocess_ms":2.1,"inference_ms":41.0,"age_ms":46.0},"dropped":3}',
        '{"type":"change","camera":"front","timestamp":1.5,"from":null,"to":"golf ball","confidence":0.91}',
        '{"type":"status","camera":"front","timestamp":1.5,"state":"camera_lost","detail":"gone\\u001b[2J"}',
        '{"type":"lagged","missed":17}', '{"type":"of a later version"}',
    ]
    seed("watch", "all", "\x50" + "\n".join(lines) + "\n")
    seed("watch", "pieces", "\x07" + "\n".join(lines[2:4]) + "\n")


def pictures():
    small = {"grey": jpeg(16, 8), "colour": jpeg(40, 24, 3), "restart": jpeg(24, 24, 1, 2), "progressive": jpeg(16, 16, 1, progressive=True)}
    small["torn"] = small["colour"][:-12]
    for name, data in small.items():
        seed("jpeg", name, data)
        seed("picture", f"{name}.jpg", data)
    for name, (colour, depth) in {"grey": (0, 8), "bits": (0, 1), "rgb": (2, 8), "rgb16": (2, 16), "palette": (3, 4), "alpha": (6, 8)}.items():
        seed("picture", f"{name}.png", png(9, 7, colour, depth))
    for number in range(12):  # formats
        claim = lambda order, w, h, stride, blocks: struct.pack("<BBHHHHBB", number, order, w, h, stride, blocks, 20, 16)
        seed("pixels", f"sound{number}", claim(2 + 4 * (number % 4) + number % 2, 33 + number, 21, 0, 0) + bytes(range(64)))
        seed("pixels", f"stated{number}", claim(0, 16, 8, 48, 40) + bytes(range(200, 240)))


def streams():
    small, other = jpeg(16, 8), jpeg(24, 16, 3)
    seed("mjpeg", "plain", b"\x10" + small + other + small)
    seed("mjpeg", "torn", b"\x03" + small[:-30] + other + b"garbage\xff\xd8\xff\xff" + small)
    thumbnail = b"\xff\xe1" + struct.pack(">H", len(small) + 2) + small
    seed("mjpeg", "thumbnail", b"\x40" + other[:2] + thumbnail + other[2:] + small)
    for name, colours, size in ("420", "C420jpeg", 8 * 6 * 3 // 2), ("mono", "Cmono", 8 * 6), ("bare", "", 8 * 6 * 3 // 2):
        frame = b"FRAME\n" + bytes(n % 256 for n in range(size))
        seed("y4m", name, b"\x20" + f"YUV4MPEG2 W8 H6 F25:1 Ip A1:1 {colours} XCOLORRANGE=FULL\n".encode() + frame * 3)
    seed("y4m", "torn", b"\x05" + b"YUV4MPEG2 W4 H2 C420\nFRAME Ixyz\n" + bytes(12) + b"FRAM" + b"FRAME\n" + bytes(12))
    head = "HTTP/1.1 200 OK\r\nContent-Type: %s\r\n%s\r\n"
    part = lambda data: f"--b\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data + b"\r\n"
    many = part(small) + part(other) + part(small)
    seed("http", "multipart", b"\x30" + (head % ("multipart/x-mixed-replace; boundary=b", "")).encode() + many)
    chunks = b"".join(b"%x;x=y\r\n%s\r\n" % (len(many[i : i + 70]), many[i : i + 70]) for i in range(0, len(many), 70)) + b"0\r\n\r\n"
    seed("http", "chunked", b"\x11" + (head % ("multipart/x-mixed-replace;boundary=b", "Transfer-Encoding: chunked\r\n")).encode() + chunks)
    seed("http", "single", b"\xff" + (head % ("image/jpeg", f"Content-Length: {len(small)}\r\n")).encode() + small)
    seed("http", "redirect", b"\x08HTTP/1.0 302 Found\r\nLocation: /other?x=1\r\n\r\n")
    seed("http", "continue", b"\x09HTTP/1.1 100 Continue\r\n\r\n" + (head % ("image/jpeg", "")).encode() + small)
    seed("http", "digest", b"\x50HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Digest realm=\"x\"\r\n\r\n")


def safetensors(stages):
    """A state dict of a ResNet of one channel, in f16."""
    names, data = [], b""
    for name, shape in stages:
        size = 2
        for n in shape:
            size *= n
        names.append('"%s":{"dtype":"F16","shape":%s,"data_offsets":[%d,%d]}' % (name, list(shape), len(data), len(data) + size))
        data += struct.pack("<e", 0.5) * (size // 2)
    header = '{"__metadata__":{"labels":"[\\"x\\",\\"y\\"]"},' + ",".join(names) + "}"
    return struct.pack("<Q", len(header)) + header.encode() + data


def norm(name):
    return [(f"{name}.{part}", (1,)) for part in ("weight", "bias", "running_mean", "running_var")]


def states():
    stem = [("conv1.weight", (1, 3, 7, 7)), *norm("bn1")]
    head = [("fc.weight", (2, 1)), ("fc.bias", (2,))]
    basic = [(f"layer1.0.conv{n}.weight", (1, 1, 3, 3)) for n in (1, 2)] + norm("layer1.0.bn1") + norm("layer1.0.bn2")
    seed("safetensors", "basic", safetensors(stem + basic + head))
    seed("safetensors", "bare", safetensors(stem + head))
    seed("safetensors", "wrong", safetensors(stem + [("layer1.0.conv1.weight", (1, 1, 5, 5))] + head))


def archives():
    text = """version 1.0;
graph g(x) -> (y) {
x = external<scalar>(shape = [1, 3, 8, 8]);
w = variable<scalar>(label = "w", shape = [2, 3, 1, 1]);
d = variable<scalar>(label = "d", shape = [2, 2]);
c = conv(x, w, 0.0, padding = [(0, 0), (0, 0)], stride = [2, 2]);
r = relu(c);
p = mean_reduce(%s, axes = [2, 3]);
f = squeeze(p, axes = [2, 3]);
y = matmul(f, d, transposeB = true);
}
"""
    halves = lambda n: struct.pack("<f", 0.5) * n
    files = entry("w.dat", tensor([2, 3, 1, 1], 0, 32, halves(6))) + entry("d.dat", tensor([2, 2], 0, 32, halves(4)))
    for name, pooled in {"plain": "r", "gate": "mul(r, sigmoid(c))"}.items():
        seed("nnef", name, entry("graph.nnef", (text % pooled).encode()) + files)


def varint(n):
    out = b""
    while n > 127:
        out, n = out + bytes([n & 127 | 128]), n >> 7
    return out + bytes([n])


def proto(*fields):
    """A protobuf message of (number, value): a number, or bytes."""
    out = b""
    for number, value in fields:
        if isinstance(value, int):
            out += varint(number << 3) + varint(value)
        else:
            value = value.encode() if isinstance(value, str) else value
            out += varint(number << 3 | 2) + varint(len(value)) + value
    return out


def node(op, inputs, output, **attributes):
    def attribute(name, value):
        if isinstance(value, list):
            return proto((1, name), *[(8, v) for v in value], (20, 7))
        return proto((1, name), (3, value), (20, 2))

    return (1, proto(*[(1, i) for i in inputs], (2, output), (3, output), (4, op),
                     *[(5, attribute(k, v)) for k, v in attributes.items()]))


def constant(name, kind, dims, data):
    return (5, proto(*[(1, d) for d in dims], (2, kind), (8, name), (9, data)))


def value(number, name, dims):
    shape = proto(*[(1, proto((1, d) if isinstance(d, int) else (2, d))) for d in dims])
    return (number, proto((1, name), (2, proto((1, proto((1, 1), (2, shape)))))))


def onnx(name, *parts):
    graph = proto(*parts, (2, "g"), value(11, "x", ["n", 3, 8, 8]), value(12, "y", ["n", 2]))
    seed("onnx", name, proto((1, 8), (7, graph), (8, proto((1, ""), (2, 13))), (8, proto((1, "com.microsoft"), (2, 1)))))


def graphs():
    halves = lambda n: struct.pack("<f", 0.5) * n
    scale, zero = constant("s", 1, [], halves(1)), constant("z", 2, [], b"\x07")
    pads = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}
    weights = [constant("w", 1, [2, 3, 3, 3], halves(54)), constant("b", 1, [2], halves(2)), constant("d", 1, [2, 2], halves(4))]
    tail = lambda x: [node("GlobalAveragePool", [x], "p"), node("Flatten", ["p"], "f"), node("Gemm", ["f", "d", "b"], "y", transB=1)]
    onnx("plain", node("Conv", ["x", "w", "b"], "c", **pads), node("Relu", ["c"], "r"), *tail("r"), *weights)
    onnx("sum", node("Conv", ["x", "w", "b"], "c", **pads), node("MaxPool", ["c"], "m", **{**pads, "strides": [1, 1]}),
         node("Add", ["c", "m"], "a"), node("Relu", ["a"], "r"), *tail("r"), *weights)
    onnx("shapes", node("Conv", ["x", "w", "b"], "c", **pads), node("Shape", ["c"], "h"), node("Gather", ["h", "i"], "n"),
         node("Unsqueeze", ["n", "i1"], "u"), node("Concat", ["u", "k"], "t", axis=0), node("GlobalAveragePool", ["c"], "p"),
         node("Reshape", ["p", "t"], "f"), node("Gemm", ["f", "d", "b"], "y", transB=1), *weights, constant("i", 7, [], bytes(8)),
         constant("i1", 7, [1], bytes(8)), constant("k", 7, [1], struct.pack("<q", -1)))
    q = lambda x, y: node("QuantizeLinear", [x, "s", "z"], y)
    dq = lambda x, y, *zero: node("DequantizeLinear", [x, "s", *(zero or ["z"])], y)
    onnx("qdq", q("x", "x1"), dq("x1", "x2"), dq("w8", "w1", "z8"), dq("b32", "b1", "z32"), node("Conv", ["x2", "w1", "b1"], "c", **pads),
         node("Relu", ["c"], "r"), q("r", "r1"), dq("r1", "r2"), node("GlobalAveragePool", ["r2"], "p"), q("p", "p1"), dq("p1", "p2"),
         node("Flatten", ["p2"], "f"), q("f", "f1"), dq("f1", "f2"), dq("d8", "d1", "z8"), node("Gemm", ["f2", "d1", "b1"], "y0", transB=1),
         q("y0", "y1"), dq("y1", "y"), scale, zero, constant("z8", 3, [], b"\0"), constant("z32", 6, [], bytes(4)),
         constant("w8", 3, [2, 3, 3, 3], bytes(54)), constant("d8", 3, [2, 2], bytes(4)), constant("b32", 6, [2], bytes(8)))
    fake = node("QuantizeLinear", ["w", "s", "z8"], "w8")
    onnx("fake", q("x", "x1"), dq("x1", "x2"), fake, dq("w8", "w1", "z8"), node("Conv", ["x2", "w1"], "c", **pads),
         q("c", "c1"), dq("c1", "c2"), node("GlobalAveragePool", ["c2"], "p"), q("p", "p1"), dq("p1", "y"), scale, zero, weights[0],
         constant("z8", 3, [], b"\0"))
    onnx("qoperator", q("x", "x1"), node("QLinearConv", ["x1", "s", "z", "w8", "s", "z8", "s", "z", "b32"], "c", **pads),
         node("QLinearGlobalAveragePool", ["c", "s", "z", "s", "z"], "p"), node("Flatten", ["p"], "f"),
         node("QGemm", ["f", "s", "z", "d8", "s", "z8", "b32", "s", "z"], "g", transB=1), dq("g", "y"), scale, zero,
         constant("z8", 3, [], b"\0"), constant("w8", 3, [2, 3, 3, 3], bytes(range(54))), constant("d8", 3, [2, 2], bytes(4)),
         constant("b32", 6, [2], bytes(8)))


if __name__ == "__main__":
    bundles()
    states()
    archives()
    graphs()
    streams()
    texts()
    pictures()
