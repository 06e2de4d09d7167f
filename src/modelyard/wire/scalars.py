"""Single values on the wire: time stamps in their formats, numbers, blobs.

Source: botocore's serializers and parsers.
"""

import base64
import binascii
import calendar
import math
from datetime import UTC, datetime
from email.utils import formatdate, parsedate_to_datetime
from typing import Any

from botocore.model import Shape


class Malformed(Exception):
    """A value that is not of its type; the text says which type was expected."""


def decode_text(shape: Shape, text: str, *, timestamp_format: str) -> Any:
    """A value that travels as text: in a query, a header, a URI or an XML element."""
    kind = shape.type_name
    try:
        if kind in ("integer", "long"):
            return int(text)
        if kind in ("float", "double"):
            return float(text)
        if kind == "boolean":
            return _boolean(text)
        if kind == "timestamp":
            return decode_timestamp(
                text, shape.serialization.get("timestampFormat", timestamp_format)
            )
        if kind == "blob":
            return base64.b64decode(text, validate=True)
    except (ValueError, OverflowError, binascii.Error) as error:
        raise Malformed(f"{text[:100]!r} is not a {kind}") from error
    return text


def _boolean(text: str) -> bool:
    lowered = text.lower()
    if lowered not in ("true", "false"):
        raise ValueError(text)
    return lowered == "true"


def encode_text(shape: Shape, value: Any, *, timestamp_format: str) -> str:
    """The opposite of ``decode_text``."""
    kind = shape.type_name
    if kind == "boolean":
        return "true" if value else "false"
    if kind == "timestamp":
        return str(
            encode_timestamp(value, shape.serialization.get("timestampFormat", timestamp_format))
        )
    if kind == "blob":
        return base64.b64encode(value).decode()
    if kind in ("float", "double"):
        return encode_special_float(value) if not math.isfinite(value) else repr(float(value))
    return str(value)


def encode_special_float(value: float) -> str:
    """JSON and XML name what a number literal cannot say."""
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def decode_timestamp(value: Any, style: str) -> datetime:
    """``iso8601``, ``rfc822`` or ``unixTimestamp``; clients mix them, so a text is tried as what it looks like."""
    if isinstance(value, bool):
        raise ValueError(value)
    if isinstance(value, int | float):
        return datetime.fromtimestamp(value, tz=UTC)
    if not isinstance(value, str):
        raise ValueError(value)
    text = value.strip()
    if style == "unixTimestamp" or text.replace(".", "", 1).lstrip("-").isdigit():
        return datetime.fromtimestamp(float(text), tz=UTC)
    if style == "rfc822" and not text[:1].isdigit():
        moment = parsedate_to_datetime(text)
    else:
        moment = datetime.fromisoformat(text) if text[:1].isdigit() else parsedate_to_datetime(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def encode_timestamp(value: datetime | float, style: str) -> str | float | int:
    """``value`` is an aware datetime or Unix seconds; ``unixTimestamp`` gives a number."""
    moment = value if isinstance(value, datetime) else datetime.fromtimestamp(value, tz=UTC)
    if style == "unixTimestamp":
        seconds = calendar.timegm(moment.utctimetuple())
        return seconds if moment.microsecond == 0 else round(seconds + moment.microsecond / 1e6, 3)
    if style == "rfc822":
        return formatdate(moment.timestamp(), usegmt=True)
    utc = moment.astimezone(UTC)
    fraction = f".{utc.microsecond // 1000:03d}" if utc.microsecond else ""
    return utc.strftime("%Y-%m-%dT%H:%M:%S") + fraction + "Z"
