"""The success variance p(1 − p), estimated from K rollouts."""

from __future__ import annotations

import sympy as sp

from proofs.difficulty.notation import p, paced
from proofs.expectation.notation import G, mu, rollouts
from proofs.first_principles import CHECKS
from proofs.kernel.context import Context
from proofs.kernel.domain import Domain, Integer
from proofs.kernel.rules import BinomialMoments, Linear, Tower
from proofs.kernel.terms import RolloutMean, binomial_mean
from proofs.kernel.theorem import Chain, Claim, Clause, Mutant, Reference, Step, Theorem

k = sp.Symbol("k")
SCORES = "expectation.score-means"  # the rule on means over rollouts rests on it
true = p * (1 - p)


def _mean(domain: Domain, factor: sp.Expr, closed: sp.Expr) -> tuple[RolloutMean, Chain]:
    """E[factor · p̂(1−p̂)] for p̂ the share of correct rollouts."""
    lhs = RolloutMean(factor * mu * (1 - mu), 0, G)
    counted = Tower(lhs, k).value(Context(domain))
    second = binomial_mean(k * (G - k), k, G, p)
    scale = factor / G**2
    return lhs, Chain(
        (
            Step("the number correct is binomial", "=", counted, by=(Tower(lhs, k),)),
            Step(
                "p̂(1−p̂) = k(G−k)/G²",
                "=",
                scale * second,
                by=(Linear(counted, ((scale, second.function),)),),
            ),
            Step(
                "E[k(G−k)] = G(G−1)p(1−p)", "=", closed, by=(BinomialMoments(k, G, p, k * (G - k)),)
            ),
        )
    )


def plug_in() -> Theorem:
    from_one, from_two = rollouts(Integer(G, 1, spread=3)), rollouts()
    plain, plain_proof = _mean(from_one, sp.Integer(1), (1 - 1 / G) * true)
    scaled, scaled_proof = _mean(from_two, G / (G - 1), true)
    return Theorem(
        id="difficulty.plug-in",
        title="p̂(1−p̂) is low by the factor 1 − 1/K, and K/(K−1) repairs it",
        words=(
            "From K = G independent rollouts with success rate p̂, E[p̂(1−p̂)] = (1 − 1/K) p(1−p) "
            "for K ≥ 1; times K/(K−1) it is unbiased, for K ≥ 2."
        ),
        assumptions=("Binary rewards; the rollouts of a prompt are independent.",),
        uses=(SCORES,),
        clauses=(
            Clause("plug-in", from_one, Claim(plain, "=", (1 - 1 / G) * true), plain_proof),
            Clause("unbiased", from_two, Claim(scaled, "=", true), scaled_proof),
        ),
        references=(
            paced("the default weight p(1−p), from rollouts"),
            Reference("folklore", "", "Bessel's correction for a Bernoulli variance"),
        ),
        implements=("identity.difficulty.success_variance",),
        mutants=(
            Mutant("unbiased as it is", "plug-in", rhs=true),
            Mutant("the factor of a biased square", "plug-in", rhs=(1 - 1 / G**2) * true),
            Mutant(
                "(K+1)/K",
                "unbiased",
                lhs=RolloutMean((G + 1) / G * mu * (1 - mu), 0, G),
            ),
            Mutant("p̂ for p̂(1−p̂)", "plug-in", lhs=RolloutMean(mu, 0, G)),
        ),
        check=CHECKS.get("difficulty.plug-in"),
    )
