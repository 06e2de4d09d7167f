"""XML bodies of ``rest-xml`` and the answers of ``query``: values by shape, both ways.

Source: botocore's serializers.
"""

import re
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree as Tree  # documents with a DOCTYPE are refused below

from botocore.model import Shape

from modelyard.base.errors import ServiceError
from modelyard.wire import scalars

TIMESTAMP_FORMAT = "iso8601"
DEPTH_LIMIT = 100
_CONTROL = re.compile(rb"[\x00-\x08\x0b-\x1f]")


def load(body: bytes, *, code: str = "MalformedXML") -> Tree.Element:
    """The root element. Raises ``MalformedXML``; a document that declares entities is refused before it is expanded."""
    if b"<!doctype" in body.lower() or b"<!entity" in body.lower():
        raise ServiceError(
            code, "The XML you provided was not well-formed: it has a document type."
        )
    try:
        root = Tree.fromstring(body)  # noqa: S314 - a document type was refused above
    except (Tree.ParseError, ValueError) as error:
        raise ServiceError(code, f"The XML you provided was not well-formed: {error}") from error
    return root


def decode(shape: Any, node: Tree.Element, *, depth: int = 0) -> Any:
    """One element as the shape's value. Raises ``MalformedXML``."""
    if depth > DEPTH_LIMIT:
        raise ServiceError("MalformedXML", "The XML you provided is nested too deep.")
    kind = shape.type_name
    if kind == "structure":
        return _decode_structure(shape, node, depth)
    if kind == "list":
        children = node.findall("*")
        return [decode(shape.member, child, depth=depth + 1) for child in children]
    if kind == "map":
        return _decode_map(shape, node.findall("*"), depth)
    try:
        return scalars.decode_text(shape, node.text or "", timestamp_format=TIMESTAMP_FORMAT)
    except scalars.Malformed as error:
        raise ServiceError("MalformedXML", f"{_local(node.tag)}: {error}") from error


def _decode_structure(shape: Any, node: Tree.Element, depth: int) -> dict[str, Any]:
    by_name: dict[str, list[Tree.Element]] = {}
    for child in node:
        by_name.setdefault(_local(child.tag), []).append(child)
    decoded: dict[str, Any] = {}
    for name, member in shape.members.items():
        if member.serialization.get("xmlAttribute"):
            attributes = {_local(key): text for key, text in node.attrib.items()}
            wire_name = member.serialization.get("name", name).rpartition(":")[2]
            if wire_name in attributes:
                decoded[name] = attributes[wire_name]
            continue
        # Of a flattened list clients write the list's own name, and read that of its members.
        own = str(member.serialization.get("name", name))
        found = by_name.get(own) or by_name.get(_element_name(member, name))
        if found is None:
            continue
        if _is_flat(member) and member.type_name == "list":
            decoded[name] = [decode(member.member, child, depth=depth + 1) for child in found]
        elif _is_flat(member) and member.type_name == "map":
            decoded[name] = _decode_map(member, found, depth)
        else:
            decoded[name] = decode(member, found[0], depth=depth + 1)
    return decoded


def _decode_map(shape: Any, entries: list[Tree.Element], depth: int) -> dict[str, Any]:
    key_name = shape.key.serialization.get("name", "key")
    value_name = shape.value.serialization.get("name", "value")
    decoded = {}
    for entry in entries:
        parts = {_local(child.tag): child for child in entry}
        if key_name in parts and value_name in parts:
            decoded[parts[key_name].text or ""] = decode(
                shape.value, parts[value_name], depth=depth + 1
            )
    return decoded


def encode(shape: Any, value: Any, name: str) -> Iterator[Tree.Element]:
    """One value as an element, or as several for a flattened list or map."""
    kind = shape.type_name
    if kind == "structure":
        yield _encode_structure(shape, value, name)
    elif kind == "list":
        yield from _encode_list(shape, value, name)
    elif kind == "map":
        yield from _encode_map(shape, value, name)
    else:
        node = Tree.Element(name)
        node.text = scalars.encode_text(shape, value, timestamp_format=TIMESTAMP_FORMAT)
        yield node


def _encode_structure(shape: Any, value: dict[str, Any], name: str) -> Tree.Element:
    node = Tree.Element(name)
    namespace = shape.serialization.get("xmlNamespace")
    if isinstance(namespace, str):
        node.set("xmlns", namespace)
    elif namespace:
        attribute = f"xmlns:{namespace['prefix']}" if namespace.get("prefix") else "xmlns"
        node.set(attribute, namespace["uri"])
    for member_name, item in value.items():
        member = shape.members.get(member_name)
        if item is None or member is None:
            continue
        if member.serialization.get("xmlAttribute"):
            node.set(member.serialization.get("name", member_name), str(item))
            continue
        node.extend(encode(member, item, _element_name(member, member_name)))
    return node


def _encode_list(shape: Any, value: list[Any], name: str) -> Iterator[Tree.Element]:
    member_name = shape.member.serialization.get("name", "member")
    if _is_flat(shape):
        for item in value:
            yield from encode(shape.member, item, name)
        return
    node = Tree.Element(name)
    for item in value:
        node.extend(encode(shape.member, item, member_name))
    yield node


def _encode_map(shape: Any, value: dict[str, Any], name: str) -> Iterator[Tree.Element]:
    key_name = shape.key.serialization.get("name", "key")
    value_name = shape.value.serialization.get("name", "value")
    entries = []
    for key, item in value.items():
        entry = Tree.Element(name if _is_flat(shape) else "entry")
        Tree.SubElement(entry, key_name).text = key
        entry.extend(encode(shape.value, item, value_name))
        entries.append(entry)
    if _is_flat(shape):
        yield from entries
        return
    node = Tree.Element(name)
    node.extend(entries)
    yield node


def dump(root: Tree.Element) -> bytes:
    """The document. Control characters go as references, as from S3: a raw ``\\r`` would be read as ``\\n``.

    Of the others XML 1.0 has no form at all; S3's clients ask for ``encoding-type=url`` where keys hold them.
    """
    text: bytes = Tree.tostring(root, encoding="utf-8", xml_declaration=True)
    return _CONTROL.sub(lambda found: b"&#%d;" % found[0][0], text)


def _element_name(member: Shape, name: str) -> str:
    """The name on the wire: of a flattened list, the name of its members wins where it has one."""
    if member.type_name == "list" and _is_flat(member):
        inner = member.member.serialization.get("name")
        if inner:
            return str(inner)
    return str(member.serialization.get("name", name))


def _is_flat(shape: Shape) -> bool:
    return bool(shape.serialization.get("flattened"))


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]
