"""SPU's side of the training benchmark, for the venv that holds it: SEMI2K, two parties.

Without arguments they are threads with links in memory. With ``RANK HOST:PORT HOST:PORT`` this is
one of them, and its peer is across a network. Prints one line of JSON: seconds and CPU seconds by
name.
"""

import json
import pickle
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import spu.api as api
import spu.libspu as libspu
import spu.utils.simulation as simulation
from jax.example_libraries import stax

ROWS, FEATURES, CLASSES, ITERATIONS = 128, 100, 10, 20
CONFIG = libspu.RuntimeConfig(libspu.ProtocolKind.SEMI2K, libspu.FieldType.FM64)
IO = api.Io(2, CONFIG)


def links(addresses):
    """Describe who computes."""
    desc = libspu.link.Desc()
    desc.recv_timeout_ms = 600_000
    for number, address in enumerate(addresses):
        desc.add_party(str(number), address)
    return desc


def run(link, executable, shares):
    """Run at one party what ``sim_jax`` has compiled; return wall and CPU seconds."""
    runtime = api.Runtime(link, CONFIG)
    for name, share in zip(executable.input_names, shares, strict=True):
        runtime.set_var(name, share)
    link.barrier()
    start, cpu = time.perf_counter(), time.process_time()
    runtime.run(executable)
    return time.perf_counter() - start, time.process_time() - cpu


def shared(inputs):
    """Return the shares of inputs, by party."""
    secret = libspu.Visibility.VIS_SECRET
    return list(zip(*(IO.make_shares(np.asarray(x), secret) for x in inputs), strict=True))


class Threads:
    """Both parties, here."""

    def __call__(self, executable, *inputs):
        """Run, and note what it cost."""
        desc, shares = links(["here", "there"]), shared(inputs)

        def party(rank):
            return run(libspu.link.create_mem(desc, rank), executable, shares[rank])

        with ThreadPoolExecutor(2) as pool:
            self.spent, _ = pool.map(party, range(2))  # the CPU is the process's, so both's
        return executable.output_names

    def end(self):
        """Nothing is open."""


class Party:
    """One of them, and the other across a network."""

    def __init__(self, rank, addresses):
        self.link, self.rank = libspu.link.create_brpc(links(addresses), rank), rank

    def __call__(self, executable, *inputs):
        """Run, and note what it cost."""
        if self.rank == 0:
            shares, theirs = shared(inputs)
            self.link.send(1, pickle.dumps(theirs))
        else:
            shares = pickle.loads(self.link.recv(0))  # noqa: S301 - from our other process
        self.spent = run(self.link, executable, shares)
        return executable.output_names

    def end(self):
        """Let what is sent arrive."""
        self.link.stop_link()


def cost(parties, function, *arguments, times=2):
    """Return wall and CPU seconds of the last time."""
    for _ in range(times):
        simulation.sim_jax(parties, function)(*arguments)
    return parties.spent


def logistic_regression(x, y):
    """Run some iterations of gradient descent."""
    w = jnp.zeros((FEATURES, 1))
    for i in range(ITERATIONS):
        rows = jax.lax.slice(x, (i * ROWS, 0), ((i + 1) * ROWS, FEATURES))
        label = jax.lax.slice(y, (i * ROWS, 0), ((i + 1) * ROWS, 1))
        w = w - 0.1 * (rows.T @ (jax.nn.sigmoid(rows @ w) - label)) / ROWS
    return w


def network(name):
    """Return the layers of network a, b or c, and the shape of an image."""
    if name == "a":
        hidden = [stax.Dense(128), stax.Relu] * 2
        return stax.serial(*hidden, stax.Dense(CLASSES)), (784,)
    first, second, width = (16, 16, 100) if name == "b" else (20, 50, 500)
    layers = []
    for kernels in (first, second):
        layers += [stax.Conv(kernels, (5, 5)), stax.Relu, stax.AvgPool((2, 2), (2, 2))]
    layers += [stax.Flatten, stax.Dense(width), stax.Relu, stax.Dense(CLASSES)]
    return stax.serial(*layers), (28, 28, 1)


def main():
    """Measure and print."""
    parties = Party(int(sys.argv[1]), sys.argv[2:]) if sys.argv[1:] else Threads()
    rng = np.random.default_rng(0)
    x = rng.standard_normal((ROWS * ITERATIONS, FEATURES)).astype(np.float32)
    y = (x[:, :1] > 0).astype(np.float32)
    each = [spent / ITERATIONS for spent in cost(parties, logistic_regression, x, y)]
    found = {"logistic regression": each}
    for name in "abc":
        init, apply = network(name)[0]
        shape = network(name)[1]
        _, parameters = init(jax.random.PRNGKey(0), (-1, *shape))
        images = rng.random((ROWS, *shape), dtype=np.float32)
        labels = np.eye(CLASSES, dtype=np.float32)[rng.integers(0, CLASSES, ROWS)]

        def step(parameters, images, labels, apply=apply):
            def loss(p):
                return -jnp.mean(jnp.sum(labels * jax.nn.log_softmax(apply(p, images)), 1))

            gradients = jax.grad(loss)(parameters)
            return jax.tree_util.tree_map(lambda p, g: p - 0.01 * g, parameters, gradients)

        found[f"network {name.upper()}, training"] = cost(
            parties, step, parameters, images, labels, times=2 if name == "a" else 1
        )
        found[f"network {name.upper()}, inference"] = cost(parties, apply, parameters, images)
    parties.end()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
