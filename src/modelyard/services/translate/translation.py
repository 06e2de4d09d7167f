"""TranslateText and ListLanguages: check, find the language, ask the model that serves the pair, meter."""

from collections.abc import Mapping, Sequence

from modelyard.base.call import Call
from modelyard.base.errors import ServiceError
from modelyard.domain.listing import Entry, Query, page
from modelyard.services.members import EXECUTED, Members, check, present
from modelyard.services.metering import Metering
from modelyard.services.translate import languages
from modelyard.services.translate.terminologies import invalid_parameter
from modelyard.services.translate.translator import SETTINGS, UNIT, Span, Translator, at_once
from modelyard.store.resources import Json

TEXT_BYTES = 10_000
RESULTS_MAX = 500
MEMBERS: Mapping[str, Members] = {
    "TranslateText": {
        "Text": EXECUTED,
        "SourceLanguageCode": EXECUTED,
        "TargetLanguageCode": EXECUTED,
        "TerminologyNames": EXECUTED,
        "Settings": SETTINGS,
    },
    "ListLanguages": {
        "DisplayLanguageCode": EXECUTED,
        "NextToken": EXECUTED,
        "MaxResults": EXECUTED,
    },
}


class Translation:
    """Texts, one at a time."""

    def __init__(self, *, translator: Translator, metering: Metering) -> None:
        self._translator = translator
        self._metering = metering

    async def translate_text(
        self,
        call: Call,
        *,
        text: str,
        source_language_code: str,
        target_language_code: str,
        terminology_names: Sequence[str] | None = None,
        settings: Json | None = None,
    ) -> Json:
        check("TranslateText", MEMBERS["TranslateText"], {"Settings": settings})
        _check_size(text)
        source = await self._translator.source_of(call, source_language_code, text)
        self._translator.check_pair(source, target_language_code)
        applied = await self._translator.terms(
            call, terminology_names, source, target_language_code
        )
        (parts,) = await self._translator.translate(
            at_once(call), source, target_language_code, [[Span(text=text)]], applied
        )
        self._metering.meter(call, usage_type="TranslateText", quantity=len(text), unit=UNIT)
        return present(
            {
                "TranslatedText": "".join(part for _, part in parts),
                "SourceLanguageCode": source,
                "TargetLanguageCode": target_language_code,
                "AppliedTerminologies": [one.shown() for one in applied] or None,
            }
        )

    async def list_languages(
        self,
        call: Call,
        *,
        display_language_code: str | None = None,
        next_token: str | None = None,
        max_results: int | None = None,
    ) -> Json:
        """Those that are installed, and ``auto``."""
        display = display_language_code or languages.DISPLAY_DEFAULT
        query = Query(
            scope=f"{call.action}/{call.account}/{call.region}/{display}",
            sort_by="Name",
            max_results=max_results or RESULTS_MAX,
            next_token=next_token,
            refusal=invalid_parameter,
        )
        codes = [languages.AUTO, *self._translator.served()]
        found = page((Entry(name=code) for code in codes), query)
        shown = [
            {"LanguageName": languages.name(code, display), "LanguageCode": code}
            for code in found.names
        ]
        return present(
            {
                "Languages": shown,
                "DisplayLanguageCode": display,
                "NextToken": found.next_token,
            }
        )


def _check_size(text: str) -> None:
    """Raises ``TextSizeLimitExceededException``, and ``InvalidRequestException`` for what is no text."""
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise ServiceError(
            "InvalidRequestException",
            "The text holds half of a surrogate pair, which UTF-8 cannot express.",
        ) from None
    if size > TEXT_BYTES:
        raise ServiceError(
            "TextSizeLimitExceededException",
            f"Input text size exceeds limit. Max length of request text allowed is {TEXT_BYTES} bytes while in this "
            f"request the text size is {size} bytes",
        )
