"""Work spread over processes, or over machines through Dask; or done here, with neither."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
Map = Callable[[Callable[[Any], Any], Sequence[Any]], Iterator[Any]]
"""Applies a function that can be pickled to items; yields the results in the items' order."""


@contextmanager
def workers(
    processes: int = 1, cluster: str | None = None, *, timeout: float = 20
) -> Iterator[Map]:
    """A map over so many processes, or over the workers of the Dask scheduler at `cluster`.

    A worker that dies loses nothing: Dask computes its items again elsewhere.
    Raises ImportError when a cluster is wanted and Dask is not installed, OSError when no
    scheduler answers within `timeout` seconds.
    """
    if cluster is not None:
        with _client(cluster, timeout) as client:
            yield lambda function, items: _over_cluster(client, function, items)
    elif processes > 1:
        # A fork of a process in which TensorFlow runs may hang.
        context = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(processes, context) as pool:
            yield pool.map
    else:
        yield map


def _over_cluster(
    client: Any, function: Callable[[Item], Result], items: Sequence[Item]
) -> Iterator[Result]:
    futures = client.map(function, list(items), pure=False, retries=3)
    for future in futures:
        yield future.result()


def _client(address: str, timeout: float) -> Any:
    try:
        from distributed import Client
    except ImportError as error:
        raise ImportError(
            "a cluster needs Dask, which is not installed; run: pip install lilliput[cluster]"
        ) from error
    return Client(address, timeout=timeout, set_as_default=False)
