"""On-policy distillation as a policy gradient, and the divergence that it descends."""

from __future__ import annotations

import sympy as sp

from proofs.distillation.notation import (
    LINE,
    LOG_PI,
    LOG_T,
    LOG_W,
    OPD,
    PI,
    POSITIVE,
    WRITTEN,
    along,
    b,
    j,
    moving,
    over,
    policies,
    score,
    tau,
    w,
    worked_out,
    y,
)
from proofs.first_principles import CHECKS
from proofs.kernel.context import Context
from proofs.kernel.domain import Array, Domain, Draws, Integer, Real
from proofs.kernel.rules import Cite, Differentiate, LinearMean, LogProduct, Moments, Termwise
from proofs.kernel.terms import SampleMean
from proofs.kernel.theorem import Chain, Claim, Clause, Mutant, Reference, Step, Theorem

n, m, c, L, v = sp.symbols("n m c L v")
Y, rho, kappa = map(sp.IndexedBase, ("Y", "rho", "kappa"))

REVERSE = along(over(PI * (LOG_PI - LOG_T)))  # ∇KL(π‖π_T)
FORWARD = along(over(tau[y] * (LOG_T - LOG_PI)))  # ∇KL(π_T‖π)
REWARD = LOG_T - LOG_W

_flat = b[y] - over(w[j] * b[j], j)  # the score, worked out
_score = Step("∇log π = b − E b", "=", _flat, by=(Differentiate(score),))
pull = over(w[y] * (LOG_W - LOG_T) * score)  # E_π[(log π − log π_T) ∇log π]
_flat_pull = over(w[y] * (LOG_W - LOG_T) * _flat)


def scores_worked_out(total: sp.Sum) -> Termwise:
    """A sum over responses that contains their scores, with the scores worked out."""
    body = total.function.xreplace({score: _flat})
    return Termwise(
        total, body, steps=(Step("∇log π = b − E b", "=", body, by=(Differentiate(score),)),)
    )


def opd() -> Theorem:
    objective = along(over(PI * REWARD))
    drawn = Domain(
        Integer(n, 1), *policies, Array(b, (policies[0].symbol,)), Real(c), Draws(Y, n, w)
    )
    credit = (REWARD - c).xreplace({y: Y[m]}) * _flat.xreplace({y: Y[m]})
    estimate = SampleMean(sp.Sum(credit, (m, 1, n)) / n)
    advantage = (REWARD - c).xreplace({y: Y[m]})
    with_b, alone = sp.Sum(advantage * b[Y[m]], (m, 1, n)), sp.Sum(advantage, (m, 1, n))
    centre = -over(w[j] * b[j], j) / n
    parts = LinearMean(estimate, ((1 / n, with_b), (centre, alone)))
    means = [Moments(SampleMean(part), y) for part in (with_b, alone)]
    pulled_out = SampleMean(with_b) / n + centre * SampleMean(alone)
    by_law = [mean.value(Context(drawn)) for mean in means]
    supervised = -over(tau[y] * score)
    flat_supervised = -over(tau[y] * _flat)
    divergence = over(w[y] * (LOG_W - LOG_T))
    gap = over((sp.sqrt(w[y]) - sp.sqrt(tau[y])) ** 2)
    root = sp.sqrt(tau[y] / w[y])
    tangent = Cite("exponential-tangent", ((sp.Symbol("x"), (LOG_T - LOG_W) / 2),))
    below = w[y] * (2 - 2 * root)
    convex = Step(
        "1 + x ≤ e^x at x = ½ log(π_T/π)", "<=", w[y] * (LOG_W - LOG_T), by=((2 * w[y], tangent),)
    )
    product, of_teacher = (sp.Product(x[m], (m, 1, L)) for x in (rho, kappa))
    whole = sp.log(of_teacher) - sp.log(product)
    tokens = sp.Sum(sp.log(kappa[m]) - sp.log(rho[m]), (m, 1, L))
    split = sp.Sum(sp.log(kappa[m]), (m, 1, L)) - sp.Sum(sp.log(rho[m]), (m, 1, L))
    differentiated = Step("differentiate", "=", worked_out(REVERSE), by=(Differentiate(REVERSE),))
    return Theorem(
        id="distillation.opd",
        title="On-policy distillation is a policy gradient with reward log π_T − log π",
        words=(
            "∇KL(π‖π_T) = E_π[(log π − log π_T) ∇log π], for any teacher π_T: descending the "
            "reverse divergence is the policy gradient of the reward log π_T − log π, held "
            "constant. The mean over n samples of the policy itself, with any constant baseline, "
            "has that mean for every n; the reward of a response is the sum of its tokens' "
            "rewards. The other divergence has ∇KL(π_T‖π) = −E_{π_T}[∇log π], the gradient of "
            "supervised training on the teacher's responses. KL(π‖π_T) ≥ Σ (√π − √π_T)², so it is "
            "0 only at the teacher."
        ),
        assumptions=(POSITIVE, LINE, WRITTEN),
        clauses=(
            Clause(
                "gradient",
                moving,
                Claim(REVERSE, "=", pull),
                Chain(
                    (
                        differentiated,
                        Step("E_π ∇log π = 0", "=", _flat_pull),
                        Step("∇log π = b − E b", "=", pull, by=(scores_worked_out(pull),)),
                    )
                ),
                "∇KL(π‖π_T) = E_π[(log π − log π_T) ∇log π]",
            ),
            Clause(
                "reward",
                moving,
                Claim(objective, "=", -REVERSE),
                Chain(
                    (
                        Step(
                            "differentiate",
                            "=",
                            worked_out(objective),
                            by=(Differentiate(objective),),
                        ),
                        Step("the same sum with the other sign", "=", -worked_out(REVERSE)),
                        Step("which is −∇KL", "=", -REVERSE, by=(Differentiate(REVERSE),)),
                    )
                ),
                "∇E_π[r] = −∇KL(π‖π_T) for r = log π_T − log π, held constant",
            ),
            Clause(
                "samples",
                drawn,
                Claim(estimate, "=", -REVERSE),
                Chain(
                    (
                        Step("E b is a constant", "=", pulled_out, by=(parts,)),
                        Step(
                            "each sample has the law π",
                            "=",
                            by_law[0] / n + centre * by_law[1],
                            by=tuple(means),
                        ),
                        Step("E_π ∇log π = 0: c drops out", "=", -worked_out(REVERSE)),
                        Step("which is −∇KL", "=", -REVERSE, by=(Differentiate(REVERSE),)),
                    )
                ),
                "the average of (r − c) ∇log π, written out, over n samples of π is unbiased",
            ),
            Clause(
                "tokens",
                Domain(Integer(L, 1, spread=4), Array(rho, (L,), 0), Array(kappa, (L,), 0)),
                Claim(whole, "=", tokens),
                Chain(
                    (
                        Step(
                            "logarithms of products",
                            "=",
                            split,
                            by=(LogProduct(of_teacher), LogProduct(product)),
                        ),
                        Step("one sum", "=", tokens),
                    )
                ),
                "the reward of a response is the sum of its tokens' rewards, ρ_m and κ_m being "
                "their probabilities under π and π_T",
            ),
            Clause(
                "forward",
                moving,
                Claim(FORWARD, "=", supervised),
                Chain(
                    (
                        Step(
                            "differentiate", "=", worked_out(FORWARD), by=(Differentiate(FORWARD),)
                        ),
                        Step("Σ π_T = 1", "=", flat_supervised),
                        Step(
                            "∇log π = b − E b",
                            "=",
                            supervised,
                            by=(scores_worked_out(over(tau[y] * score)),),
                        ),
                    )
                ),
                "∇KL(π_T‖π) = −E_{π_T}[∇log π]",
            ),
            Clause(
                "at-least",
                Domain(*policies),
                Claim(gap, "<=", divergence),
                Chain(
                    (
                        Step("Σ π = Σ π_T = 1", "=", over(below)),
                        Step(
                            "response by response",
                            "<=",
                            divergence,
                            by=(
                                (1, Termwise(over(below), w[y] * (LOG_W - LOG_T), "<=", (convex,))),
                            ),
                        ),
                    )
                ),
                "Σ (√π − √π_T)² ≤ KL(π‖π_T): the divergence is 0 only where π = π_T",
            ),
        ),
        references=(
            OPD,
            Reference("arXiv 2306.08543", "", "", "reverse divergence as an objective"),
        ),
        implements=(
            "identity.distillation.on_policy_distillation_reward",
            "identity.distillation.reverse_kl",
            "identity.distillation.forward_kl",
        ),
        mutants=(
            Mutant("the opposite sign", "gradient", rhs=-pull),
            Mutant("the teacher alone", "reward", lhs=along(over(PI * LOG_T))),
            Mutant("the probability as reward", "reward", lhs=along(over(PI * (tau[y] - w[y])))),
            Mutant("a sum of samples", "samples", lhs=SampleMean(n * estimate.args[0])),
            Mutant(
                "a score that is not centred",
                "samples",
                lhs=SampleMean(
                    sp.Sum(credit.xreplace({_flat.xreplace({y: Y[m]}): b[Y[m]]}), (m, 1, n)) / n
                ),
            ),
            Mutant("a mean over tokens", "tokens", rhs=tokens / L),
            Mutant("the student's responses", "forward", rhs=-pull),
            Mutant("twice the gap", "at-least", lhs=2 * gap),
        ),
        check=CHECKS.get("distillation.opd"),
    )
