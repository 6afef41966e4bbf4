"""Facts that the other entries lean on: score means, the order of powers, the tangent line."""

from __future__ import annotations

from typing import Any

import sympy as sp

from proofs.expectation import lemma_checks
from proofs.kernel.domain import Domain, Integer, Real, Table
from proofs.kernel.rules import Cut, Differentiate, Hypothesis, Linear, Square, Termwise
from proofs.kernel.theorem import Chain, Claim, Clause, Induction, Mutant, Reference, Step, Theorem

m, y, u, theta = sp.symbols("m y u theta")
x, a, n, c = sp.symbols("x a n c")


def score_means() -> Theorem:
    """Policies ∝ exp(α_y + β_y θ): at one θ their values and slopes are those of any policy.

    For the conditional means the c correct responses are numbered first.
    """
    alpha, beta, reward = (sp.Function(name) for name in ("alpha", "beta", "r"))
    domain = Domain(Integer(m, 1, spread=3), Real(theta), Table(alpha), Table(beta), Table(reward))
    verdicts = Domain(
        Integer(m, 2, spread=3), Integer(c, 1, m - 1), Real(theta), Table(alpha), Table(beta)
    )

    def w(at: sp.Symbol) -> sp.Expr:
        # Bounded exponents keep the 50-digit samples readable; any real exponents are covered.
        return sp.exp(alpha(at) / 40 + beta(at) * theta / 40)

    Z = sp.Sum(w(u), (u, 1, m))
    policy = w(y) / Z
    score = sp.Derivative(sp.log(policy), theta)
    slope = beta(y) / 40 * w(y)
    dZ = sp.Sum(beta(u) / 40 * w(u), (u, 1, m))
    dZy, Zy = sp.Sum(slope, (y, 1, m)), sp.Sum(w(y), (y, 1, m))
    mean_score = sp.Sum(policy * score, (y, 1, m))
    mean_reward = sp.Sum(reward(y) * w(y), (y, 1, m)) / Z
    mean_both = sp.Sum(reward(y) * policy * score, (y, 1, m))
    inner = (slope * Z - w(y) * dZ) / Z**2

    def flatten(total: sp.Sum, factor: sp.Expr) -> Termwise:
        body = factor * inner
        return Termwise(
            total,
            body,
            steps=(
                Step("π ∂ log π = ∂π, by the quotient rule", "=", body, by=(Differentiate(score),)),
            ),
        )

    one = sp.Integer(1)
    flat_score = sp.Sum(inner, (y, 1, m))
    flat_both = sp.Sum(reward(y) * inner, (y, 1, m))
    split_both = (
        sp.Sum(reward(y) * slope, (y, 1, m)) / Z - sp.Sum(reward(y) * w(y), (y, 1, m)) * dZ / Z**2
    )
    # The responses 1..c are correct: shares, their slopes, and the means given the verdict.
    correct, wrong = (1, c), (c + 1, m)

    def over(body: sp.Expr, window: tuple[Any, Any]) -> sp.Sum:
        return sp.Sum(body, (y, *window))

    def share_slope(window: tuple[Any, Any]) -> sp.Derivative:
        return sp.Derivative(over(w(y), window) / Z, theta)

    p, others = over(policy, correct), over(policy, wrong)
    dp, dothers = share_slope(correct), share_slope(wrong)

    def conditional(name: str, window: tuple[Any, Any], words: str) -> Clause:
        weighted, flat, share = (over(e, window) for e in (policy * score, inner, policy))
        apart = over(slope, window) / Z - over(w(y), window) * dZ / Z**2
        closed = share_slope(window) / share
        return Clause(
            name,
            verdicts,
            Claim(weighted / share, "=", closed),
            Chain(
                (
                    Step("π ∂ log π = ∂π", "=", flat / share, by=(flatten(weighted, one),)),
                    Step(
                        "Z does not depend on the response",
                        "=",
                        apart / share,
                        by=(Linear(flat, ((1 / Z, slope), (-dZ / Z**2, w(y)))),),
                    ),
                    Step(
                        "quotient rule for the share",
                        "=",
                        closed,
                        by=(Differentiate(share_slope(window)),),
                    ),
                )
            ),
            words=words,
        )

    more, top = over(slope, correct), over(w(y), correct)
    return Theorem(
        id="expectation.score-means",
        title="Scores have mean zero, and the reward-weighted score is the gradient",
        words=(
            "For a policy π_θ(y) ∝ exp(α_y + β_y θ) over finitely many responses, with any α_y and "
            "β_y: E[s] = 0 and E[R s] = ∂E[R]; and if some responses are correct and some are not, "
            "E[s | correct] = ∂p/p and E[s | wrong] = −∂p/(1−p), p the probability of a correct "
            "one."
        ),
        assumptions=(
            "Finitely many responses, each with positive probability.",
            "The statements hold only values and first derivatives at one θ, and in this family "
            "these are those of any differentiable policy (β_y = ∂ log π(y)); for several "
            "parameters read them coordinate by coordinate.",
            "On policy: the rollouts are drawn from the policy that is differentiated.",
        ),
        clauses=(
            Clause(
                "zero",
                domain,
                Claim(mean_score, "=", 0),
                Chain(
                    (
                        Step(
                            "derivative of the normalised weights",
                            "=",
                            flat_score,
                            by=(flatten(mean_score, one),),
                        ),
                        Step(
                            "Z does not depend on the response",
                            "=",
                            dZy / Z - Zy * dZ / Z**2,
                            by=(Linear(flat_score, ((1 / Z, slope), (-dZ / Z**2, w(y)))),),
                        ),
                        Step("Σ ∂w = ∂Z and Σ w = Z", "=", 0),
                    )
                ),
            ),
            Clause(
                "gradient",
                domain,
                Claim(mean_both, "=", sp.Derivative(mean_reward, theta)),
                Chain(
                    (
                        Step("π ∂ log π = ∂π", "=", flat_both, by=(flatten(mean_both, reward(y)),)),
                        Step(
                            "Z does not depend on the response",
                            "=",
                            split_both,
                            by=(
                                Linear(
                                    flat_both,
                                    ((1 / Z, reward(y) * slope), (-dZ / Z**2, reward(y) * w(y))),
                                ),
                            ),
                        ),
                        Step(
                            "quotient rule for E[R]",
                            "=",
                            sp.Derivative(mean_reward, theta),
                            by=(Differentiate(sp.Derivative(mean_reward, theta)),),
                        ),
                    )
                ),
            ),
            conditional(
                "given-correct",
                correct,
                "E[s | correct] = ∂p/p, the responses 1..c being the correct ones",
            ),
            conditional(
                "given-wrong", wrong, "E[s | wrong] = ∂Pr(wrong)/Pr(wrong), which is −∂p/(1−p)"
            ),
            Clause(
                "wrong-slope",
                verdicts,
                Claim(dothers, "=", -dp),
                Chain(
                    (
                        Step(
                            "quotient rule",
                            "=",
                            over(slope, wrong) / Z - over(w(y), wrong) * dZ / Z**2,
                            by=(Differentiate(dothers),),
                        ),
                        Step(
                            "the sums over the wrong ones are those over all less the correct",
                            "=",
                            (dZy - more) / Z - (Zy - top) * dZ / Z**2,
                            by=(Cut(Zy, c), Cut(dZy, c)),
                        ),
                        Step("Σ ∂w = ∂Z and Σ w = Z", "=", -(more / Z - top * dZ / Z**2)),
                        Step("quotient rule", "=", -dp, by=(Differentiate(dp),)),
                    )
                ),
                words="∂Pr(wrong) = −∂p",
            ),
            Clause(
                "wrong-share",
                verdicts,
                Claim(others, "=", 1 - p),
                Chain(
                    (
                        Step(
                            "1/Z out of the sum",
                            "=",
                            over(w(y), wrong) / Z,
                            by=(Linear(others, ((1 / Z, w(y)),)),),
                        ),
                        Step(
                            "those of all less those of the correct",
                            "=",
                            (Zy - over(w(y), correct)) / Z,
                            by=(Cut(Zy, c),),
                        ),
                        Step("Σ w = Z", "=", 1 - over(w(y), correct) / Z),
                        Step("1/Z into the sum", "=", 1 - p, by=(Linear(p, ((1 / Z, w(y)),)),)),
                    )
                ),
                words="Pr(wrong) = 1 − p",
            ),
        ),
        references=(Reference("Williams 1992", "", "Machine Learning 8", "REINFORCE"),),
        mutants=(
            Mutant("mean score one", "zero", rhs=1),
            Mutant("gradient doubled", "gradient", rhs=2 * sp.Derivative(mean_reward, theta)),
            Mutant("sign", "gradient", rhs=-sp.Derivative(mean_reward, theta)),
            Mutant("not divided by p", "given-correct", rhs=dp),
            Mutant("divided by 1 − p", "given-correct", rhs=dp / others),
            Mutant("not divided by Pr(wrong)", "given-wrong", rhs=dothers),
            Mutant("sign of the slope", "wrong-slope", rhs=dp),
            Mutant("share p", "wrong-share", rhs=p),
        ),
        check=lemma_checks.score_means,
    )


def power_order() -> Theorem:
    domain = Domain(Integer(n, 1), Real(x, 0), Real(a, x))
    return Theorem(
        id="expectation.power-order",
        title="Powers keep the order of positive numbers",
        words="0 < x < a implies xⁿ < aⁿ for every n ≥ 1.",
        clauses=(
            Clause(
                "order",
                domain,
                Claim(x**n, "<", a**n),
                Induction(
                    n,
                    base=Chain((Step("x < a", "<", a),)),
                    step=Chain(
                        (
                            Step("the hypothesis times x", "<", x * a**n, by=((x, Hypothesis()),)),
                            Step("x < a times aⁿ", "<", a ** (n + 1)),
                        )
                    ),
                ),
            ),
        ),
        references=(Reference("elementary", "", ""),),
        mutants=(
            Mutant("reversed", "order", lhs=a**n, rhs=x**n),
            Mutant("n = 0 allowed", "order", domain=Domain(Integer(n, 0), Real(x, 0), Real(a, x))),
            Mutant("factor 2", "order", lhs=2 * x**n),
        ),
        check=lemma_checks.power_order,
    )


def tangent_line() -> Theorem:
    domain = Domain(Integer(n, 1), Real(x, 0, open_low=False), Real(a, 0))
    line = a**n + n * a ** (n - 1) * (x - a)
    return Theorem(
        id="expectation.tangent-line",
        title="A power lies above its tangents",
        words="xⁿ ≥ aⁿ + n aⁿ⁻¹ (x − a) for x ≥ 0, a > 0 and n ≥ 1.",
        clauses=(
            Clause(
                "tangent",
                domain,
                Claim(line, "<=", x**n),
                Induction(
                    n,
                    base=Chain((Step("both sides are x", "<=", x),)),
                    step=Chain(
                        (
                            Step(
                                "n aⁿ⁻¹(x−a)² ≥ 0",
                                "<=",
                                x * line,
                                by=((n * a ** (n - 1), Square(x - a)),),
                            ),
                            Step(
                                "the hypothesis times x ≥ 0",
                                "<=",
                                x ** (n + 1),
                                by=((x, Hypothesis()),),
                            ),
                        )
                    ),
                ),
            ),
        ),
        references=(Reference("elementary", "", "Bernoulli's inequality"),),
        mutants=(
            Mutant("slope n+1", "tangent", lhs=a**n + (n + 1) * a ** (n - 1) * (x - a)),
            Mutant("strict", "tangent", relation="<", lhs=line + (x - a) ** 2),
            Mutant("below", "tangent", lhs=x**n, rhs=line),
        ),
        check=lemma_checks.tangent_line,
    )
