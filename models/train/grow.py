"""`grow`: a deeper ResNet that says exactly what a shallower one says, to be trained on.

The new blocks add nothing at first: the last batch normalization of each has weight and bias 0, so that the block passes
on what comes through its shortcut (Goyal et al., "Accurate, Large Minibatch SGD", 2017; Chen et al., "Net2Net", 2015).
What they compute before it is a copy of the block that they follow, which already finds something in such inputs.
"""

import re

import torch

import export
import resnet


def grow(tensors, blocks):
    """The tensors of a network with this many blocks in each stage."""
    plan = resnet.plan_of(tensors)
    if len(blocks) != len(plan.stages) or any(new < old for new, old in zip(blocks, plan.blocks)):
        raise resnet.BadWeights(f"a network of {plan.blocks} blocks does not grow to {list(blocks)}")
    grown = {name: value for name, value in tensors.items() if not name.startswith("layer")}
    for number, (old, new) in enumerate(zip(plan.blocks, blocks), 1):
        for place, (source, added) in enumerate(spread(old, new)):
            if added and source == 0:
                source = _second(tensors, number, old)
            for name, value in _block(tensors, f"layer{number}.{source}").items():
                silenced = added and re.fullmatch(f"{_last(tensors, number)}\\.(weight|bias)", name)
                grown[f"layer{number}.{place}.{name}"] = torch.zeros_like(value) if silenced else value.clone()
    return grown


def spread(old, new):
    """For each of `new` places, which of `old` blocks is there, and whether it is one that was added after it."""
    places = []
    for block in range(old):
        copies = new * (block + 1) // old - new * block // old
        places += [(block, False)] + [(block, True)] * (copies - 1)
    return places


def old_blocks(old, new):
    """The names, in the grown network, of the blocks that are not new."""
    return [
        f"layer{number}.{place}"
        for number, counts in enumerate(zip(old, new), 1)
        for place, (_, added) in enumerate(spread(*counts))
        if not added
    ]


def _block(tensors, prefix):
    return {name[len(prefix) + 1 :]: value for name, value in tensors.items() if name.startswith(prefix + ".")}


def _last(tensors, number):
    return "bn3" if f"layer{number}.0.conv3.weight" in tensors else "bn2"


def _second(tensors, number, old):
    """The first block of a stage changes the shape and cannot be repeated."""
    if f"layer{number}.0.downsample.0.weight" not in tensors:
        return 0
    if old == 1:
        raise resnet.BadWeights(f"layer{number} has one block, which changes the shape: there is none to repeat")
    return 1


def run(args):
    blocks = resnet.BLOCKS.get(args.to) or [int(part) for part in args.to.split(",")]
    tensors, texts = resnet.read(args.weights)
    network = resnet.build(grow(tensors, blocks))
    about = export.described(texts) | {"arch": network.plan.name}
    export.write(args.out, network.state_dict(), about)
    print(f"{args.out}: {about['arch']}, says what {args.weights} says")
    print("blocks that were there before: " + ",".join(old_blocks(resnet.plan_of(tensors).blocks, blocks)))
