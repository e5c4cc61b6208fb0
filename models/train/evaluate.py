"""How often a network is right, on pictures prepared as the device does."""

import torch

from crops import normalized
from progress import Bar

BATCH = 32


@torch.no_grad()
def evaluate(network, pictures, places, about, machine, what=None, exact=False):
    """Top-1 and top-5 as fractions; `exact` computes in f32 even where training does not. `what` names the work in a bar."""
    training = network.training
    network.eval()
    first = among = 0
    bar = what and Bar(what, len(places))
    for start in range(0, len(places), BATCH):
        chosen = places[start : start + BATCH]
        crops = torch.stack([torch.from_numpy(pictures[place].copy()) for place in chosen])
        x = normalized(crops, about["mean"], about["std"], machine.device)
        with torch.autocast(machine.device.type, enabled=False) if exact else machine.autocast():
            logits = network(x).float().cpu()
        labels = torch.from_numpy(pictures.labels[chosen]).unsqueeze(1)
        best = logits.topk(min(5, logits.shape[1])).indices == labels
        first += int(best[:, 0].sum())
        among += int(best.any(1).sum())
        if bar:
            bar.step(len(chosen))
    if bar:
        bar.done()
    network.train(training)
    return {"top1": first / len(places), "top5": among / len(places), "images": len(places)}
