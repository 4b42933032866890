"""Workers do what would be done here, in order, and leave no process behind."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from tallystick.psi import group, workers
from tallystick.psi.tasks import TASKS, Work
from tallystick.psi.workers import Workers


def masks(count: int) -> Iterator[Work]:
    scalar = bytes([7]) + bytes(31)
    for number in range(count):
        yield Work(scalar + bytes([number]) * 32, {"hashed": True})


def alive(process: subprocess.Popen[bytes]) -> bool:
    return process.poll() is None


@pytest.mark.parametrize("worth_s", [0.0, 1e9])
@pytest.mark.parametrize("count", [1, 3])
def test_results_come_in_the_order_of_the_work(
    monkeypatch: pytest.MonkeyPatch, count: int, worth_s: float
) -> None:
    monkeypatch.setattr(workers, "WORTH_S", worth_s)
    expected = [TASKS["mask"](work) for work in masks(20)]
    with Workers(count) as pool:
        assert list(pool.map("mask", masks(20))) == expected
        assert list(pool.map("mask", iter(()))) == []
        assert list(pool.map("mask", masks(2))) == expected[:2]
        assert len(pool._started) == (count if worth_s == 0 and count > 1 else 0)
        processes = pool._started
    assert not any(map(alive, processes))


def test_an_error_ends_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "WORTH_S", 0.0)

    def use(pool: Workers) -> None:
        next(pool.map("mask", masks(20)))
        raise KeyError

    pool = Workers(2)
    with pytest.raises(KeyError), pool:
        use(pool)
    assert len(pool._started) == 2
    assert not any(map(alive, pool._started))


def test_a_worker_that_dies_is_an_error_and_no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "WORTH_S", 0.0)
    with Workers(2) as pool:
        list(pool.map("mask", masks(2)))
        for process in pool._started:
            process.kill()
            process.wait()
        with pytest.raises((RuntimeError, BrokenPipeError)):
            list(pool.map("mask", masks(5)))


def test_a_worker_ends_with_the_process_that_started_it() -> None:
    script = (
        "import os, time\n"
        "from tallystick.psi import workers\n"
        "workers.WORTH_S = 0.0\n"
        "pool = workers.Workers(2).__enter__()\n"
        "pool._start()\n"
        "print(*[p.pid for p in pool._started], flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    pids = [int(pid) for pid in done.stdout.split()]
    assert len(pids) == 2
    deadline = time.monotonic() + 10
    while any(os.path.exists(f"/proc/{pid}/fd/0") for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_secrets_are_not_in_a_workers_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "WORTH_S", 0.0)
    secret = group.new_scalar()
    with Workers(2) as pool:
        list(pool.map("mask", [Work(secret + bytes(32), {"hashed": True})]))
        for process in pool._started:
            with open(f"/proc/{process.pid}/cmdline", "rb") as file:
                assert file.read().split(b"\0")[1:] == [b"-m", b"tallystick.psi.worker", b""]


@pytest.mark.parametrize(("told", "found"), [("3", 3), ("1", 1)])
def test_the_platform_says_how_many(monkeypatch: pytest.MonkeyPatch, told: str, found: int) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", told)
    assert workers.cores() == found


@pytest.mark.parametrize("told", ["", "0", "many"])
def test_without_a_word_of_the_platform_it_is_the_cores(
    monkeypatch: pytest.MonkeyPatch, told: str
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", told)
    assert 1 <= workers.cores() <= (os.cpu_count() or 1)
