"""Claims about LEI, ISIN and MIC."""

from __future__ import annotations

import string

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hansa.errors import IdentityError
from hansa.identity.codes import check_isin, check_lei, check_mic

LEIS = ["5493001KJTIIGC8Y1R12", "7ZW8QJWVPR4P1J1KQY45", "HWUPKR0MPOU8FGXBT394"]  # public: GLEIF
ISINS = ["US0378331005", "AU0000XVGZA3", "GB0002634946", "DE000BAY0017"]  # public: the issuers' own pages
CHARACTERS = string.ascii_uppercase + string.digits


@pytest.mark.parametrize("code", LEIS)
def test_an_lei_that_was_given_is_taken(code: str) -> None:
    check_lei(code, what="lei")


@pytest.mark.parametrize("code", ISINS)
def test_an_isin_that_was_given_is_taken(code: str) -> None:
    check_isin(code, what="isin")


@given(st.sampled_from(LEIS), st.integers(0, 19), st.sampled_from(CHARACTERS))
def test_one_digit_or_letter_for_another_in_an_lei_is_found(code: str, place: int, character: str) -> None:
    assume(character != code[place] and character.isdigit() == code[place].isdigit())
    with pytest.raises(IdentityError, match="ISO 17442"):
        check_lei(code[:place] + character + code[place + 1 :], what="lei")


@given(st.sampled_from(LEIS), st.integers(0, 18))
def test_two_neighbouring_digits_or_letters_of_an_lei_exchanged_are_found(code: str, place: int) -> None:
    assume(code[place] != code[place + 1] and code[place].isdigit() == code[place + 1].isdigit())
    with pytest.raises(IdentityError, match="ISO 17442"):
        check_lei(code[:place] + code[place + 1] + code[place] + code[place + 2 :], what="lei")


def test_a_letter_and_a_digit_exchanged_may_be_the_same_number() -> None:
    """What the check digits cannot see, as the module says."""
    digits = next(
        f"{n:02}" for n in range(100) if (int("".join(str(int(c, 36)) for c in "B1" + "0" * 16) + f"{n:02}")) % 97 == 1
    )
    for head in ("B1", "1B"):
        check_lei(head + "0" * 16 + digits, what="lei")


@given(st.sampled_from(ISINS), st.integers(0, 11), st.sampled_from(string.digits))
def test_one_wrong_digit_of_an_isin_is_found(code: str, place: int, digit: str) -> None:
    assume(digit != code[place] and code[place].isdigit())
    with pytest.raises(IdentityError, match="ISO 6166"):
        check_isin(code[:place] + digit + code[place + 1 :], what="isin")


@pytest.mark.parametrize("code", ["", LEIS[0].lower(), LEIS[0] + "0", LEIS[0][:-1], " " + LEIS[0][1:], "٣" * 20])
def test_what_has_not_the_form_of_an_lei_is_refused(code: str) -> None:
    with pytest.raises(IdentityError, match="market 7: expected an LEI"):
        check_lei(code, what="market 7")


@pytest.mark.parametrize("code", ["", "us0378331005", "US037833100", "0S0378331005", "US03783310٣5"])
def test_what_has_not_the_form_of_an_isin_is_refused(code: str) -> None:
    with pytest.raises(IdentityError, match="expected an ISIN"):
        check_isin(code, what="isin")


def test_a_mic_is_four_letters_and_digits() -> None:
    for code in ("XNAS", "XETR", "360T"):
        check_mic(code, what="mic")
    for code in ("", "XNA", "XNASD", "xnas", "X-AS"):
        with pytest.raises(IdentityError, match="ISO 10383"):
            check_mic(code, what="mic")
