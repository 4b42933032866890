"""The consortium file, keys and certificates: what is wrong is named."""

import os
import random
import stat
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from tallystick.runtime.consortium import Consortium
from tallystick.runtime.errors import ConfigError
from tallystick.runtime.identity import keygen, require_valid, tls_contexts
from tallystick.runtime.listening import listen

from tests import harness


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> harness.Place:
    return harness.make_place(tmp_path_factory.mktemp("place"), 3)


@pytest.fixture
def content(given: harness.Place) -> Any:
    return yaml.safe_load(given.consortium.read_text())


def load(folder: Path, content: Any) -> Consortium:
    path = folder / "consortium.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return Consortium.load(path)


def test_a_consortium_survives_its_file(given: harness.Place, tmp_path: Path) -> None:
    loaded = given.load()
    assert loaded.names == ("alice", "bob", "carol")
    assert [loaded.rank(name) for name in loaded.names] == [0, 1, 2]
    assert loaded.member("notary") is loaded.dealer
    loaded.save(tmp_path / "again.yaml")
    assert Consortium.load(tmp_path / "again.yaml") == loaded


def test_a_member_behind_a_gateway_listens_elsewhere_than_it_is_dialled(
    given: harness.Place, content: Any, tmp_path: Path
) -> None:
    content["parties"][0] |= {"address": "alice.example:443", "listen": "17700"}
    alice, bob, _ = load(tmp_path, content).parties
    assert (alice.port, alice.listen_port) == (443, 17700)
    assert bob.listen_port == bob.port
    with listen(alice) as door:
        assert door.getsockname()[1] == 17700
    load(tmp_path, content).save(tmp_path / "again.yaml")
    assert Consortium.load(tmp_path / "again.yaml").parties[0] == alice
    for wrong in ("0", "65536", "http", "٣"):
        content["parties"][0]["listen"] = wrong
        with pytest.raises(ConfigError, match="listen of 'alice' must be a port"):
            load(tmp_path, content)


def test_the_same_consortium_quoted_otherwise_has_the_same_digest(
    given: harness.Place, content: Any, tmp_path: Path
) -> None:
    certificate = given.identity("alice") / "tls.crt"
    (tmp_path / "alice.pem").write_text("Issued to: alice\n" + certificate.read_text() + "\n\n")
    content["parties"][0]["certificate"] = "alice.pem"
    content["parties"][1]["certificate"] = content["parties"][1]["certificate"].strip()
    loaded = load(tmp_path, content)
    assert loaded == given.load()
    assert loaded.digest() == given.load().digest()
    tls_contexts(loaded, "alice", given.identity("alice"))


def test_another_order_of_the_parties_is_another_consortium(
    given: harness.Place, content: Any, tmp_path: Path
) -> None:
    content["parties"].reverse()
    assert load(tmp_path, content).digest() != given.load().digest()


def test_names_that_yaml_takes_for_something_else_are_names(content: Any, tmp_path: Path) -> None:
    content["parties"][0]["name"] = "alice"
    text = yaml.safe_dump(content).replace("name: alice", "name: no")
    assert load(tmp_path, text).names[0] == "no"


def altered(content: Any, where: str, value: Any) -> Any:
    *path, last = where.split(".")
    target = content
    for key in path:
        target = target[int(key) if key.isdigit() else key]
    if value is ...:
        del target[last]
    else:
        target[last] = value
    return content


@pytest.mark.parametrize(
    ("where", "value", "said"),
    [
        ("dealer", ..., "exactly the two keys 'parties' and 'dealer'"),
        ("extra", 1, "exactly the two keys 'parties' and 'dealer'"),
        ("parties", {}, "must list two parties or more"),
        ("parties", [], "must list two parties or more"),
        ("parties.0.address", ..., "exactly the keys name, address, certificate"),
        ("parties.0.extra", "x", "exactly the keys name, address, certificate"),
        ("dealer", "notary", "exactly the keys name, address, certificate"),
        ("parties.0.name", ["alice"], "must be text"),
        ("parties.0.name", "", "a member's name must be 1 to 100 letters"),
        ("parties.0.name", "a b", "a member's name must be"),
        ("parties.0.name", "../alice", "a member's name must be"),
        ("parties.0.name", "..", "a member's name must be"),
        ("parties.0.name", "x" * 101, "a member's name must be"),
        ("parties.0.name", "bob", "two members have the same name"),
        ("dealer.name", "bob", "two members have the same name"),
        ("parties.0.address", "localhost", "the address of 'alice' must be host:port"),
        ("parties.0.address", ":7700", "the address of 'alice' must be host:port"),
        ("parties.0.address", "host:0", "the address of 'alice' must be host:port"),
        ("parties.0.address", "host:65536", "the address of 'alice' must be host:port"),
        ("parties.0.address", "host:" + "9" * 5000, "the address of 'alice' must be host:port"),
        ("parties.0.address", "host:²", "the address of 'alice' must be host:port"),
        ("parties.0.address", "host:-7", "the address of 'alice' must be host:port"),
        ("parties.0.address", "a host:7", "the address of 'alice' must be host:port"),
        ("parties.0.address", "host\n:7", "the address of 'alice' must be host:port"),
        ("parties.0.address", "::1:7700", "the address of 'alice' must be host:port"),
        ("parties.0.certificate", "nowhere.pem", "cannot read the certificate file 'nowhere.pem'"),
        ("parties.0.certificate", ".", "cannot read the certificate file"),
        ("parties.0.certificate", "a\0b", "cannot read the certificate file"),
        ("parties.0.certificate", "-----BEGIN", "of 'alice' is not one PEM certificate"),
    ],
)
def test_what_is_wrong_in_the_file_is_named(
    content: Any, tmp_path: Path, where: str, value: Any, said: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, altered(content, where, value))
    assert said in str(caught.value)


def test_a_certificate_may_be_pinned_once_and_must_be_one(content: Any, tmp_path: Path) -> None:
    pem = content["parties"][1]["certificate"]
    with pytest.raises(ConfigError, match="two members have the same certificate"):
        load(tmp_path, altered(content, "parties.0.certificate", pem))
    with pytest.raises(ConfigError, match="of 'alice' is not one PEM certificate"):
        load(tmp_path, altered(content, "parties.0.certificate", pem + pem))


@pytest.mark.parametrize(
    "text",
    ["", "a: [", "\0", "[" * 5000, "\ud800", '"\\UFFFFFFFF"', "%YAML " + "9" * 9999, "2001-99-99"],
    ids=lambda text: repr(text)[:20],
)
def test_what_is_no_consortium_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "consortium.yaml"
    path.write_bytes(text.encode(errors="surrogatepass"))
    with pytest.raises(ConfigError, match=r"is not YAML|exactly the two keys"):
        Consortium.load(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the consortium file"):
        Consortium.load(tmp_path / "none.yaml")


def test_a_party_that_is_not_in_it_is_named(given: harness.Place) -> None:
    with pytest.raises(ConfigError, match="'eve' is not in the consortium file, which lists alice"):
        given.load().rank("eve")


def test_any_altered_file_is_a_consortium_or_a_named_error(content: Any, tmp_path: Path) -> None:
    """1,000 files: one to three bytes changed, or lines shuffled, dropped and doubled."""
    rng = random.Random(5)
    for member in (*content["parties"], content["dealer"]):
        member["certificate"] = f"{member['name']}.pem"
    whole = yaml.safe_dump(content)
    given = harness.make_place(tmp_path / "made", 3)
    for name in ("alice", "bob", "carol", "notary"):
        (tmp_path / f"{name}.pem").write_bytes((given.identity(name) / "tls.crt").read_bytes())
    path = tmp_path / "consortium.yaml"
    path.write_text(whole)
    assert Consortium.load(path).names == ("alice", "bob", "carol")
    refused = 0
    for number in range(1000):
        if number % 2:
            raw = bytearray(whole.encode())
            for _ in range(rng.randrange(1, 4)):
                raw[rng.randrange(len(raw))] = rng.choice(b"\0\n :-[]{}&*!|>'\"%@`#,?\\\xff09azAZ")
            path.write_bytes(raw)
        else:
            lines = whole.splitlines()
            for _ in range(rng.randrange(1, 4)):
                line = lines.pop(rng.randrange(len(lines)))
                lines[rng.randrange(len(lines)) :][:0] = [line] * rng.randrange(3)
                rng.shuffle(lines[rng.randrange(len(lines)) :])
            path.write_text("\n".join(lines))
        try:
            Consortium.load(path).digest()
        except ConfigError:
            refused += 1
    assert refused > 500


# Keys


def test_keygen_makes_a_private_key_file_and_never_overwrites_it(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        certificate = keygen("alice", tmp_path / "made" / "alice")
    finally:
        os.umask(old)
    key = certificate.with_name("tls.key")
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE(key.parent.stat().st_mode) == 0o700
    before = key.read_bytes()
    with pytest.raises(ConfigError, match="exists already; a key is never overwritten"):
        keygen("alice", key.parent)
    assert key.read_bytes() == before
    key.unlink()
    key.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="exists already"):
        keygen("alice", key.parent)
    assert not (tmp_path / "elsewhere").exists()


def test_keygen_makes_keys_that_differ_and_certificates_that_hold_their_own(tmp_path: Path) -> None:
    paths = [keygen("alice", tmp_path / str(i)) for i in range(2)]
    keys, certificates = [], []
    for path in paths:
        key = serialization.load_pem_private_key(path.with_name("tls.key").read_bytes(), None)
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
        assert certificate.public_key() == key.public_key()
        certificate.verify_directly_issued_by(certificate)
        keys.append(key)
        certificates.append(certificate)
    assert keys[0].public_key() != keys[1].public_key()
    assert certificates[0].serial_number != certificates[1].serial_number


@pytest.mark.parametrize("name", ["", "a/b", "..", "x" * 101, "a\nb"])
def test_keygen_refuses_a_name_that_no_member_may_have(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="a member's name must be"):
        keygen(name, tmp_path)
    assert not list(tmp_path.iterdir())


def test_keygen_serves_the_longest_name(tmp_path: Path) -> None:
    keygen("x" * 100, tmp_path / "long")


def test_keygen_says_when_it_cannot_write(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot write"):
        keygen("alice", tmp_path / "file")
    with pytest.raises(ConfigError, match="cannot write"):
        keygen("alice", tmp_path / "file" / "below")


def test_an_identity_that_lacks_a_file_is_named(given: harness.Place, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="make one with `tallystick keygen alice`"):
        tls_contexts(given.load(), "alice", tmp_path)


def test_anothers_identity_is_refused(given: harness.Place) -> None:
    with pytest.raises(ConfigError, match="not the certificate that the consortium file pins"):
        tls_contexts(given.load(), "alice", given.identity("bob"))


def identity(folder: Path, certificate: bytes, key: bytes) -> Path:
    folder.mkdir()
    (folder / "tls.crt").write_bytes(certificate)
    (folder / "tls.key").write_bytes(key)
    return folder


def test_a_key_that_is_not_the_certificates_is_refused(
    given: harness.Place, tmp_path: Path
) -> None:
    certificate = (given.identity("alice") / "tls.crt").read_bytes()
    others = (given.identity("bob") / "tls.key").read_bytes()
    for number, key in enumerate((others, b"", b"no key")):
        with pytest.raises(ConfigError, match="cannot be read, or does not belong to"):
            tls_contexts(given.load(), "alice", identity(tmp_path / str(number), certificate, key))
    with pytest.raises(ConfigError, match="cannot be read as a PEM certificate"):
        tls_contexts(given.load(), "alice", identity(tmp_path / "none", b"\xff", others))


def test_a_key_under_a_password_is_refused_without_asking(
    given: harness.Place, tmp_path: Path
) -> None:
    folder = given.identity("alice")
    key = serialization.load_pem_private_key((folder / "tls.key").read_bytes(), None)
    locked = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    made = identity(tmp_path / "locked", (folder / "tls.crt").read_bytes(), locked)
    with pytest.raises(ConfigError, match="cannot be read, or does not belong to"):
        tls_contexts(given.load(), "alice", made)


@pytest.mark.parametrize(("begin", "end"), [(-10, -1), (1, 10)])
def test_a_certificate_out_of_its_time_is_named(
    content: Any, tmp_path: Path, begin: int, end: int
) -> None:
    content["parties"][1]["certificate"] = harness.certificate("bob", begin, end)[0]
    consortium = load(tmp_path, content)
    with pytest.raises(ConfigError, match="the certificate of 'bob' holds from"):
        require_valid(consortium.parties)
