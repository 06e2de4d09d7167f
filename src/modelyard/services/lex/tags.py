"""Tags of bots and aliases. They are part of what they are tags of, and go with it."""

from collections.abc import Callable, Sequence

from modelyard.base.arns import Arn
from modelyard.base.call import Call
from modelyard.base.errors import ServiceError, ValidationError
from modelyard.services.changes import change
from modelyard.services.lex.kinds import ALIAS, BOT
from modelyard.services.lex.limits import TAGS
from modelyard.services.lex.parts import key_of
from modelyard.store.resources import Json, Key, Resource, ResourceStore, Update

_KINDS = {"bot": BOT, "bot-alias": ALIAS}


class BotTags:
    """``arn:aws:lex:REGION:ACCOUNT:bot/BOTID`` and ``…:bot-alias/BOTID/ALIASID``."""

    def __init__(self, *, store: ResourceStore) -> None:
        self._store = store

    async def tag_resource(self, call: Call, *, resource_arn: str, tags: Json) -> Json:
        """Add, or replace by key."""
        await self._change(call, resource_arn, lambda before: {**before, **tags})
        return {}

    async def untag_resource(
        self, call: Call, *, resource_arn: str, tag_keys: Sequence[str]
    ) -> Json:
        """Keys that it has not are passed over."""
        gone = set(tag_keys)
        await self._change(
            call,
            resource_arn,
            lambda before: {name: value for name, value in before.items() if name not in gone},
        )
        return {}

    async def list_tags_for_resource(self, call: Call, *, resource_arn: str) -> Json:
        found = self._store.get(_key(call, resource_arn))
        if found is None:
            raise _missing(resource_arn)
        return {"tags": found.spec.get("tags", {})}

    async def _change(self, call: Call, arn: str, edit: Callable[[Json], Json]) -> None:
        def decide(found: Resource | None) -> Update:
            if found is None:
                raise _missing(arn)
            tags = edit(found.spec.get("tags", {}))
            if len(tags) > TAGS:
                raise ValidationError(f"A resource has at most {TAGS} tags.")
            spec = {**found.spec, "tags": tags}
            return Update(key=found.key, version=found.version, spec=spec)

        await change(self._store, _key(call, arn), decide)


def _key(call: Call, text: str) -> Key:
    try:
        arn = Arn.parse(text)
    except ValueError as error:
        raise ValidationError(f"{error}.") from None
    kind, _, name = arn.resource.partition("/")
    if arn.service != "lex" or kind not in _KINDS or not name:
        raise ValidationError(f"Not the ARN of a bot or of a bot's alias: {text}.")
    if (arn.account, arn.region) != (call.account, call.region):
        raise _missing(text)
    return key_of(call, _KINDS[kind], name)


def _missing(arn: str) -> ServiceError:
    return ServiceError(
        "ResourceNotFoundException",
        f"Failed to retrieve resource since it does not exist: {arn}.",
        status=404,
    )
