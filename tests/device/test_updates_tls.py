"""Repositories behind https: certificates, redirects, and a handshake that takes too long."""

from __future__ import annotations

import datetime
import ipaddress
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from overheard.errors import UpdateError
from overheard.settings import Settings
from overheard.updates.subscribe import subscribe
from repositories import (
    IMPATIENT,
    Handler,
    Publisher,
    Server,
    entries,
    pack_of,
    serving,
    titles,
    trust,
    update,
)


def certificate(folder: Path) -> Path:
    """Write a key and a certificate of 127.0.0.1 that nobody has signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.timezone.utc)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "server.pem"
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(private + built.public_bytes(pem))
    return path


@pytest.fixture
def publisher(tmp_path: Path) -> Publisher:
    found = Publisher(tmp_path)
    found.publish(pack_of(tmp_path / "music.pack", entries(range(3))))
    return found


@pytest.fixture
def pem(tmp_path: Path) -> Path:
    return certificate(tmp_path)


@pytest.fixture
def secure(publisher: Publisher, pem: Path) -> Iterator[Server]:
    with serving(publisher.out) as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        yield server


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data")


def address(server: Server) -> str:
    return server.url.replace("http:", "https:")


def test_the_certificate_must_be_valid(
    secure: Server, settings: Settings, pem: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UpdateError, match="its certificate is not valid") as caught:
        trust(settings, address(secure))
    assert str(caught.value).isprintable()
    monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    trust(settings, address(secure))
    assert update(settings)["music"].kind == "updated"
    assert len(titles(settings)) == 3


def test_a_redirect_leads_to_https_but_not_back(
    publisher: Publisher, secure: Server, settings: Settings, pem: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    with serving(publisher.out) as plain:

        def upgrade(handler: Handler, path: str, content: bytes) -> bool:
            handler.begin(301, 0, Location=f"{address(secure)}{path.removeprefix('/packs')}")
            return True

        def downgrade(handler: Handler, path: str, content: bytes) -> bool:
            handler.begin(301, 0, Location=f"{plain.url}{path.removeprefix('/packs')}")
            return True

        plain.answer = upgrade
        trust(settings, plain.url)
        assert update(settings)["music"].kind == "updated"
        plain.answer, secure.answer = None, downgrade
        other = Settings(data_dir=settings.data_dir / "other")
        with pytest.raises(UpdateError, match=r"redirects to http:.* does not follow"):
            trust(other, address(secure))


def test_a_silent_handshake_ends(settings: Settings) -> None:
    with socket.create_server(
        ("127.0.0.1", 0)
    ) as listener:  # connections wait for an `accept` that never comes
        url = f"https://127.0.0.1:{listener.getsockname()[1]}/packs"
        with pytest.raises(UpdateError, match="takes too long to answer"):
            subscribe(settings, url, lambda _: True, limits=IMPATIENT)
