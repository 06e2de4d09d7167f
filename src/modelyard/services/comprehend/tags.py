"""Tags of Comprehend's jobs, trained models and endpoints. They are part of the resource's spec, so they go when it goes."""

from collections.abc import Callable, Sequence

from modelyard.base.arns import Arn
from modelyard.base.call import Call
from modelyard.base.errors import ServiceError
from modelyard.services.changes import change
from modelyard.services.comprehend.custom_models import CustomModels
from modelyard.services.comprehend.job_kinds import KINDS
from modelyard.services.comprehend.jobs import KIND as JOB_KIND
from modelyard.services.comprehend.trained_models import MODEL_KINDS, find_model
from modelyard.store.resources import Json, Key, Resource, ResourceStore, Update

TAGS_MAX = 50


class ComprehendTags:
    """TagResource, UntagResource, ListTagsForResource."""

    def __init__(self, *, store: ResourceStore, custom: CustomModels) -> None:
        self._store = store
        self._custom = custom

    async def tag_resource(self, call: Call, *, resource_arn: str, tags: Sequence[Json]) -> Json:
        """Add or replace by key."""

        def add(before: Sequence[Json]) -> list[Json]:
            merged = {tag["Key"]: tag for tag in [*before, *tags]}
            if len(merged) > TAGS_MAX:
                raise ServiceError(
                    "TooManyTagsException", f"A resource must not have more than {TAGS_MAX} tags."
                )
            return list(merged.values())

        await self._change(call, resource_arn, add)
        return {}

    async def untag_resource(
        self, call: Call, *, resource_arn: str, tag_keys: Sequence[str]
    ) -> Json:
        """Keys that the resource has not are passed over."""
        gone = set(tag_keys)
        await self._change(
            call, resource_arn, lambda before: [tag for tag in before if tag["Key"] not in gone]
        )
        return {}

    async def list_tags_for_resource(self, call: Call, *, resource_arn: str) -> Json:
        found = self._find(call, resource_arn)
        return {"ResourceArn": resource_arn, "Tags": found.spec.get("Tags", [])}

    async def _change(
        self, call: Call, arn: str, edit: Callable[[Sequence[Json]], list[Json]]
    ) -> None:
        def decide(_: Resource | None) -> Update:
            found = self._find(call, arn)
            tags = edit(found.spec.get("Tags", []))
            return Update(key=found.key, version=found.version, spec={**found.spec, "Tags": tags})

        await change(self._store, self._find(call, arn).key, decide)

    def _find(self, call: Call, arn: str) -> Resource:
        """A trained model, an endpoint or a job. Raises ``ResourceNotFoundException``."""
        parsed = Arn.parse(arn)
        type, _, name = parsed.resource.partition("/")
        if any(type == kind.arn_type for kind in MODEL_KINDS):
            return find_model(self._store, call, arn)
        if any(type == kind.endpoint_type for kind in MODEL_KINDS):
            return self._custom.endpoint(arn, call)
        found = None
        if (parsed.account, parsed.region) == (call.account, call.region):
            found = self._store.get(
                Key(kind=JOB_KIND, account=call.account, region=call.region, name=name)
            )
        if found is None or KINDS[found.spec["Job"]].arn_type != type:
            raise ServiceError(
                "ResourceNotFoundException",
                f"The specified resource was not found: {arn}.",
                status=404,
            )
        return found
