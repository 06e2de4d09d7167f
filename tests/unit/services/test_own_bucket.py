"""The bucket of the platform's own is made by whoever needs it first."""

from pathlib import Path
from typing import Any

import pytest

from modelyard.services.own_bucket import OWNER, OwnBucket
from modelyard.store.object_info import BucketTaken
from modelyard.store.objects import ObjectStore


@pytest.mark.parametrize("owner", [OWNER, "1"])
def test_a_bucket_that_another_call_makes_at_this_moment_is_the_bucket_unless_it_is_a_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: str
) -> None:
    objects = ObjectStore(tmp_path)
    create = objects.create_bucket

    def overtaken(name: str, **given: Any) -> Any:
        create(name, account=owner, region="r")
        return create(name, **given)

    monkeypatch.setattr(objects, "create_bucket", overtaken)
    bucket = OwnBucket(objects, "own")
    if owner == OWNER:
        bucket.put("k", b"data")
        assert bucket.get("k", limit=10) == b"data"
    else:
        with pytest.raises(BucketTaken):
            bucket.put("k", b"data")
    objects.close()
