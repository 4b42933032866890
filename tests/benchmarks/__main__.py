"""``make bench``: prints this runtime's times beside those of stock CrypTen over Gloo."""

import math

from rich.console import Console
from rich.table import Table

from tests.benchmarks import network, ours, stock
from tests.benchmarks.operations import OPERATIONS


def main() -> None:
    """Run both sides and print the ratios."""
    theirs, (mine, rounds) = stock.run(), ours.run()
    table = Table("what", "stock, ms", "ours, ms", "ratio", "our rounds")
    for name, seconds in theirs.items():
        ratio = mine[name] / seconds
        table.add_row(
            name,
            f"{seconds * 1e3:.3f}",
            f"{mine[name] * 1e3:.3f}",
            f"{ratio:.2f}",
            str(rounds.get(name, "")),
        )
    console = Console()
    console.print(table)
    ratios = [mine[name] / theirs[name] for name in OPERATIONS]
    mean = math.exp(sum(math.log(ratio) for ratio in ratios) / len(ratios))
    console.print(f"geometric mean over CrypTen's operations: {mean:.2f}")
    console.print("stock: CrypTen 0.4.1, Gloo in plaintext, first party as dealer; no privacy.")
    console.print("ours: TLS, AES-CTR masks, a dealer of its own on the same cores.")
    console.print(network_table())


def network_table() -> Table:
    """Measure operations over a slow network; a round should cost the delay and no more."""
    delays = network.DELAYS_S
    table = Table("operation", "rounds", *(f"{2e3 * d:g} ms there and back" for d in delays))
    table.add_column("cost of a round, in delays")
    for name, (rounds, seconds) in network.run().items():
        growth = (seconds[-1] - seconds[0]) / (rounds * delays[-1])
        cells = [f"{s * 1e3:.1f} ms" for s in seconds]
        table.add_row(name, str(rounds), *cells, f"{growth:.2f}")
    return table


if __name__ == "__main__":
    main()
