"""Protocol Buffers' wire format: as much of it as the Open Inference Protocol needs.

A library would make objects of all that a client sends before anything can be checked: 16 MiB of empty
tensors become 700 MiB, in two seconds in which no other thread runs. Here values stay where they arrived,
their number is bounded, and elements are read once it is known how many there must be.

Whatever is wrong is a ValueError whose message is for the sender.
"""

from collections.abc import Mapping, Sequence

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5  # the kinds of values, as the format numbers them
SIZES = {FIXED64: 8, FIXED32: 4}
MAX_VARINT = 10  # bytes
MAX_SHAPE = 64 * MAX_VARINT  # bytes; no model has tensors of more axes


class Reader:
    """Reads messages, one inside another, up to a number of fields in all."""

    def __init__(self, most: int) -> None:
        self._left = most

    def read(self, data: memoryview, kinds: Mapping[int, Sequence[int]]) -> dict[int, list[memoryview]]:
        """Return the values of fields by number; those of other numbers or kinds are passed over."""
        found: dict[int, list[memoryview]] = {}
        at, end = 0, len(data)
        while at < end:
            self._left -= 1
            if self._left < 0:
                raise ValueError("the message has too many fields")
            key, at = read_varint(data, at)
            number, kind = key >> 3, key & 7
            if kind == LENGTH:
                size, at = read_varint(data, at)
            elif kind == VARINT:
                size = read_varint(data, at)[1] - at
            elif kind in SIZES:
                size = SIZES[kind]
            else:
                raise ValueError(f"the message has a field of the unknown kind {kind}")
            if size > end - at:
                raise ValueError("the message ends within a field")
            if kind in kinds.get(number, ()):
                found.setdefault(number, []).append(data[at : at + size])
            at += size
        return found


def read_varint(data: memoryview, at: int) -> tuple[int, int]:
    """Return the number there, and where it ends."""
    value = 0
    for index, byte in enumerate(data[at : at + MAX_VARINT]):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, at + index + 1
    raise ValueError("the message holds a number without an end")


def read_text(fields: Mapping[int, Sequence[memoryview]], number: int) -> str:
    """Return a text; the last one counts, and none is an empty one."""
    try:
        return str(fields[number][-1], "utf-8") if number in fields else ""
    except UnicodeDecodeError as error:
        raise ValueError("the message holds a text that is not UTF-8") from error


def read_shape(parts: Sequence[memoryview]) -> list[int]:
    """Return the sizes of a tensor, which a client may have made negative."""
    data = memoryview(b"".join(parts))
    if len(data) > MAX_SHAPE:
        raise ValueError("a shape has too many sizes")
    sizes, at = [], 0
    while at < len(data):
        size, at = read_varint(data, at)
        size &= 2**64 - 1
        sizes.append(size - (size >> 63 << 64))
    return sizes


def write_varint(value: int) -> bytes:
    """Return a number, which must not be negative."""
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def write_field(number: int, payload: bytes) -> bytes:
    """Return a field of bytes, a text, a message or packed numbers."""
    return b"".join((write_varint(number << 3 | LENGTH), write_varint(len(payload)), payload))


def write_number(number: int, value: int) -> bytes:
    """Return a field of a number that is not negative, or of a truth value."""
    return write_varint(number << 3 | VARINT) + write_varint(value)


def write_shape(number: int, sizes: Sequence[int]) -> bytes:
    """Return a field of sizes; a negative one is for any."""
    return write_field(number, b"".join(write_varint(size & (2**64 - 1)) for size in sizes))
