"""A claim that is often made and is false, and how its refutation is accepted.

“The implementation divides by the sample standard deviation (ddof = 1) instead of the population
standard deviation; for the direction and length of the step that makes no difference.”

grpo-identity prove --file docs/examples/false_claim.py
"""

from fractions import Fraction

from proofs.groups.notation import (
    COORDINATE,
    G,
    R,
    bessel,
    contrast,
    i,
    k,
    mixed,
    mu,
    s,
    sigma,
    update,
)
from proofs.kernel.domain import D
from proofs.kernel.theorem import (
    Chain,
    Claim,
    Clause,
    Mutant,
    Refutation,
    Step,
    Theorem,
)

as_implemented = update((R[i] - mu) / bessel)
claim = Claim(as_implemented, "=", sigma * contrast)


def gap() -> Fraction:
    """g² − (σΔs)² by hand at G = 2, R = (1, 0), s = (1, 0): μ = 1/2, t² = 1/2, g = 1/(4t)."""
    return Fraction(1, 4) ** 2 / Fraction(1, 2) - Fraction(1, 4)


def agrees() -> int:
    assert gap() == 0, f"g² − (σΔs)² = {gap()} for two rollouts"
    return 1


def differs() -> int:
    assert gap() < 0, "the step is not shorter"
    return 1


def bessel_makes_no_difference() -> Theorem:
    """The claim with a proof that looks plausible: the kernel must not accept it."""
    return Theorem(
        id="claims.bessel-makes-no-difference",
        title="Bessel's correction makes no difference",
        words="With the sample standard deviation (ddof 1) the group update is σ Δs as well.",
        clauses=(
            Clause(
                "update",
                mixed,
                claim,
                Chain((Step("a common factor cancels", "=", sigma * contrast),)),
            ),
        ),
        mutants=(
            Mutant("variance instead of standard deviation", "update", rhs=sigma**2 * contrast),
            Mutant("sign of the contrast", "update", rhs=-sigma * contrast),
        ),
        check=agrees,
    )


def bessel_makes_a_difference() -> Theorem:
    """The same claim as a refutation: one exact point of its domain, where it fails."""
    return Theorem(
        id="claims.bessel-makes-a-difference",
        title="Bessel's correction shortens the step",
        words=(
            "“With ddof 1 the update is σ Δs as well” is false at G = 2, k = 1: the step is "
            "shorter by the factor √(1/2)."
        ),
        refutes=(
            Refutation(
                "update",
                mixed,
                claim,
                (
                    (G, 2),
                    (k, 1),
                    (D, 1),
                    (COORDINATE, 1),
                    (R, (1, 0)),
                    (s, ((1,), (0,))),
                ),
                "With ddof 1 the update is σ Δs as well.",
            ),
        ),
        corrected_by=("groups.as-implemented",),
        mutants=(
            Mutant("variance instead of standard deviation", "update", rhs=sigma**2 * contrast),
            Mutant("sign of the contrast", "update", rhs=-sigma * contrast),
        ),
        check=differs,
    )
