"""JSON bodies: what a strict reader does not take, and what it does not write."""

import json
from typing import Any

import pytest

from modelyard.base.errors import ServiceError
from modelyard.wire import json_body


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b"", {}),
        (b" \r\n", {}),
        (b"null", {}),
        (b'{"a": [1, -0.0, 1e2, "\\u00e9", true, null]}', {"a": [1, -0.0, 100.0, "\u00e9", True, None]}),
        (b'{"a": "\\ud800"}', {"a": "\ud800"}),
        ('{"a": "\u00e9"}'.encode("utf-16"), {"a": "\u00e9"}),
        (b'{"a": 1e400}', {"a": float("inf")}),
        (b'{"a": 123456789012345678901234567890}', {"a": 123456789012345678901234567890}),
        (b'{"a": 1, "a": 2}', {"a": 2}),
    ],
)  # fmt: skip
def test_a_body_is_read_as_pythons_own_reader_reads_it(body: bytes, value: Any) -> None:
    assert json_body.load(body) == value


@pytest.mark.parametrize(
    "body", [b"{", b"{'a': 1}", b'"\xff"', b'{"a": 01}', b"[" * 100_000, b'{"a": "\n"}', b"{} {}"]
)
def test_what_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(ServiceError) as caught:
        json_body.load(body)
    assert caught.value.code == "SerializationException"


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"a": [1, 2.5, "\u00e9\u2028</", None, True]},
        {"a": "\ud800"},
        {"a": 1 << 70},
        {"a": 1e-7},
    ],
)
def test_what_is_written_reads_as_it_was(document: Any) -> None:
    assert json.loads(json_body.dump(document)) == document
