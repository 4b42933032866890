"""What CrypTen offers without privacy ends the step, by name."""

import pytest
import torch
from tallystick.runtime import engine
from tallystick.runtime.adaptation import refusals
from tallystick.runtime.errors import ConfigError, DataError
from tallystick.runtime.randomness import Stream, new_key


@pytest.mark.parametrize("provider", ["TFP", "TTP", "HE"])
@pytest.mark.parametrize("what", ["generate_additive_triple", "square", "B2A_rng", "wrap_rng"])
def test_an_insecure_provider_is_refused(provider: str, what: str) -> None:
    import crypten.mpc

    offered = crypten.mpc.__dict__["__SUPPORTED_PROVIDERS"][provider]
    with pytest.raises(ConfigError, match=f"provider {provider} is refused"):
        getattr(offered, what)


@pytest.mark.parametrize(
    ("section", "name", "value"),
    [
        ("mpc", "protocol", "replicated"),
        ("mpc", "active_security", True),
        ("debug", "debug_mode", True),
        ("debug", "validation_mode", True),
    ],
)
def test_an_insecure_setting_is_refused(
    monkeypatch: pytest.MonkeyPatch, section: str, name: str, value: object
) -> None:
    from crypten.config import cfg

    refusals.check_settings()
    monkeypatch.setattr(getattr(cfg.config, section), name, value)
    with pytest.raises(ConfigError, match=f"{section}.{name} = {value!r} is refused"):
        refusals.check_settings()


def test_the_replicated_protocol_is_refused_when_used() -> None:
    import crypten.mpc.primitives.arithmetic as arithmetic

    with pytest.raises(ConfigError, match="replicated is refused"):
        _ = arithmetic.replicated.mul


def test_a_torch_generator_for_masks_is_refused() -> None:
    import crypten.mpc.primitives.arithmetic as arithmetic
    import crypten.mpc.primitives.binary as binary

    for draw in (arithmetic.generate_random_ring_element, binary.generate_kbit_random_tensor):
        with pytest.raises(ConfigError, match=r"a torch.Generator .* is refused"):
            draw((3,), generator=torch.Generator())
        assert draw((3,), generator=Stream(new_key())).shape == (3,)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), 1e9, -(2.0**20)])
def test_what_does_not_fit_is_refused_before_it_is_shared(value: float) -> None:
    with pytest.raises(DataError, match="is not a number below") as caught:
        engine.encode(torch.tensor([1.0, value, 2.0]))
    assert str(value) not in str(caught.value)


@pytest.mark.parametrize("opening", ["get_plain_text", "reveal"])
def test_a_secret_is_opened_by_the_ledger_alone(opening: str) -> None:
    secret = engine.Secret.from_shares(torch.zeros(1, dtype=torch.int64))
    with pytest.raises(ConfigError, match="opened by the ledger alone"):
        getattr(secret, opening)()


@pytest.mark.parametrize("message", ["send_obj", "recv_obj", "broadcast_obj"])
def test_pickled_messages_are_refused(message: str) -> None:
    from crypten.communicator import DistributedCommunicator

    with pytest.raises(ConfigError, match="pickled objects are refused"):
        getattr(DistributedCommunicator, message)(object(), {"a": 1}, 0)
