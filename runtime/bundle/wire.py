"""A small strict reader of protocol buffers: it knows every field it accepts and refuses all others.

Engines merge repeated parts, skip unknown fields and accept odd encodings. A reader that judges a file for them must
not see another file than they do, so whatever a plain serialiser would not write is an error here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from mstedge.errors import BundleError

MAX_FIELDS = 500_000
MAX_MESSAGE_DEPTH = 20
MAX_TEXT_BYTES = 4096

Message: TypeAlias = "dict[str, list[Any]]"
Convert: TypeAlias = "Callable[[Any], Any]"
VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True, slots=True)
class Field:
    """What may stand under one field number of a message.

    Attributes:
        name: Its name.
        readers: How a value becomes one of ours, by wire type; none at all refuses the field.
        message: Kind of message that it holds, instead of a plain value.
        many: Whether it may stand more than once.
    """

    name: str
    readers: Mapping[int, Convert]
    message: str | None = None
    many: bool = False


Grammar: TypeAlias = Mapping[str, Mapping[int, Field]]


@dataclass(slots=True)
class Parser:
    """One pass over one file.

    Attributes:
        grammar: Fields by message kind and number.
        fields_left: Fields that may still be read, in all messages together.
    """

    grammar: Grammar
    fields_left: int = MAX_FIELDS

    def parse(self, data: memoryview, kind: str, depth: int = 0) -> Message:
        """Read a message and all that it holds.

        Args:
            data: Its bytes, nothing before or after.
            kind: Its kind in the grammar.
            depth: Messages around it.

        Returns:
            Values by field name, each as the list of its occurrences; bytes stay views into `data`.

        Raises:
            BundleError: The bytes are no such message, or break a limit.
        """
        if depth > MAX_MESSAGE_DEPTH:
            raise BundleError(f"messages are nested deeper than {MAX_MESSAGE_DEPTH} levels")
        message: Message = {}
        fields = self.grammar[kind]
        position = 0
        while position < len(data):
            tag, position = read_varint(data, position)
            field = _known(fields, kind, tag >> 3)
            value, position = _read_value(data, position, tag & 7)
            self._spend()
            if field.message is not None and tag & 7 == LENGTH:
                value = self.parse(value, field.message, depth + 1)
            else:
                value = _converted(field, kind, tag & 7, value)
            values = message.setdefault(field.name, [])
            if values and not field.many:
                raise BundleError(f"{kind}.{field.name} stands twice")
            values.append(value)
        return message

    def _spend(self) -> None:
        self.fields_left -= 1
        if self.fields_left < 0:
            raise BundleError(f"has more than {MAX_FIELDS} fields")


def read_varint(data: memoryview, position: int) -> tuple[int, int]:
    """Read a variable-length integer below 2**64.

    Args:
        data: The bytes.
        position: Where it starts.

    Returns:
        The value and the position behind it.

    Raises:
        BundleError: It is cut off, or longer than 64 bits.
    """
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(data):
            raise BundleError("is cut off inside a number")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
    else:
        raise BundleError("holds a number of more than ten bytes")
    if value >> 64:
        raise BundleError("holds a number of more than 64 bits")
    return value, position


def text(view: memoryview) -> str:
    """Decode a short UTF-8 string.

    Raises:
        BundleError: It is too long or not UTF-8.
    """
    if len(view) > MAX_TEXT_BYTES:
        raise BundleError(f"holds a name of {len(view)} bytes: expected at most {MAX_TEXT_BYTES}")
    try:
        return str(view, "utf-8")
    except UnicodeDecodeError:
        raise BundleError(f"holds a name that is not UTF-8: {bytes(view[:40])!r}") from None


def count_packed_varints(view: memoryview) -> int:
    """Count packed variable-length integers: each ends with a byte below 128."""
    octets = np.frombuffer(view, dtype=np.uint8)
    if octets.size and octets[-1] >= 0x80:
        raise BundleError("is cut off inside packed numbers")
    return int(np.count_nonzero(octets < 0x80))


def count_packed(width_bytes: int) -> Convert:
    """Make a reader that counts packed numbers of a fixed width."""

    def count(view: memoryview) -> int:
        if len(view) % width_bytes:
            raise BundleError(f"holds {len(view)} bytes of packed numbers of {width_bytes} bytes each")
        return len(view) // width_bytes

    return count


def _known(fields: Mapping[int, Field], kind: str, number: int) -> Field:
    field = fields.get(number)
    if field is None:
        raise BundleError(f"{kind} has the unknown field {number}")
    return field


def _converted(field: Field, kind: str, wire_type: int, value: Any) -> Any:
    if field.message is None and not field.readers:
        raise BundleError(
            f"uses {kind}.{field.name}, which a bundle may not carry",
            hint="export the model as one file of standard operators, functions inlined, nothing sparse",
        )
    reader = field.readers.get(wire_type)
    if reader is None:
        raise BundleError(f"{kind}.{field.name} has wire type {wire_type}")
    return reader(value)


def _read_value(data: memoryview, position: int, wire_type: int) -> tuple[Any, int]:
    if wire_type == VARINT:
        return read_varint(data, position)
    if wire_type == LENGTH:
        length, position = read_varint(data, position)
    elif wire_type in {FIXED64, FIXED32}:
        length = 8 if wire_type == FIXED64 else 4
    else:
        raise BundleError(f"has a field of wire type {wire_type}")
    if length > len(data) - position:
        raise BundleError(f"is cut off: {length} bytes are announced and {len(data) - position} are left")
    return data[position : position + length], position + length
