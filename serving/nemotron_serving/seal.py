"""What one model writes for another, on its way through callers' hands.

Every model of the repository can be called by anyone. So `request_settings` and `stream_event` carry a message
authentication code (MAC): nobody but the models can write one, or change a byte of it. What preprocessing has checked
and sealed, the generating model therefore takes as it is.

The secret is the launcher's. With a Triton started by hand, whose models have none in common, it is the machine's boot
id: no caller over the network can know it, but every program on the machine can read it.
"""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

from nemotron_serving.errors import InvalidRequestError, PackageError

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")  # of random bits, made anew at each start of the machine
_MAC_BYTES = 16
_PERSON_BYTES = hashlib.blake2b.PERSON_SIZE  # keeps apart what the fields' MACs are made with


class Seal:
    """Writes and checks the MACs of one field: BLAKE2b (RFC 7693) with a key, in hex, in front of the message.

    Args:
        field: Its name; one field's message is never taken for another's.
        secret: Text that the models know and no caller, see `HostOptions.secret`; an empty one stands for the boot id.
        writer: The model that writes the field, for the error.

    Raises:
        PackageError: there is neither a secret nor a boot id.
    """

    def __init__(self, field: str, secret: str, writer: str) -> None:
        self._field = field
        self._writer = writer
        key = hashlib.blake2b((secret or _boot_id()).encode(), digest_size=hashlib.blake2b.MAX_KEY_SIZE).digest()
        self._keyed = hashlib.blake2b(key=key, digest_size=_MAC_BYTES, person=field.encode()[:_PERSON_BYTES])

    def close(self, message: bytes, beside: bytes = b"") -> bytes:
        """The message behind its MAC.

        Args:
            message: What the field says.
            beside: What goes with it in other fields and must not be changed either.
        """
        return self._mac(message, beside) + message

    def open(self, sealed: bytes, beside: bytes = b"") -> bytes:
        """The message that was closed together with `beside`.

        Raises:
            InvalidRequestError: it was not, or not with this secret.
        """
        given, message = sealed[: 2 * _MAC_BYTES], sealed[2 * _MAC_BYTES :]
        if not hmac.compare_digest(given, self._mac(message, beside)):
            raise InvalidRequestError(
                self._field, f"it can only be passed on as the model {self._writer} of this server has written it"
            )
        return message

    def _mac(self, message: bytes, beside: bytes) -> bytes:
        keyed = self._keyed.copy()
        keyed.update(b"%d " % len(message))
        keyed.update(message)
        keyed.update(beside)
        return keyed.hexdigest().encode()


def _boot_id() -> str:
    try:
        return _BOOT_ID.read_text().strip()
    except OSError as error:
        raise PackageError(f"{_BOOT_ID} cannot be read: {error}. Start the server with nemotron-serve.") from error
