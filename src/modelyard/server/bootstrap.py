"""What every platform has from its first start, whatever else was deleted: the key of its credentials, and IAM's first role."""

import json
from collections.abc import Mapping

from modelyard.base.call import Principal
from modelyard.base.clock import Clock
from modelyard.base.ids import RandomSource
from modelyard.base.settings import Home
from modelyard.services.iam.bootstrap import bootstrap as bootstrap_iam
from modelyard.store.resources import AlreadyExists, Create, Key, ResourceStore, Update


async def bootstrap(
    store: ResourceStore, home: Home, *, clock: Clock, random: RandomSource
) -> None:
    """Make what is not there. Nothing is published."""
    stored = json.loads(home.credentials.read_text())
    await _ensure_root_key(store, stored)
    await bootstrap_iam(store, account=stored["account"], clock=clock, random=random)


async def _ensure_root_key(store: ResourceStore, stored: Mapping[str, str]) -> None:
    """The key of ``<home>/credentials`` is one of the platform's keys."""
    account = stored["account"]
    key = Key(kind="iam-access-key", account=account, region="", name=stored["access_key_id"])
    root = Principal(kind="root", arn=f"arn:aws:iam::{account}:root", id=account, account=account)
    spec = {
        "UserName": "",
        "Secret": stored["secret_access_key"],
        "Status": "Active",
        "principal": {"kind": root.kind, "arn": root.arn, "id": root.id, "account": root.account},
    }
    try:
        await store.write(Create(key=key, spec=spec))
    except AlreadyExists:
        found = store.get(key)
        if found is not None and found.spec != spec:
            await store.write(Update(key=key, version=found.version, spec=spec))
