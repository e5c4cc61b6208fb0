"""An exponential moving average of a network's weights and batch statistics, which is what a training leaves behind: it
is better than the last step's weights, the more so the shorter the training."""

import torch

HORIZON = 200  # steps


class Average:
    def __init__(self, network, horizon=HORIZON):
        self.horizon, self.count = horizon, 0
        self.tensors = {name: value.detach().clone() for name, value in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network):
        """After the n-th step what lies n/9 steps back still counts, up to the horizon."""
        self.count += 1
        share = max(1 / self.horizon, 9 / (10 + self.count))
        for name, value in network.state_dict().items():
            mine = self.tensors[name]
            mine.lerp_(value, share) if value.is_floating_point() else mine.copy_(value)

    def state_dict(self):
        return {"count": self.count, "tensors": self.tensors}

    def load_state_dict(self, state):
        self.count = state["count"]
        for name, value in state["tensors"].items():
            self.tensors[name].copy_(value)
