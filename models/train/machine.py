"""Where and in which precision to compute."""

import contextlib
from pathlib import Path

import torch


class Machine:
    def __init__(self, device="auto", precision="auto"):
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        self.device = torch.device(device)
        self.precision = ("bf16" if self._has_bf16() else "f32") if precision == "auto" else precision
        if self.device.type == "cuda":
            torch.backends.cudnn.benchmark = True
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True

    def _has_bf16(self):
        """Without instructions for it bf16 is slower than f32."""
        if self.device.type == "cuda":
            return torch.cuda.is_bf16_supported()
        try:
            flags = set(Path("/proc/cpuinfo").read_text().split())
        except OSError:
            return False
        return bool(flags & {"avx512_bf16", "amx_bf16", "bf16"})

    def autocast(self):
        if self.precision == "bf16":
            return torch.autocast(self.device.type, torch.bfloat16)
        return contextlib.nullcontext()

    def place(self, module):
        return module.to(self.device, memory_format=torch.channels_last)

    def __str__(self):
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else f"{torch.get_num_threads()} threads"
        return f"{self.device.type} ({name}), {self.precision}"
