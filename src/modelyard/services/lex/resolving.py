"""What an alias says of one locale: the bot and the trained model that answer there."""

from dataclasses import dataclass, field

from modelyard.base.errors import ServiceError, ValidationError
from modelyard.domain.lex.bot import Bot
from modelyard.services.lex.kinds import ALIAS, BUILD, DRAFT, VERSION, path
from modelyard.store.resources import Json, Key, Resource, ResourceStore

KNOWN_MAX = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """``model`` is the name of the folder of what was trained on the bot.

    ``settings`` are the alias's ``botAliasLocaleSettings`` of the locale: ``enabled``, ``codeHookSpecification``.
    """

    bot: Bot
    model: str
    alias_name: str
    settings: Json = field(default_factory=dict)


class Resolver:
    """``resolve``, remembered until a bot changes: a definition may be large, and each turn of a conversation asks for it."""

    def __init__(self, store: ResourceStore) -> None:
        self._store = store
        self._known: dict[tuple[str, str, str, str, str], Resolved] = {}
        store.subscribe(self._notice)

    def _notice(self, key: Key) -> None:
        if key.kind in (ALIAS, BUILD, VERSION):
            self._known.clear()

    def resolve(self, account: str, region: str, bot: str, alias: str, locale: str) -> Resolved:
        """What it gives is not to be changed. Raises as ``resolve`` does."""
        wanted = (account, region, bot, alias, locale)
        found = self._known.get(wanted)
        if found is None:
            if len(self._known) >= KNOWN_MAX:
                self._known.clear()
            self._known[wanted] = found = resolve(self._store, *wanted)
        return found


def resolve(
    store: ResourceStore, account: str, region: str, bot_id: str, alias_id: str, locale_id: str
) -> Resolved:
    """Raises the runtime's errors: ``ResourceNotFoundException``; ``ValidationException`` for what is not built or not enabled.

    While the draft is built anew, or after a build that failed, what was built before it still answers.
    """

    def get(kind: str, *parts: str) -> Resource | None:
        return store.get(Key(kind=kind, account=account, region=region, name=path(*parts)))

    alias = get(ALIAS, bot_id, alias_id)
    if alias is None:
        raise _missing(f"The bot {bot_id} with the alias {alias_id} does not exist.")
    name, number = alias.spec["botAliasName"], alias.spec.get("botVersion")
    settings = (alias.spec.get("botAliasLocaleSettings") or {}).get(locale_id) or {}
    if settings.get("enabled") is False:
        raise ValidationError(f"The locale {locale_id} is not enabled in the alias {name}.")
    if number is None:
        raise ValidationError(f"The alias {name} is not associated with a version of the bot.")
    found: Json | None
    if number == DRAFT:
        build = get(BUILD, bot_id, locale_id)
        found = build.status if build is not None else {}
        if not found.get("Model"):
            raise ValidationError(
                f"The locale {locale_id} of the bot {bot_id} has not been built: call BuildBotLocale."
            )
    else:
        version = get(VERSION, bot_id, number)
        found = (version.spec["locales"] if version is not None else {}).get(locale_id)
        if not found:
            raise _missing(f"The version {number} of the bot {bot_id} has no locale {locale_id}.")
    return Resolved(
        bot=Bot(found["definition"]), model=found["Model"], alias_name=name, settings=settings
    )


def _missing(message: str) -> ServiceError:
    return ServiceError("ResourceNotFoundException", message, status=404)
