"""``make bench``: prints this runtime's times beside those of stock CrypTen over Gloo.

``python -m tests.benchmarks collectives`` and ``training`` measure these alone.
"""

import math
import statistics
import sys
from contextlib import ExitStack

from rich.console import Console, Group
from rich.table import Table

from tests.benchmarks import collectives, costs, network, ours, stock, stock_training, training
from tests.benchmarks.costs import Cost
from tests.benchmarks.operations import OPERATIONS
from tests.harness import DEALER, NAMES
from tests.slow_net import slow_net

Costs = dict[str, Cost]
FAR_S = 0.01
"""One way, between members that are far apart."""


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
    console.print(collectives_table())
    console.print(network_table())
    console.print(training_tables())
    if not training.SPU.exists():
        console.print(f"spu was not measured: there is no {training.SPU}")


def collectives_table() -> Table:
    """Measure collectives by turns."""
    table = Table("by turns", "Gloo, ms", "ours, ms", "ratio", "lowest", "highest")
    for name, turns in collectives.run().items():
        ratios = [mine / theirs for theirs, mine in turns]
        cells = [
            *(f"{statistics.median(side) * 1e3:.3f}" for side in zip(*turns, strict=True)),
            *(f"{pick(ratios):.2f}" for pick in (statistics.median, min, max)),
        ]
        table.add_row(name, *cells)
    return table


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


def training_tables() -> Group:
    """Measure iterations, training steps and inferences of all sides, here and far apart."""
    theirs, mine, spu = stock_training.run(), training.ours(), training.spu() or {}
    near = _near(theirs, mine, spu, training.spu_in_memory() or {})
    with ExitStack() as opened:
        try:
            hosts = opened.enter_context(slow_net((*NAMES[:2], DEALER), FAR_S))
        except OSError as error:
            least = {n: Cost(c.seconds + c.rounds * FAR_S, 0.0) for n, c in theirs.items()}
            note = f"no hosts could be made ({error}): ours is through a proxy, stock's at least"
            return Group(near, _far(least, training.ours(delay_s=FAR_S), {}, note))
        parties = [hosts[name] for name in NAMES[:2]]
        theirs, mine = stock_training.run(parties), training.ours(hosts)
        return Group(near, _far(theirs, mine, training.spu(parties) or {}, None))


def _far(theirs: Costs, mine: Costs, spu: Costs, note: str | None) -> Table:
    table = Table("what", "ours", "stock", "spu", "ours/stock", "ours/spu", caption=note)
    table.title = f"seconds with {2e3 * FAR_S:g} ms there and back"
    for name in costs.names():
        our_s, others_s = mine[name].seconds, [side[name].seconds for side in (theirs, spu) if side]
        table.add_row(
            name,
            *(f"{seconds:.2f}" for seconds in (our_s, *others_s)),
            *([""] if not spu else []),
            *(f"{our_s / seconds:.2f}" for seconds in others_s),
        )
    return table


def _near(theirs: Costs, mine: Costs, spu: Costs, in_memory: Costs) -> Group:
    times = Table("128 rows, ms", "ours", "stock", "spu", "in memory", "ours/stock", "ours/spu")
    work = Table("CPU of all processes, ms", "ours", "stock", "spu", "our rounds")
    for name in costs.names():
        sides = [side.get(name) for side in (mine, theirs, spu, in_memory)]
        first = mine[name]
        times.add_row(
            name,
            *(f"{side.seconds * 1e3:.0f}" if side else "" for side in sides),
            *(f"{first.seconds / side.seconds:.2f}" if side else "" for side in sides[1:3]),
        )
        cpu = (f"{side.cpu_seconds * 1e3:.0f}" if side else "" for side in sides[:3])
        work.add_row(name, *cpu, f"{first.rounds:.0f}")
    return Group(times, work)


if __name__ == "__main__":
    parts = {"collectives": collectives_table, "training": training_tables}
    if sys.argv[1:]:
        Console().print(parts[sys.argv[1]]())
    else:
        main()
