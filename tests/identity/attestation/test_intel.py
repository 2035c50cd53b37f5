from __future__ import annotations

import base64
import datetime as dt
import json
import sys

import msgspec
import pytest

from hansa.errors import AttestationError, ConfigurationError
from hansa.identity.attestation import intel
from recorded_quotes import INTEL_DATES, with_flipped_bit
from recorded_quotes import intel as recorded

REAL = ["tdx_quote", "tdx_quote_td15ex", "sgx_quote"]


@pytest.mark.parametrize(
    ("name", "status", "register", "value"),
    [
        ("tdx_quote", "UpToDate", "mrtd", "91eb2b44d141d4ece09f0c75c2c53d24"),
        ("tdx_quote_td15ex", "UpToDate", "mrtd", "2a674327c50218dba880066b349b8d55"),
        ("sgx_quote", "ConfigurationAndSWHardeningNeeded", "mrenclave", "33d8736db756ed4997e04ba358d27833"),
    ],
)
def test_a_real_quote_is_genuine_at_its_date(name: str, status: str, register: str, value: str) -> None:
    claims = intel.verify(recorded(name), at=INTEL_DATES[name])

    assert claims.status == status
    assert claims.registers[register].startswith(value)
    assert len(claims.report_data) == 64
    assert not claims.is_debug
    assert claims.valid_until > INTEL_DATES[name]


@pytest.mark.parametrize("name", REAL)
def test_collateral_out_of_date_is_refused(name: str) -> None:
    claims = intel.verify(recorded(name), at=INTEL_DATES[name])

    with pytest.raises(AttestationError, match=r"xpired|certificate chain"):
        intel.verify(recorded(name), at=claims.valid_until + dt.timedelta(seconds=1))


@pytest.mark.parametrize("name", REAL)
@pytest.mark.parametrize("place", [0, 50, 200, 400, 500, 700, 900])
def test_a_quote_with_one_bit_flipped_is_refused(name: str, place: int) -> None:
    good = recorded(name)

    with pytest.raises(AttestationError):
        intel.verify(msgspec.structs.replace(good, quote=with_flipped_bit(good.quote, place)), at=INTEL_DATES[name])


@pytest.mark.parametrize("name", REAL)
@pytest.mark.parametrize("part", ["tcb_info", "qe_identity"])
def test_collateral_with_a_later_end_is_refused(name: str, part: str) -> None:
    good = recorded(name)
    collateral = json.loads(good.collateral["intel"])
    collateral[part] = collateral[part].replace('"nextUpdate":"20', '"nextUpdate":"21')

    with pytest.raises(AttestationError, match="ignature"):
        intel.verify(msgspec.structs.replace(good, collateral={"intel": json.dumps(collateral)}), at=INTEL_DATES[name])


def test_a_platform_whose_level_intel_does_not_list_is_refused() -> None:
    with pytest.raises(AttestationError, match="No matching TCB level"):
        intel.verify(recorded("tdx_quote_outdated"), at=INTEL_DATES["tdx_quote_outdated"])


def test_an_enclaves_quote_is_not_a_domains() -> None:
    disguised = msgspec.structs.replace(recorded("sgx_quote"), technology="tdx")

    with pytest.raises(AttestationError, match="expected a quote of tdx"):
        intel.verify(disguised, at=INTEL_DATES["sgx_quote"])


@pytest.mark.parametrize("quote", [b"", b"\0" * 5000])
def test_what_is_no_quote_is_refused(quote: bytes) -> None:
    junk = msgspec.structs.replace(recorded("tdx_quote"), quote=base64.b64encode(quote).decode())

    with pytest.raises(AttestationError):
        intel.verify(junk, at=INTEL_DATES["tdx_quote"])


@pytest.mark.parametrize("text", ["", "[]", "{"])
def test_collateral_that_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(AttestationError, match="Intel's collateral"):
        intel.intel_collateral(text)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dcap_qvl", None)

    with pytest.raises(ConfigurationError, match=r"hansa\[attestation\]"):
        intel.verify(recorded("tdx_quote"), at=INTEL_DATES["tdx_quote"])
