"""What the dealer is asked: whatever the bytes, a request is one of the list or refused."""

import json
import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tallystick.runtime import orders
from tallystick.runtime.dealer import requests
from tallystick.runtime.dealer.correlations import (
    Drawn,
    Taken,
)
from tallystick.runtime.errors import ProtocolViolation
from tallystick.runtime.orders import Selection

MALFORMED = [
    None,
    [],
    "bit_to_ring",
    {},
    {"kind": "eval"},
    {"kind": None},
    {"kind": ["bit_to_ring"], "shape": [1]},
    {"kind": {"a": 1}},
    {"kind": "bit_to_ring"},
    {"kind": "bit_to_ring", "shape": None},
    {"kind": "bit_to_ring", "shape": 5},
    {"kind": "bit_to_ring", "shape": ""},
    {"kind": "bit_to_ring", "shape": "ab"},
    {"kind": "bit_to_ring", "shape": [1.5]},
    {"kind": "bit_to_ring", "shape": [True]},
    {"kind": "bit_to_ring", "shape": [-1, 5]},
    {"kind": "bit_to_ring", "shape": [-2, -3]},
    {"kind": "bit_to_ring", "shape": [[2]]},
    {"kind": "bit_to_ring", "shape": ["2"]},
    {"kind": "bit_to_ring", "shape": [1] * 100_000},
    {"kind": "bit_to_ring", "shape": [1 << 28]},
    {"kind": "bit_to_ring", "shape": [1 << 40]},
    {"kind": "bit_to_ring", "shape": [0, 1 << 30, 1 << 30, 1 << 30]},
    {"kind": "bit_to_ring", "shape": [5], "masks": [1]},
    {"kind": "bit_to_ring", "shape": [5], "check": 1},
    {"kind": "bit_to_ring", "shape": [5], "extra": 1},
    {"kind": "permutation", "shape": [5], "owner": 0},
    {"kind": "permutation", "shape": [1, 2, 5], "owner": 0},
    {"kind": "permutation", "shape": [1, 5], "owner": -1},
    {"kind": "truncation", "shape": [5], "bits": 62},
    {"kind": "truncation", "shape": [5], "bits": 0},
    {"kind": "truncation", "shape": [5], "bits": "7"},
    {"kind": "truncation", "shape": [5]},
    {"kind": "harmonics", "shape": [5], "count": 65, "period_bits": 5, "precision_bits": 5},
    {"kind": "harmonics", "shape": [5], "count": -1, "period_bits": 5, "precision_bits": 5},
    {"kind": "harmonics", "shape": [5], "count": 5, "period_bits": 60, "precision_bits": 5},
    {"kind": "nought", "shape": [5], "bits": 0},
    {"kind": "nought", "shape": [5], "bits": 40},
    {"kind": "sign", "shape": [5], "gates": 1 << 20},
    {"kind": "and", "left": [2], "right": [3]},
    {"kind": "and", "left": [1 << 27, 1], "right": [1, 1 << 27]},
    {"kind": "product", "shapes": [[2]], "terms": [], "bits": 0},
    {"kind": "product", "shapes": [], "terms": [["mul", 0, 0, []]], "bits": 0},
    {"kind": "product", "shapes": [[2]], "terms": [["mul", 0, 1, []]], "bits": 0},
    {"kind": "product", "shapes": [[2]], "terms": [["mul", -1, 0, []]], "bits": 0},
    {"kind": "product", "shapes": [[2]], "terms": [["mul", 0, 0]], "bits": 0},
    {"kind": "product", "shapes": [[2]], "terms": [["mul", 0, 0, []]], "bits": 62},
    {"kind": "product", "shapes": [[2]], "terms": [["mul", 0, 0, []]] * 5, "bits": 0},
    {"kind": "product", "shapes": [[2]] * 9, "terms": [["mul", 0, 0, []]], "bits": 0},
    {"kind": "product", "shapes": [[2], [3]], "terms": [["mul", 0, 0, []], ["mul", 1, 1, []]]},
    {
        "kind": "product",
        "shapes": [[2], [3]],
        "terms": [["mul", 0, 0, []], ["mul", 1, 1, []]],
        "bits": 0,
    },
    *(
        {"kind": "product", "shapes": shapes, "terms": [[operation, 0, 1, options]], "bits": 0}
        for operation, shapes, options in (
            ("eval", [[2], [2]], []),
            ("__class__", [[2], [2]], []),
            (["mul"], [[2], [2]], []),
            ("matmul", [[2, 3], [2, 3]], []),
            ("matmul_tn", [[2], [2]], []),
            ("dot", [[], [2]], []),
            ("mul", [[2], [2]], [["out", 1]]),
            ("mul", [[2], [2]], [1]),
            ("mul", [[2], [2]], "ab"),
            ("mul", [[-1], [-1]], []),
            ("conv2d", [[1, 1, 5, 5], [1, 1, 2, 2]], [["stride", 0]]),
            ("conv2d", [[1, 1, 5, 5], [1, 1, 2, 2]], [["padding", 1 << 30]]),
            ("conv2d_kernel", [[1, 1, 5, 5], [1, 1, 2, 2]], [["kernel", [3, 3]]]),
        )
    ),
]


@pytest.mark.parametrize("content", MALFORMED, ids=lambda content: json.dumps(content)[:60])
def test_a_malformed_request_is_refused(content: Any) -> None:
    with pytest.raises(ProtocolViolation):
        requests.decode(content)


@given(
    st.integers(0, 2**62), st.integers(1, 9), st.integers(0, 9), st.integers(1, 9), st.booleans()
)
def test_a_name_survives_its_journey(
    number: int, count: int, begin: int, rest: int, natural: bool
) -> None:
    rows = Selection(begin + count + rest, "" if natural else "0af" * 10 + "00", begin, count)
    for name in (Drawn(number), Taken(0, number, rows)):
        assert requests.decode_name(json.loads(json.dumps(requests.encode_name(name)))) == name


@pytest.mark.parametrize(
    "content",
    [
        None, "0", True, -1, 1 << 63, 1.0, {}, [], [0], [0, 9, "", 0, 10], [0, 9, "", -1, 5],
        [0, 9, "", 0, 0], [0, 9, "", 5, 5], [0, 9, "x" * 32, 0, 5], [0, 9, "0" * 31, 0, 5],
        [0, 1 << 40, "", 0, 5], [True, 9, "", 0, 5], [1 << 63, 9, "", 0, 5], [0, 9, 0, 0, 5],
        [0, 9, "", 0, 5, 6], [0, 9, "", 0, None],
    ],
)  # fmt: skip
def test_a_malformed_name_is_refused(content: Any) -> None:
    with pytest.raises(ProtocolViolation):
        requests.decode_name(content)


def test_any_name_is_read_or_refused(fuzz: int) -> None:
    rng = random.Random(4 * fuzz)
    numbers = (0, 1, 5, 9, -1, 1 << 24, 1 << 27, 1 << 40, 1 << 70, True, None, 2.0)

    def name() -> Any:
        if rng.random() < 0.2:
            return rng.choice(numbers)
        key = rng.choice(("", "0" * 32, orders.key("test", 1), "0" * 31, "g" * 32, "A" * 32))
        return [rng.choice(numbers), rng.choice(numbers), key, *rng.choices(numbers, k=2)]

    outcomes: Counter[bool] = Counter()
    for _ in range(20_000 * fuzz):
        content = [name() for _ in range(rng.randrange(1, 4))]
        try:
            names = requests.decode_names(content)
        except ProtocolViolation:
            outcomes[False] += 1
            continue
        outcomes[True] += 1
        assert [requests.encode_name(name) for name in names] == content
        taken = [name.rows for name in names if isinstance(name, Taken)]
        assert all(0 <= rows.begin < rows.begin + rows.count <= rows.table_rows for rows in taken)
        assert sum(rows.table_rows for rows in {rows.key: rows for rows in taken}.values()) <= 2**32
    assert min(outcomes.values()) > 100 * fuzz
