"""Personal data that has a form is found where it is, and look-alikes are not."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.ai import checksums
from modelyard.ai.pii import find, load
from modelyard.ai.pii_recognisers import RECOGNISERS


def kinds(text: str) -> list[tuple[str, str]]:
    return [(kind, text[begin:end]) for kind, begin, end, _ in find(text)]


@pytest.mark.parametrize(
    ("text", "kind", "datum"),
    [
        ("Card 4111 1111 1111 1111, please", "CREDIT_DEBIT_NUMBER", "4111 1111 1111 1111"),
        ("its CVV is 123", "CREDIT_DEBIT_CVV", "123"),
        ("exp. date 12/27", "CREDIT_DEBIT_EXPIRY", "12/27"),
        ("IBAN DE89 3704 0044 0532 0130 00", "INTERNATIONAL_BANK_ACCOUNT_NUMBER", "DE89 3704 0044 0532 0130 00"),
        ("routing number 021000021", "BANK_ROUTING", "021000021"),
        ("my account number is 12345678", "BANK_ACCOUNT_NUMBER", "12345678"),
        ("SWIFT code DEUTDEFF500", "SWIFT_CODE", "DEUTDEFF500"),
        ("SSN 123-45-6789", "SSN", "123-45-6789"),
        ("ITIN 912-70-1234", "US_INDIVIDUAL_TAX_IDENTIFICATION_NUMBER", "912-70-1234"),
        ("call +44 20 7946 0958 now", "PHONE", "+44 20 7946 0958"),
        ("call (206) 555-0100", "PHONE", "(206) 555-0100"),
        ("write to jane.doe+x@example.co.uk.", "EMAIL", "jane.doe+x@example.co.uk"),
        ("see https://example.com/a?b=1.", "URL", "https://example.com/a?b=1"),
        ("from 192.168.0.1 on", "IP_ADDRESS", "192.168.0.1"),
        ("at 2001:0db8:85a3:0000:0000:8a2e:0370:7334", "IP_ADDRESS", "2001:0db8:85a3:0000:0000:8a2e:0370:7334"),
        ("card 00:1A:2b:3C:4d:5E", "MAC_ADDRESS", "00:1A:2b:3C:4d:5E"),
        ("key AKIAIOSFODNN7EXAMPLE", "AWS_ACCESS_KEY", "AKIAIOSFODNN7EXAMPLE"),
        ("secret key wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "AWS_SECRET_KEY", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
        ("password: s3cret!x", "PASSWORD", "s3cret!x"),
        ("user name: jdoe", "USERNAME", "jdoe"),
        ("VIN 1M8GDM9AXKP042788", "VEHICLE_IDENTIFICATION_NUMBER", "1M8GDM9AXKP042788"),
        ("NHS number 943 476 5919", "UK_NATIONAL_HEALTH_SERVICE_NUMBER", "943 476 5919"),
        ("NINO AB 12 34 56 C", "UK_NATIONAL_INSURANCE_NUMBER", "AB 12 34 56 C"),
        ("SIN 046 454 286", "CA_SOCIAL_INSURANCE_NUMBER", "046 454 286"),
        ("Aadhaar 2341 2341 2346", "IN_AADHAAR", "2341 2341 2346"),
        ("PAN ABCPE1234F", "IN_PERMANENT_ACCOUNT_NUMBER", "ABCPE1234F"),
        ("born on March 3rd, 1990", "DATE_TIME", "March 3rd, 1990"),
        ("el 3 de marzo de 1990", "DATE_TIME", "3 de marzo de 1990"),
        ("a 42 year old man", "AGE", "42"),
        ("at 123 Main Street, Anytown, WA 98101", "ADDRESS", "123 Main Street, Anytown, WA 98101"),
    ],
)  # fmt: skip
def test_what_has_a_form_is_found(text: str, kind: str, datum: str) -> None:
    assert (kind, datum) in kinds(text)


@pytest.mark.parametrize(
    "text",
    [
        "card 4111 1111 1111 1112",  # its check digit is wrong
        "SSN-like 000-12-3456",
        "IBAN DE88 3704 0044 0532 0130 00",
        "in 12345 cases out of 100000",
        "version 300.400.500.600",
        "the password policy",
    ],
)
def test_look_alikes_are_not(text: str) -> None:
    assert kinds(text) == []


def test_offsets_are_code_points() -> None:
    assert find("😀é a@b.cd") == [("EMAIL", 3, 9, 0.99)]


@given(st.text(alphabet="aA1 -/.:@+#,\n😀", max_size=400))
def test_whatever_is_found_lies_in_the_text_and_apart(text: str) -> None:
    found = find(text)
    assert all(0 <= begin < end <= len(text) for _, begin, end, _ in found)
    assert all(one[2] <= two[1] for one, two in itertools.pairwise(found))


def test_every_recogniser_is_of_a_kind_that_the_service_knows() -> None:
    from botocore.session import Session

    model = Session().get_service_model("comprehend")
    known = set(model.shape_for("PiiEntityType").enum)  # type: ignore[attr-defined]
    assert {one.kind for one in RECOGNISERS} <= known


def test_check_digits_refuse_a_changed_digit() -> None:
    for check, good in (
        (checksums.luhn, "4111111111111111"),
        (checksums.verhoeff, "234123412346"),
        (checksums.nhs, "9434765919"),
        (checksums.routing, "021000021"),
    ):
        assert check(good)
        for place in range(len(good)):
            bad = good[:place] + str((int(good[place]) + 1) % 10) + good[place + 1 :]
            assert not check(bad), (check, bad)


def test_names_have_no_form() -> None:
    (finding,) = load(None, {}).answer("pii-names", [{"text": "a@b.cd"}], {})
    assert finding.result == {"entities": []}
