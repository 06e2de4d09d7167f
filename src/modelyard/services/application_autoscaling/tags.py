"""Tags of scalable targets, which are named by their ARN."""

from collections.abc import Callable, Mapping, Sequence

from modelyard.base.call import Call
from modelyard.base.errors import ServiceError, ValidationError
from modelyard.domain.scaling.targets import target_arn
from modelyard.services.application_autoscaling.resources import write
from modelyard.store.resources import Change, Json, Resource, ResourceStore, Update
from modelyard.store.scaling import TARGET

_TAGS_MAX = 50


class ScalingTags:
    """TagResource, UntagResource, ListTagsForResource."""

    def __init__(self, *, store: ResourceStore) -> None:
        self._store = store

    async def tag_resource(self, call: Call, *, resource_arn: str, tags: Mapping[str, str]) -> Json:
        """Add, or replace by key."""
        await self._change(call, resource_arn, lambda before: {**before, **tags})
        return {}

    async def untag_resource(
        self, call: Call, *, resource_arn: str, tag_keys: Sequence[str]
    ) -> Json:
        """Keys that the target has not are passed over."""
        gone = set(tag_keys)
        await self._change(
            call,
            resource_arn,
            lambda before: {name: value for name, value in before.items() if name not in gone},
        )
        return {}

    async def list_tags_for_resource(self, call: Call, *, resource_arn: str) -> Json:
        return {"Tags": self._find(call, resource_arn).spec["Tags"]}

    async def _change(
        self, call: Call, arn: str, edit: Callable[[dict[str, str]], dict[str, str]]
    ) -> None:
        def decide() -> Sequence[Change]:
            target = self._find(call, arn)
            tags = edit(target.spec["Tags"])
            check_tags(tags)
            spec = {**target.spec, "Tags": tags}
            return [Update(key=target.key, version=target.version, spec=spec)]

        await write(self._store, decide)

    def _find(self, call: Call, arn: str) -> Resource:
        for one in self._store.list(TARGET, account=call.account, region=call.region):
            if arn == target_arn(
                region=call.region, account=call.account, target_id=one.spec["id"]
            ):
                return one
        raise ServiceError(
            "ResourceNotFoundException",
            f"No scalable target has the ARN {arn}.",
            members={"ResourceName": arn},
        )


def check_tags(tags: Mapping[str, str]) -> None:
    """Raises ``TooManyTagsException``, ``ValidationError``."""
    if len(tags) > _TAGS_MAX:
        raise ServiceError(
            "TooManyTagsException", f"A scalable target has at most {_TAGS_MAX} tags."
        )
    for key in tags:
        if key.lower().startswith("aws:"):
            raise ValidationError(f"Tag keys must not start with aws: {key}")
