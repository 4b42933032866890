"""What CrypTen offers without privacy: any use of it ends the step, by name. See SECURITY.md."""

from collections.abc import Callable
from typing import Any

import crypten
import crypten.mpc
import crypten.mpc.primitives.arithmetic as crypten_arithmetic
from crypten.communicator import DistributedCommunicator
from crypten.config import cfg

from tallystick.runtime.errors import ConfigError

# What CrypTen may not be set to.
_SETTINGS = {
    ("mpc", "protocol"): ("beaver", "replicated sends products of shares without masking them"),
    ("mpc", "active_security"): (False, "it checks the dealer's triples alone"),
    ("debug", "debug_mode"): (False, "it opens values outside the ledger"),
    ("debug", "validation_mode"): (False, "it opens values outside the ledger"),
}


class _Refused:
    """Stands where CrypTen keeps something without privacy: any use of it ends the step."""

    def __init__(self, what: str, why: str) -> None:
        self._what = what
        self._why = why

    def __getattr__(self, name: str) -> Any:
        raise ConfigError(f"crypten's {self._what} is refused: {self._why}")


def _refuse(why: str) -> Callable[..., Any]:
    def refuse(*_: Any, **__: Any) -> Any:
        raise ConfigError(why)

    return refuse


def check_settings() -> None:
    """Stop if somebody switched on a part of CrypTen that has no privacy.

    Raises:
        ConfigError: naming the setting.
    """
    for (section, name), (allowed, why) in _SETTINGS.items():
        value = getattr(getattr(cfg, section), name)
        if value != allowed:
            raise ConfigError(f"crypten's {section}.{name} = {value!r} is refused: {why}")


def install() -> None:
    """Put refusals where CrypTen keeps these."""
    providers = crypten.mpc.__dict__["__SUPPORTED_PROVIDERS"]
    providers["TFP"] = _Refused("provider TFP", "the first party knows every mask")
    providers["TTP"] = _Refused("provider TTP", "its masks can be cloned; the dealer replaces it")
    providers["HE"] = _Refused("provider HE", "it was never finished")
    crypten_arithmetic.replicated = _Refused("protocol replicated", "it does not mask products")
    secret = crypten.mpc.MPCTensor
    secret.get_plain_text = secret.reveal = _refuse("a secret is opened by the ledger alone")
    for message in ("send_obj", "recv_obj", "broadcast_obj"):
        setattr(DistributedCommunicator, message, _refuse("pickled objects are refused"))
