"""The first-principles checks hold, cover the ledger, and can fail; their arithmetic is exact."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction as F
from functools import partial
from math import isqrt

import flint
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proofs.first_principles import (
    CHECKS,
    FirstPrinciplesError,
    binary32,
    check,
    expectation,
    groups,
    large_groups,
    silence,
)
from proofs.first_principles.definitions import (
    Count,
    dr_grpo_advantages,
    grpo_advantages,
    scaled,
    std,
)
from proofs.first_principles.policies import (
    POLICIES,
    Policy,
    expected_update,
    grpo_weight_formula,
)
from proofs.first_principles.surds import Surd, as_surd, ball, sqrt, total

SLUGS = {
    "groups": """binary-std identity baseline-invariance dr-grpo dapo rloo real-rewards
        as-implemented all-pairs loo-std-direction unanimous-rounding""",
    "expectation": """weight grpo-weight no-bias-at-two unbiased-any-group saturation dr-grpo rloo
        bessel dapo dapo-same-as-grpo binomial-sum arcsine attenuation monotone group-size-law
        group-size-law-second-order group-size-rare silent-rate silent-u-statistic silent-plug-in
        conditional-baseline pass-at-k max-rl verifier-noise tail-miss""",
}
IDS = [f"{topic}.{slug}" for topic, slugs in SLUGS.items() for slug in slugs.split()]


def test_every_entry_of_the_two_topics_has_a_check_of_its_own_name() -> None:
    assert sorted(i for i in CHECKS if i.split(".")[0] in SLUGS) == sorted(IDS)
    for topic, module in (("groups", groups), ("expectation", expectation)):
        for slug in SLUGS[topic].split():
            assert CHECKS[f"{topic}.{slug}"] is getattr(module, slug.replace("-", "_"))
    with pytest.raises(KeyError):
        check("groups.no-such-entry")


@pytest.mark.parametrize("identifier", IDS)
def test_the_entry_holds_from_first_principles(identifier: str) -> None:
    assert check(identifier) >= 9


# --- each check can fail: a near miss is rejected, and so is a world where a refuted claim is true


def biased_weight(group_size: int, p: F) -> Surd:
    """A wrong W_G that is right at p = ½ only."""
    return grpo_weight_formula(group_size, p) + (p - F(1, 2)) * F(1, 10**9)


def without_root(group_size: int, p: F) -> Surd:
    """The binomial sum with the square root dropped."""
    k = range(group_size + 1)
    masses = expectation.binomial(group_size, p)
    return total(m * j * (group_size - j) for j, m in zip(k, masses, strict=True)) / group_size


def table_with(p: F, column: int, exact: int, rule: int) -> large_groups.Cells:
    """The table of group sizes with one cell replaced."""
    cells = list(large_groups.SMALLEST[p])
    cells[column] = (exact, rule)
    return {**large_groups.SMALLEST, p: tuple(cells)}


def shifted_b(eps: F, p: F) -> tuple[F, F, F]:
    """The quadratic with 7 − 14pq for 7 − 16pq."""
    c2, c1, _ = large_groups.quadratic(eps, p)
    x = p * (1 - p)
    return c2, c1, -(7 - 14 * x) / (128 * x**2)


Mutant = tuple[str, str, Callable[[], int]]
MUTANTS: list[Mutant] = [
    (identifier, name, partial(CHECKS[identifier], **changed))
    for identifier, name, changed in [
        ("groups.binary-std", "G−1 for G",
         {"closed_form": lambda k, g: sqrt(k * (g - k)) / (g - 1)}),
        ("groups.binary-std", "no root", {"closed_form": lambda k, g: Surd(F(k * (g - k), g * g))}),
        ("groups.identity", "ddof 1", {"closed_form": lambda r: std(r, ddof=1)}),
        ("groups.identity", "σ² for σ", {"closed_form": groups.variance}),
        ("groups.baseline-invariance", "sign forgotten", {"closed_form": lambda c: 1}),
        ("groups.baseline-invariance", "no scaling", {"method": dr_grpo_advantages}),
        ("groups.dr-grpo", "σ for σ²", {"closed_form": std}),
        ("groups.dr-grpo", "ddof 1", {"closed_form": lambda r: std(r, ddof=1) ** 2}),
        ("groups.dapo", "same normalisation", {"closed_form": lambda m, kept: F(1)}),
        ("groups.dapo", "inverse factor", {"closed_form": lambda m, kept: F(kept, m)}),
        ("groups.rloo", "factor inverted", {"closed_form": lambda g: F(g - 1, g)}),
        ("groups.rloo", "G+1", {"closed_form": lambda g: F(g + 1, g)}),
        ("groups.real-rewards", "slope doubled",
         {"closed_form": lambda r, s: scaled(2, groups.slope_by_deviations(r, s))}),
        ("groups.real-rewards", "contrast of the extremes",
         {"closed_form": lambda r, s: groups.score_contrast(r, s)}),
        ("groups.as-implemented", "ddof 0", {"closed_form": lambda s, g, e: 1 / (e / s + 1)}),
        ("groups.as-implemented", "ε not relative",
         {"closed_form": lambda s, g, e: sqrt(F(g - 1, g)) / (1 + e)}),
        ("groups.all-pairs", "no root", {"closed_form": lambda k, g: Surd(F(1, g * k * (g - k)))}),
        ("groups.all-pairs", "no G", {"closed_form": lambda k, g: 1 / sqrt(k * (g - k))}),
        ("groups.loo-std-direction", "GRPO instead", {"method": grpo_advantages}),
        ("groups.loo-std-direction", "Dr. GRPO instead", {"method": dr_grpo_advantages}),
        ("groups.unanimous-rounding", "dyadic reward", {"reward": F(1, 8)}),
        ("groups.unanimous-rounding", "sum by halves", {"add": binary32.pairwise_sum}),
        ("expectation.weight", "B for 1+B",
         {"closed_form": lambda a, b, p: expectation.master_weight([a[0], *a], b, p)}),
        ("expectation.weight", "q for p",
         {"closed_form": lambda a, b, p: expectation.master_weight(a, b, 1 - p)}),
        ("expectation.grpo-weight", "wrong off ½", {"closed_form": biased_weight}),
        ("expectation.grpo-weight", "constant", {"closed_form": lambda g, p: sqrt(g - 1)}),
        ("expectation.no-bias-at-two", "c = 1", {"closed_form": lambda g: Surd(1)}),
        ("expectation.no-bias-at-two", "c = G−1", {"closed_form": lambda g: Surd(g - 1)}),
        ("expectation.unbiased-any-group", "Dr. GRPO is unbiased", {"method": dr_grpo_advantages}),
        ("expectation.unbiased-any-group", "constant", {"closed_form": lambda g, p: sqrt(g - 1)}),
        ("expectation.saturation", "√(G−2)", {"bound": lambda g: sqrt(g - 2)}),
        ("expectation.saturation", "√G", {"bound": sqrt}),
        ("expectation.dr-grpo", "1", {"closed_form": lambda g, p: Surd(1)}),
        ("expectation.dr-grpo", "G/(G+1)", {"closed_form": lambda g, p: Surd(F(g, g + 1))}),
        ("expectation.rloo", "(G−1)/G", {"closed_form": lambda g, p: Surd(F(g - 1, g))}),
        ("expectation.rloo", "GRPO's weight", {"closed_form": grpo_weight_formula}),
        ("expectation.bessel", "inverted", {"closed_form": lambda g: sqrt(F(g, g - 1))}),
        ("expectation.bessel", "no root", {"closed_form": lambda g: Surd(F(g - 1, g))}),
        ("expectation.dapo", "q^G forgotten", {"closed_form": lambda g, p: 1 - p**g}),
        ("expectation.dapo", "no filter", {"closed_form": lambda g, p: F(1)}),
        ("expectation.dapo-same-as-grpo", "no filter", {"keep": lambda r: True}),
        ("expectation.dapo-same-as-grpo", "ratio 1", {"closed_form": lambda g, p: F(1)}),
        ("expectation.binomial-sum", "no root", {"closed_form": without_root}),
        ("expectation.binomial-sum", "wrong G",
         {"closed_form": lambda g, p: expectation.root_sum(g + 1, p)}),
        ("expectation.arcsine", "1/(pq)", {"closed_form": lambda p: 1 / ball(p * (1 - p))}),
        ("expectation.arcsine", "1/√p", {"closed_form": lambda p: 1 / ball(p).sqrt()}),
        ("expectation.attenuation", "first order",
         {"closed_form": lambda g, p: 1 - 1 / (8 * g * p * (1 - p))}),
        ("expectation.attenuation", "smaller constant", {"constant": F(28, 100)}),
        ("expectation.monotone", "σ·G/(G−1)", {"spread": lambda r: std(r) * F(len(r), len(r) - 1)}),
        ("expectation.monotone", "larger than 1", {"spread": lambda r: std(r) * 2}),
        ("expectation.group-size-law", "one too small",
         {"table": table_with(F(1, 20), 2, 272, 263)}),
        ("expectation.group-size-law", "one too large", {"table": table_with(F(1, 2), 0, 8, 5)}),
        ("expectation.group-size-law", "other rule", {"table": table_with(F(1, 20), 0, 42, 27)}),
        ("expectation.group-size-law-second-order", "7 − 14pq", {"closed_form": shifted_b}),
        ("expectation.group-size-law-second-order", "first order",
         {"closed_form": lambda eps, p: (*large_groups.quadratic(eps, p)[:2], F(0))}),
        ("expectation.group-size-rare", "last digit down", {"rates": ((F(1, 10), "2.0414"),)}),
        ("expectation.group-size-rare", "last digit up", {"rates": ((F(1, 100), "12.977"),)}),
        ("expectation.silent-rate", "q^G forgotten", {"closed_form": lambda g, p: p**g}),
        ("expectation.silent-rate", "one side",
         {"beta_form": lambda g, a, b: silence.beta_silent_mass(g, a + 1, b)}),
        ("expectation.silent-u-statistic", "plug-in", {"closed_form": silence.plug_in}),
        ("expectation.silent-u-statistic", "one side",
         {"closed_form": lambda c, n, g: silence.u_statistic(c, n, g) - F(c == 0)}),
        ("expectation.silent-plug-in", "the unbiased estimate", {"estimate": silence.u_statistic}),
        ("expectation.silent-plug-in", "biased by more",
         {"estimate": lambda c, n, g: silence.plug_in(c, n, g) + F(1, 10**9)}),
        ("expectation.conditional-baseline", "p", {"closed_form": lambda g, p: p}),
        ("expectation.conditional-baseline", "p^G kept",
         {"closed_form": lambda g, p: p / silence.mixed_mass(g, p)}),
        ("expectation.pass-at-k", "no K", {"closed_form": lambda k, p: (1 - p) ** (k - 1)}),
        ("expectation.pass-at-k", "q^K", {"closed_form": lambda k, p: k * (1 - p) ** k}),
        ("expectation.max-rl", "1/p", {"closed_form": lambda n, p: 1 / p}),
        ("expectation.max-rl", "N−1",
         {"closed_form": lambda n, p: expectation.max_rl_weight(n - 1, p)}),
        ("expectation.verifier-noise", "no false positives",
         {"closed_form": lambda p, t, f: t * p}),
        ("expectation.verifier-noise", "rates swapped",
         {"closed_form": lambda p, t, f: expectation.accepted(p, f, t)}),
        ("expectation.tail-miss", "wrong tuples kept",
         {"closed_form": lambda n, p, tau: (1 - tau) ** n - (1 - p) ** n}),
        ("expectation.tail-miss", "at least one rare",
         {"closed_form": lambda n, p, tau: 1 - silence.missed_mass(n, p, tau)}),
    ]
]  # fmt: skip


@pytest.mark.parametrize(
    ("identifier", "mutant"),
    [pytest.param(i, run, id=f"{i}: {name}") for i, name, run in MUTANTS],
)
def test_a_near_miss_is_rejected_with_a_witness(identifier: str, mutant: Callable[[], int]) -> None:
    with pytest.raises(FirstPrinciplesError, match=r"fails at .*="):
        mutant()


def test_every_check_has_two_near_misses() -> None:
    names = [identifier for identifier, _, _ in MUTANTS]
    assert {i for i in IDS if names.count(i) >= 2} == set(IDS)


def test_a_witness_is_readable() -> None:
    with pytest.raises(FirstPrinciplesError, match=r"^σ = 0 fails at R=\(0, 1/2\), found=1/4$"):
        Count().true(False, "σ = 0", R=(F(0), F(1, 2)), found=std((F(0), F(1, 2))))


# --- the ring of surds ---------------------------------------------------------------------------

rationals = st.fractions(min_value=-50, max_value=50, max_denominator=30)
radicands = st.sampled_from([1, 2, 3, 5, 6, 7, 10, 15, 30])
surds = st.dictionaries(radicands, rationals, max_size=4).map(
    lambda terms: total(sqrt(d) * c for d, c in terms.items())
)
exactly = settings(deadline=None)


@exactly
@given(surds, surds, surds)
def test_ring_axioms(x: Surd, y: Surd, z: Surd) -> None:
    assert x + y == y + x
    assert x * y == y * x
    assert (x + y) + z == x + (y + z)
    assert (x * y) * z == x * (y * z)
    assert x * (y + z) == x * y + x * z
    assert x + 0 == x == x * 1
    assert x - x == 0 == x * 0
    assert x - y == -(y - x)


@exactly
@given(surds, surds)
def test_division_inverts_multiplication(x: Surd, y: Surd) -> None:
    if y:
        assert x / y * y == x
        assert 1 / y == y.inverse() == y**-1
    else:
        with pytest.raises(ZeroDivisionError):
            x / y


@exactly
@given(surds, surds, rationals)
def test_equal_numbers_have_equal_hashes(x: Surd, y: Surd, c: F) -> None:
    assert hash((x + y) - y) == hash(x)
    assert hash(as_surd(c)) == hash(c)
    assert as_surd(c) == c
    assert c == as_surd(c)
    assert len({x, (x + y) - y, Surd(c), c}) <= 2
    assert (x == y) == (not (x - y).terms)


@exactly
@given(surds, surds)
def test_the_sign_agrees_with_a_400_bit_ball_and_orders(x: Surd, y: Surd) -> None:
    with flint.ctx.workprec(400):
        enclosure = x.ball()
        assert x.sign() == (enclosure > 0) - (enclosure < 0)
        assert x or enclosure.contains(0)
    assert (x < y) + (x == y) + (x > y) == 1
    assert (x <= y) == (not x > y)
    assert (x >= y) == (not x < y)
    assert abs(x).sign() == abs(x.sign())
    assert (x * y).sign() == x.sign() * y.sign()


def test_the_sign_of_a_difference_far_below_the_first_precision() -> None:
    n = 10**60
    near = sqrt(2) * n - isqrt(2 * n * n)
    tiny = (sqrt(2) - 1) ** 300
    assert near > 0
    assert tiny > 0
    assert -tiny < 0
    assert tiny * (sqrt(2) + 1) ** 300 == 1


@exactly
@given(st.fractions(min_value=0, max_value=1000, max_denominator=200))
def test_the_square_root_squares_back(c: F) -> None:
    root = sqrt(c)
    assert root * root == c
    assert root >= 0
    assert all(d % (f * f) for d, _ in root.terms for f in range(2, isqrt(d) + 1))


def test_surds_are_immutable_and_refuse_floats() -> None:
    x = sqrt(2) + F(1, 2)
    assert repr(x) == "1/2 + 1·√2"
    assert repr(Surd()) == "0"
    with pytest.raises(AttributeError):
        x._terms = {}
    with pytest.raises(AttributeError):
        del x._terms
    with pytest.raises(ValueError, match="square root of -1"):
        sqrt(-1)
    for operation in (lambda: x + 0.5, lambda: x * 0.5, lambda: x / 0.5, lambda: x < 0.5):
        with pytest.raises(TypeError):
            operation()
    assert x != 0.5


# --- the other exact tools -----------------------------------------------------------------------

floats = st.floats(min_value=2.0**-140, max_value=2.0**60, width=32).map(np.float32)


@exactly
@given(floats, floats)
def test_simulated_binary32_is_numpys(a: np.float32, b: np.float32) -> None:
    x, y = F(float(a)), F(float(b))
    assert binary32.rounded(x + y) == F(float(a + b))
    assert binary32.rounded(x - y) == F(float(a - b))
    assert binary32.rounded_sqrt(x) == F(float(np.sqrt(a)))
    with np.errstate(under="ignore"):
        assert binary32.rounded(x * y) == F(float(a * b))
    assert binary32.rounded(x) == x
    assert binary32.rounded(F(0)) == binary32.rounded_sqrt(F(0)) == 0


@pytest.mark.parametrize("policy", [*POLICIES, Policy.logit(F(2, 7))], ids=lambda p: p.name)
def test_a_policy_is_a_distribution_with_zero_mean_score(policy: Policy) -> None:
    assert sum(policy.probabilities) == 1
    assert min(policy.probabilities) > 0
    for column in zip(*policy.gradients, strict=True):
        assert sum(column) == 0
    assert 0 < policy.p < 1
    assert any(policy.p_gradient)
    assert not any(expected_update(policy, 3, lambda r: (Surd(1),) * 3))


def test_a_policys_gradient_is_the_slope_of_its_probabilities() -> None:
    """The quotient-rule derivative is the limit of secants: they agree to O(h) at h = 2⁻⁴⁰."""
    h = F(1, 2**40)
    weights = [[1, 1], [2, 0, 1], [3]]
    at, near = (Policy.polynomial("w", weights, F(1, 2) + d, [1, 0, 0]) for d in (F(0), h))
    for now, then, (slope,) in zip(at.probabilities, near.probabilities, at.gradients, strict=True):
        assert abs((then - now) / h - slope) < 4 * h


def test_the_fidelity_ball_contains_the_exact_value() -> None:
    for size, p in ((2, F(1, 3)), (5, F(1, 7)), (7, F(9, 10))):
        with flint.ctx.workprec(300):
            exact = (expectation.root_sum(size, p) / sqrt(p * (1 - p))).ball()
            assert large_groups.fidelity(size, p).contains(exact)
