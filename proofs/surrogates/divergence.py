"""Estimators of KL(π‖π_ref) from samples of π: as values, and as losses."""

from __future__ import annotations

from collections.abc import Callable

import sympy as sp

from proofs.first_principles import CHECKS
from proofs.kernel.calculus import derivative
from proofs.kernel.context import Context
from proofs.kernel.domain import Array, Domain, Draws, Integer, Real
from proofs.kernel.rules import Ball, Cite, Differentiate, Moments
from proofs.kernel.terms import SampleMean, Slope
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

Estimator = Callable[[sp.Expr, sp.Expr], sp.Expr]  # of the two log-probabilities

N, n, y, j, m, t = sp.symbols("N n y j m t")
p, q = sp.symbols("p q")  # π and π_ref of one response
w, ref, b, Y = map(sp.IndexedBase, ("w", "ref", "b", "Y"))

SCHULMAN = Reference(
    "J. Schulman", "", "Approximating KL divergence, 2020", "k1, k2 and k3, as we read it"
)
PITFALLS = Reference(
    "arXiv 2506.09477", "v1", "", "that a differentiated estimate is no estimated gradient"
)
GRPO = Reference("arXiv 2402.03300", "v3", "equation 4", "k3 in GRPO's loss, as we read it")

outcomes = Integer(N, 2, spread=3)
laws = (Array(w, (N,), law=True), Array(ref, (N,), law=True))


def over(body: sp.Expr, index: sp.Symbol = y) -> sp.Sum:
    return sp.Sum(body, (index, 1, N))


# The estimators; r = π_ref/π is exp of the difference of both log-probabilities.


def k1(log_p: sp.Expr, log_r: sp.Expr) -> sp.Expr:
    """−log r."""
    return log_p - log_r


def k2(log_p: sp.Expr, log_r: sp.Expr) -> sp.Expr:
    """½ log² r."""
    return (log_p - log_r) ** 2 / 2


def k3(log_p: sp.Expr, log_r: sp.Expr) -> sp.Expr:
    """r − 1 − log r."""
    return sp.exp(log_r - log_p) - 1 + (log_p - log_r)


WRITTEN = "In the formulas w is π, as it was when it was sampled from, and ref is π_ref."
LOG_W, LOG_REF = sp.log(w[y]), sp.log(ref[y])
DIVERGENCE = over(w[y] * (LOG_W - LOG_REF))  # KL(π‖π_ref)


# -- values ----------------------------------------------------------------------------------------


def sampled(estimator: Estimator) -> SampleMean:
    """E of the average of an estimator over n independent samples of π."""
    value = estimator(sp.log(w[Y[m]]), sp.log(ref[Y[m]]))
    return SampleMean(sp.Sum(value, (m, 1, n)) / n)


def mean_of(estimator: Estimator, policy: tuple[str, ...], reference: tuple[str, ...]) -> sp.Expr:
    """Σ π · estimator for given probabilities."""
    pairs = zip(map(sp.Rational, policy), map(sp.Rational, reference), strict=True)
    return sp.Add(*(a * estimator(sp.log(a), sp.log(c)) for a, c in pairs))


def kl_values() -> Theorem:
    drawn = Domain(Integer(n, 1), outcomes, *laws, Draws(Y, n, w))
    even, skew = ("1/2", "1/2"), ("1/4", "3/4")

    def unbiased(name: str, estimator: Estimator, text: str, words: str) -> Clause:
        lhs = sampled(estimator)
        rule = Moments(lhs, y)
        steps = (
            Step("each sample has the law π", "=", rule.value(Context(drawn)), by=(rule,)),
            Step(text, "=", DIVERGENCE),
        )
        return Clause(name, drawn, Claim(lhs, "=", DIVERGENCE), Chain(steps), words)

    def numbers(name: str, smaller: sp.Expr, larger: sp.Expr, words: str) -> Clause:
        step = Step("both to 50 digits", "<", larger, by=((1, Ball(smaller, "<", larger)),))
        return Clause(name, Domain(), Claim(smaller, "<", larger), Chain((step,)), words)

    excess = k3(sp.log(p), sp.log(q))
    tangent = Cite("exponential-tangent", ((sp.Symbol("x"), sp.log(q) - sp.log(p)),))
    convex = Step("1 + x ≤ e^x at x = log r", "<=", excess, by=((1, tangent),))
    return Theorem(
        id="surrogates.kl-values",
        title="k1 and k3 are unbiased for the divergence, k2 is not",
        words=(
            "With r = π_ref/π at samples of π, the averages of k1 = −log r and of k3 = r − 1 − "
            "log r over any number n of samples have the mean KL(π‖π_ref), and k3 ≥ 0. The mean of "
            "k2 = ½ log² r is larger than that at π = (1/2, 1/2), π_ref = (1/4, 3/4), and smaller "
            "if the two are exchanged."
        ),
        assumptions=(
            "Samples are independent and from π itself; all probabilities are positive.",
            "y is whatever is sampled: one token given what came before, or a whole response.",
            WRITTEN,
        ),
        clauses=(
            unbiased("k1", k1, "one mean", "E[average of k1] = KL(π‖π_ref)"),
            unbiased("k3", k3, "Σ π (r − 1) = Σ π_ref − Σ π = 0", "E[average of k3] = KL(π‖π_ref)"),
            Clause(
                "k3-sign",
                Domain(Real(p, 0, 1), Real(q, 0, 1)),
                Claim(0, "<=", excess),
                Chain((convex,)),
                "k3 ≥ 0, for π = p and π_ref = q at the sample",
            ),
            numbers(
                "k2-above",
                mean_of(k1, even, skew),
                mean_of(k2, even, skew),
                "KL < E[k2] at π = (1/2, 1/2), π_ref = (1/4, 3/4)",
            ),
            numbers(
                "k2-below",
                mean_of(k2, skew, even),
                mean_of(k1, skew, even),
                "E[k2] < KL at π = (1/4, 3/4), π_ref = (1/2, 1/2)",
            ),
        ),
        references=(SCHULMAN, GRPO),
        implements=("identity.surrogates.kl",),
        mutants=(
            Mutant("k2 for k1", "k1", lhs=sampled(k2)),
            Mutant("a sum of samples", "k1", lhs=SampleMean(n * sampled(k1).args[0])),
            Mutant("the divergence from the policy", "k3", rhs=over(ref[y] * (LOG_REF - LOG_W))),
            Mutant("without −log r", "k3", lhs=sampled(lambda a, c: sp.exp(c - a) - 1)),
            Mutant("k1 too", "k3-sign", rhs=k1(sp.log(p), sp.log(q))),
            Mutant("k2 above here too", "k2-below", rhs=mean_of(k2, skew, even) / 2),
        ),
        check=CHECKS.get("surrogates.kl-values"),
    )


# -- losses ----------------------------------------------------------------------------------------
#
# The logit of response y moves as log π_y + t b_y: at t = 0 that is any policy with positive
# probabilities, in any direction b, so a slope at t = 0 is a component of the gradient. Samples
# come from π itself, and the loss does not know that they would move: their law is the one at 0.

PARTITION = over(w[j] * sp.exp(t * b[j]), j)
LOG_PI = LOG_W + t * b[y] - sp.log(PARTITION)  # of the policy at t
PI = sp.exp(LOG_PI)
moving = Domain(outcomes, *laws, Array(b, (N,)))
score = b[y] - over(w[j] * b[j], j)


def along(body: sp.Expr) -> Slope:
    return Slope(body, t, 0)


def as_loss(estimator: Estimator) -> Slope:
    """E ∇k: the samples' law is a constant."""
    return along(over(w[y] * estimator(LOG_PI, LOG_REF)))


FORWARD = along(over(PI * (LOG_PI - LOG_REF)))  # ∇KL(π‖π_ref)
BACKWARD = along(over(ref[y] * (LOG_REF - LOG_PI)))  # ∇KL(π_ref‖π)
PULL = over(w[y] * (LOG_W - LOG_REF) * score)  # Σ π log(π/π_ref) ∇log π
PUSH = over((w[y] - ref[y]) * b[y])
LINE = "The logit of response y is log π_y + t b_y: any policy, any direction b, at t = 0."
DETACHED = "E ∇k holds the law of the samples constant, as a loss evaluated at samples does."


def worked_out(lhs: Slope) -> sp.Expr:
    return derivative(lhs, Context(moving))


def kl_gradients() -> Theorem:
    def explicit(name: str, lhs: Slope, rhs: sp.Expr, words: str) -> Clause:
        steps = (
            Step("differentiate", "=", worked_out(lhs), by=(Differentiate(lhs),)),
            Step("Σ π = Σ π_ref = 1 and Σ π ∇log π = 0", "=", rhs),
        )
        return Clause(name, moving, Claim(lhs, "=", rhs), Chain(steps), words)

    def same(name: str, lhs: Slope, rhs: Slope, closed: sp.Expr, words: str) -> Clause:
        steps = (
            Step("differentiate", "=", worked_out(lhs), by=(Differentiate(lhs),)),
            Step("collect", "=", closed),
            Step("the other gradient, differentiated", "=", worked_out(rhs)),
            Step("which is it", "=", rhs, by=(Differentiate(rhs),)),
        )
        return Clause(name, moving, Claim(lhs, "=", rhs), Chain(steps), words)

    policy_gradient = along(over(w[y] * (LOG_W - LOG_REF) * LOG_PI))
    return Theorem(
        id="surrogates.kl-gradients",
        title="What k1, k2 and k3 descend as losses",
        words=(
            "As losses on samples of π, at the policy that sampled: E ∇k1 = 0; E ∇k2 = "
            "∇KL(π‖π_ref) = Σ π log(π/π_ref) ∇log π, which the detached weight log(π/π_ref) on "
            "log π gives as well; and E ∇k3 = ∇KL(π_ref‖π) = Σ (π − π_ref) b, the gradient of the "
            "other divergence."
        ),
        assumptions=(
            LINE,
            DETACHED,
            WRITTEN,
            "y is one draw of π: a whole response, or one token given what came before it. Summed "
            "over a response's tokens, the gradients leave out a token's effect on later ones.",
        ),
        clauses=(
            explicit("k1", as_loss(k1), sp.Integer(0), "E ∇k1 = 0"),
            explicit("forward", FORWARD, PULL, "∇KL(π‖π_ref), in closed form"),
            same("k2", as_loss(k2), FORWARD, PULL, "E ∇k2 = ∇KL(π‖π_ref)"),
            same(
                "policy-gradient",
                policy_gradient,
                FORWARD,
                PULL,
                "E[sg(log π/π_ref) ∇log π] = ∇KL(π‖π_ref)",
            ),
            explicit("backward", BACKWARD, PUSH, "∇KL(π_ref‖π), in closed form"),
            same("k3", as_loss(k3), BACKWARD, PUSH, "E ∇k3 = ∇KL(π_ref‖π)"),
        ),
        references=(
            PITFALLS,
            SCHULMAN,
            GRPO,
        ),
        implements=("identity.surrogates.kl",),
        mutants=(
            Mutant("k1 descends the divergence", "k1", rhs=PULL),
            Mutant("k2 without ½", "k2", lhs=as_loss(lambda a, c: 2 * k2(a, c))),
            Mutant("k2 descends the other one", "k2", rhs=BACKWARD),
            Mutant("k3 descends KL(π‖π_ref)", "k3", rhs=FORWARD),
            Mutant("half of k3", "k3", lhs=as_loss(lambda a, c: k3(a, c) / 2)),
            Mutant("scores not centred", "forward", rhs=over(w[y] * (LOG_W - LOG_REF) * b[y])),
            Mutant("the reference alone", "backward", rhs=-over(ref[y] * b[y])),
            Mutant("the opposite weight", "policy-gradient", rhs=-FORWARD),
        ),
        check=CHECKS.get("surrogates.kl-gradients"),
    )


def kl_as_loss() -> Theorem:
    missing = over(w[y] * k3(LOG_W, LOG_REF) * score)  # E[k3 ∇log π]
    whole = as_loss(k3) + missing
    all_of_k1 = over(w[y] * k1(LOG_W, LOG_REF) * score)
    halves, quarters = ("1/2", "1/2"), ("1/4", "3/4")

    def point(policy: tuple[str, ...], reference: tuple[str, ...], line: tuple[int, ...]) -> object:
        laws_at = (tuple(map(sp.Rational, policy)), tuple(map(sp.Rational, reference)))
        return ((N, len(policy)), (w, laws_at[0]), (ref, laws_at[1]), (b, line))

    return Theorem(
        id="surrogates.kl-as-loss",
        title="An unbiased value of the divergence is not an unbiased gradient",
        words=(
            "The claim that an unbiased estimate of KL(π‖π_ref), put into a loss, has an unbiased "
            "gradient fails for k1 and for k3. The law of the samples depends on the policy too: "
            "∇E[k] = E ∇k + E[k ∇log π], and a loss leaves the last term out. For k1 that is all "
            "of the gradient. For k3, at π = (1/6, 1/2, 1/3) and π_ref = (1/3, 1/2, 1/6), there is "
            "a direction in which the divergence is stationary and E ∇k3 = −1/2. Nor is k3, "
            "detached, right in the reward: that keeps the last term alone, which is 1/2 there."
        ),
        assumptions=(LINE, DETACHED, WRITTEN),
        refutes=(
            Refutation(
                "k1",
                moving,
                Claim(as_loss(k1), "=", FORWARD),
                point(halves, quarters, (1, 0)),  # type: ignore[arg-type]
                "E ∇k1 = ∇KL(π‖π_ref), since E[k1] = KL(π‖π_ref)",
            ),
            Refutation(
                "k3",
                moving,
                Claim(as_loss(k3), "=", FORWARD),
                point(("1/6", "1/2", "1/3"), ("1/3", "1/2", "1/6"), (6, -4, 3)),  # type: ignore[arg-type]
                "E ∇k3 = ∇KL(π‖π_ref), since E[k3] = KL(π‖π_ref)",
            ),
            Refutation(
                "k3-in-reward",
                moving,
                Claim(missing, "=", FORWARD),
                point(("1/6", "1/2", "1/3"), ("1/3", "1/2", "1/6"), (6, -4, 3)),  # type: ignore[arg-type]
                "E[k3 ∇log π] = ∇KL(π‖π_ref): k3, detached, subtracted from the reward",
            ),
        ),
        clauses=(
            Clause(
                "k1-missing",
                moving,
                Claim(FORWARD, "=", all_of_k1),
                Chain(
                    (
                        Step(
                            "differentiate", "=", worked_out(FORWARD), by=(Differentiate(FORWARD),)
                        ),
                        Step("Σ π ∇log π = 0", "=", all_of_k1),
                    )
                ),
                "∇KL(π‖π_ref) = E[k1 ∇log π]: what the loss k1 leaves out is all of it",
            ),
            Clause(
                "k3-missing",
                moving,
                Claim(FORWARD, "=", whole),
                Chain(
                    (
                        Step(
                            "differentiate", "=", worked_out(FORWARD), by=(Differentiate(FORWARD),)
                        ),
                        Step(
                            "Σ π (r − 1) ∇log π = Σ (π_ref − π) ∇log π cancels",
                            "=",
                            worked_out(as_loss(k3)) + missing,
                        ),
                        Step(
                            "the first part is E ∇k3", "=", whole, by=(Differentiate(as_loss(k3)),)
                        ),
                    )
                ),
                "∇KL(π‖π_ref) = E ∇k3 + E[k3 ∇log π]",
            ),
        ),
        references=(
            Reference("folklore", "", "", "a reason given for k3 in the loss"),
            PITFALLS,
            GRPO,
        ),
        corrected_by=("surrogates.kl-gradients",),
        implements=("identity.surrogates.kl",),
        mutants=(
            Mutant("also false: half of it", "k1", rhs=FORWARD / 2),
            Mutant("also false: the opposite", "k3", rhs=-FORWARD),
            Mutant("also false: half of KL's", "k3-in-reward", rhs=FORWARD / 2),
            Mutant("nothing left out", "k3-missing", rhs=as_loss(k3)),
            Mutant("k1's part left out", "k3-missing", rhs=as_loss(k3) + all_of_k1),
            Mutant("nothing at all", "k1-missing", rhs=as_loss(k1)),
        ),
        check=CHECKS.get("surrogates.kl-as-loss"),
    )
