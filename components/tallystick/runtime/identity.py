"""A member's key and certificate, and the TLS contexts that accept pinned peers alone.

There is no certificate authority: each member makes a key and a self-signed certificate
(``tallystick keygen NAME``), and the consortium file carries all certificates. TLS 1.3 proves that
the peer holds the key of a pinned certificate; :func:`peer_name` says whose it is. TLS: RFC 8446.
"""

import os
import ssl
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

from tallystick.runtime.consortium import Consortium, Member, check_name
from tallystick.runtime.errors import ConfigError

KEY_FILE = "tls.key"
CERTIFICATE_FILE = "tls.crt"
VALID_DAYS = 730


def keygen(name: str, folder: Path) -> Path:
    """Make a P-256 key and a self-signed certificate for a member.

    Args:
        name: the member's name in the consortium file.
        folder: made if missing; receives ``tls.key`` (mode 0600) and ``tls.crt``, the layout of a
            Kubernetes TLS secret.

    Returns:
        The certificate's path.

    Raises:
        ConfigError: the folder already holds a key, which is never overwritten; or it cannot be
            written, or the name is none.
    """
    check_name(name)
    key_path, certificate_path = folder / KEY_FILE, folder / CERTIFICATE_FILE
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        key_path.touch(mode=0o600, exist_ok=False)
    except OSError as error:
        if os.path.lexists(key_path):
            raise ConfigError(
                f"{key_path} exists already; a key is never overwritten: move it away first"
            ) from None
        raise ConfigError(f"cannot write {key_path}: {error.strerror}") from None
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))  # clocks differ a little
        .not_valid_after(now + timedelta(days=VALID_DAYS))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    key_path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    certificate_path.write_bytes(certificate.public_bytes(Encoding.PEM))
    return certificate_path


def tls_contexts(
    consortium: Consortium, name: str, identity: Path
) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return the contexts for dialling and for accepting, both of which demand a pinned peer.

    Raises:
        ConfigError: the identity folder lacks a key or holds one that does not belong to ``name``.
    """
    key, certificate = identity / KEY_FILE, identity / CERTIFICATE_FILE
    for path in (key, certificate):
        if not path.is_file():
            raise ConfigError(
                f"{path} is missing; make one with `tallystick keygen {name}`, or mount the "
                "secret there"
            )
    try:
        held = x509.load_pem_x509_certificate(certificate.read_bytes())
    except (OSError, ValueError):
        raise ConfigError(f"{certificate} cannot be read as a PEM certificate") from None
    if held.public_bytes(Encoding.DER) != consortium.member(name).pin:
        raise ConfigError(
            f"{certificate} is not the certificate that the consortium file pins for {name!r}; "
            "use the one that was exchanged, or exchange the new one with every member"
        )
    contexts = []
    members = (*consortium.parties, consortium.dealer)
    for side in (ssl.PROTOCOL_TLS_CLIENT, ssl.PROTOCOL_TLS_SERVER):
        context = ssl.SSLContext(side)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.check_hostname = False  # the pin is the name: addresses behind it may change
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata="".join(member.certificate for member in members))
        try:
            # An empty password: a key that needs one must fail here, not ask at a terminal.
            context.load_cert_chain(certificate, key, password="")
        except (OSError, ValueError):
            raise ConfigError(
                f"{key} cannot be read, or does not belong to {certificate}"
            ) from None
        contexts.append(context)
    contexts[1].num_tickets = 0  # a resumed session would skip the certificate
    return contexts[0], contexts[1]


def days_left(member: Member) -> int:
    """Return for how many more days a member's certificate is valid; nought or less: it is not."""
    certificate = x509.load_pem_x509_certificate(member.certificate.encode())
    now = datetime.now(UTC)
    if now < certificate.not_valid_before_utc:
        return 0
    return (certificate.not_valid_after_utc - now).days


def require_valid(members: Iterable[Member]) -> None:
    """Refuse certificates out of their time, which every TLS handshake would refuse.

    Raises:
        ConfigError: naming the member and the time.
    """
    now = datetime.now(UTC)
    for member in members:
        certificate = x509.load_pem_x509_certificate(member.certificate.encode())
        begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        if not begin <= now <= end:
            raise ConfigError(
                f"the certificate of {member.name!r} holds from {begin:%Y-%m-%d %H:%M} to "
                f"{end:%Y-%m-%d %H:%M} UTC, and by this machine's clock it is "
                f"{now:%Y-%m-%d %H:%M}; have {member.name!r} make another with `tallystick "
                "keygen`, and exchange it with every member"
            )


def peer_name(consortium: Consortium, connection: ssl.SSLSocket) -> str | None:
    """Return the member whose pinned certificate the peer proved to hold, if any."""
    presented = connection.getpeercert(binary_form=True)
    for member in (*consortium.parties, consortium.dealer):
        if presented == member.pin:
            return member.name
    return None
