"""Does the mean drift depend on the group size? For GRPO it does; for RLOO it does not."""

from __future__ import annotations

import sympy as sp

from proofs.dynamics.notation import oscillator_paper
from proofs.expectation.group_size import at, near
from proofs.expectation.methods import SETTING, dr_grpo, rloo
from proofs.expectation.notation import Dp, G, d, grpo_mean, p, q, rollouts, sizes, unit, weight
from proofs.expectation.shape import fidelity
from proofs.first_principles import CHECKS
from proofs.kernel.domain import D, Domain, Integer, Real
from proofs.kernel.rules import Instance
from proofs.kernel.theorem import Chain, Claim, Clause, Mutant, Refutation, Step, Theorem

GROUP_SIZE_INVARIANCE = "dynamics.group-size-invariance"

RLOO, DR_GRPO = "expectation.rloo", "expectation.dr-grpo"
GRPO_WEIGHT, ARCSINE = "expectation.grpo-weight", "expectation.arcsine"
ATTENUATION, MONOTONE = "expectation.attenuation", "expectation.monotone"

n = sp.Symbol("n")  # another group size
v = p * q
x = G * v
half = sp.Rational(1, 2)
SMALL = rollouts(Integer(G, 2, spread=1))  # every G ≥ 2; samples enumerate small groups
PLACE = oscillator_paper(
    "abstract: the mean dynamics do not depend on the group size", "reconstructed", "v1"
)
WEAKENED = oscillator_paper("abstract: to leading order", "reconstructed")

# Success probability -> φ at G = 4 and at G = 16.
RATIOS = {
    "1/2": ("0.808", "0.967"),
    "3/10": ("0.749", "0.959"),
    "1/10": ("0.507", "0.854"),
    "1/20": ("0.373", "0.712"),
}


def _numbers() -> tuple[Clause, ...]:
    found = []
    for rate, values in RATIOS.items():
        for size, text in zip((4, 16), values, strict=True):
            label = f"p-{rate.replace('/', '-')}-size-{size}"
            words = f"φ({size}, {rate}) = {text}"
            found.append(near(label, at(size, sp.Rational(rate)), text, words))
    return tuple(found)


def _inherited(source: Theorem, name: str, words: str) -> Clause:
    """The clause of an earlier theorem, as it stands there."""
    (clause,) = source.clauses
    rule = Instance(source.id, clause.name)
    steps = (Step("as proved there", "=", clause.claim.rhs, by=(rule,)),)
    return Clause(name, SMALL, clause.claim, Chain(steps), words)


def _leading(end: str, rate: Real) -> tuple[Clause, Clause]:
    """φ = 1 − 1/(8x) up to 13/x², for x = Gp(1−p) ≥ 1: on one side of p = 1/2."""
    # Samples sum over all of 0..G, and G ≥ 1/(p(1−p)).
    domain = Domain(rate, Integer(G, 1 / (p * (1 - p)), spread=12))
    second = 1 - 1 / (8 * x) - (7 - 16 * v) / (128 * x**2)
    above, below = second + 12 / x**3, second - 12 / x**3
    at_most, at_least = 1 - 1 / (8 * x) + 13 / x**2, 1 - 1 / (8 * x) - 13 / x**2
    upper, lower = (Instance(ATTENUATION, f"{name}{end}") for name in ("above", "below"))
    next_order = "the next order and the remainder are at most 13/x², as x ≥ 1"
    return (
        Clause(
            f"leading-above{end}",
            domain,
            Claim(fidelity, "<=", at_most),
            Chain(
                (
                    Step("the second-order expansion", "<=", above, by=((1, upper),)),
                    Step(next_order, "<=", at_most),
                )
            ),
            "φ ≤ 1 − 1/(8x) + 13/x², x = Gp(1−p) ≥ 1",
        ),
        Clause(
            f"leading-below{end}",
            domain,
            Claim(at_least, "<=", fidelity),
            Chain(
                (
                    Step(next_order, "<=", below),
                    Step("the second-order expansion", "<=", fidelity, by=((1, lower),)),
                )
            ),
            "φ ≥ 1 − 1/(8x) − 13/x², x = Gp(1−p) ≥ 1",
        ),
    )


def _for_every_size() -> tuple[Clause, ...]:
    """What holds for GRPO at every G ≥ 2 and p."""
    larger, far = fidelity.xreplace({G: G + 1}), 1 - 1 / (2 * x)
    as_std = Instance(GRPO_WEIGHT, "mean-std")
    scaled = weight() * sp.sqrt(v)
    drift = fidelity * Dp[d]
    return (
        Clause(
            "drift",
            SMALL,
            Claim(sp.sqrt(v) * grpo_mean, "=", drift),
            Chain(
                (
                    Step(
                        "the weight of GRPO",
                        "=",
                        scaled * Dp[d],
                        by=(Instance(GRPO_WEIGHT, "update"),),
                    ),
                    Step("E[σ] = p(1−p) W_G", "=", drift, by=(as_std,)),
                )
            ),
            "the mean update of GRPO, times √(p(1−p)), is φ(G, p) ∇p",
        ),
        Clause(
            "grows",
            sizes,
            Claim(fidelity, "<=", larger),
            Chain(
                (
                    Step(
                        "E[σ] grows with G",
                        "<=",
                        larger,
                        by=((1 / sp.sqrt(v), Instance(MONOTONE, "grows")),),
                    ),
                )
            ),
            "φ does not fall as G grows",
        ),
        Clause(
            "at-most-one",
            sizes,
            Claim(fidelity, "<=", 1),
            Chain(
                (Step("as proved there", "<=", 1, by=((1, Instance(MONOTONE, "at-most-one")),)),)
            ),
            "φ ≤ 1",
        ),
        Clause(
            "limit",
            sizes,
            Claim(far, "<=", fidelity),
            Chain(
                (
                    Step("as proved there", "<=", scaled, by=((1, Instance(ARCSINE, "below")),)),
                    Step("E[σ] = p(1−p) W_G", "=", fidelity, by=(as_std,)),
                )
            ),
            "φ ≥ 1 − 1/(2Gp(1−p)), so φ → 1 as G → ∞",
        ),
    )


def group_size_invariance() -> Theorem:
    points = tuple(sp.Rational(1, k) for k in (2, 3, 4, 7, 10, 20))
    low = Real(p, 0, half, open_high=False, samples=points)
    high = Real(p, half, 1, open_low=False, samples=tuple(1 - point for point in points))
    plain = dr_grpo()
    (of_dr_grpo,) = plain.clauses
    limit = Dp[d] / sp.sqrt(v)
    at_half = ((p, half), (D, 1), (d, 1), (Dp, (1,)))
    other = fidelity.xreplace({G: n})
    return Theorem(
        id=GROUP_SIZE_INVARIANCE,
        title="The mean drift of GRPO depends on the group size",
        words=(
            "The claim that the mean drift does not depend on the group size holds exactly for "
            "RLOO, E[g] = ∇p. For Dr. GRPO it is (G−1)/G ∇p. For GRPO it is φ(G, p) ∇p/√(p(1−p)), "
            "φ = E[σ]/√(p(1−p)), which does not fall as G grows, and is at most 1: φ at G = 4 and "
            "16 is .808 and .967 for "
            "p = .5; .749, .959 for .3; .507, .854 for .1; .373, .712 for .05. To leading order "
            "the claim holds: 1 − φ is 1/(8x) up to 13/x² for x = Gp(1−p) ≥ 1, and at most 1/(2x) "
            "always."
        ),
        assumptions=SETTING,
        uses=(RLOO, DR_GRPO, GRPO_WEIGHT, ARCSINE, ATTENUATION, MONOTONE),
        refutes=(
            Refutation(
                "two-sizes",
                Domain(Integer(G, 2, spread=6), Integer(n, 2, spread=6), unit),
                Claim(fidelity, "=", other),
                ((G, 4), (n, 16), (p, half)),
                "the drifts of GRPO at two group sizes are equal",
            ),
            Refutation(
                "grpo",
                rollouts(),
                Claim(grpo_mean, "=", limit),
                ((G, 4), *at_half),
                "the mean update of GRPO is that of G → ∞, ∇p/√(p(1−p))",
            ),
            Refutation(
                "dr-grpo",
                of_dr_grpo.domain,
                Claim(of_dr_grpo.claim.lhs, "=", Dp[d]),
                ((G, 4), *at_half),
                "the mean update of Dr. GRPO is that of G → ∞, ∇p",
            ),
        ),
        clauses=(
            _inherited(rloo(), "rloo", "the mean update of RLOO is ∇p at every G"),
            _inherited(plain, "dr-grpo-factor", "the mean update of Dr. GRPO is (G−1)/G ∇p"),
            *_for_every_size(),
            *_leading("", low),
            *_leading("-high", high),
            *_numbers(),
        ),
        references=(PLACE, WEAKENED),
        corrected_by=(RLOO, DR_GRPO, ATTENUATION),
        mutants=(
            Mutant(
                "also false: corrected by (G−1)/G",
                "two-sizes",
                lhs=fidelity * G / (G - 1),
                rhs=other * n / (n - 1),
            ),
            Mutant("also false: half of it", "grpo", rhs=limit / 2),
            Mutant("also false: Bessel's factor", "dr-grpo", rhs=G / (G - 1) * Dp[d]),
            Mutant("RLOO like Dr. GRPO", "rloo", rhs=(G - 1) / G * Dp[d]),
            Mutant("Dr. GRPO like RLOO", "dr-grpo-factor", rhs=Dp[d]),
            Mutant("without the fidelity", "drift", rhs=Dp[d]),
            Mutant("grows by 1/G²", "grows", lhs=fidelity + 1 / G**2),
            Mutant("at most 9/10", "at-most-one", rhs=sp.Rational(9, 10)),
            Mutant("within 1/(20x)", "limit", lhs=1 - 1 / (20 * x)),
            Mutant("1/(2x)", "leading-above", rhs=1 - 1 / (2 * x)),
            Mutant("no first order", "leading-below", lhs=1 - 1 / (128 * x**2)),
            Mutant("1/(2x) beyond 1/2", "leading-above-high", rhs=1 - 1 / (2 * x)),
            Mutant("no first order beyond 1/2", "leading-below-high", lhs=1 - 1 / (128 * x**2)),
            Mutant(
                "φ(4, 1/2) = .809",
                "p-1-2-size-4",
                lhs=(at(4, half) - sp.Rational(809, 1000)) ** 2,
            ),
            Mutant(
                "φ(16, 1/20) = .713",
                "p-1-20-size-16",
                lhs=(at(16, sp.Rational(1, 20)) - sp.Rational(713, 1000)) ** 2,
            ),
        ),
        check=CHECKS.get(GROUP_SIZE_INVARIANCE),
    )
