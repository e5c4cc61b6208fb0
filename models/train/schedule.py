"""What each step of a training is like: the size of its pictures and its learning rate, from how far the training is.

How far it is, is counted in steps, or in time where a budget of minutes was given: the last steps then are as small as
they must be, however fast the machine turned out to be.
"""

import math
from dataclasses import dataclass

WARM_UP = 0.03  # of the training: the learning rate rises from FIRST
FIRST, LAST = 0.05, 0.001  # of the highest learning rate


def sizes(text):
    """`128:0.6,160:0.4` as [(128, 0.6), (160, 1.0)]: each size with the share of the training after which it ends."""
    parts = [part.split(":") for part in text.split(",")]
    try:
        found = [(int(part[0]), float(part[1]) if len(part) > 1 else 1.0) for part in parts]
    except (ValueError, IndexError) as error:
        raise ValueError(f"{text!r} is not like 128:0.6,160:0.4") from error
    if any(size < 32 or size > 1024 or not 0 < share < math.inf for size, share in found):
        raise ValueError(f"{text!r}: sizes are 32 to 1024 pixels, shares above 0")
    total, end, ends = sum(share for _, share in found), 0.0, []
    for size, share in found:
        end += share
        ends.append((size, end / total))
    return ends


@dataclass
class Schedule:
    """Either `steps` or `seconds` is the length."""

    ends: list[tuple[int, float]]
    peak: float
    steps: int | None = None
    seconds: float | None = None

    def progress(self, step, seconds):
        """From 0 to 1."""
        return min(1.0, seconds / self.seconds if self.seconds else step / self.steps)

    def size(self, progress):
        return next((size for size, end in self.ends if progress < end), self.ends[-1][0])

    def rate(self, progress):
        """A short rise, then a cosine (Loshchilov and Hutter, "SGDR", 2016)."""
        if progress < WARM_UP:
            return self.peak * (FIRST + (1 - FIRST) * progress / WARM_UP)
        turn = (progress - WARM_UP) / (1 - WARM_UP)
        return self.peak * (LAST + (1 - LAST) * (1 + math.cos(math.pi * turn)) / 2)

    def work(self, progress):
        """The work from there to the end, if a step with pictures of one pixel were 1; a step costs as its pixels do."""
        begins = [0.0] + [end for _, end in self.ends]
        return (self.steps or 1) * sum(
            size * size * max(0.0, end - max(begin, progress)) for begin, (size, end) in zip(begins, self.ends)
        )
