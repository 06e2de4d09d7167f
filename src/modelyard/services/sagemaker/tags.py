"""Tags of everything that has an ARN. They are part of the resource's spec, so they go when it goes."""

from collections.abc import Callable, Sequence

from modelyard.base.arns import Arn
from modelyard.base.call import Call
from modelyard.base.errors import Unsupported, ValidationError
from modelyard.domain.listing import Entry, Query, page
from modelyard.services.changes import change
from modelyard.services.members import present
from modelyard.services.sagemaker.resources import NOUNS
from modelyard.store.resources import Json, Key, Resource, ResourceStore, Update

_TAGS_MAX = 50


class Tags:
    """AddTags, ListTags, DeleteTags."""

    def __init__(self, *, store: ResourceStore) -> None:
        self._store = store

    async def add_tags(self, call: Call, *, resource_arn: str, tags: Sequence[Json]) -> Json:
        """Add or replace by key; answers all tags of the resource."""

        def add(before: list[Json]) -> list[Json]:
            merged = {tag["Key"]: tag for tag in [*before, *tags]}
            if len(merged) > _TAGS_MAX:
                raise ValidationError(f"A resource must not have more than {_TAGS_MAX} tags.")
            return list(merged.values())

        return {"Tags": await self._change(call, resource_arn, add)}

    async def list_tags(
        self,
        call: Call,
        *,
        resource_arn: str,
        next_token: str | None = None,
        max_results: int | None = None,
    ) -> Json:
        tags = {tag["Key"]: tag for tag in self._find(call, resource_arn).spec.get("Tags", [])}
        query = Query(
            scope=f"{call.action}/{call.account}/{resource_arn}",
            sort_by="Name",
            max_results=max_results or _TAGS_MAX,
            next_token=next_token,
        )
        found = page((Entry(name=name) for name in tags), query)
        return present(
            {"Tags": [tags[name] for name in found.names], "NextToken": found.next_token}
        )

    async def delete_tags(self, call: Call, *, resource_arn: str, tag_keys: Sequence[str]) -> Json:
        """Keys that the resource has not are passed over."""
        gone = set(tag_keys)
        await self._change(
            call, resource_arn, lambda before: [tag for tag in before if tag["Key"] not in gone]
        )
        return {}

    async def _change(
        self, call: Call, arn: str, edit: Callable[[list[Json]], list[Json]]
    ) -> list[Json]:
        key = self._find(call, arn).key

        def decide(resource: Resource | None) -> Update:
            if resource is None:
                raise _missing(key.kind, arn)
            tags = edit(resource.spec.get("Tags", []))
            return Update(key=key, version=resource.version, spec={**resource.spec, "Tags": tags})

        written = await change(self._store, key, decide)
        tags: list[Json] = written.spec["Tags"]
        return tags

    def _find(self, call: Call, arn: str) -> Resource:
        kind, name = _parse(call, arn)
        exact = self._store.get(Key(kind=kind, account=call.account, region=call.region, name=name))
        if exact is not None:
            return exact
        # The name inside an ARN is lower-cased, the resource's own is not.
        for resource in self._store.list(kind, account=call.account, region=call.region):
            if resource.key.name.lower() == name.lower():
                return resource
        raise _missing(kind, arn)


def _parse(call: Call, text: str) -> tuple[str, str]:
    try:
        arn = Arn.parse(text)
    except ValueError as error:
        raise ValidationError(f"{error}.") from None
    kind, _, name = arn.resource.partition("/")
    if arn.service != "sagemaker" or not name:
        raise ValidationError(f"Not an ARN of a SageMaker resource: {text}")
    if kind not in NOUNS:
        raise Unsupported(f"Modelyard does not have resources of the type {kind} yet.")
    if (arn.account, arn.region) != (call.account, call.region):
        raise _missing(kind, text)
    return kind, name


def _missing(kind: str, arn: str) -> ValidationError:
    return ValidationError(f'Could not find {NOUNS[kind]} "{arn}".')
