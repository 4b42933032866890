"""Aided private set intersection: the dealer matches pseudonyms that it cannot read.

Roles
    Party i of P holds a set X_i of n_i ids in canonical bytes. The dealer holds nothing.

Messages (F is keyed BLAKE2b with a 16-byte digest; all links are mutual TLS)
    1. party i -> every party    c_i, 32 fresh random bytes
       every party               k = HKDF-SHA256(c_1 || ... || c_P, info = "pseudonyms" and session)
                                 h = HKDF-SHA256(c_1 || ... || c_P, info = "row order" and session)
    2. party i -> dealer         S_i = sort({F_k(x) : x in X_i}) and the agreed minimum
    3. dealer -> party i         where the elements of S = S_1 n ... n S_P stand in S_i, ascending;
                                 or, when |S| is below the minimum, only that it is
    4. party i -> every party    t = BLAKE2b_h(S in ascending order), which must be equal

    Rows are kept in ascending order of F_k(x), which is a random order to anyone without k, and the
    same at every party. Sorting S_i takes the place of the paper's random permutation.

Cost
    4 rounds. Party i sends 16 n_i bytes to the dealer and receives 8 |S|; between parties 32 bytes
    of key material and a 32-byte commitment each way (as hex, in JSON).

What each learns
    party       |S|, and which of its own ids are in S. Of another party's other ids: nothing, since
                it sees no pseudonym of theirs.
    dealer      n_i, |S| and, among three parties or more, how many elements any of them have in
                common. Of the ids themselves nothing: without k, F_k(x) is a random string, and k
                is drawn anew for each session, so that two sessions cannot be linked.
    must not    k reach the dealer: a holder of both k and S_i can try out every plausible id.

Adversary
    Semi-honest parties and dealer; the dealer colludes with no party. The commitment of message 4
    finds a dealer that answers parties differently by mistake; it is no defence against one that
    cheats all of them alike.

Source
    S. Kamara, P. Mohassel, M. Raykova, S. Sadeghian, "Scaling Private Set Intersection to
    Billion-Element Sets", Financial Cryptography 2014: the server-aided protocol for semi-honest
    parties. HKDF: RFC 5869.
"""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from numpy.typing import NDArray

from tallystick.runtime import events
from tallystick.runtime.errors import ProtocolViolation
from tallystick.runtime.session import Session
from tallystick.tables import ids

KEY_BYTES = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class Matches:
    """What a party learns."""

    positions: NDArray[np.int64]
    """Where its matching ids stand among its own, in the order that all parties share."""
    row_order: str
    """A commitment to the matching ids in that order, as hex; equal at all parties."""


def intersect(session: Session, own_ids: Sequence[bytes], minimum: int) -> Matches:
    """Find the ids that every party holds.

    Args:
        session: the joined session.
        own_ids: canonical and different from one another.
        minimum: with fewer matches nobody learns which they are.

    Raises:
        DataError: fewer than ``minimum`` ids match; at every party.
        ProtocolViolation: a message of another form than this protocol has.
    """
    pseudonym_key, order_key = agree_keys(session)
    pseudonyms_N16 = ids.pseudonyms(own_ids, pseudonym_key)
    order_N = ids.order(pseudonyms_N16)
    sorted_N16 = pseudonyms_N16[order_N]
    events.emit("progress", done=len(own_ids), total=len(own_ids), unit="pseudonyms")

    matched_M = session.dealer.match(sorted_N16, minimum)
    _require_positions(matched_M, len(own_ids))
    why = "the parties train on the rows that all of them hold"
    session.ledger.note("rows matched", to=session.parties, count=1, why=why)
    session.ledger.note(
        "each party's own rows that match",
        to=session.parties,
        count=len(matched_M),
        why=why,
    )
    commitment = hashlib.blake2b(sorted_N16[matched_M].tobytes(), key=order_key, digest_size=32)
    return Matches(positions=order_N[matched_M], row_order=commitment.hexdigest())


def agree_keys(session: Session) -> tuple[bytes, bytes]:
    """Agree on the keys of pseudonyms and of the commitment, which the dealer never sees.

    Raises:
        ProtocolViolation: a party's contribution is not 32 bytes in hex.
    """
    answers = session.exchange({"contribution": secrets.token_hex(KEY_BYTES)})
    material = b""
    for party, answer in zip(session.parties, answers, strict=True):
        try:
            contribution = bytes.fromhex(answer["contribution"])
        except (KeyError, TypeError, ValueError):
            contribution = b""
        if len(contribution) != KEY_BYTES:
            raise ProtocolViolation(
                f"party {party!r} sent no {KEY_BYTES} bytes of key material; "
                "check that it runs the same version of tallystick"
            )
        material += contribution
    return (
        _derive(material, f"tallystick psi: pseudonyms: {session.name}"),
        _derive(material, f"tallystick psi: row order: {session.name}"),
    )


def _derive(material: bytes, info: str) -> bytes:
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=info.encode()).derive(
        material
    )


def _require_positions(matched_M: NDArray[np.int64], num_own: int) -> None:
    ascending = bool((np.diff(matched_M) > 0).all())
    if not ascending or (len(matched_M) and not 0 <= matched_M[0] <= matched_M[-1] < num_own):
        raise ProtocolViolation(
            "the dealer's matches are not positions among the pseudonyms that it was sent; "
            "check that it runs the same version of tallystick"
        )
