"""The front end: from files and arrays to what the network sees, the same in training and on the device."""

from mstedge.runtime.preprocess.arrays import decoded_from_array
from mstedge.runtime.preprocess.decoded import Decoded, digest_of_decoded
from mstedge.runtime.preprocess.features import features_from_decoded, scaled
from mstedge.runtime.preprocess.files import READABLE_SUFFIXES, decode_file

__all__ = [
    "READABLE_SUFFIXES",
    "Decoded",
    "decode_file",
    "decoded_from_array",
    "digest_of_decoded",
    "features_from_decoded",
    "scaled",
]
