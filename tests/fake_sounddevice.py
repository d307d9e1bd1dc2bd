"""A fake of the package sounddevice: as much of it as the product uses, as version 0.5 behaves."""

from __future__ import annotations

from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np


class PortAudioError(Exception):
    """As sounddevice's own."""


class FakeSounddevice(ModuleType):
    """Stands in `sys.modules`; a test plays sound through the stream that was opened last."""

    PortAudioError = PortAudioError

    def __init__(self, devices: list[dict[str, Any]] | None = None) -> None:
        super().__init__("sounddevice")
        usual = [
            {"name": "HDA speaker", "max_input_channels": 0, "default_samplerate": 44100.0},
            {"name": "USB Audio", "max_input_channels": 2, "default_samplerate": 48000.0},
        ]
        listed = usual if devices is None else devices
        self.devices = [{**each, "index": index} for index, each in enumerate(listed)]
        self.rates = {16000, 48000}
        self.streams: list[FakeStream] = []
        self.RawInputStream = lambda **options: FakeStream(self, options)

    def query_devices(self, device: int | str | None = None, kind: str | None = None) -> Any:
        if device is None and kind is None:
            return self.devices
        inputs = [each for each in self.devices if each["max_input_channels"]]
        if isinstance(device, str):
            inputs = [each for each in inputs if device.lower() in each["name"].lower()]
            if not inputs:
                raise ValueError(f"No input device matching {device!r}")
        elif device is not None:
            inputs = [each for each in self.devices if each["index"] == device]
        if not inputs:
            raise PortAudioError(f"Error querying device {-1 if device is None else device}")
        return inputs[0]


class FakeStream:
    """An open input stream."""

    def __init__(self, module: FakeSounddevice, options: dict[str, Any]) -> None:
        if options["samplerate"] not in module.rates:
            raise PortAudioError("Error opening RawInputStream: Invalid sample rate [PaErrorCode -9997]")
        self.options, self.state = options, "open"
        self.seconds = 100.0  # the clock of the device
        module.streams.append(self)

    def start(self) -> None:
        self.state = "started"

    def close(self, ignore_errors: bool = True) -> None:  # noqa: FBT001, FBT002, ARG002  as the real one
        self.state = "closed"
        self.options["finished_callback"]()

    def play(self, samples: Any, *, overflow: bool = False, clock_tells: bool = True) -> None:
        """Call back as PortAudio does: the memory is used again afterwards."""
        content = bytearray(np.ascontiguousarray(samples, dtype=np.float32).tobytes())
        times = SimpleNamespace(inputBufferAdcTime=self.seconds if clock_tells else 0.0)
        flags = SimpleNamespace(input_overflow=overflow)
        self.options["callback"](memoryview(content), len(samples), times, flags)
        content[:] = bytes(len(content))
        self.seconds += len(samples) / self.options["samplerate"]
