"""Streams of masks: against an independent AES-CTR, and against the attack on CrypTen's own."""

import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st
from tallystick.runtime import adaptation  # noqa: F401  which makes crypten importable
from tallystick.runtime.randomness import KEY_BYTES, Stream, new_key

KEYS = st.binary(min_size=KEY_BYTES, max_size=KEY_BYTES)


def keystream(key: bytes, number: int, count: int) -> bytes:
    """AES in electronic-codebook mode over the counter's blocks: counter mode by its definition."""
    encryptor = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305
    counters = b"".join(
        number.to_bytes(8, "big") + block.to_bytes(8, "big") for block in range(-(-count // 16))
    )
    return encryptor.update(counters)[:count]


@given(key=KEYS, number=st.integers(0, 2**64 - 1), sizes=st.lists(st.integers(0, 99), max_size=4))
def test_a_stream_is_aes_in_counter_mode(key: bytes, number: int, sizes: list[int]) -> None:
    stream = Stream(key, number)
    drawn = b"".join(stream.elements((n,)).numpy().tobytes() for n in sizes)
    assert drawn == keystream(key, number, 8 * sum(sizes))


@given(
    rows=st.lists(st.integers(0, 30), min_size=1, max_size=20),
    width=st.sampled_from([1, 2, 3, 8, 101, 20_000]),
    number=st.integers(0, 2**64 - 1),
)
def test_rows_are_drawn_of_the_same_stream_wherever_they_stand(
    rows: list[int], width: int, number: int
) -> None:
    key, padded = new_key(), width + width % 2
    whole = Stream(key, number).elements((31, padded))
    drawn = Stream(key, number).rows(np.array(rows), width)
    assert torch.equal(drawn, whole[rows, :width])


def test_a_long_draw_is_the_same_stream_as_short_ones() -> None:
    key = new_key()
    expected = keystream(key, 5, 8 * 100_003)
    assert Stream(key, 5).elements((100_003,)).numpy().tobytes() == expected
    buffer = np.empty(8 * 100_003, dtype=np.uint8)
    stream = Stream(key, 5)
    for begin in range(0, len(buffer), 70_000):
        stream.fill(buffer[begin : begin + 70_000])
    assert buffer.tobytes() == expected


def test_streams_of_other_numbers_and_other_keys_share_nothing() -> None:
    key, other = new_key(), new_key()
    streams = [Stream(key, 0), Stream(key, 1), Stream(key, 2**63), Stream(other, 0)]
    drawn = [set(stream.elements((10_000,)).tolist()) for stream in streams]
    assert len(set.union(*drawn)) == 40_000


@given(
    shape=st.lists(st.integers(0, 7), max_size=3).map(tuple),
    key=KEYS,
)
def test_draws_have_the_shape_that_was_asked_for(shape: tuple[int, ...], key: bytes) -> None:
    stream = Stream(key)
    for drawn in (stream.elements(shape), stream.bits(shape)):
        assert drawn.shape == shape
        assert drawn.dtype == torch.int64


def test_bits_are_bits_and_balanced() -> None:
    bits = Stream(bytes(KEY_BYTES)).bits((1_000_000,))
    assert ((bits == 0) | (bits == 1)).all()
    # Five standard deviations of a fair coin; so are neighbouring pairs.
    assert abs(bits.double().mean().item() - 0.5) < 5 * 0.5 / 1000
    pairs = (bits[::2] * 2 + bits[1::2]).bincount(minlength=4)
    assert (pairs - 125_000).abs().max() < 5 * (500_000 * 0.25 * 0.75) ** 0.5


def test_elements_are_uniform_in_every_bit() -> None:
    elements = Stream(bytes(KEY_BYTES)).elements((100_000,))
    for bit in range(64):
        share = ((elements >> bit) & 1).double().mean().item()
        assert abs(share - 0.5) < 5 * 0.5 / 100_000**0.5


def test_a_key_of_another_length_is_refused() -> None:
    for length in (0, 16, 31, 33):
        with pytest.raises(ValueError, match="32 bytes"):
            Stream(bytes(length))


def test_keys_are_never_the_same() -> None:
    assert len({new_key() for _ in range(1000)}) == 1000


# The attack. A Mersenne Twister puts out its whole state, scrambled word by word, in 624 words:
# whoever knows 312 masks of 64 bits knows all that follow.

KNOWN = 312
SPAN = 2**64 - 1
"""CrypTen's masks are torch's words modulo this, less 2**63."""


def untempered(word: int) -> int:
    """Undo the Twister's output scrambling."""
    word ^= word >> 18
    word ^= word << 15 & 0xEFC60000
    by_seven = word
    for _ in range(5):
        by_seven = word ^ by_seven << 7 & 0x9D2C5680
    word = by_seven & 0xFFFFFFFF
    by_eleven = word
    for _ in range(3):
        by_eleven = word ^ by_eleven >> 11
    return by_eleven


def predict(known: list[int], count: int) -> list[int]:
    """Clone the generator that made the known masks, and say which come next."""
    words = [half for mask in known for half in divmod((mask + 2**63) % 2**64, 2**32)]
    twister = random.Random()
    twister.setstate((3, (*(untempered(word) for word in words), 624), None))
    following = [(twister.getrandbits(32) << 32 | twister.getrandbits(32)) for _ in range(count)]
    return [word % SPAN - 2**63 for word in following]


def attack(draw: Callable[[int], torch.Tensor]) -> int:
    """Return how many of the next 1000 masks the attacker names after it saw 312."""
    known = draw(KNOWN).tolist()
    guesses = predict(known, 1000)
    return sum(guess == mask for guess, mask in zip(guesses, draw(1000).tolist(), strict=True))


def test_the_attack_on_crypten_as_shipped_succeeds() -> None:
    from crypten.common.rng import generate_random_ring_element

    generator = torch.Generator()
    generator.seed()
    assert attack(lambda n: generate_random_ring_element((n,), generator=generator)) == 1000


def test_the_same_attack_on_a_stream_fails() -> None:
    stream = Stream(new_key())
    assert attack(lambda n: stream.elements((n,))) == 0


def test_the_same_attack_through_the_dealer_fails() -> None:
    """A party that knows 312 of its own products knows the other's share of their masks."""
    from tallystick.runtime.dealer import correlations
    from tallystick.runtime.dealer.kinds import Truncation

    keys = [new_key(), new_key()]
    requests = iter(range(2))

    def others_share(count: int) -> torch.Tensor:
        number, request = next(requests), Truncation((count,), 16)
        streams = [Stream(key, number) for key in keys]
        correlations.deal(request, streams)  # the dealer draws both parties' shares
        (part,) = request.masks
        both = part.combine(*(part.draw(Stream(key, number)) for key in keys))
        return both - part.draw(Stream(keys[1], number))

    assert attack(others_share) == 0
