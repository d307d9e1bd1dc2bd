"""Sound as it comes: chunks from a source to windows of features, equal to those of the whole recording."""

from mstedge.runtime.stream.sound_stream import SoundStream, StreamCounts
from mstedge.runtime.stream.sound_types import SoundChunk, SoundSource
from mstedge.runtime.stream.windows import Window, each_window_of, windows_of

__all__ = ["SoundChunk", "SoundSource", "SoundStream", "StreamCounts", "Window", "each_window_of", "windows_of"]
