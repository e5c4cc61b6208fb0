#!/usr/bin/env python3
"""Makes tiny.pth, tiny_legacy.pth and tiny_pth.json beside this file: a checkpoint as training programs write them,
in both of PyTorch's formats, and the values of its tensors.

    pip install torch && python3 make_pth.py

Among them one that is a transposed view, one that lies within another's storage, halves, bfloat16s and doubles, a
parameter, and a counter, which is no weight.
"""

import json
from collections import OrderedDict
from pathlib import Path

import torch

HERE = Path(__file__).parent


def main():
    torch.manual_seed(11)
    whole = torch.randn(4, 6)
    state = OrderedDict(
        plain=whole,
        transposed=whole.t(),
        part=whole[1:3, 2:5],
        half=torch.randn(3).half(),
        bfloat=torch.randn(2, 2).bfloat16(),
        double=torch.randn(2).double(),
        scalar=torch.tensor(1.5),
        parameter=torch.nn.Parameter(torch.randn(3)),
        **{"bn.num_batches_tracked": torch.tensor(7)},
    )
    state._metadata = OrderedDict({"": {"version": 1}})
    checkpoint = {
        "epoch": 3,
        "best": 0.75,
        "arch": "tiny",
        "ema": None,
        "done": True,
        "rate": [0.1, 2, -3, 1 << 40],
        "model": state,
        "optimizer": {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"betas": (0.9, 0.99)}]},
    }
    torch.save(checkpoint, HERE / "tiny.pth")
    torch.save(checkpoint, HERE / "tiny_legacy.pth", _use_new_zipfile_serialization=False)
    golden = {
        name: {"shape": list(tensor.shape), "values": tensor.detach().float().flatten().tolist()}
        for name, tensor in state.items()
        if "num_batches" not in name
    }
    text = ",\n ".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in golden.items())
    (HERE / "tiny_pth.json").write_text("{" + text + "}\n")


if __name__ == "__main__":
    main()
