"""A signing key that stays in hardware: P-256 behind PKCS#11, through the vendor's own library.

The key is made in the token with `CKA_SENSITIVE` and without `CKA_EXTRACTABLE`; a key that can leave its token is
refused. SHA-256 is computed here and the token signs it (`CKM_ECDSA`, which every token with P-256 has), `r || s` with
the small `s` (`crypto.signature`).

Guarantees: a session that the token lost (restarted, card drawn) is opened again once, then the error is said; a wrong
PIN is tried once, and never by a restarted process while the token counts a failed log-in, so that a loop of restarts
cannot lock the token; a pair whose halves do not fit is refused.
Does NOT guarantee: what the vendor's library does with the PIN, or that what it says of itself is true (`hansa keys
attest` signs what it says). Equal messages get equal bytes only while this object lives: ECDSA draws a number.

Source: PKCS #11 v3.1 (OASIS); SoftHSM 2.6 is what the tests run against.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import pkcs11
from asn1crypto.core import OctetString
from cryptography.hazmat.primitives.asymmetric import ec
from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass, TokenFlag
from pkcs11.util.ec import encode_named_curve_parameters

from hansa.crypto.signature import Algorithm, format_public, key_id, pae, raw_public, verify_bytes, with_small_s
from hansa.errors import IdentityError, SignatureError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_PAIR_CHECK: Final = b"hansa/pair-check/1"
_REMEMBERED: Final = 256  # signatures of this process; a step that is built again is not signed again
_COUNTED: Final = TokenFlag.USER_PIN_COUNT_LOW | TokenFlag.USER_PIN_FINAL_TRY
# What a token says when it was restarted, drawn or logged out behind our back.
_LOST: Final = (
    pkcs11.SessionHandleInvalid,
    pkcs11.SessionClosed,
    pkcs11.KeyHandleInvalid,
    pkcs11.ObjectHandleInvalid,
    pkcs11.UserNotLoggedIn,
    pkcs11.DeviceRemoved,
    pkcs11.DeviceError,
    pkcs11.TokenNotPresent,
    pkcs11.GeneralError,
    pkcs11.FunctionFailed,
)


@dataclass(frozen=True, slots=True)
class TokenPlace:
    """Which token, and how it is opened.

    Args:
        module: Path of the vendor's PKCS#11 library.
        token: Label of the token; empty: the one in `slot`.
        slot: Number of the slot; -1: whichever holds the token with that label.
        pin: Returns the user PIN; called when a session is opened.
        is_asked: Whether a person types the PIN each time.
    """

    module: str
    token: str
    slot: int
    pin: Callable[[], str] = field(repr=False)
    is_asked: bool = False

    def __str__(self) -> str:
        return f"token {self.token!r}" if self.token else f"the token in slot {self.slot}"


class HardwareKey:
    """A `Signer` whose private key is in a token; made by `open_key`."""

    def __init__(self, place: TokenPlace, label: str) -> None:
        self._place = place
        self._label = label
        self._lock = threading.RLock()
        self._recent: OrderedDict[bytes, bytes] = OrderedDict()
        self._refusal: str | None = None
        self._session, self._private, public = self._opened()
        self._public = format_public(public)
        self._require_pair(public)

    def __repr__(self) -> str:
        return f"HardwareKey({self._public})"

    @property
    def public(self) -> str:
        """Public key in text form, `p256:<base64url>`."""
        return self._public

    @property
    def algorithm(self) -> Algorithm:
        """Always `p256`."""
        return "p256"

    @property
    def key_id(self) -> str:
        """SHA-256 of the public key's SubjectPublicKeyInfo, in hexadecimal."""
        return key_id(self._public)

    @property
    def is_deterministic(self) -> bool:
        """Never: the token draws a number for each signature."""
        return False

    def sign(self, payload_type: str, payload: bytes) -> bytes:
        """Sign `payload` as a `payload_type`; 64 bytes.

        Raises:
            IdentityError: The token is gone, or refuses.
        """
        return self.sign_bytes(pae(payload_type, payload))

    def sign_bytes(self, message: bytes) -> bytes:
        """Return a signature over the bare bytes of `message`, 64 bytes.

        Raises:
            IdentityError: The token is gone, or refuses.
        """
        digest = hashlib.sha256(message).digest()
        with self._lock:
            known = self._recent.get(digest)
            if known is None:
                known = self._recent[digest] = with_small_s(self._signed(digest))
                if len(self._recent) > _REMEMBERED:
                    self._recent.popitem(last=False)
            return known

    def attributes(self) -> dict[str, str | bool]:
        """Return what the token says of itself and of the key: what `hansa keys attest` signs.

        Raises:
            IdentityError: The token is gone, or does not say.
        """
        with self._lock, _explained(self._place):
            token = self._session.token
            names = {
                "sensitive": Attribute.SENSITIVE,
                "extractable": Attribute.EXTRACTABLE,
                "always_sensitive": Attribute.ALWAYS_SENSITIVE,
                "never_extractable": Attribute.NEVER_EXTRACTABLE,
                "local": Attribute.LOCAL,
            }
            flags: dict[str, str | bool] = {name: bool(self._private[which]) for name, which in names.items()}
            hardware, firmware = token.hardware_version, token.firmware_version
            return flags | {
                "key_label": self._label,
                "token_label": token.label.strip(),
                "token_serial": token.serial.decode(errors="replace").strip(),
                "token_manufacturer": token.manufacturer_id.strip(),
                "token_model": token.model.strip(),
                "token_hardware": f"{hardware[0]}.{hardware[1]}",
                "token_firmware": f"{firmware[0]}.{firmware[1]}",
            }

    def close(self) -> None:
        """End the session and log out; signing again opens another."""
        with self._lock, contextlib.suppress(pkcs11.PKCS11Error):
            self._session.close()

    def _signed(self, digest: bytes) -> bytes:
        if self._refusal is not None:
            raise IdentityError(self._refusal)
        try:
            return bytes(self._private.sign(digest, mechanism=Mechanism.ECDSA))
        except _LOST:
            pass
        except pkcs11.PKCS11Error as error:
            raise IdentityError(f"{self._place}: it does not sign ({_name(error)}); look into its log") from error
        try:
            self._session, self._private, public = self._opened()
        except IdentityError as error:
            if isinstance(error.__cause__, pkcs11.PinIncorrect | pkcs11.PinLocked):
                self._refusal = str(error)  # another attempt could lock the token
            raise
        if format_public(public) != self._public:
            raise IdentityError(f"{self._place}: after it came back it holds another key; expected {self._public}")
        with _explained(self._place):
            return bytes(self._private.sign(digest, mechanism=Mechanism.ECDSA))

    def _opened(self) -> tuple[Any, Any, bytes]:
        session = open_session(self._place)
        with _explained(self._place):
            private = _one(session, self._place, self._label, ObjectClass.PRIVATE_KEY)
            if not private[Attribute.SENSITIVE] or private[Attribute.EXTRACTABLE]:
                raise IdentityError(
                    f"{self._place}: key {self._label!r} can leave the token; make another with `hansa keys create`"
                )
            identifier = private[Attribute.ID]
            public = _one(session, self._place, self._label, ObjectClass.PUBLIC_KEY, identifier=identifier)
            return session, private, _raw_point(public, self._label)

    def _require_pair(self, public: bytes) -> None:
        try:
            verify_bytes(public, _PAIR_CHECK, self.sign_bytes(_PAIR_CHECK))
        except SignatureError as error:
            raise IdentityError(
                f"{self._place}: public and private key {self._label!r} are no pair; remove the stray one"
            ) from error


def open_key(place: TokenPlace, label: str) -> HardwareKey:
    """Open the one P-256 key with this label.

    Raises:
        IdentityError: No such library, token or key, several keys, a wrong PIN, or a key that can leave the token.
    """
    return HardwareKey(place, label)


def create_key(place: TokenPlace, label: str) -> HardwareKey:
    """Make a key in the token that cannot leave it, and open it.

    Raises:
        IdentityError: The label is taken, or as `open_key`.
    """
    session = open_session(place, rw=True)
    with _explained(place):
        if list(session.get_objects({Attribute.LABEL: label})):
            raise IdentityError(f"{place}: {label!r} is there already; choose another key label")
        curve = {Attribute.EC_PARAMS: encode_named_curve_parameters("secp256r1")}
        private = {
            Attribute.SENSITIVE: True,
            Attribute.EXTRACTABLE: False,
            Attribute.PRIVATE: True,
            Attribute.SIGN: True,
            Attribute.DERIVE: False,
            Attribute.DECRYPT: False,
            Attribute.UNWRAP: False,
        }
        public = {Attribute.VERIFY: True, Attribute.ENCRYPT: False, Attribute.WRAP: False, Attribute.DERIVE: False}
        identifier = hashlib.sha256(b"hansa/key/1" + label.encode()).digest()[:16]
        session.create_domain_parameters(KeyType.EC, curve, local=True).generate_keypair(
            store=True, label=label, id=identifier, private_template=private, public_template=public
        )
        session.close()
    return open_key(place, label)


def list_keys(place: TokenPlace) -> list[dict[str, str | bool]]:
    """Return label, public key and whether it can leave, of every P-256 private key in the token.

    Raises:
        IdentityError: As `open_key`.
    """
    session = open_session(place)
    found: list[dict[str, str | bool]] = []
    with _explained(place):
        publics = {key[Attribute.ID]: key for key in _keys(session, {Attribute.CLASS: ObjectClass.PUBLIC_KEY})}
        for key in _keys(session, {Attribute.CLASS: ObjectClass.PRIVATE_KEY}):
            other = publics.get(key[Attribute.ID])
            label = str(key[Attribute.LABEL])
            found.append(
                {
                    "label": label,
                    "public": format_public(_raw_point(other, label)) if other is not None else "",
                    "extractable": bool(key[Attribute.EXTRACTABLE]),
                }
            )
    return sorted(found, key=lambda one: str(one["label"]))


def open_session(place: TokenPlace, *, rw: bool = False) -> Any:  # noqa: ANN401  python-pkcs11 has no type for it
    """Open a session and log in.

    Raises:
        IdentityError: No such library or token, or the PIN is wrong; nothing is tried twice.
    """
    token = _token(place)
    if token.flags & TokenFlag.USER_PIN_LOCKED:
        raise IdentityError(f"{place}: its PIN is locked; the security officer must unlock it")
    if token.flags & _COUNTED and not place.is_asked:
        raise IdentityError(
            f"{place}: the last PIN that it was given was wrong; none is tried until somebody types the right one "
            "(`hansa keys list --pin prompt`): too many wrong ones lock the token"
        )
    pin = place.pin()
    try:
        with _explained(place):
            try:
                return token.open(rw=rw, user_pin=pin)
            except pkcs11.UserAlreadyLoggedIn:  # another key of this process: the log-in is the process's
                return token.open(rw=rw)
    finally:
        del pin


def _token(place: TokenPlace) -> Any:  # noqa: ANN401
    library = _library(place.module)
    for is_second in (False, True):
        try:
            tokens = [slot.get_token() for slot in library.get_slots(token_present=True) if _fits(slot, place)]
            break
        except pkcs11.PKCS11Error as error:
            if is_second:
                raise IdentityError(f"{place.module}: it lists no slots ({_name(error)}); is the HSM on?") from error
            with contextlib.suppress(pkcs11.PKCS11Error):
                library.reinitialize()
    if len(tokens) != 1:
        there = ", ".join(
            sorted(repr(slot.get_token().label.strip()) for slot in library.get_slots(token_present=True))
        )
        problem = "is not there" if not tokens else f"is there {len(tokens)} times: name its slot"
        raise IdentityError(f"{place}: {problem}; {place.module} shows {there or 'no token at all'}")
    return tokens[0]


def _fits(slot: Any, place: TokenPlace) -> bool:  # noqa: ANN401
    in_slot = place.slot < 0 or slot.slot_id == place.slot
    return in_slot and (not place.token or slot.get_token().label.strip() == place.token)


def _library(module: str) -> Any:  # noqa: ANN401
    try:
        return pkcs11.lib(module)
    except (pkcs11.PKCS11Error, RuntimeError, OSError) as error:
        raise IdentityError(
            f"PKCS#11 library {module!r}: it cannot be loaded ({_name(error)}); give the path of your vendor's library "
            "as keys.module (SoftHSM on Debian: apt-get install softhsm2, /usr/lib/softhsm/libsofthsm2.so)"
        ) from error


def _one(
    session: Any,  # noqa: ANN401
    place: TokenPlace,
    label: str,
    kind: ObjectClass,
    identifier: bytes | None = None,
) -> Any:  # noqa: ANN401
    wanted = {Attribute.CLASS: kind, Attribute.LABEL: label}
    found = _keys(session, wanted if identifier is None else wanted | {Attribute.ID: identifier})
    if len(found) == 1:
        return found[0]
    name = f"{place}: {'private' if kind is ObjectClass.PRIVATE_KEY else 'public'} key {label!r}"
    if found:
        raise IdentityError(f"{name} is there {len(found)} times; give each a label of its own")
    raise IdentityError(f"{name} is not there, or not on P-256; `hansa keys list` shows what is")


def _keys(session: Any, wanted: dict[Attribute, Any]) -> list[Any]:  # noqa: ANN401
    curve = {Attribute.KEY_TYPE: KeyType.EC, Attribute.EC_PARAMS: encode_named_curve_parameters("secp256r1")}
    return list(session.get_objects(wanted | curve))


def _raw_point(public: Any, label: str) -> bytes:  # noqa: ANN401
    point = bytes(public[Attribute.EC_POINT])
    with contextlib.suppress(ValueError, TypeError):  # some tokens give the bare point, without its DER octet string
        point = OctetString.load(point, strict=True).native
    try:
        return raw_public(ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point))
    except ValueError as error:
        raise IdentityError(f"key {label!r}: its public point is malformed") from error


@contextlib.contextmanager
def _explained(place: TokenPlace) -> Iterator[None]:
    try:
        yield
    except (pkcs11.PinIncorrect, pkcs11.PinLenRange, pkcs11.PinInvalid) as error:
        raise IdentityError(
            f"{place}: wrong PIN; it was tried once. Too many wrong PINs lock the token: correct keys.pin first"
        ) from error
    except pkcs11.PinLocked as error:
        raise IdentityError(f"{place}: its PIN is locked; the security officer must unlock it") from error
    except pkcs11.MechanismInvalid as error:
        raise IdentityError(f"{place}: it cannot do ECDSA over P-256; use another token") from error
    except pkcs11.PKCS11Error as error:
        raise IdentityError(f"{place}: {_name(error)}; look into its log") from error


def _name(error: BaseException) -> str:
    return f"{type(error).__name__}{f': {error}' if str(error) else ''}"
