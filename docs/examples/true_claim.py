"""A claim of yours, and its proof: the standard deviation of binary rewards is at most 1/2.

grpo-identity prove --file docs/examples/true_claim.py
"""

from itertools import product

import sympy as sp

from proofs.groups.notation import G, binary_any, k, sigma
from proofs.kernel.rules import Instance, Square
from proofs.kernel.theorem import Chain, Claim, Clause, Mutant, Step, Theorem

half = sp.Rational(1, 2)


def enumerate_rewards() -> int:
    """All 2^G reward vectors for G ≤ 9, in integers: 4 G²σ² = 4 (G Σ R² − (Σ R)²) ≤ G²."""
    cases = 0
    for size in range(2, 10):
        for rewards in product((0, 1), repeat=size):
            spread = size * sum(r * r for r in rewards) - sum(rewards) ** 2
            assert 4 * spread <= size**2, rewards
            cases += 1
    return cases


def std_at_most_half() -> Theorem:
    variance = k * (G - k) / G**2
    return Theorem(
        id="claims.std-at-most-half",
        title="The standard deviation of binary rewards is at most 1/2",
        words="For binary rewards σ ≤ 1/2, so a GRPO step is at most half the score contrast.",
        clauses=(
            Clause(
                "variance",
                binary_any,  # G ≥ 2, 0 ≤ k ≤ G, rewards 0 or 1 with sum k
                Claim(sigma**2, "<=", half**2),
                Chain(
                    (
                        # Algebra, with the rewards' own relations R_i² = R_i and Σ R_i = k.
                        Step("σ² = k(G − k)/G²", "=", variance),
                        # 1/4 − σ² is 1 times this square; the kernel checks that it is.
                        Step(
                            "1/4 − σ² = ((G − 2k)/(2G))² ≥ 0",
                            "<=",
                            half**2,
                            ((1, Square((G - 2 * k) / (2 * G))),),
                        ),
                    )
                ),
            ),
            Clause(
                "from-the-ledger",
                binary_any,
                Claim(sigma, "=", sp.sqrt(variance)),
                Chain(
                    (
                        # A theorem of the ledger may be used; then `uses` names it.
                        Step(
                            "the ledger's formula for σ",
                            "=",
                            sp.sqrt(k * (G - k)) / G,
                            (Instance("groups.binary-std", "by-count"),),
                        ),
                        Step("G under the root", "=", sp.sqrt(variance)),
                    )
                ),
            ),
        ),
        uses=("groups.binary-std",),
        mutants=(
            Mutant("a smaller bound", "variance", rhs=sp.Rational(6, 25)),
            Mutant("strictly less", "variance", relation="<"),  # σ = 1/2 at k = G/2
            Mutant("k for k(G − k)", "from-the-ledger", rhs=sp.sqrt(k) / G),
        ),
        check=enumerate_rewards,
    )
