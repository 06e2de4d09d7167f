"""The objects that a training reads: all below an address, whole, within a limit on all of them."""

import io
import posixpath
from collections.abc import Iterator
from typing import BinaryIO

from modelyard.domain.text_training import BadTrainingData
from modelyard.domain.transform import Location
from modelyard.jobs.inputs import Objects

DATA_BYTES = 512 * 1024 * 1024
"""Of all training data, which is in memory while it is learned from."""


def files(objects: Objects, uri: str, limit: int = DATA_BYTES) -> Iterator[tuple[str, BinaryIO]]:
    """Each object and its name below the address's folder; to be read before the next one. Raises ``BadTrainingData``."""
    place = Location.parse(uri)
    folder = posixpath.dirname(place.key)
    after, size, count = "", 0, 0
    while page := objects.page(place.bucket, place.key, after=after):
        for info in page:
            after = info.key
            opened = None if info.key.endswith("/") else objects.open_object(place.bucket, info.key)
            if opened is None:
                continue
            count += 1
            size += info.size
            with opened[1] as file:
                if size > limit:
                    raise BadTrainingData(f"The training data is larger than {limit} bytes.")
                yield info.key.removeprefix(f"{folder}/") if folder else info.key, file
    if not count:
        raise BadTrainingData(f"There are no objects at {uri}.")


def lines(objects: Objects, uri: str) -> Iterator[str]:
    """Of all objects below an address. Raises ``BadTrainingData``."""
    for name, file in files(objects, uri):
        try:
            # Not by codecs' reader, which looks through a long line from its start with every piece that it reads.
            with io.TextIOWrapper(file, encoding="utf-8-sig", newline="") as text:
                yield from text
        except UnicodeDecodeError as error:
            raise BadTrainingData(f"{name} is not UTF-8: {error}") from error
