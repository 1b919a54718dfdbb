"""What one model writes for another, on its way through callers' hands.

Every model of the repository can be called by anyone. So `request_settings` and `stream_event` carry a message
authentication code (MAC): nobody but the models can write one, or change a byte of it.
"""

from __future__ import annotations

import hashlib
import hmac

from nemotron_serving.errors import InvalidRequestError

_MAC_BYTES = 16
_PERSON_BYTES = hashlib.blake2b.PERSON_SIZE  # keeps apart what the fields' MACs are made with


class Seal:
    """Writes and checks the MACs of one field: BLAKE2b (RFC 7693) with a key, in hex, in front of the message.

    Args:
        field: Its name; one field's message is never taken for another's.
        secret: Hex text that the models know and no caller, see `HostOptions.secret`. With an empty one there are no
            MACs, and every message is taken.
        writer: The model that writes the field, for the error.
    """

    def __init__(self, field: str, secret: str, writer: str) -> None:
        self._field = field
        self._writer = writer
        key = hashlib.blake2b(secret.encode(), digest_size=hashlib.blake2b.MAX_KEY_SIZE).digest()
        self._keyed = hashlib.blake2b(key=key, digest_size=_MAC_BYTES, person=field.encode()[:_PERSON_BYTES])
        self._length = 2 * _MAC_BYTES if secret else 0

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
        given, message = sealed[: self._length], sealed[self._length :]
        if not hmac.compare_digest(given, self._mac(message, beside)):
            raise InvalidRequestError(
                self._field, f"it can only be passed on as the model {self._writer} of this server has written it"
            )
        return message

    def _mac(self, message: bytes, beside: bytes) -> bytes:
        if not self._length:
            return b""
        keyed = self._keyed.copy()
        keyed.update(b"%d " % len(message))
        keyed.update(message)
        keyed.update(beside)
        return keyed.hexdigest().encode()
