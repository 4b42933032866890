"""Addresses as they may be shown: others read our errors, and an address may hold credentials.

``s3://KEY:SECRET@bucket/folder?secret_key=...``: what stands before the ``@`` and after the ``?``.
"""

import re
from pathlib import Path

# A path on this machine has no scheme; one slash is what pathlib leaves of two.
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:/{1,2}", re.IGNORECASE)
_OPTIONS = re.compile(r"[?#]")


def without_credentials(address: str | Path) -> str:
    """Return an address less its user and its options; a path as it is."""
    found = _SCHEME.match(str(address))
    if found is None:
        return str(address)
    place, *options = _OPTIONS.split(str(address)[found.end() :])
    if any("@" in option for option in options):  # then the secret itself may have been cut
        place = "..."
    return found[0] + place.rpartition("@")[2]


def name_of(address: str | Path) -> str:
    """Return the last part of an address or a path, by which its owner knows it."""
    return without_credentials(address).rstrip("/").rpartition("/")[2]
