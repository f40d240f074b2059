"""Work in several threads: NumPy, Pillow and LiteRT let go of Python's lock while they compute."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import TypeVar

import numpy as np

Item = TypeVar("Item")
Result = TypeVar("Result")


def ahead(function: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[Result]:
    """What a function makes of each item, in their order; so many at a time, and no more than that wait.

    Items are taken in the caller's thread. An error of the function is raised where its result would come.
    """
    if workers <= 1:
        yield from map(function, items)
        return
    pool, coming = ThreadPoolExecutor(workers), deque()
    try:
        for item in items:
            coming.append(pool.submit(function, item))
            if len(coming) > workers:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


class Pool:
    """Copies of an engine that threads share: a call takes one that is free, or waits for it."""

    def __init__(self, engines: list):
        self.scale, self.size = engines[0].scale, engines[0].size
        self.takes_bytes = engines[0].takes_bytes
        self.workers = len(engines)
        self._free: SimpleQueue = SimpleQueue()
        for engine in engines:
            self._free.put(engine)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        engine = self._free.get()
        try:
            return engine(image)
        finally:
            self._free.put(engine)
