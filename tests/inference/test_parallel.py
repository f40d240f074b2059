"""Threads: order, how far they run ahead, errors; and copies of an engine that they share."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from keras_fsr.inference.parallel import Pool, ahead


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_results_come_in_order_whichever_is_first(workers):
    def slow_at_first(number):
        time.sleep(0.02 if number < 3 else 0)
        return number * 10

    assert list(ahead(slow_at_first, range(9), workers)) == [number * 10 for number in range(9)]
    assert list(ahead(slow_at_first, [], workers)) == []


@pytest.mark.parametrize("workers", [2, 3])
def test_so_many_work_at_once_and_no_more_wait(workers):
    meeting, taken = threading.Barrier(workers), []

    def items():
        for number in range(workers * 4):
            taken.append(number)
            yield number

    def meet(number):
        meeting.wait(30)  # returns when as many are at work
        return number

    for got, number in enumerate(ahead(meet, items(), workers)):
        assert got == number
        assert len(taken) <= got + 1 + workers


def test_one_worker_is_this_thread():
    assert set(ahead(lambda _: threading.get_ident(), range(3), 1)) == {threading.get_ident()}


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_comes_in_its_place_and_ends_the_rest(workers):
    done = []

    def fail_at_two(number):
        if number == 2:
            raise ValueError("two")
        done.append(number)
        return number

    results = ahead(fail_at_two, range(50), workers)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError, match="two"):
        next(results)
    assert len(done) < 2 + 2 * workers


class Engine:
    scale, size, takes_bytes = 4, (8, 9), True

    def __init__(self):
        self.busy = False

    def __call__(self, image):
        assert not self.busy, "called by two threads"
        self.busy = True
        time.sleep(0.01)
        self.busy = False
        if image.ndim != 3:
            raise RuntimeError("no image")
        return self


def test_copies_are_shared_each_by_one_thread_at_a_time():
    engines = [Engine(), Engine()]
    pool = Pool(engines)
    assert (pool.scale, pool.size, pool.takes_bytes, pool.workers) == (4, (8, 9), True, 2)
    with ThreadPoolExecutor(6) as threads:
        used = list(threads.map(pool, [np.zeros((4, 4, 3))] * 24))
    assert set(used) == set(engines)


def test_a_copy_is_free_again_after_an_error():
    pool = Pool([Engine()])
    for _ in range(3):
        with pytest.raises(RuntimeError, match="no image"):
            pool(np.zeros(2))
    assert pool(np.zeros((4, 4, 3)))
