"""One line on standard error that says how far long work is: rewritten on a terminal, now and then elsewhere."""

import sys
import time

QUIET = 30  # seconds between lines where there is no terminal


def span(seconds):
    """`2 h 05 min`, `3 min 20 s` or `12 s`."""
    seconds = round(seconds)
    if seconds >= 3600:
        return f"{seconds // 3600} h {seconds % 3600 // 60:02} min"
    return f"{seconds // 60} min {seconds % 60:02} s" if seconds >= 60 else f"{seconds} s"


class Line:
    """Shows texts that follow each other."""

    def __init__(self, out=sys.stderr):
        self.out, self.terminal = out, out.isatty()
        self.shown = time.monotonic() - (0 if not self.terminal else QUIET)

    def show(self, text):
        now = time.monotonic()
        if now - self.shown >= (0.1 if self.terminal else QUIET):
            self.shown = now
            self.out.write(f"\r\x1b[K{text}" if self.terminal else f"{text}\n")
            self.out.flush()

    def keep(self, text):
        """A text that stays."""
        self.out.write(f"\r\x1b[K{text}\n" if self.terminal else f"{text}\n")
        self.out.flush()

    def clear(self):
        if self.terminal:
            self.out.write("\r\x1b[K")
            self.out.flush()


class Bar:
    """Counts steps of which the number is known."""

    def __init__(self, what, count):
        self.what, self.count, self.passed = what, count, 0
        self.line, self.began = Line(), time.monotonic()

    def step(self, steps=1):
        self.passed += steps
        left = (time.monotonic() - self.began) / self.passed * (self.count - self.passed)
        self.line.show(f"{self.what}: {self.passed}/{self.count}, {span(left)} left")

    def done(self):
        self.line.clear()
