"""HTTP/1.1 as a benchmark's own servers and clients speak it."""

from __future__ import annotations

CHAT = "/v1/chat/completions"


class Message:
    """Bytes of one HTTP/1.1 connection, cut at whole messages; every message has a content-length."""

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> bytes | None:
        """A whole message if there is one now."""
        self._buffer += data
        head = self._buffer.find(b"\r\n\r\n")
        if head < 0:
            return None
        low = self._buffer[:head].lower()
        at = low.find(b"content-length:")
        length = int(low[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        end = head + 4 + length
        if len(self._buffer) < end:
            return None
        message, self._buffer = self._buffer[:end], self._buffer[end:]
        return message
