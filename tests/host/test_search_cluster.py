"""A search over a Dask cluster ends with the same result, also when a worker is killed."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest
from test_search_evolution import BUDGET, SETTINGS, SPACE, capacity, slow_capacity

from lilliput.search.budget import Accountant
from lilliput.search.evolution import evolve
from lilliput.search.parallel import workers

distributed = pytest.importorskip("distributed", reason="needs the extra `cluster`")


def test_a_worker_is_killed_in_mid_search_and_nothing_is_lost(tmp_path: Path) -> None:
    accountant = Accountant(BUDGET)
    for folder in ("here", "cluster"):
        (tmp_path / folder).mkdir()
    wanted = evolve(SPACE, accountant, capacity, SETTINGS, tmp_path / "here")
    judged = tmp_path / "cluster" / "judged.jsonl"
    killed = threading.Event()
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        cluster.wait_for_workers(2, timeout=60)

        def kill_one() -> None:
            while not (judged.is_file() and judged.stat().st_size > 0):
                time.sleep(0.002)
            victim = next(iter(cluster.workers.values()))
            os.kill(victim.pid, signal.SIGKILL)
            killed.set()

        murderer = threading.Thread(target=kill_one, daemon=True)
        murderer.start()
        with workers(cluster=cluster.scheduler_address) as over:
            found = evolve(
                SPACE, accountant, slow_capacity, SETTINGS, tmp_path / "cluster", over=over
            )
        murderer.join(timeout=60)
    assert killed.is_set()
    assert found == wanted


def test_processes_give_results_in_order() -> None:
    with workers(processes=2) as over:
        assert list(over(abs, [-1, 2, -3])) == [1, 2, 3]


def test_no_scheduler_is_said() -> None:
    with pytest.raises(OSError), workers(cluster="tcp://127.0.0.1:1", timeout=1):
        pass
