"""A microphone through the package sounddevice (PortAudio)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mstedge.errors import MachineError, MissingPackageError, first_line
from mstedge.runtime.sensors.newest import Newest
from mstedge.runtime.sensors.source_names import MicrophoneName
from mstedge.runtime.stream.sound_types import SoundChunk

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from typing_extensions import Self

_BLOCKS_PER_SECOND = 50
_HELD_SECONDS = 2.0
# A microphone that is there gives a block every 20 ms, also of silence.
_PATIENCE_S = 5.0


class _Block(NamedTuple):
    content: bytes
    start: int
    samples: int


class Microphone:
    """A microphone that records from the moment it is made.

    PortAudio's own thread puts blocks into a queue; where the reader is late the oldest are lost, and counted.

    Args:
        device: Its number, a part of its name, or none for the system's own choice.
        rate_hz: Sample rate; none for the device's own.
        channels: Channels.
        block_samples: Samples of each channel in one chunk; none for 20 ms.

    Attributes:
        overflows: How often PortAudio or the driver lost sound before it came here.

    Raises:
        MissingPackageError: sounddevice is not installed.
        MachineError: PortAudio or such a device is missing, or the device does not have that rate or those channels.
    """

    live = True

    def __init__(
        self,
        device: int | str | None = None,
        *,
        rate_hz: int | None = None,
        channels: int = 1,
        block_samples: int | None = None,
    ) -> None:
        self._name = str(MicrophoneName(device))
        sounddevice = import_sounddevice()
        found = _found_device(sounddevice, device, self._name)
        self.rate_hz = round(found["default_samplerate"]) if rate_hz is None else rate_hz
        self.channels, self.lost_samples, self.overflows = channels, 0, 0
        block = max(1, self.rate_hz // _BLOCKS_PER_SECOND) if block_samples is None else block_samples
        self._blocks: Newest[_Block] = Newest(max(1, round(_HELD_SECONDS * self.rate_hz / block)))
        self._counter = 0
        self._next_adc_s: float | None = None
        self._stream = self._started(sounddevice, found, block)

    def chunks(self) -> Iterator[SoundChunk]:
        """Give the sound as it comes, until the source is closed.

        Raises:
            MachineError: The microphone stopped, or gives nothing any more.
        """
        while True:
            try:
                block = self._blocks.take(_PATIENCE_S)
            except TimeoutError:
                raise MachineError(
                    f"{self._name} gave no sound for {_PATIENCE_S:g} s", hint="was it unplugged?"
                ) from None
            if block is None:
                return
            samples = np.frombuffer(block.content, dtype=np.float32).reshape(-1, self.channels)
            yield SoundChunk(samples, self.rate_hz, block.start)

    def close(self) -> None:
        """Let go of the device; what a late reader has not taken yet is still handed out."""
        self._blocks.end()
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close(ignore_errors=True)

    def _started(self, sounddevice: Any, found: Any, block_samples: int) -> Any:
        if self.channels > found["max_input_channels"]:
            raise MachineError(
                f"{self._name} ({found['name']}) has {found['max_input_channels']} channels: {self.channels} were asked"
            )
        stream = None
        try:
            # Floats: 16-bit samples come as k / 32768, and devices with more bits keep them.
            stream = sounddevice.RawInputStream(
                samplerate=self.rate_hz,
                blocksize=block_samples,
                device=found["index"],
                channels=self.channels,
                dtype="float32",
                callback=self._receive,
                finished_callback=self._stopped,
            )
            stream.start()
        except sounddevice.PortAudioError as problem:
            if stream is not None:
                stream.close(ignore_errors=True)
            raise MachineError(
                f"{self._name} ({found['name']}) cannot record {self.channels} channel(s) at {self.rate_hz} Hz: "
                f"{first_line(problem)}",
                hint=f"its own rate is {found['default_samplerate']:g} Hz; is another program recording?",
            ) from None
        return stream

    def _receive(self, content: Any, samples: int, times: Any, flags: Any) -> None:
        """Take a block from PortAudio's thread: nothing here may take long or fail."""
        if flags.input_overflow:
            self._count_overflow(samples, times.inputBufferAdcTime)
        self._next_adc_s = times.inputBufferAdcTime + samples / self.rate_hz
        displaced = self._blocks.put(_Block(bytes(content), self._counter, samples))
        self._counter += samples
        self.lost_samples += 0 if displaced is None else displaced.samples

    def _count_overflow(self, samples: int, adc_s: float) -> None:
        """Move the counter past lost sound: as far as the device's clock says, one block where it does not tell."""
        self.overflows += 1
        if self._next_adc_s is None:  # nothing was there before the first block
            return
        lost = round((adc_s - self._next_adc_s) * self.rate_hz)
        lost = lost if lost > 0 else samples
        self._counter += lost
        self.lost_samples += lost

    def _stopped(self) -> None:
        self._blocks.end(MachineError(f"{self._name} stopped recording", hint="was it unplugged?"))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def import_sounddevice() -> Any:
    """Give the module sounddevice.

    Raises:
        MissingPackageError: It is not installed.
        MachineError: PortAudio, the library below it, is not there.
    """
    try:
        import sounddevice  # noqa: PLC0415  it starts PortAudio
    except ImportError:
        raise MissingPackageError("sounddevice", purpose="a microphone", extra="audio") from None
    except OSError as problem:
        raise MachineError(
            f"a microphone needs PortAudio's library: {first_line(problem)}", hint="sudo apt install libportaudio2"
        ) from None
    return sounddevice


def _found_device(sounddevice: Any, device: int | str | None, name: str) -> Any:
    """Look the device up, as a dictionary; whoever asks for another is told which there are."""
    try:
        found = sounddevice.query_devices(device, "input")
        if found["max_input_channels"] < 1:
            raise ValueError(f"{found['name']} gives no sound")  # noqa: TRY301  said as the others are
    except (ValueError, sounddevice.PortAudioError) as problem:
        inputs = [
            f"{each['index']} {each['name']!r}" for each in sounddevice.query_devices() if each["max_input_channels"]
        ]
        known = "there are: " + ", ".join(inputs) if inputs else "this machine has no microphone that PortAudio sees"
        raise MachineError(f"{name} cannot be used: {first_line(problem)}", hint=known) from None
    return found
