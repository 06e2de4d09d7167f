"""Recognisers of personal data that has a form: one a line, patterns with the words that have to stand before them.

A recogniser's score is what is known of a hit: one that passes a check digit, or stands behind its own name (*SSN:*), is surer
than a bare run of digits. Every repetition has a bound, so that no text takes long.
"""

# ruff: noqa: E501 - a table, one recogniser a line

import re
from typing import NamedTuple

from modelyard.ai import checksums

_SURE, _LIKELY, _FAIR = 0.99, 0.95, 0.85


class Recogniser(NamedTuple):
    """One kind of datum. ``words``: must stand shortly before, unless empty. ``strip`` leaves what the check takes."""

    kind: str
    pattern: re.Pattern[str]
    score: float
    words: re.Pattern[str] | None = None
    check: checksums.Check = checksums.anything
    strip: str = ""


def _words(text: str) -> re.Pattern[str]:
    """Words that stand before a datum; those that end with ``~`` directly, others with a little between."""
    if text.endswith("~"):
        return re.compile(rf"(?i)\b(?:{text[:-1]})\s*$")
    return re.compile(rf"(?i)\b(?:{text})\b[^\n;]{{0,24}}$")


def _of(  # a row of the table
    kind: str, pattern: str, score: float, words: str = "", check: checksums.Check = checksums.anything, strip: str = "",
) -> Recogniser:  # fmt: skip
    return Recogniser(
        kind, re.compile(pattern), score, _words(words) if words else None, check, strip
    )


_MONTH = r"(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|Sept?(?:ember)?|Oct(?:ober)?|Nov(?:ember)?|Dec(?:ember)?)"
_MES = (
    r"(?:enero|febrero|marzo|abril|mayo|junio|julio|agosto|septiembre|octubre|noviembre|diciembre)"
)
_STREET = r"(?:Street|St|Avenue|Ave|Road|Rd|Boulevard|Blvd|Lane|Ln|Drive|Dr|Court|Ct|Place|Pl|Square|Sq|Way|Terrace|Highway|Hwy)"
RECOGNISERS: tuple[Recogniser, ...] = (
    _of("EMAIL", r"(?<![\w.+-])[\w.+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,5}[A-Za-z]{2,24}\b", _SURE),
    _of("URL", r"\b(?:https?|ftp)://[^\s<>\"']{2,2000}[^\s<>\"'.,;:!?)\]]", _SURE),
    _of("URL", r"(?<![@\w.])www\.[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,4}(?:/[^\s<>\"']{0,500}[^\s<>\"'.,;:!?)])?", _LIKELY),
    _of("AWS_ACCESS_KEY", r"\b(?:AKIA|ASIA|AIDA|AROA)[A-Z2-7]{16}\b", _SURE),
    _of("AWS_SECRET_KEY", r"(?<![A-Za-z0-9/+=])[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+=])", _LIKELY, r"aws|secret(?:[ _]?access)?[ _]?key|secret"),
    _of("CREDIT_DEBIT_NUMBER", r"(?<![\d-])(?:\d[ -]?){12,18}\d(?![\d-])", _SURE, check=lambda n: 13 <= len(n) <= 19 and n[0] in "23456" and checksums.luhn(n), strip=" -"),
    _of("CREDIT_DEBIT_CVV", r"\b\d{3,4}\b", _LIKELY, r"cvv2?|cvc2?|security code|card verification(?: value| code)?"),
    _of("CREDIT_DEBIT_EXPIRY", r"\b(?:0[1-9]|1[0-2])\s?[/-]\s?(?:20)?\d{2}\b", _LIKELY, r"exp(?:iry|ires|iration)?(?: date)?|valid (?:thru|until)|caduca"),
    _of("INTERNATIONAL_BANK_ACCOUNT_NUMBER", r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?\b", _SURE, check=checksums.iban, strip=" "),
    _of("SWIFT_CODE", r"\b[A-Z]{4}[A-Z]{2}[A-Z0-9]{2}(?:[A-Z0-9]{3})?\b", _LIKELY, r"swift(?: code)?|bic"),
    _of("BANK_ROUTING", r"\b\d{9}\b", _SURE, r"routing(?: number| no\.?)?|aba|rtn", checksums.routing),
    _of("BANK_ACCOUNT_NUMBER", r"\b\d{6,17}\b", _LIKELY, r"(?:bank |checking |savings )?account(?: number| no\.?| #)?|acct\.?|cuenta(?: bancaria)?"),
    _of("US_INDIVIDUAL_TAX_IDENTIFICATION_NUMBER", r"\b9\d{2}[- ](?:5\d|6[0-5]|7\d|8[0-8]|9[0-24-9])[- ]\d{4}\b", _LIKELY),
    _of("SSN", r"\b\d{3}-\d{2}-\d{4}\b", _LIKELY, check=checksums.ssn, strip="-"),
    _of("SSN", r"\b\d{9}\b|\b\d{3} \d{2} \d{4}\b", _LIKELY, r"ssn|social security(?: number| no\.?)?", checksums.ssn, " "),
    _of("UK_NATIONAL_INSURANCE_NUMBER", r"\b(?!BG|GB|KN|NK|NT|TN|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d{2} ?\d{2} ?\d{2} ?[A-D]\b", _LIKELY),
    _of("UK_NATIONAL_HEALTH_SERVICE_NUMBER", r"\b\d{3}[ -]?\d{3}[ -]?\d{4}\b", _SURE, r"nhs(?: number| no\.?)?", checksums.nhs, " -"),
    _of("UK_UNIQUE_TAXPAYER_REFERENCE_NUMBER", r"\b\d{5} ?\d{5}\b", _LIKELY, r"utr|unique taxpayer reference(?: number)?"),
    _of("CA_SOCIAL_INSURANCE_NUMBER", r"\b\d{3}[ -]?\d{3}[ -]?\d{3}\b", _SURE, r"sin|social insurance(?: number)?", checksums.luhn, " -"),
    _of("CA_HEALTH_NUMBER", r"\b\d{4}[ -]?\d{3}[ -]?\d{3}\b", _FAIR, r"ohip|health (?:card|insurance)(?: number)?"),
    _of("IN_AADHAAR", r"\b[2-9]\d{3}[ -]?\d{4}[ -]?\d{4}\b", _SURE, r"aadhaar|aadhar|uidai", checksums.verhoeff, " -"),
    _of("IN_PERMANENT_ACCOUNT_NUMBER", r"\b[A-Z]{3}[ABCFGHJLPT][A-Z]\d{4}[A-Z]\b", _LIKELY),
    _of("IN_VOTER_NUMBER", r"\b[A-Z]{3}\d{7}\b", _LIKELY, r"voter(?: id)?|epic"),
    _of("IN_NREGA", r"\b[A-Z]{2}-\d{2}-\d{3}-\d{3}-\d{3}/\d{1,3}\b", _LIKELY),
    _of("PASSPORT_NUMBER", r"\b[A-Z]?\d{8,9}\b|\b[A-Z]{1,2}\d{6,7}\b", _LIKELY, r"passport(?: number| no\.?)?|pasaporte"),
    _of("DRIVER_ID", r"\b[A-Z]{0,3}[0-9][A-Z0-9-]{5,14}\b", _FAIR, r"driver'?s? licen[cs]e(?: number| no\.?)?|dl(?: number| no\.?| #)|licen[cs]e number"),
    _of("VEHICLE_IDENTIFICATION_NUMBER", r"\b[A-HJ-NPR-Z0-9]{17}\b", _SURE, check=checksums.vin),
    _of("LICENSE_PLATE", r"\b(?=[A-Z0-9 -]{0,8}\d)[A-Z0-9]{1,4}[ -]?[A-Z0-9]{2,4}\b", _FAIR, r"licen[cs]e plate(?: number)?|plate(?: number)?|number plate"),
    _of("MAC_ADDRESS", r"\b(?:[0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}\b", _SURE),
    _of("IP_ADDRESS", r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d.]*\d)", _LIKELY, check=checksums.octets),
    _of("IP_ADDRESS", r"(?<![\w:])(?:[0-9A-Fa-f]{1,4}:){7}[0-9A-Fa-f]{1,4}(?![\w:])|(?<![\w:])(?:[0-9A-Fa-f]{1,4}:){1,6}(?::[0-9A-Fa-f]{1,4}){1,6}(?![\w:])", _LIKELY),
    _of("PIN", r"\b\d{4,6}\b", _LIKELY, r"pin(?: code| number)?"),
    _of("PASSWORD", r"(?<=\s)[^\s,;]{4,64}(?<![.,;:!?])", _FAIR, r"(?:password|passwd|passphrase|contraseña)(?:\s+(?:is|es)\b\s*:?|\s*[:=])~"),
    _of("USERNAME", r"(?<=\s)[A-Za-z0-9_.@-]{2,64}(?<![.,;:!?])", _FAIR, r"(?:user ?name|user id|login|usuario)(?: is| es)?\s*[:=]~"),
    _of("PHONE", r"(?<![\w.-])\+\d{1,3}[ .-]?\(?\d{1,4}\)?(?:[ .-]?\d{2,4}){2,4}(?![\w-])", _SURE),
    _of("PHONE", r"(?<![\w.-])(?:1[ .-])?\(?[2-9]\d{2}\)?[ .-]\d{3}[ .-]\d{4}(?![\w-])", _LIKELY),
    _of("PHONE", r"(?<![\w.-])\(?\d{2,4}\)?(?:[ .-]?\d{2,4}){2,4}(?![\w-])", _FAIR, r"phone|telephone|tel\.?|mobile|cell|fax|call(?: me)?(?: at| on)?|tel[eé]fono|m[oó]vil"),
    _of("AGE", r"\b\d{1,3}(?=[ -]years?[ -]old\b)|\b\d{1,3}(?=\s+años\b)", _LIKELY, check=lambda n: int(n) < 130),
    _of("AGE", r"\b\d{1,3}\b", _FAIR, r"aged?|edad", check=lambda n: int(n) < 130),
    _of("DATE_TIME", rf"\b{_MONTH}\.? \d{{1,2}}(?:st|nd|rd|th)?(?:,? \d{{4}})?\b|\b\d{{1,2}}(?:st|nd|rd|th)?(?: of)? {_MONTH}\.?(?:,? \d{{4}})?\b", _SURE),
    _of("DATE_TIME", rf"(?i)\b\d{{1,2}} de {_MES}(?: de \d{{4}})?\b", _SURE),
    _of("DATE_TIME", r"\b\d{4}-(?:0\d|1[0-2])-(?:[0-2]\d|3[01])(?:[T ]\d{2}:\d{2}(?::\d{2})?Z?)?\b|\b\d{1,2}[/.]\d{1,2}[/.](?:\d{4}|\d{2})\b", _SURE),
    _of("DATE_TIME", r"\b(?:[01]?\d|2[0-3]):[0-5]\d(?::[0-5]\d)?(?: ?[AaPp]\.?[Mm]\b\.?)?", _LIKELY),
    _of("ADDRESS", rf"\b\d{{1,6}} (?:[NSEW]\.? )?(?:[A-Z][A-Za-z'.-]{{0,30}} ){{1,4}}{_STREET}\b\.?(?:,? (?:Apt|Apartment|Suite|Unit|#)\.? ?[\w-]{{1,8}})?(?:,? [A-Z][A-Za-z .'-]{{1,40}},? [A-Z]{{2}}(?: \d{{5}}(?:-\d{{4}})?)?)?", _LIKELY),
    _of("ADDRESS", r"(?i)\b(?:calle|avenida|plaza|paseo) [A-ZÁÉÍÓÚÑ][\w .áéíóúñÁÉÍÓÚÑ]{2,40},? (?:n[º°.] ?)?\d{1,4}\b", _FAIR),
)  # fmt: skip
"""Earlier ones win where two match the same characters with the same score."""
