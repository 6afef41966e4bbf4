"""Finding a correct response with many pairs: at equal rollouts, and at equal epochs."""

from __future__ import annotations

import sympy as sp

from proofs.expectation.notation import G, K, q, rollouts
from proofs.first_principles import CHECKS
from proofs.kernel.domain import Array, Assumption, Domain, Integer, Real
from proofs.kernel.rules import (
    Assume,
    ConstantProduct,
    Context,
    Factorwise,
    Instance,
    Split,
    Tower,
)
from proofs.kernel.terms import RolloutMean
from proofs.kernel.theorem import Chain, Claim, Clause, Mutant, Refutation, Step, Theorem
from proofs.preference.notation import i, paper

m, n, a = sp.symbols("m n a")
p_0 = sp.Symbol("p_0")
P = sp.IndexedBase("P")  # success probability when pair i is drawn
POWERS = "expectation.power-order"

pairs = Integer(m, 1)
start = Real(p_0, 0, 1, open_low=False)
rising = Domain(pairs, start, Array(P, (m,), p_0, 1, False, False))
missed = sp.Product((1 - P[i]) ** 2, (i, 1, m))  # both rollouts of every pair wrong
constant = sp.Product((1 - p_0) ** 2, (i, 1, m))
INDEPENDENT = "Rollouts are independent; those of pair i succeed with probability P_i."


def exploration() -> Theorem:
    none = RolloutMean(sp.Integer(1), 0, 0)
    counted = Tower(none, K).value(Context(rollouts()))
    factor, power = (1 - p_0) ** 2, (1 - p_0) ** (2 * m)
    found, least = 1 - missed, 1 - power
    term = Step("1 − P_i ≤ 1 − p₀", "<=", factor)
    return Theorem(
        id="preference.exploration",
        title="At equal rollouts pairs explore at least as much as one group",
        words=(
            "m pairs, drawn while the success probability P_i is at least p₀, contain a correct "
            "rollout with probability 1 − Π(1−P_i)², at least the 1 − (1−p₀)^(2m) of one group of "
            "2m rollouts at p₀; with all P_i = p₀ both are equal."
        ),
        assumptions=(INDEPENDENT,),
        uses=("expectation.score-means",),
        clauses=(
            Clause(
                "all-wrong",
                rollouts(),
                Claim(none, "=", q**G),
                Chain(
                    (
                        Step("K ~ Binomial(G, p)", "=", counted, by=(Tower(none, K),)),
                        Step("the term K = 0", "=", q**G, by=(Split(counted, first=1),)),
                    )
                ),
                words="a group of G rollouts is all wrong with probability (1−p)^G, a pair (1−p)²",
            ),
            Clause(
                "at-least",
                rising,
                Claim(least, "<=", found),
                Chain(
                    (
                        Step("m equal factors", "=", 1 - constant, by=(ConstantProduct(constant),)),
                        Step(
                            "each factor is at most (1−p₀)²",
                            "<=",
                            found,
                            by=((1, Factorwise(missed, factor, "<=", (term,))),),
                        ),
                    )
                ),
                words="1 − (1−p₀)^(2m) ≤ 1 − Π(1−P_i)²",
            ),
            Clause(
                "equal",
                Domain(pairs, start),
                Claim(1 - constant, "=", least),
                Chain((Step("m equal factors", "=", least, by=(ConstantProduct(constant),)),)),
                words="equality if every P_i is p₀",
            ),
        ),
        references=(paper("Proposition C.4"),),
        mutants=(
            Mutant("one rollout less", "all-wrong", rhs=q ** (G - 1)),
            Mutant("one rollout for a pair", "at-least", rhs=1 - sp.Product(1 - P[i], (i, 1, m))),
            Mutant(
                "P_i below p₀",
                "at-least",
                domain=Domain(pairs, start, Array(P, (m,), 0, p_0, False, False)),
            ),
            Mutant("one rollout for a pair", "equal", rhs=1 - (1 - p_0) ** m),
        ),
        check=CHECKS["preference.exploration"],
    )


def exploration_equal_epochs() -> Theorem:
    inner = Real(p_0, 0, 1)
    domain = Domain(pairs, Integer(G, 3), inner, Array(P, (m,), p_0, 1, False, False))
    group = 1 - (1 - p_0) ** (G * m)
    of_pairs = 1 - constant
    fewer = Domain(pairs, Integer(G, 3), inner)
    c = sp.IndexedBase("c")
    enough = Domain(
        pairs,
        Integer(n, 1),
        inner,
        Array(c, (m,), 0, 1, False, False),
        Array(P, (m,)),
        Assumption(P, (a,), 1 - c[a] * (1 - p_0) ** n, "P_i is at least 1 − (1−p₀)^n"),
    )
    floor = (1 - p_0) ** (2 * n)
    floors = sp.Product(floor, (i, 1, m))
    steps = (
        Step(
            "1 − P_i = c_i (1−p₀)^n with 0 ≤ c_i ≤ 1",
            "=",
            c[i] ** 2 * floor,
            by=(Assume(P, (i,)),),
        ),
        Step("c_i² ≤ 1", "<=", floor),
    )
    x = sp.Symbol("x")
    less = Instance(POWERS, "order", ((n, (G - 2) * m), (x, 1 - p_0), (a, 1)))
    corrected = "preference.exploration"
    return Theorem(
        id="preference.exploration-equal-epochs",
        title="At equal epochs pairs explore less than groups unless the policy improves enough",
        words=(
            "The claim that pairs explore at least as much as groups of G fails when both run for "
            "m epochs, one group each, since pairs then draw 2m rollouts against Gm: at G = 16 and "
            "p = 1/2 one pair finds a correct rollout with probability 3/4, one group with 1 − "
            "2^(−16). With success probabilities that stay at p₀, 0 < p₀ < 1, groups of G ≥ 3 find "
            "strictly more. For G = 2n pairs make up for it if every P_i is at least 1 − (1−p₀)^n."
        ),
        assumptions=(INDEPENDENT, "The groups of G are drawn at p₀."),
        uses=(POWERS,),
        refutes=(
            Refutation(
                "equal-epochs",
                domain,
                Claim(group, "<=", 1 - missed),
                ((m, 1), (G, 16), (p_0, sp.Rational(1, 2)), (P, (sp.Rational(1, 2),))),
                "m pairs find at least as much as m groups of G",
            ),
        ),
        clauses=(
            Clause(
                "fewer",
                fewer,
                Claim(of_pairs, "<", group),
                Chain(
                    (
                        Step(
                            "m equal factors",
                            "=",
                            1 - (1 - p_0) ** (2 * m),
                            by=(ConstantProduct(constant),),
                        ),
                        Step(
                            "(1−p₀)^((G−2)m) < 1",
                            "<",
                            group,
                            by=(((1 - p_0) ** (2 * m), less),),
                        ),
                    )
                ),
                words="at a constant p₀ and G ≥ 3 the groups find strictly more",
            ),
            Clause(
                "enough",
                enough,
                Claim(1 - floors, "<=", 1 - missed),
                Chain(
                    (
                        Step(
                            "each factor is at most (1−p₀)^(2n)",
                            "<=",
                            1 - missed,
                            by=((1, Factorwise(missed, floor, "<=", steps)),),
                        ),
                    )
                ),
                words="m groups of G = 2n against m pairs with 1 − P_i = c_i (1−p₀)^n, 0 ≤ c_i ≤ 1",
            ),
        ),
        references=(paper("Proposition C.4", "read at equal epochs"),),
        corrected_by=(corrected,),
        mutants=(
            Mutant(
                "also false at G = 3",
                "equal-epochs",
                domain=domain.replaced(G, Integer(G, 3, 3)),
            ),
            Mutant("also false: two pairs an epoch", "equal-epochs", rhs=1 - missed**2),
            Mutant("also with G = 2", "fewer", domain=fewer.replaced(G, Integer(G, 2, 2))),
            Mutant("G = 3n", "enough", lhs=1 - sp.Product((1 - p_0) ** (3 * n), (i, 1, m))),
        ),
        check=CHECKS["preference.exploration-equal-epochs"],
    )
