"""A bucket of the platform's own, for files that an API hands out or takes in by an address that anybody may use for a while."""

from typing import Any, BinaryIO, Protocol

from modelyard.store.object_info import BucketTaken

OWNER = "modelyard"
"""No user's account."""


class Shelf(Protocol):
    """``store.objects.ObjectStore``, as far as it matters here."""

    def create_bucket(self, name: str, *, account: str, region: str) -> Any: ...
    def find_bucket(self, name: str) -> Any | None: ...
    def open_object(self, bucket: str, key: str) -> tuple[Any, BinaryIO] | None: ...
    def writer(self, bucket: str, key: str) -> Any: ...
    def delete_object(self, bucket: str, key: str) -> bool: ...


class OwnBucket:
    """Every method blocks: call it in a thread."""

    def __init__(self, shelf: Shelf, name: str) -> None:
        self.name = name
        self._shelf = shelf

    def prepare(self) -> None:
        """It is there afterwards."""
        if self._shelf.find_bucket(self.name) is None:
            try:
                self._shelf.create_bucket(self.name, account=OWNER, region="")
            except BucketTaken as taken:
                if taken.owner != OWNER:
                    raise

    def put(self, key: str, data: bytes) -> None:
        """Durable when it returns."""
        self.prepare()
        with self._shelf.writer(self.name, key) as writer:
            writer.write(data)
            writer.commit()

    def get(self, key: str, *, limit: int) -> bytes | None:
        """At most one byte more than ``limit``; None: there is nothing."""
        if self._shelf.find_bucket(self.name) is None:
            return None
        opened = self._shelf.open_object(self.name, key)
        if opened is None:
            return None
        with opened[1] as file:
            return file.read(limit + 1)

    def delete(self, key: str) -> None:
        """It is gone afterwards."""
        if self._shelf.find_bucket(self.name) is not None:
            self._shelf.delete_object(self.name, key)
