"""50-digit values of section 2's quantities at the floats passed, by Arb, from the definitions.

Sums run over every outcome of the group: no window, no symmetry, no table, nothing shared with
identity/. Each ball must be narrower than 1e-50 of its value.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import mpmath
from flint import arb, ctx

from tests.tolerances import ORACLE_BITS, ORACLE_DIGITS

ctx.prec = ORACLE_BITS


def ball(value: float) -> arb:
    return arb(float(value))


def settle(value: arb) -> arb:
    """The value itself, after making sure that it is known to the digits promised."""
    if not value.is_zero():
        assert float(value.rel_accuracy_bits()) > ORACLE_DIGITS * 3.33, value
    return value


def relative_error(actual: Any, exact: arb) -> float:
    """|actual/exact − 1|; 0 if both are 0."""
    if exact.is_zero():
        return 0.0 if float(actual) == 0 else float("inf")
    return abs(float((ball(actual) - exact) / exact))


@lru_cache(maxsize=64)
def coefficients(group_size: int, method: str) -> tuple[arb, ...]:
    """A⁺(1+b) − A⁻(b) for b = 0..G−1, the advantages read off the group."""
    n = group_size - 1
    if method == "max_rl":
        return tuple(arb(group_size) / (1 + b) for b in range(n + 1))

    def advantage(reward: int, correct: int) -> arb:
        mean = arb(correct) / group_size
        variance = mean * (1 - mean)
        return (reward - mean) / variance.sqrt() if 0 < correct < group_size else arb(0)

    return tuple(advantage(1, 1 + b) - advantage(0, b) for b in range(n + 1))


def binomial_sum(values: Any, n: int, p: arb) -> arb:
    q = 1 - p
    weight, total = q**n, arb(0)
    if p == 1:
        return values[n]
    odds = p / q
    for b in range(n + 1):
        total += weight * values[b]
        weight = weight * (n - b) * odds / (b + 1)
    return total


def mixed(p: float, group_size: int) -> arb:
    x = ball(p)
    return settle(1 - x**group_size - (1 - x) ** group_size)


def weight(p: float, group_size: int, method: str = "grpo") -> arb:
    x = ball(p)
    if method == "dr_grpo":
        return arb(group_size - 1) / group_size
    if method == "rloo":
        return arb(1)
    if method == "pass_at_k":
        return settle(group_size * (1 - x) ** (group_size - 1))
    if method == "dapo":
        return weight(p, group_size) / mixed(p, group_size)
    return settle(binomial_sum(coefficients(group_size, method), group_size - 1, x))


def weight_windowed(p: float, group_size: int) -> arb:
    """W_G for large G: outcomes within 60 standard deviations and 600 of the mean."""
    x, n = ball(p), group_size - 1
    spread = 60 * (n * p * (1 - p)) ** 0.5 + 600
    low, high = max(0, int(n * p - spread)), min(n, int(n * p + spread))
    if low == 0:
        term = (1 - x) ** n
    else:
        log = (arb(n + 1).lgamma() - arb(low + 1).lgamma() - arb(n - low + 1).lgamma()
               + low * x.log() + (n - low) * (1 - x).log())  # fmt: skip
        term = log.exp()
    total, odds = arb(0), x / (1 - x)
    for b in range(low, high + 1):
        total += term * ((arb(n - b) / (1 + b)).sqrt() + (arb(b) / (group_size - b)).sqrt())
        term = term * (n - b) * odds / (b + 1)
    return settle(total)


def expected_std(p: float, group_size: int) -> arb:
    """E[σ] over B(G, p), from σ itself."""
    sigma = [(arb(k * (group_size - k)).sqrt() / group_size) for k in range(group_size + 1)]
    return settle(binomial_sum(sigma, group_size, ball(p)))


@lru_cache(maxsize=64)
def running_sums(group_size: int, method: str) -> tuple[arb, ...]:
    sums = [arb(0)]
    for c in coefficients(group_size, method):
        sums.append(sums[-1] + c)
    return tuple(sums)


def surrogate(p: float, group_size: int, method: str = "grpo") -> arb:
    """∫_0^p W, by ∫_0^p C(n,b) u^b (1−u)^(n−b) du = P(B(n+1, p) > b)/(n+1)."""
    x = ball(p)
    if method == "pass_at_k":
        return settle(1 - (1 - x) ** group_size)
    if method == "max_rl":
        return settle(sum(((1 - (1 - x) ** i) / i for i in range(1, group_size + 1)), arb(0)))
    if method in ("dr_grpo", "rloo"):
        return weight(p, group_size, method) * x
    return settle(binomial_sum(running_sums(group_size, method), group_size, x) / group_size)


def dapo_surrogate(p: float, group_size: int) -> arb:
    """∫_{1/2}^p W/(1 − u^G − (1−u)^G) du by mpmath's quadrature, over the log-odds."""
    with mpmath.workdps(40):
        n = group_size - 1
        c = [mpmath.sqrt(mpmath.mpf(n - b) / (1 + b)) + mpmath.sqrt(mpmath.mpf(b) / (n + 1 - b))
             for b in range(n + 1)]  # fmt: skip
        c = [mpmath.binomial(n, b) * v for b, v in enumerate(c)]

        def integrand(log_odds: Any) -> Any:
            ratio = mpmath.exp(log_odds)
            q = 1 / (1 + ratio)
            x = ratio * q
            value = mpmath.polyval(c[::-1], ratio) * q**n
            miss = sum(mpmath.binomial(group_size, k) * ratio**k for k in range(1, group_size))
            return value * x * q / (miss * q**group_size)

        end = mpmath.log(mpmath.mpf(p) / (1 - mpmath.mpf(p)))
        cuts = mpmath.linspace(0, end, 2 + int(abs(end) / 2))
        return arb(str(mpmath.quad(integrand, cuts)))
