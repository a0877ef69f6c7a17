"""Read an internet radio station or another network stream, through the decoder.

Only an input that begins with ``stream:`` leads here: nothing else that overheard hears opens a connection.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from overheard.errors import AudioError
from overheard.hear.pipe import decoded
from overheard.hear.source import AudioSource, Block, DeviceLost

PREFIX = "stream:"
_OPEN_TIMEOUT_S, _READ_TIMEOUT_S = 10.0, 15.0
# What a URL of each kind may open, also through a playlist or a redirection: never a local file.
_PROTOCOLS = {
    "http": "http,https,tcp,tls,crypto",
    "https": "https,tcp,tls,crypto",
    "rtsp": "rtsp,rtp,udp,tcp",
    "rtp": "rtp,udp",
    "udp": "udp",
}
_CERTIFICATES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")


@dataclasses.dataclass(frozen=True)
class RemoteAudio:
    """A URL for the decoder, with the permitted protocols and the timeouts."""

    url: str
    open_options: dict[str, str]
    timeout_s: tuple[float, float] = (_OPEN_TIMEOUT_S, _READ_TIMEOUT_S)


class StreamSource(AudioSource):
    """A network stream as a source. When it ends or stalls, it raises DeviceLost, and can be opened again.

    Parameters
    ----------
    url : with http, https, rtsp, rtp or udp

    Raises
    ------
    AudioError
        If the URL is not of this form.
    """

    live = True

    def __init__(self, url: str) -> None:
        super().__init__()
        try:
            parts = urlsplit(url)
            host, protocols = parts.hostname, _PROTOCOLS.get(parts.scheme.lower())
        except ValueError:
            host = protocols = None
        if not host or protocols is None or not url.isprintable() or " " in url:
            raise AudioError(
                f"{PREFIX} needs a URL with {', '.join(_PROTOCOLS)}",
                "such as stream:https://radio.example/a.mp3",
            )
        self.name = f"{PREFIX}{host}"  # the path and the user may be secret
        self._audio = RemoteAudio(
            url, {"protocol_whitelist": protocols, **_tls_options(parts.scheme.lower())}
        )
        self._again = False

    def blocks(self) -> Iterator[Block]:
        """Connect, and yield audio as it arrives."""
        try:
            for block in decoded(self._audio, self._closed):
                self._again = self._again or block.size > 0
                yield block
        except AudioError as error:
            # The decoder's message contains the URL.
            problem = f"{self.name}: {_reason(error)}"
            if self._again:
                raise DeviceLost(problem) from None
            raise AudioError(problem, "check the address and the network") from None
        if not self._closed.is_set():
            raise DeviceLost(f"{self.name} has ended")


def _tls_options(scheme: str) -> dict[str, str]:
    """Return options that let the decoder check certificates, which it does not do by default."""
    chosen = os.environ.get("SSL_CERT_FILE")
    files = [path for path in (chosen, *_CERTIFICATES) if path and Path(path).is_file()]
    return {"tls_verify": "1", "ca_file": files[0]} if scheme in ("http", "https") and files else {}


def _reason(error: AudioError) -> str:
    cause = error.__cause__
    return str(getattr(cause, "strerror", None) or "cannot be read as audio")
