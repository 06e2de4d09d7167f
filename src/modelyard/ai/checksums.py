"""Check digits that tell an identifier from any other number. Pure; each takes the bare digits or letters."""

from collections.abc import Callable

_VERHOEFF = (
    "0123456789", "1234067895", "2340178956", "3401289567", "4012395678",
    "5987604321", "6598710432", "7659821043", "8765932104", "9876543210",
)  # fmt: skip
_VERHOEFF_PLACES = (
    "0123456789", "1576283094", "5803796142", "8916043527", "9453126870", "4286573901", "2793806415", "7046913258",
)  # fmt: skip
_VIN_WEIGHTS = (8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2)
_VIN_VALUES = {**{str(n): n for n in range(10)}, **dict(zip("ABCDEFGH", range(1, 9), strict=True)),
               "J": 1, "K": 2, "L": 3, "M": 4, "N": 5, "P": 7, "R": 9, "S": 2, "T": 3, "U": 4, "V": 5, "W": 6,
               "X": 7, "Y": 8, "Z": 9}  # fmt: skip
_IBAN_LENGTHS = {
    "AD": 24, "AE": 23, "AT": 20, "BE": 16, "BG": 22, "CH": 21, "CY": 28, "CZ": 24, "DE": 22, "DK": 18, "EE": 20,
    "ES": 24, "FI": 18, "FR": 27, "GB": 22, "GR": 27, "HR": 21, "HU": 28, "IE": 22, "IL": 23, "IS": 26, "IT": 27,
    "LI": 21, "LT": 20, "LU": 20, "LV": 21, "MC": 27, "MT": 31, "NL": 18, "NO": 15, "PL": 28, "PT": 25, "RO": 24,
    "SA": 24, "SE": 24, "SI": 19, "SK": 24, "SM": 27, "TR": 26, "UA": 29,
}  # fmt: skip


def luhn(digits: str) -> bool:
    """ISO/IEC 7812: cards, Canada's social insurance numbers."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if place % 2 else 1)
        total += value - 9 if value > 9 else value
    return total % 10 == 0 and any(digit != "0" for digit in digits)


def iban(text: str) -> bool:
    """ISO 13616: the country's length, and 1 modulo 97."""
    if _IBAN_LENGTHS.get(text[:2], len(text)) != len(text):
        return False
    return int("".join(str(int(one, 36)) for one in text[4:] + text[:4])) % 97 == 1


def routing(digits: str) -> bool:
    """Of the American Bankers Association."""
    weights = (3, 7, 1) * 3
    is_district = 1 <= int(digits[:2]) <= 12 or 21 <= int(digits[:2]) <= 32
    return (
        is_district and sum(int(one) * w for one, w in zip(digits, weights, strict=True)) % 10 == 0
    )


def verhoeff(digits: str) -> bool:
    """India's Aadhaar."""
    check = 0
    for place, digit in enumerate(reversed(digits)):
        check = int(_VERHOEFF[check][int(_VERHOEFF_PLACES[place % 8][int(digit)])])
    return check == 0


def nhs(digits: str) -> bool:
    """The United Kingdom's National Health Service."""
    total = sum(int(one) * (10 - place) for place, one in enumerate(digits[:9]))
    check = (11 - total % 11) % 11
    return check != 10 and check == int(digits[9])


def vin(text: str) -> bool:
    """ISO 3779 with North America's check digit."""
    if any(one not in _VIN_VALUES for one in text):
        return False
    total = sum(_VIN_VALUES[one] * weight for one, weight in zip(text, _VIN_WEIGHTS, strict=True))
    return text[8] == ("X" if total % 11 == 10 else str(total % 11))


def ssn(digits: str) -> bool:
    """What the Social Security Administration never issues is none."""
    return (
        digits[:3] not in ("000", "666")
        and digits[0] != "9"
        and digits[3:5] != "00"
        and digits[5:] != "0000"
    )


def octets(text: str) -> bool:
    """An IPv4 address."""
    return all(int(part) < 256 for part in text.split("."))


def anything(text: str) -> bool:
    """There is nothing to check."""
    return True


Check = Callable[[str], bool]
