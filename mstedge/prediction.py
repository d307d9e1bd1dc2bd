"""The answer to one input, as the user's code and the sinks receive it."""

from __future__ import annotations

from typing import Literal

from mstedge.schema import Record


class StageTimes(Record, frozen=True, kw_only=True):
    """Where the time of one answer went, in milliseconds.

    Attributes:
        decode_ms: From the file's bytes to samples or pixels; 0 for an array.
        features_ms: The front end.
        engine_ms: The network.
        after_ms: From logits to the answer.
    """

    decode_ms: float
    features_ms: float
    engine_ms: float
    after_ms: float

    @property
    def total_ms(self) -> float:
        """All stages together."""
        return self.decode_ms + self.features_ms + self.engine_ms + self.after_ms


class Prediction(Record, frozen=True, kw_only=True):
    """One answer.

    Attributes:
        schema: Version of this format.
        source: The file, or `array`.
        label: The answer in words; the manifest's `unknown` where no class reaches the threshold.
        index: Position of the most probable class, also where the label is `unknown`.
        probability: Its probability.
        probabilities: One per class, in the order of the labels.
        start_seconds: Where the answered clip starts in the source; none for images and arrays.
        end_seconds: Where it ends.
        times: Where the time went.
    """

    schema: Literal["mstedge.prediction/1"] = "mstedge.prediction/1"
    source: str
    label: str
    index: int
    probability: float
    probabilities: tuple[float, ...]
    times: StageTimes
    start_seconds: float | None = None
    end_seconds: float | None = None
