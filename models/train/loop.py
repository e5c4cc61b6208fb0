"""The training loop: steps, the average of weights, checkpoints, a line of progress. Knows nothing of data sets, files
of weights or teachers."""

import signal
import time

import torch

import checkpoint
from average import Average
from evaluate import evaluate
from progress import Line, span

SAVE_EVERY = 600  # seconds between checkpoints
WATCHED = 512  # validation pictures after each epoch; the last figures are of all
MOMENTUM = 0.9
FADE = 0.98  # per step, of the loss and accuracy that are shown


class Training:
    """`run()` goes from where `state` left off to the end of the schedule, or until asked to stop."""

    def __init__(self, network, objective, crops, schedule, machine, about, *, folder=None, settings=None, decay=1e-4):
        self.network, self.objective = machine.place(network), machine.place(objective)
        self.crops, self.schedule, self.machine, self.about = crops, schedule, machine, about
        self.folder, self.settings = folder, settings or {}
        self.average = Average(network)
        self.optimizer = torch.optim.SGD(self._groups(decay), lr=0.1, momentum=MOMENTUM, nesterov=True)
        self.step, self.before, self.stopped = 0, 0.0, False
        self.loss = self.accuracy = None
        self.watch = []
        self.line = Line()

    def _groups(self, decay):
        """No decay on biases and batch normalization (He et al., "Bag of Tricks", 2018)."""
        found = [p for module in (self.network, self.objective) for p in module.parameters() if p.requires_grad]
        return [
            {"params": [p for p in found if p.ndim > 1], "weight_decay": decay},
            {"params": [p for p in found if p.ndim <= 1], "weight_decay": 0.0},
        ]

    def state(self):
        return {
            "step": self.step, "seconds": self.seconds(), "settings": self.settings, "about": self.about,
            "network": self.network.state_dict(), "objective": self.objective.state_dict(),
            "optimizer": self.optimizer.state_dict(), "average": self.average.state_dict(),
            "shown": [self.loss, self.accuracy], "watch": self.watch,
        }

    def load(self, state):
        self.network.load_state_dict(state["network"])
        self.objective.load_state_dict(state["objective"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.average.load_state_dict(state["average"])
        self.step, self.before = state["step"], state["seconds"]
        (self.loss, self.accuracy), self.watch = state["shown"], state["watch"]

    def seconds(self):
        """Of all sittings together."""
        return self.before + time.monotonic() - self.began

    def progress(self, step):
        return self.schedule.progress(step, self.seconds())

    def stop(self, *_):
        self.stopped = True

    def run(self, watch=None, until=None):
        """`watch` is (pictures, places) to look at after each epoch; `until` a step to stop after. True at the end."""
        self.began = saved = time.monotonic()
        handlers = {number: signal.signal(number, self.stop) for number in (signal.SIGINT, signal.SIGTERM)}
        stream = self.crops.stream(self.step, lambda step: self.schedule.size(self.progress(step)), self.objective.teacher_size)
        work = 0.0
        try:
            while not self.stopped and (progress := self.progress(self.step)) < 1 and self.step != until:
                size, batch = next(stream)
                self._step(batch, self.schedule.rate(progress))
                work += size * size
                self._show(size, work)
                if watch and self.step % self.crops.steps == 0:
                    self._watch(*watch)
                if self.folder and time.monotonic() - saved > SAVE_EVERY:
                    checkpoint.write(self.folder, self.state())
                    saved = time.monotonic()
        finally:
            stream.close()
            for number, handler in handlers.items():
                signal.signal(number, handler)
        if self.folder:
            checkpoint.write(self.folder, self.state())
        self.line.clear()
        self.before = self.seconds()
        return self.schedule.progress(self.step, self.before) >= 1

    def _step(self, batch, rate):
        self.network.train()
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        loss, right = self.objective(self.network, batch, self.machine)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.average.update(self.network)
        self.step += 1
        loss, right = loss.item(), right.item() / len(batch.labels)
        if loss != loss:
            raise checkpoint.BadRun(f"the loss is no number after step {self.step}: take a smaller --lr")
        if self.loss is None:
            self.loss, self.accuracy = loss, right
        self.loss += (1 - FADE) * (loss - self.loss)
        self.accuracy += (1 - FADE) * (right - self.accuracy)

    def _show(self, size, work):
        passed = time.monotonic() - self.began
        if self.schedule.seconds:
            left = max(0.0, self.schedule.seconds - self.seconds())
        else:
            left = passed / work * self.schedule.work(self.progress(self.step))
        epoch = self.step / self.crops.steps
        of = f"/{self.schedule.steps / self.crops.steps:.0f}" if self.schedule.steps else ""
        self.line.show(
            f"epoch {epoch:.1f}{of}  {size} px  loss {self.loss:.3f}  right {self.accuracy:.1%}  "
            f"{span(self.seconds())} passed, {span(left)} left"
        )

    def _watch(self, pictures, places):
        places = places[:: max(1, -(-len(places) // WATCHED))]
        network = averaged(self.network, self.average)
        found = evaluate(network, pictures, places, self.about, self.machine)
        epoch = self.step // self.crops.steps
        shown = {"loss": self.loss, "train": self.accuracy, "top1": found["top1"]}
        self.watch.append({"epoch": epoch, "seconds": round(self.seconds()), **{key: round(value, 4) for key, value in shown.items()}})
        self.line.keep(
            f"epoch {epoch}: loss {self.loss:.3f}, right {self.accuracy:.1%} of crops, average of weights "
            f"{found['top1']:.1%} of {len(places)} validation pictures, {span(self.seconds())}"
        )


def averaged(network, average):
    """A network of the average's weights."""
    found = type(network)(network.plan).to(next(network.parameters()).device, memory_format=torch.channels_last)
    found.load_state_dict(average.tensors)
    return found
