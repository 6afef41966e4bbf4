"""What trainers do besides the formula: Bessel's std, ε, other normalisers, rounding."""

from __future__ import annotations

import sympy as sp

from proofs.first_principles import CHECKS
from proofs.groups.notation import (
    G,
    R,
    bessel,
    contrast,
    i,
    j,
    k,
    leave_one_out,
    mixed,
    mu,
    paper,
    s,
    sigma,
    total,
    update,
    variance,
)
from proofs.kernel.domain import COORDINATE, SCORES, D, Domain, Group, Integer, Real
from proofs.kernel.rules import Ball
from proofs.kernel.terms import Rounded
from proofs.kernel.theorem import (
    Chain,
    Claim,
    Clause,
    Mutant,
    Reference,
    Refutation,
    Step,
    Theorem,
)

eps = sp.Symbol("epsilon")
d = COORDINATE


def _distance(size: int, text: str) -> sp.Expr:
    """(√((G−1)/G) − printed value)²."""
    return (sp.sqrt(sp.Rational(size - 1, size)) - sp.Rational(text)) ** 2


def _decimal(size: int, text: str) -> Clause:
    """The factor √((G−1)/G) at one group size, to the printed digits."""
    gap = _distance(size, text)
    half_unit = sp.Rational(1, 2 * 10**6) ** 2
    return Clause(
        f"factor-{size}",
        Domain(),
        Claim(gap, "<=", half_unit),
        Chain(
            (
                Step(
                    f"√({size - 1}/{size}) = {text} to six digits",
                    "<=",
                    half_unit,
                    by=((1, Ball(gap, "<=", half_unit)),),
                ),
            )
        ),
    )


def as_implemented() -> Theorem:
    with_eps = Domain(
        Integer(G, 2),
        Integer(k, 1, G - 1),
        Real(eps, 0, open_low=False),
        *SCORES,
        Group(G, correct=k),
    )
    g = update((R[i] - mu) / (bessel + eps))
    first = variance / (bessel + eps) * contrast
    second = sigma * sp.sqrt((G - 1) / G) / (1 + eps / bessel) * contrast
    plain = sigma * sp.sqrt((G - 1) / G) * contrast
    return Theorem(
        id="groups.as-implemented",
        title="The step with Bessel's std and ε",
        words=(
            "For binary rewards with 0 < k < G, t = σ√(G/(G−1)) and A = (R−μ)/(t+ε): g = "
            "σ²/(t+ε) Δs = σ √((G−1)/G)/(1+ε/t) Δs. At ε = 0 the factor on σΔs is √((G−1)/G): "
            ".707107, .866025, .935414, .968246 at G = 2, 4, 8, 16."
        ),
        assumptions=("ε ≥ 0, added to the sample standard deviation t (ddof 1).",),
        clauses=(
            Clause(
                "t",
                mixed,
                Claim(bessel, "=", sigma * sp.sqrt(G / (G - 1))),
                Chain((Step("both are √(k(G−k)/(G(G−1)))", "=", sigma * sp.sqrt(G / (G - 1))),)),
            ),
            Clause(
                "update",
                with_eps,
                Claim(g, "=", first),
                Chain((Step("class sums; the divisor is common to all rollouts", "=", first),)),
            ),
            Clause(
                "factor",
                with_eps,
                Claim(g, "=", second),
                Chain((Step("class sums", "=", first), Step("σ/t = √((G−1)/G)", "=", second))),
            ),
            Clause(
                "no-eps",
                mixed,
                Claim(update((R[i] - mu) / bessel), "=", plain),
                Chain((Step("class sums", "=", plain),)),
            ),
            _decimal(2, "0.707107"),
            _decimal(4, "0.866025"),
            _decimal(8, "0.935414"),
            _decimal(16, "0.968246"),
        ),
        references=(
            paper("§2"),
            Reference("TRL, verl", "", "advantage computation", "torch.std has ddof 1 by default"),
        ),
        implements=("identity.groups.grpo_advantages", "identity.groups.group_std"),
        mutants=(
            Mutant("ddof 0", "no-eps", rhs=sigma * contrast),
            Mutant("factor inverted", "no-eps", rhs=sigma * sp.sqrt(G / (G - 1)) * contrast),
            Mutant(
                "ε relative to σ",
                "factor",
                rhs=sigma * sp.sqrt((G - 1) / G) / (1 + eps / sigma) * contrast,
            ),
            Mutant("ddof 0 in the divisor", "update", rhs=variance / (sigma + eps) * contrast),
            Mutant(
                "negative ε allowed: t + ε = 0 at G = 4, k = 1, ε = −1/2",
                "update",
                domain=Domain(
                    Integer(G, 4, 4),
                    Integer(k, 1, 1),
                    Real(eps, -sp.Rational(1, 2), 0, open_low=False, open_high=False),
                    *SCORES,
                    Group(G, correct=k),
                ),
            ),
            Mutant("t without Bessel's factor", "t", rhs=sigma),
            Mutant("last digit", "factor-8", lhs=_distance(8, "0.935415")),
        ),
        check=CHECKS.get("groups.as-implemented"),
    )


def loo_std_direction() -> Theorem:
    """Leave-one-out mean and Bessel std of the others, at k = 1.

    The others of the correct rollout have no spread; there the std falls back to 1, which is
    what "+ R_i" says below (R_i = 1 exactly for that rollout).
    """
    others = total((1 - sp.KroneckerDelta(i, j)) * (R[j] - leave_one_out_of_i()) ** 2, j) / (G - 2)
    A = (R[i] - leave_one_out_of_i()) / sp.sqrt(others + R[i])
    single = Domain(Integer(G, 3), Integer(k, 1, 1), *SCORES, Group(G, correct=k))
    plus, minus = sp.symbols("A_plus A_minus")
    classes = Domain(
        Integer(G, 2), Integer(k, 1, G - 1), Real(plus), Real(minus), *SCORES, Group(G, correct=k)
    )
    wrong = total((1 - R[i]) * s[i, d]) / (G - k)
    two_class = update(R[i] * plus + (1 - R[i]) * minus)
    split = k * plus / G * contrast + (k * plus + (G - k) * minus) / G * wrong

    def witness(size: int) -> tuple[tuple[object, object], ...]:
        rewards = (1, *(0 for _ in range(size - 1)))
        scores = tuple((n * n,) for n in range(1, size + 1))
        return ((G, size), (k, 1), (D, 1), (d, 1), (R, rewards), (s, scores))

    zero_sum = Claim(total(A), "=", 0)
    plane = Domain(
        Integer(G, 3), Integer(k, 1, 1), Integer(D, 2, 2), Integer(d, 1, D), Group(G, correct=k)
    )

    def at(e: sp.Expr, coordinate: int) -> sp.Expr:
        return e.xreplace({d: sp.Integer(coordinate)})

    g = update(A)
    parallel = Claim(at(g, 1) * at(contrast, 2), "=", at(g, 2) * at(contrast, 1))
    flat = ((1, 1), (1, 0), (0, 1), (2, 0), (0, 0))  # five scores in the plane
    return Theorem(
        id="groups.loo-std-direction",
        title="Not every group normaliser only rescales the step",
        words=(
            "The claim that any normaliser only rescales the step fails for the leave-one-out std: "
            "at G = 4, k = 1 the advantages are [1, −1/√3, −1/√3, −1/√3], whose sum is not 0. For "
            "advantages A⁺ of the correct and A⁻ of the wrong rollouts g = (k A⁺/G) Δs + ((k A⁺ + "
            "(G−k) A⁻)/G) s̄₋: a multiple of Δs for all scores iff k A⁺ + (G−k) A⁻ = 0."
        ),
        assumptions=("Where the other rollouts have no spread, the std falls back to 1.",),
        refutes=(
            Refutation(
                "four-rollouts",
                single,
                zero_sum,
                witness(4),
                "the advantages of a group sum to 0 under any normaliser",
            ),
            Refutation(
                "five-rollouts",
                single,
                zero_sum,
                witness(5),
                "the same at G = 5, where the sum is exactly −1",
            ),
            Refutation(
                "direction",
                plane,
                parallel,
                ((G, 5), (k, 1), (D, 2), (d, 1), (R, (1, 0, 0, 0, 0)), (s, flat)),
                "g is parallel to Δs",
            ),
        ),
        clauses=(
            Clause(
                "two-classes",
                classes,
                Claim(two_class, "=", split),
                Chain((Step("class sums; Σ_correct s = k(s̄₋ + Δs)", "=", split),)),
            ),
        ),
        references=(Reference("folklore", "", "", "no paper is known to print it"),),
        corrected_by=("groups.identity",),
        mutants=(
            Mutant("also false: the sum is 1", "four-rollouts", rhs=1),
            Mutant(
                "also false: population std of the others",
                "five-rollouts",
                lhs=total(
                    (R[i] - leave_one_out_of_i()) / sp.sqrt(others * (G - 2) / (G - 1) + R[i])
                ),
            ),
            Mutant("second term dropped", "two-classes", rhs=k * plus / G * contrast),
            Mutant(
                "also false: parallel to the mean wrong score",
                "direction",
                lhs=at(g, 1) * at(wrong, 2),
                rhs=at(g, 2) * at(wrong, 1),
            ),
        ),
        check=CHECKS.get("groups.loo-std-direction"),
    )


def leave_one_out_of_i() -> sp.Expr:
    inner = sp.Symbol("m")
    return leave_one_out(i).xreplace({j: inner})


FLOAT32 = 24  # significant bits of IEEE 754 binary32
EIGHT = 8


def rounded_advantage(reward: sp.Expr, eps_: sp.Rational, ddof: int) -> sp.Expr:
    """(R − mean)/(std + ε) of eight equal rewards, every operation rounded to binary32.

    Sums run left to right. Other orders (pairwise summation of eight) happen to be exact.
    """

    def fl(x: sp.Expr) -> sp.Expr:
        return Rounded(x, FLOAT32)

    def summed(x: sp.Expr) -> sp.Expr:
        result = x
        for _ in range(EIGHT - 1):
            result = fl(result + x)
        return result

    mean_ = fl(summed(reward) / EIGHT)
    deviation = fl(reward - mean_)
    variance_ = fl(summed(fl(deviation**2)) / (EIGHT - ddof))
    std = fl(sp.sqrt(variance_))
    return fl(deviation / fl(std + fl(eps_)))


def unanimous_rounding() -> Theorem:
    x = sp.Symbol("x")
    tenth = sp.Rational(13421773, 134217728)  # 0.1 rounded to binary32
    domain = Domain(Real(x, 0, 1, open_low=False, open_high=False))

    def refutation(exponent: int, ddof: int) -> Refutation:
        A = rounded_advantage(x, sp.Rational(1, 10**exponent), ddof)
        return Refutation(
            f"eps-1e-{exponent}-ddof-{ddof}",
            domain,
            Claim(A, "=", 0),
            ((x, tenth),),
            f"eight equal float32 rewards give 0 (ε = 1e-{exponent}, ddof {ddof})",
        )

    return Theorem(
        id="groups.unanimous-rounding",
        title="Equal rewards do not give zero advantage in floating point",
        words=(
            "“Equal rewards give zero advantage” is false of (R − mean)/(std + ε) in binary32: "
            "eight rewards 0.1, summed left to right, give an advantage that is not 0, for each "
            "ε in {1e-4, 1e-6, 1e-9} and ddof 0 and 1."
        ),
        assumptions=(
            "IEEE 754 binary32, round to nearest even, left-to-right sums, no underflow.",
        ),
        refutes=tuple(refutation(e, f) for e in (4, 6, 9) for f in (0, 1)),
        references=(Reference("folklore", "", "", "no paper is known to print it"),),
        implements=(
            "identity.groups.grpo_advantages",
            "identity.groups.dr_grpo_advantages",
            "identity.groups.rloo_advantages",
            "identity.groups.group_std",
        ),
        # Exactly, equal rewards give 0; subtracting one of them first is a shift (invariance).
        corrected_by=("groups.dapo", "groups.baseline-invariance"),
        mutants=(
            Mutant(
                "also false for the deviation alone",
                "eps-1e-4-ddof-0",
                lhs=Rounded(x - Rounded(_sum_of_eight(x) / EIGHT, FLOAT32), FLOAT32),
            ),
            Mutant(
                "also false in bfloat16 for 0.1",
                "eps-1e-6-ddof-1",
                lhs=_sum_of_eight(x, 8) / EIGHT - x,
            ),
        ),
        check=CHECKS.get("groups.unanimous-rounding"),
    )


def _sum_of_eight(x: sp.Expr, bits: int = FLOAT32) -> sp.Expr:
    result = Rounded(x, bits)
    for _ in range(EIGHT - 1):
        result = Rounded(result + Rounded(x, bits), bits)
    return result
