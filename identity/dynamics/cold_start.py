"""How long a rarely solved prompt takes to be solved: mean time of the gradient flow."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from identity.dynamics._arguments import one_of, positive
from identity.errors import DomainError
from identity.expectation import update_weight
from identity.expectation._arguments import group_size_argument
from identity.proven import proven

__all__ = ["cold_start_time"]

Floats = npt.NDArray[np.float64]

METHODS = ("reinforce", "rloo", "dr_grpo", "grpo", "grpo_limit", "tsallis")
# On panels of one unit of log-odds, of which the integrands vary by a factor e. Measured: 12 and
# 40 nodes agree to rounding, for tsallis and for group sizes up to 2^20.
_NODES = 16


@proven(
    "dynamics.cold-start",
    "dynamics.cold-start-grpo",
    "dynamics.bandit-saturation",
)
def cold_start_time(
    p0: float,
    p1: float,
    method: str = "reinforce",
    *,
    group_size: int | None = None,
    q: float | None = None,
) -> float:
    r"""Time ∫ dp/(p²(1 − p)²W(p)) of the gradient flow of one logit from p0 to p1.

    A prompt with p = 1/(1 + e^{−θ}) and θ′ = W(p) dp/dθ, the expected update of the method at
    learning rate 1: p′ = p²(1 − p)²W(p). Divided by the learning rate η it is steps, for small η.

    ============  =================================================================
    method        W(p)
    ============  =================================================================
    reinforce     1; rloo is the same
    dr_grpo       (G − 1)/G
    grpo          W_G(p) of `identity.expectation.update_weight`; ~1/(√(G − 1) p0)
    grpo_limit    its limit of large groups 1/√(p(1 − p)); ~2/√p0
    tsallis       p^{−q}, 0 ≤ q ≤ 1: reinforce at 0, the log-likelihood at 1
    ============  =================================================================

    Parameters
    ----------
    p0, p1 : float
        Start and end, 0 < p0 ≤ p1 < 1; p0 a normal float.
    method : str
        Which update.
    group_size : int, keyword-only
        G ≥ 2, for grpo (at most 2^20) and dr_grpo, and only for these.
    q : float, keyword-only
        The exponent, for tsallis and only for it.

    Returns
    -------
    float
        The time, in units of 1/learning rate.

    Raises
    ------
    DomainError
        p0 or p1 out of range or order, unknown method, a group size or q out of range, missing
        where it is needed or given where it has no meaning.

    Notes
    -----
    *Preconditions (checked)*: as above. Nothing is *assumed under* ``jit``: Python numbers only.
    Assumed: binary rewards, on-policy, a step small against the scale of p.

    *Postcondition*: relative error at most 16 eps where there is a closed form (reinforce, rloo,
    dr_grpo, grpo_limit, grpo at G = 2 and 3, tsallis at q = 0 and 1), also for p0 close to p1;
    elsewhere by quadrature in the log-odds u, 64 + 2 max|u| eps, of which the quadrature itself
    makes less than one.

    References
    ----------
    arXiv 2604.25907, Theorems 5.1 and 5.2 (tsallis); `identity.expectation` for W_G.

    Examples
    --------
    >>> from identity.dynamics import cold_start_time
    >>> print(round(cold_start_time(0.01, 0.5), 5))
    108.18014
    >>> print(round(cold_start_time(0.01, 0.5, "tsallis", q=1), 5))
    5.58502
    >>> print(round(cold_start_time(0.001, 0.5, "grpo", group_size=8), 2))
    386.72
    """
    begin, end = positive("p0", p0), positive("p1", p1)
    if not 2.0**-1022 <= begin < 1:
        raise DomainError("p0", p0, "lie in [2^-1022, 1)")
    if not begin <= end < 1:
        raise DomainError("p1", p1, "lie in [p0, 1)")
    kind = one_of("method", method, METHODS)
    size = _group_size(kind, group_size)
    power = _exponent(kind, q)
    gap = end - begin
    if gap == 0:
        return 0.0
    # 1/p0 − 1/p1, 1/q1 − 1/q0 and the difference of log-odds, without cancellation.
    early, late = gap / begin / end, gap / (1 - begin) / (1 - end)
    length = math.log1p(gap / (begin * (1 - end)) if begin > 1e-290 else gap / begin / (1 - end))
    if kind == "grpo_limit":
        x0, x1 = math.sqrt(begin / (1 - begin)), math.sqrt(end / (1 - end))
        return 2 * (late / (x0 + x1)) * (1 + 1 / x0 / x1)
    if kind == "tsallis" and power == 1:
        return late + length
    if kind == "tsallis" and power:

        def rate(u: Floats) -> Floats:
            return np.asarray(_inverse(u) ** (1 - power) * (1 + np.exp(u)))

        return _integral(rate, begin, length)
    if kind == "grpo" and size > 3:

        def rate(u: Floats) -> Floats:
            rare = 1 / _inverse(-np.abs(u))  # the smaller of p and q: W_G is symmetric
            return np.asarray((2 + 2 * np.cosh(u)) / update_weight(rare, size))

        return _integral(rate, begin, length)
    weight = {"dr_grpo": (size - 1) / size, "grpo": math.sqrt(size - 1)}.get(kind, 1.0)
    return (early + late + 2 * length) / weight


def _group_size(method: str, group_size: int | None) -> int:
    """G where the method has one, else 2."""
    if method in ("grpo", "dr_grpo"):
        return group_size_argument(group_size, bounded=method == "grpo")
    if group_size is not None:
        raise DomainError("group_size", group_size, f"be left out for method {method!r}")
    return 2


def _exponent(method: str, q: float | None) -> float:
    """q where the method has one, else 0."""
    if method != "tsallis":
        if q is not None:
            raise DomainError("q", q, f"be left out for method {method!r}")
        return 0.0
    power = 0.0 if q == 0 and not isinstance(q, bool) else positive("q", q)
    if power > 1:
        raise DomainError("q", q, "lie in [0, 1]")
    return power


def _inverse(u: Floats) -> Floats:
    """1/p at log-odds u."""
    return np.asarray(1 + np.exp(-u))


def _integral(rate: Callable[[Floats], Floats], begin: float, length: float) -> float:
    """∫ rate du over an interval of log-odds that starts at that of `begin`."""
    start = math.log(begin) - math.log1p(-begin)
    panels = max(1, math.ceil(length))
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    offsets = (np.arange(panels)[:, None] + (nodes + 1) / 2) * (length / panels)
    values = rate(start + offsets) * weights
    return math.fsum(values.ravel().tolist()) * (length / panels / 2)
