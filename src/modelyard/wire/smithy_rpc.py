"""How a request in ``smithy-rpc-v2-cbor`` is known, and what its path names; its bodies are ``cbor_body``'s.

Apart from these, because the gateway asks of every request and reads no body: it needs neither CBOR nor botocore for it.
"""

import re
from collections.abc import Mapping

HEADER, VALUE = "smithy-protocol", "rpc-v2-cbor"
_PATH = re.compile(r"/service/(?P<service>[^/]+)/operation/(?P<operation>[^/?]+)")


def is_rpc(headers: Mapping[str, str]) -> bool:
    """Whether a request is in this protocol; ``headers`` have lower-case names."""
    return headers.get(HEADER) == VALUE


def path_names(uri: str) -> tuple[str, str]:
    """Service (its target prefix) and operation of a path; empty where it is another path."""
    match = _PATH.search(uri.partition("?")[0])
    return (match["service"], match["operation"]) if match else ("", "")
