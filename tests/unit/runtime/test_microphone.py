"""A microphone through a fake sounddevice: what arrives, what is lost, and what is said where there is none."""

from __future__ import annotations

import sys
import threading
from typing import Any

import numpy as np
import pytest
from fake_sounddevice import FakeSounddevice

from mstedge.errors import MachineError, MissingPackageError
from mstedge.runtime.sensors import microphone
from mstedge.runtime.sensors.microphone import Microphone


@pytest.fixture
def sounddevice(monkeypatch: pytest.MonkeyPatch) -> FakeSounddevice:
    fake = FakeSounddevice()
    monkeypatch.setitem(sys.modules, "sounddevice", fake)
    return fake


def ramp(start: int, samples: int = 320, channels: int = 1) -> Any:
    return np.repeat(np.arange(start, start + samples)[:, np.newaxis], channels, axis=1) / np.float32(65536)


def test_blocks_come_in_order_with_their_place_on_the_counter(sounddevice: FakeSounddevice) -> None:
    with Microphone(rate_hz=16000, channels=2) as source:
        stream = sounddevice.streams[0]
        assert stream.options["blocksize"] == 320
        for number in range(3):
            stream.play(ramp(320 * number, channels=2))
        source.close()
        chunks = list(source.chunks())
    assert [chunk.start for chunk in chunks] == [0, 320, 640]
    assert {(chunk.rate_hz, chunk.samples.dtype.name) for chunk in chunks} == {(16000, "float32")}
    assert np.array_equal(np.concatenate([chunk.samples for chunk in chunks]), ramp(0, 960, 2))
    assert (source.live, source.lost_samples, source.overflows) == (True, 0, 0)


def test_the_device_decides_the_rate_where_none_is_asked(sounddevice: FakeSounddevice) -> None:
    with Microphone("usb", block_samples=100) as source:
        assert source.rate_hz == 48000
        assert sounddevice.streams[0].options["device"] == 1
        assert sounddevice.streams[0].options["blocksize"] == 100


def test_a_late_reader_gets_the_newest_two_seconds_and_the_rest_is_counted(sounddevice: FakeSounddevice) -> None:
    with Microphone(rate_hz=16000) as source:
        for number in range(130):
            sounddevice.streams[0].play(ramp(320 * number))
        source.close()
        chunks = list(source.chunks())
    assert source.lost_samples == 30 * 320
    assert [chunk.start for chunk in chunks] == list(range(30 * 320, 130 * 320, 320))
    assert np.array_equal(chunks[0].samples, ramp(30 * 320))


@pytest.mark.parametrize(("clock_tells", "lost"), [(True, 4000), (False, 320)])
def test_an_overflow_moves_the_counter(sounddevice: FakeSounddevice, clock_tells: bool, lost: int) -> None:  # noqa: FBT001
    with Microphone(rate_hz=16000) as source:
        stream = sounddevice.streams[0]
        stream.play(ramp(0), clock_tells=clock_tells)
        stream.seconds += 0.25
        stream.play(ramp(4320), overflow=True, clock_tells=clock_tells)
        stream.play(ramp(4640), clock_tells=clock_tells)
        source.close()
        assert [chunk.start for chunk in source.chunks()] == [0, 320 + lost, 640 + lost]
        assert (source.lost_samples, source.overflows) == (lost, 1)


def test_an_overflow_before_the_first_block_loses_nothing(sounddevice: FakeSounddevice) -> None:
    with Microphone(rate_hz=16000) as source:
        sounddevice.streams[0].play(ramp(0), overflow=True)
        source.close()
        assert [chunk.start for chunk in source.chunks()] == [0]
        assert (source.lost_samples, source.overflows) == (0, 1)


def test_close_wakes_a_reader_and_lets_go_of_the_device(sounddevice: FakeSounddevice) -> None:
    source = Microphone(rate_hz=16000)
    found: list[Any] = []
    reader = threading.Thread(target=lambda: found.extend(source.chunks()))
    reader.start()
    sounddevice.streams[0].play(ramp(0))
    source.close()
    source.close()
    reader.join(5)
    assert not reader.is_alive()
    assert len(found) == 1
    assert sounddevice.streams[0].state == "closed"


def test_a_microphone_that_stops_is_an_error_after_its_last_block(sounddevice: FakeSounddevice) -> None:
    with Microphone(1, rate_hz=16000) as source:
        sounddevice.streams[0].play(ramp(0))
        sounddevice.streams[0].options["finished_callback"]()  # PortAudio: the device is gone
        chunks = source.chunks()
        assert len(next(chunks).samples) == 320
        with pytest.raises(MachineError, match="mic:1 stopped recording"):
            next(chunks)


def test_a_microphone_that_says_nothing_is_an_error(
    sounddevice: FakeSounddevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(microphone, "_PATIENCE_S", 0.05)
    with Microphone(rate_hz=16000) as source, pytest.raises(MachineError, match=r"mic: gave no sound for 0\.05 s"):
        next(source.chunks())
    assert sounddevice.streams


@pytest.mark.parametrize(
    ("device", "options", "message", "hint"),
    [
        (7, {}, "mic:7 cannot be used: Error querying device 7", "there are: 1 'USB Audio'"),
        ("lapel", {}, "mic:lapel cannot be used: No input device matching 'lapel'", "there are: 1 'USB Audio'"),
        (0, {}, "mic:0 cannot be used: HDA speaker gives no sound", "there are: 1 'USB Audio'"),
        (None, {"rate_hz": 8000}, "cannot record 1 .* at 8000 Hz: .*Invalid sample rate", "its own rate is 48000 Hz"),
        (None, {"channels": 6}, r"mic: \(USB Audio\) has 2 channels: 6 were asked", None),
    ],
)
@pytest.mark.usefixtures("sounddevice")
def test_what_cannot_be_had_is_said(device: Any, options: dict[str, int], message: str, hint: str | None) -> None:
    with pytest.raises(MachineError, match=message) as caught:
        Microphone(device, **options)
    assert caught.value.exit_code == 3
    assert (hint or "") in (caught.value.hint or "")


def test_a_machine_without_microphones_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", FakeSounddevice([]))
    with pytest.raises(MachineError, match="Error querying device -1") as caught:
        Microphone()
    assert caught.value.hint == "this machine has no microphone that PortAudio sees"


def test_a_missing_package_names_the_line_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(MissingPackageError, match="a microphone needs the package 'sounddevice'") as caught:
        Microphone()
    assert (caught.value.exit_code, caught.value.hint) == (3, "pip install 'mstedge[audio]'")


def test_a_missing_library_names_the_line_to_type(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    # What the real package raises where PortAudio is not installed.
    (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    with pytest.raises(MachineError, match="PortAudio library not found") as caught:
        Microphone()
    assert caught.value.hint == "sudo apt install libportaudio2"
