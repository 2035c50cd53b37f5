"""Identity codes of finance: who an institution is (LEI), what is traded (ISIN), and where (MIC).

Guarantees: an LEI in which one digit stands for another, one letter for another, or two neighbouring digits or letters
are exchanged, is refused; of an ISIN the Luhn digit finds any one wrong digit and most exchanges.
Does NOT guarantee: that a letter taken for a digit is found in an LEI: a letter counts as two digits, so `1B` and `B1`
are the same number, and other such mistakes slip through once in about a hundred; that a code has been given to anybody
(GLEIF, ANNA and the ISO 10383 registry say that). A MIC has no check digit, so only its form is checked.

Source: ISO 17442-1:2020 with ISO/IEC 7064 MOD 97-10 (LEI), ISO 6166:2021 (ISIN), ISO 10383:2012 (MIC).
"""

from __future__ import annotations

import re
from typing import Final

from hansa.errors import IdentityError

_LEI: Final = re.compile(r"[A-Z0-9]{18}[0-9]{2}")
_ISIN: Final = re.compile(r"[A-Z]{2}[A-Z0-9]{9}[0-9]")
_MIC: Final = re.compile(r"[A-Z0-9]{4}")


def check_lei(code: str, *, what: str) -> None:
    """Check a legal entity identifier.

    Raises:
        IdentityError: It is not 18 letters and digits and two check digits that fit.
    """
    if not _LEI.fullmatch(code) or _number(code) % 97 != 1:
        raise IdentityError(
            f"{what}: expected an LEI, 18 of A-Z, 0-9 and 2 check digits (ISO 17442), got {code[:40]!r}; look it up at "
            "GLEIF and copy it"
        )


def check_isin(code: str, *, what: str) -> None:
    """Check an international securities identification number.

    Raises:
        IdentityError: It is not a country, 9 letters and digits and the check digit that fits.
    """
    if not _ISIN.fullmatch(code) or _luhn(str(_number(code))) != 0:
        raise IdentityError(
            f"{what}: expected an ISIN, 2 letters, 9 of A-Z, 0-9 and a check digit (ISO 6166), got {code[:40]!r}"
        )


def check_mic(code: str, *, what: str) -> None:
    """Check the form of a market identifier code.

    Raises:
        IdentityError: It is not 4 letters and digits.
    """
    if not _MIC.fullmatch(code):
        raise IdentityError(f"{what}: expected a MIC, 4 of A-Z, 0-9 (ISO 10383), got {code[:40]!r}")


def _number(code: str) -> int:
    """Return the number whose digits are those of the code, A = 10 to Z = 35."""
    return int("".join(str(int(character, 36)) for character in code))


def _luhn(digits: str) -> int:
    """Return the Luhn sum modulo 10; 0 where the last digit fits."""
    doubled = [int(digit) * (2 if place % 2 else 1) for place, digit in enumerate(reversed(digits))]
    return sum(number // 10 + number % 10 for number in doubled) % 10
