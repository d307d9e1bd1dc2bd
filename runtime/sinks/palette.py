"""The colours of classes in a mask: fixed, so that two masks can be compared."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

MAX_CLASSES = 256

# Okabe and Ito, "Color Universal Design" (2008), also Wong, Nature Methods 8, 441 (2011): told apart by people of every
# common kind of colour vision. Black comes first, for the background.
_OKABE_ITO = (
    (0, 0, 0),
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)
_LEVELS = (0, 32, 64, 96, 128, 160, 192, 224, 255)


def class_colours(classes: int) -> NDArray[np.uint8]:
    """Give every class a colour of its own.

    The first eight are for every kind of colour vision; with more classes no set of colours is. Each further one is the
    colour, of nine levels per channel, that is farthest from all before it. A class has the same colour however many
    there are.

    Args:
        classes: Number of classes, up to 256.

    Returns:
        uint8 [classes, 3], red first.
    """
    chosen = list(_OKABE_ITO[:classes])
    candidates = np.array(list(itertools.product(_LEVELS, repeat=3)), dtype=np.int64)
    distances = np.full(len(candidates), np.iinfo(np.int64).max)
    for number in range(classes):
        if number >= len(chosen):
            red, green, blue = candidates[int(distances.argmax())].tolist()
            chosen.append((red, green, blue))
        distances = np.minimum(distances, np.square(candidates - np.array(chosen[number])).sum(axis=1))
    return np.array(chosen, dtype=np.uint8).reshape(-1, 3)
