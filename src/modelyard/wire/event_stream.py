"""``application/vnd.amazon.eventstream``: messages of headers and a payload, each with two checksums.

A message is, big-endian::

    u32 total length, u32 length of the headers, u32 CRC32 of these eight bytes
    headers: u8 length of the name, name, u8 type, value
    payload
    u32 CRC32 of all before

Limits are botocore's: 128 KiB of headers, 24 MiB of payload. A header's value is one of ten types; what a value's Python
type does not say, ``Short``, ``Timestamp`` and their like do.
"""

import datetime
import struct
import uuid
from binascii import crc32
from collections.abc import Iterator, Mapping

import msgspec

CONTENT_TYPE = "application/vnd.amazon.eventstream"
HEADERS_LIMIT = 128 * 1024
PAYLOAD_LIMIT = 24 << 20
NAME_LIMIT = 255
VALUE_LIMIT = 32_767
_PRELUDE = struct.Struct(">III")
_CRC = struct.Struct(">I")
_SHORT_LENGTH = struct.Struct(">H")
_OVERHEAD = _PRELUDE.size + _CRC.size
_TRUE, _FALSE, _BYTE, _SHORT, _INT, _LONG, _BYTES, _STRING, _TIME, _UUID = range(10)
_INTEGERS = {_BYTE: ">b", _SHORT: ">h", _INT: ">i", _LONG: ">q", _TIME: ">q"}
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_MILLISECOND = datetime.timedelta(milliseconds=1)


class EventStreamError(ValueError):
    """These bytes are no message, or a message has what cannot be written."""


class Byte(int):
    """An integer of 8 bits."""


class Short(int):
    """An integer of 16 bits."""


class Long(int):
    """An integer of 64 bits; a plain ``int`` has 32."""


Value = bool | int | bytes | str | datetime.datetime | uuid.UUID


class Message(msgspec.Struct, frozen=True):
    """One message."""

    headers: Mapping[str, Value]
    payload: bytes


def encode_message(headers: Mapping[str, Value], payload: bytes = b"") -> bytes:
    """Raises ``EventStreamError`` for what is past a limit."""
    lines = b"".join(_encode_header(name, value) for name, value in headers.items())
    if len(lines) > HEADERS_LIMIT:
        raise EventStreamError(f"headers of {len(lines)} bytes, the limit is {HEADERS_LIMIT}")
    if len(payload) > PAYLOAD_LIMIT:
        raise EventStreamError(f"a payload of {len(payload)} bytes, the limit is {PAYLOAD_LIMIT}")
    lengths = struct.pack(">II", _OVERHEAD + len(lines) + len(payload), len(lines))
    head = lengths + _CRC.pack(crc32(lengths)) + lines
    return b"".join((head, payload, _CRC.pack(crc32(payload, crc32(head)))))


def _encode_header(name: str, value: Value) -> bytes:
    encoded = name.encode()
    if not 0 < len(encoded) <= NAME_LIMIT:
        raise EventStreamError(f"a header's name of {len(encoded)} bytes, allowed are 1-255")
    kind, data = _encode_value(value)
    return bytes((len(encoded),)) + encoded + bytes((kind,)) + data


def _encode_value(value: Value) -> tuple[int, bytes]:
    match value:
        case bool():
            return (_TRUE if value else _FALSE), b""
        case int():
            kinds = {Byte: _BYTE, Short: _SHORT, Long: _LONG}
            return _integer(kinds.get(type(value), _INT), value)
        case datetime.datetime():
            return _integer(_TIME, (value - _EPOCH) // _MILLISECOND)
        case uuid.UUID():
            return _UUID, value.bytes
        case str():
            return _STRING, _sized(value.encode())
        case _:
            return _BYTES, _sized(value)


def _integer(kind: int, value: int) -> tuple[int, bytes]:
    try:
        return kind, struct.pack(_INTEGERS[kind], value)
    except struct.error as error:
        raise EventStreamError(f"{value} is out of a header's range: {error}") from None


def _sized(data: bytes) -> bytes:
    if len(data) > VALUE_LIMIT:
        raise EventStreamError(f"a header's value of {len(data)} bytes, the limit is {VALUE_LIMIT}")
    return _SHORT_LENGTH.pack(len(data)) + data


class MessageDecoder:
    """Bytes in, messages out; holds at most one unfinished message."""

    def __init__(self) -> None:
        self._data = bytearray()

    @property
    def is_between(self) -> bool:
        """Whether what came so far ends with a whole message."""
        return not self._data

    def feed(self, data: bytes) -> Iterator[Message]:
        """Each whole message. Raises ``EventStreamError`` for what is none; then nothing more can be read."""
        self._data += data
        while len(self._data) >= _PRELUDE.size:
            total = self._check_prelude()
            if len(self._data) < total:
                return
            whole = bytes(self._data[:total])
            del self._data[:total]
            yield _decode(whole)

    def _check_prelude(self) -> int:
        total, headers, checksum = _PRELUDE.unpack_from(self._data)
        if checksum != crc32(self._data[:8]):
            raise EventStreamError("the checksum of a message's prelude is wrong")
        payload = total - headers - _OVERHEAD
        if headers > HEADERS_LIMIT or not 0 <= payload <= PAYLOAD_LIMIT:
            raise EventStreamError(
                f"a message of {total} bytes with headers of {headers} is none, or past the limits"
            )
        return int(total)


def _decode(whole: bytes) -> Message:
    end = len(whole) - _CRC.size
    if _CRC.unpack_from(whole, end)[0] != crc32(whole[:end]):
        raise EventStreamError("the checksum of a message is wrong")
    length = _PRELUDE.unpack_from(whole)[1]
    place = _PRELUDE.size
    headers_end = place + length
    headers: dict[str, Value] = {}
    try:
        while place < headers_end:
            name, value, place = _decode_header(whole, place)
            if name in headers:
                raise EventStreamError(f"header {name} comes twice")
            headers[name] = value
    except (struct.error, IndexError, UnicodeDecodeError, OverflowError) as error:
        raise EventStreamError(f"a header cannot be read: {error}") from None
    if place != headers_end:
        raise EventStreamError("a header ends beyond the headers")
    return Message(headers, whole[headers_end:end])


def _decode_header(data: bytes, place: int) -> tuple[str, Value, int]:
    name_end = place + 1 + data[place]
    name = data[place + 1 : name_end].decode()
    kind, place = data[name_end], name_end + 1
    if kind in (_TRUE, _FALSE):
        return name, kind == _TRUE, place
    if kind in _INTEGERS:
        form = struct.Struct(_INTEGERS[kind])
        (number,) = form.unpack_from(data, place)
        place += form.size
        if kind == _TIME:
            return name, _EPOCH + number * _MILLISECOND, place
        return name, {_BYTE: Byte, _SHORT: Short, _LONG: Long}.get(kind, int)(number), place
    if kind == _UUID:
        if place + 16 > len(data):
            raise EventStreamError("a header ends beyond the message")
        return name, uuid.UUID(bytes=data[place : place + 16]), place + 16
    if kind not in (_BYTES, _STRING):
        raise EventStreamError(f"header {name} has the unknown type {kind}")
    (size,) = _SHORT_LENGTH.unpack_from(data, place)
    place += _SHORT_LENGTH.size
    found = data[place : place + size]
    if len(found) < size:
        raise EventStreamError("a header ends beyond the message")
    return name, (found.decode() if kind == _STRING else found), place + size


def encode_event(
    name: str, payload: bytes, content_type: str = "application/octet-stream"
) -> bytes:
    """A member of an output's event stream."""
    headers = {":message-type": "event", ":event-type": name, ":content-type": content_type}
    return encode_message(headers, payload)


def encode_exception(name: str, payload: bytes) -> bytes:
    """A modelled error that ends a stream; ``payload`` is JSON."""
    headers = {
        ":message-type": "exception",
        ":exception-type": name,
        ":content-type": "application/json",
    }
    return encode_message(headers, payload)
