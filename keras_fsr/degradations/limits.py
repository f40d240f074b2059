"""What the parameters of degradations may be: records that come from files are checked when they are made."""

import math
from collections.abc import Iterable

MAX_SIDE = 255  # pixels of a kernel
MAX_SHARE = 16  # of the original's side that a resize may make
MIN_SIGMA, MAX_SIGMA = 1e-6, 1e6  # pixels
MAX_FACTOR = 1e6  # by which a side may be divided


def require(condition: bool, problem: str) -> None:
    """Refuses a parameter that no image can be degraded with."""
    if not condition:
        raise ValueError(problem)


def require_between(name: str, value: float, low: float, high: float) -> None:
    require(low <= value <= high, f"{name} {value} is not from {low} to {high}")  # NaN is neither


def require_shares(name: str, shares: Iterable[float]) -> None:
    """Refuses weights that are no probabilities even divided by their sum."""
    shares = list(shares)
    require(
        min(shares, default=0) >= 0 and 0 < sum(shares) < math.inf, f"{name} have no share above 0, or no finite sum"
    )


def require_whole(name: str, value: int, low: int, high: float) -> None:
    require(
        isinstance(value, int) and low <= value <= high, f"{name} {value!r} is no whole number from {low} to {high}"
    )


def require_odd(size: int) -> None:
    require_whole("size", size, 1, MAX_SIDE)
    require(size % 2 == 1, f"size {size} is not odd")
