"""Who takes part: the parties in rank order, their addresses and certificates, and the dealer."""

import dataclasses
import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import yaml
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tallystick.runtime.errors import ConfigError

_NAME = re.compile(r"[^\W_][\w.-]{0,99}")
# host:port; an IPv6 address stands in brackets.
_ADDRESS = re.compile(r"([\w.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]):[0-9]{1,5}", re.ASCII)


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """One organisation: a party or the dealer."""

    name: str
    address: str
    """``host:port``, a DNS name or an IP address; IPv6 in brackets."""
    certificate: str
    """Its self-signed certificate, PEM. It is pinned: no other one is taken for this member."""
    listen: str = ""
    """The port that it listens at, where that is not the address's: behind a gateway, say."""

    @property
    def host(self) -> str:
        """The host part of the address, without brackets."""
        return self.address.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """The port part of the address."""
        return int(self.address.rpartition(":")[2])

    @property
    def listen_port(self) -> int:
        """The port that the member itself opens."""
        return int(self.listen or self.port)

    @property
    def pin(self) -> bytes:
        """The certificate in DER, compared byte by byte with what a peer presents."""
        return x509.load_pem_x509_certificate(self.certificate.encode()).public_bytes(Encoding.DER)


@dataclass(frozen=True, kw_only=True, slots=True)
class Consortium:
    """The agreed list of members. Every member holds the same file."""

    parties: tuple[Member, ...]
    """In rank order: a party's rank is its position here."""
    dealer: Member

    @property
    def names(self) -> tuple[str, ...]:
        """The parties' names in rank order."""
        return tuple(member.name for member in self.parties)

    def rank(self, party: str) -> int:
        """Return a party's rank.

        Raises:
            ConfigError: no party of that name.
        """
        if party not in self.names:
            raise ConfigError(
                f"party {party!r} is not in the consortium file, which lists "
                f"{', '.join(self.names)}"
            )
        return self.names.index(party)

    def order(self, name: str) -> int:
        """Return a member's place: a party's rank, and after all of them the dealer."""
        return len(self.parties) if name == self.dealer.name else self.rank(name)

    def member(self, name: str) -> Member:
        """Return the party or dealer of that name.

        Raises:
            ConfigError: no member of that name.
        """
        return self.dealer if name == self.dealer.name else self.parties[self.rank(name)]

    def digest(self) -> str:
        """Return the SHA-256 of the members' names, addresses and certificates."""
        content = json.dumps(dataclasses.asdict(self), sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a consortium file.

        A certificate is given as PEM text, or as the path of a PEM file, relative to the
        consortium file.

        Raises:
            ConfigError: naming the file and what in it is wrong.
        """
        try:
            # The base loader knows text, lists and mappings: a party named `no` is no boolean.
            content = yaml.load(path.read_text(), Loader=yaml.BaseLoader)  # noqa: S506
        except OSError as error:
            raise ConfigError(f"cannot read the consortium file {path}: {error.strerror}") from None
        except (yaml.YAMLError, ValueError, OverflowError, RecursionError):
            raise ConfigError(f"the consortium file {path} is not YAML") from None
        if not isinstance(content, dict) or set(content) != {"parties", "dealer"}:
            raise ConfigError(f"{path}: needs exactly the two keys 'parties' and 'dealer'")
        if not isinstance(content["parties"], list) or len(content["parties"]) < 2:
            raise ConfigError(f"{path}: 'parties' must list two parties or more, in rank order")
        parties = tuple(_member(path, entry) for entry in content["parties"])
        dealer = _member(path, content["dealer"])
        everyone = (*parties, dealer)
        for what, values in (
            ("name", [member.name for member in everyone]),
            ("certificate", [member.pin for member in everyone]),
        ):
            if len(set(values)) < len(values):
                raise ConfigError(f"{path}: two members have the same {what}; each needs its own")
        return cls(parties=parties, dealer=dealer)

    def save(self, path: Path) -> None:
        """Write the consortium file, certificates included."""
        content = {
            "parties": [_entry(member) for member in self.parties],
            "dealer": _entry(self.dealer),
        }
        path.write_text(yaml.safe_dump(content, sort_keys=False))


def _entry(member: Member) -> dict[str, str]:
    return {name: value for name, value in dataclasses.asdict(member).items() if value}


def _member(path: Path, entry: Any) -> Member:
    fields = {"name", "address", "certificate"}
    if not isinstance(entry, dict) or set(entry) - {"listen"} != fields:
        raise ConfigError(
            f"{path}: a member needs exactly the keys name, address, certificate, and may have "
            "listen"
        )
    if not all(isinstance(value, str) for value in entry.values()):
        raise ConfigError(f"{path}: name, address and certificate of a member must be text")
    name, address, certificate = entry["name"], entry["address"], entry["certificate"]
    check_name(name)
    listen = entry.get("listen", "")
    if listen and not (listen.isascii() and listen.isdigit() and 0 < int(listen) < 65536):
        raise ConfigError(f"{path}: listen of {name!r} must be a port, not {listen!r}")
    if not _ADDRESS.fullmatch(address) or not 0 < int(address.rpartition(":")[2]) < 65536:
        raise ConfigError(f"{path}: the address of {name!r} must be host:port, not {address!r}")
    if "-----BEGIN" not in certificate:
        try:
            certificate = (path.parent / certificate).read_text()
        except (OSError, ValueError):
            raise ConfigError(
                f"{path}: cannot read the certificate file {certificate!r} of {name!r}"
            ) from None
    try:
        parsed = x509.load_pem_x509_certificates(certificate.encode())
        (only,) = parsed
        pem = only.public_bytes(Encoding.PEM).decode()
    except (ValueError, x509.InvalidVersion):
        raise ConfigError(
            f"{path}: the certificate of {name!r} is not one PEM certificate"
        ) from None
    # In one form, so that members who quote it differently still hold the same consortium.
    return Member(name=name, address=address, certificate=pem, listen=listen)


def check_name(name: str) -> None:
    """Refuse what is no member's name.

    Raises:
        ConfigError: saying what is allowed.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(
            "a member's name must be 1 to 100 letters, digits, '-', '_' or '.', and begin with a "
            f"letter or digit, not {name[:120]!r}"
        )
