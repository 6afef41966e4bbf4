"""Tsallis' loss −log_q P: its gradient, what minimises it, and that it is proper at q = 1 only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sympy as sp

from proofs.difficulty.notation import (
    N,
    half,
    log_q,
    outcomes,
    p,
    q,
    t,
    tsallis,
    tsallis_paper,
    unit,
)
from proofs.difficulty.tangent import TANGENT
from proofs.first_principles import CHECKS
from proofs.kernel.domain import Array, Domain, Integer, Real
from proofs.kernel.rules import Differentiate, Instance, MeanValue, Termwise
from proofs.kernel.terms import Slope
from proofs.kernel.theorem import Chain, Claim, Clause, Mutant, Reference, Step, Theorem

slope, i, j, r, s, x, y = sp.symbols("v i j r s x y")
a, alpha, theta = map(sp.IndexedBase, ("a", "alpha", "theta"))
path = p + slope * t  # the success probability along any differentiable path, at t = 0


def over(body: sp.Expr, index: sp.Symbol = i) -> sp.Sum:
    return sp.Sum(body, (index, 1, N))


@dataclass(frozen=True)
class Family:
    """One exponent's loss Σ α_i (−log_q θ_i) and its least distribution θ*, outcome by outcome."""

    name: str
    domain: tuple[Any, ...]
    weight: Any  # α_i
    best: Any  # θ*_i
    log: Any  # log_q
    rate: Any  # α_i/θ*_i^q: the same for every outcome
    ratio: Any  # (log_q x, x) at x = θ_i/θ*_i
    scale: Any  # of the gap in the loss
    fact: Any  # log_q x ≤ x − 1 there

    def loss(self, distribution: Any) -> sp.Sum:
        return over(-self.weight(i) * self.log(distribution(i)))

    def gap(self, index: sp.Symbol) -> sp.Expr:
        """What log_q x lacks of its tangent x − 1, times the weight that it has in the loss."""
        log, at = self.ratio(index)
        return self.scale(index) * (at - 1 - log)

    def minimal(self, name: str, only: sp.Symbol | None = None) -> Clause:
        """θ* has a loss that is at most that of θ, less the gap of one outcome."""
        least, other = self.loss(self.best), self.loss(lambda k: theta[k])
        with_gap, factor = least, sp.Integer(1)
        if only is not None:
            factor = (1 - sp.KroneckerDelta(i, only)) ** 2  # of the other outcomes
            with_gap = over(least.function + (1 - factor) * self.gap(i))
        linear = other.function + self.rate * (theta[i] - self.best(i))
        by = ((factor * self.scale(i), self.fact(i)),)
        steps = (Step("log_q x ≤ x − 1 at x = θ_i/θ*_i", "<=", linear, by=by),)
        rule = Termwise(with_gap, linear, "<=", steps)
        chain: tuple[Step, ...] = (
            Step("outcome by outcome", "<=", over(linear), by=((1, rule),)),
            Step("Σ θ = Σ θ* = 1", "=", other),
        )
        start = least
        some: tuple[Integer, ...] = ()
        words = "θ* has the least loss of all θ"
        if only is not None:
            start, some = least + self.gap(only), (Integer(only, 1, N),)
            chain = (Step("one gap as a sum", "=", with_gap), *chain)
            words = "the excess of θ is at least α_r/θ*_r^q θ*_r (x − 1 − log_q x), x = θ_r/θ*_r"
        domain = Domain(*self.domain, *some)
        return Clause(name, domain, Claim(start, "<=", other), Chain(chain), words)


# The weights are α_i = a_i^q, so that a_i = α_i^(1/q) needs no root of a power.
total = over(a[j], j)
positive = Array(a, (N,), 0, samples=tuple(sp.Rational(k, 4) for k in (1, 2, 3, 4, 6, 9)))
forecast = Array(theta, (N,), law=True)


def escort_of(index: sp.Symbol) -> sp.Expr:
    return a[index] / total


def tsallis_family(low: bool) -> Family:
    def at(index: sp.Symbol) -> sp.Expr:
        return theta[index] * total / a[index]

    clause = "small" if low else "large"
    return Family(
        clause,
        (tsallis(low), outcomes, positive, forecast),
        lambda k: a[k] ** q,
        escort_of,
        log_q,
        total**q,
        lambda k: (log_q(at(k)), at(k)),
        lambda k: a[k] * total ** (q - 1),
        lambda k: Instance(TANGENT, clause, ((x, at(k)),)),
    )


def logarithmic_family() -> Family:
    def log_ratio(index: sp.Symbol) -> sp.Expr:
        return sp.log(theta[index]) - sp.log(alpha[index])

    return Family(
        "log",
        (outcomes, Array(alpha, (N,), law=True), forecast),
        lambda k: alpha[k],
        lambda k: alpha[k],
        sp.log,
        sp.Integer(1),
        lambda k: (log_ratio(k), theta[k] / alpha[k]),
        lambda k: alpha[k],
        lambda k: Instance(TANGENT, "exponential", ((y, log_ratio(k)),)),
    )


def _gradients(name: str, low: bool) -> tuple[Clause, Clause]:
    """Along a path of success probabilities with value p and slope v."""
    lhs, plain, log = (Slope(-f(path), t, 0) for f in (log_q, lambda z: z, sp.log))
    domain = Domain(tsallis(low), unit, Real(slope))
    found = -slope * p ** (-q)

    def clause(kind: str, rhs: sp.Expr, other: Slope, words: str) -> Clause:
        steps = (
            Step("power and chain rule", "=", found, by=(Differentiate(lhs),)),
            Step("the other gradient", "=", rhs, by=(Differentiate(other),)),
        )
        return Clause(f"{kind}-{name}", domain, Claim(lhs, "=", rhs), Chain(steps), words)

    return (
        clause("amplified", p ** (-q) * plain, plain, "∇(−log_q P) = P^(−q) ∇(−P)"),
        clause("attenuated", p ** (1 - q) * log, log, "∇(−log_q P) = P^(1−q) ∇(−log P)"),
    )


def _improper(name: str, low: bool) -> Clause:
    """The slope of the mean score at the truth, towards the likelier of two outcomes."""
    score = Slope(-p * log_q(p + t) - (1 - p) * log_q(1 - p - t), t, 0)
    closed = (1 - p) ** (1 - q) - p ** (1 - q)
    sign = 1 if low else -1
    rule = MeanValue(sign * s ** (1 - q), s, 1 - p, p, sign * (1 - q) * s ** (-q), "<")
    likelier = Real(p, half, 1, samples=tuple(sp.Rational(k, 16) for k in range(9, 16)))
    down: tuple[Step, ...] = (
        Step("(1−p)·(1−p)^(−q) − p·p^(−q)", "=", closed, by=(Differentiate(score),)),
        Step("p > 1/2, and u^(1−q) grows", "<", 0, by=((1, rule),)),
    )
    up: tuple[Step, ...] = (
        Step("p > 1/2, and u^(1−q) falls", "<", closed, by=((1, rule),)),
        Step("(1−p)·(1−p)^(−q) − p·p^(−q)", "=", score, by=(Differentiate(score),)),
    )
    claim = Claim(score, "<", 0) if low else Claim(0, "<", score)
    where = "overstating" if low else "understating"
    words = f"{where} the likelier outcome a little lowers the loss"
    return Clause(
        f"improper-{name}", Domain(tsallis(low), likelier), claim, Chain(down if low else up), words
    )


def _example() -> Clause:
    """q = 1/2: the truth (16/25, 9/25) scores worse than (225/289, 64/289)."""
    truth = (sp.Rational(16, 25), sp.Rational(9, 25))
    other = (sp.Rational(225, 289), sp.Rational(64, 289))

    def score(forecast: tuple[sp.Rational, ...]) -> sp.Expr:
        pairs = zip(truth, forecast, strict=True)
        return sp.Add(*(-w * log_q(z).xreplace({q: half}) for w, z in pairs))

    claim = Claim(score(other), "<", score(truth))
    step = Step("both are rational", "<", claim.rhs)
    return Clause("example", Domain(), claim, Chain((step,)), "q = 1/2, truth (16/25, 9/25)")


def tsallis_loss() -> Theorem:
    small, large, log = tsallis_family(True), tsallis_family(False), logarithmic_family()
    return Theorem(
        id="difficulty.tsallis",
        title="Tsallis' loss: weight P^(−q), minimised by the escort law, proper at q = 1 only",
        words=(
            "For the loss −log_q P, log_q x = (x^(1−q) − 1)/(1 − q), and q > 0, q ≠ 1: "
            "∇(−log_q P) = P^(−q)∇(−P) = P^(1−q)∇(−log P). Over all θ > 0 with Σθ = 1 the mean "
            "loss Σ α_i(−log_q θ_i), α_i > 0, is least at the escort law θ_i ∝ α_i^(1/q) alone. At "
            "q = 1 that is α, if α sums to 1. At no other q > 0 is the loss proper: with two "
            "outcomes of probabilities p > 1/2 and 1−p the slope of the mean loss at the truth is "
            "not 0; it falls towards larger forecasts of the likelier one for q < 1, towards "
            "smaller ones for q > 1."
        ),
        assumptions=(
            "P moves along a line: at one point that has the value p and the slope v of any "
            "differentiable path. For several parameters read it coordinate by coordinate.",
            "Written with α_i = a_i^q, a_i > 0.",
            "A gap x − 1 − log_q x is positive unless x = 1 (difficulty.log-q-tangent).",
        ),
        uses=(TANGENT,),
        clauses=(
            *_gradients("small", True),
            *_gradients("large", False),
            small.minimal("escort-small"),
            small.minimal("alone-small", r),
            large.minimal("escort-large"),
            large.minimal("alone-large", r),
            log.minimal("proper"),
            log.minimal("alone-proper", r),
            _improper("small", True),
            _improper("large", False),
            _example(),
        ),
        references=(
            tsallis_paper("the loss family and the two factorisations of its gradient"),
            tsallis_paper("the escort law", "the proof for any number of outcomes is ours"),
            Reference("C. Tsallis", "", "J. Stat. Phys. 52 (1988)", "the deformed logarithm"),
        ),
        implements=(
            "identity.difficulty.tsallis_weight",
            "identity.difficulty.escort",
        ),
        mutants=(
            Mutant("P^q", "amplified-small", rhs=p**q * Slope(-path, t, 0)),
            Mutant(
                "P^(−q) there too", "attenuated-large", rhs=p ** (-q) * Slope(-sp.log(path), t, 0)
            ),
            Mutant(
                "least at α itself",
                "escort-small",
                lhs=small.loss(lambda k: a[k] ** q / over(a[j] ** q, j)),
            ),
            Mutant("least at a uniform law", "escort-large", lhs=large.loss(lambda k: 1 / N)),
            Mutant("twice the gap", "alone-small", lhs=small.loss(escort_of) + 2 * small.gap(r)),
            Mutant("any forecast is as good", "proper", relation="="),
            Mutant(
                "understating, for q < 1",
                "improper-small",
                lhs=0,
                rhs=_improper("small", True).claim.lhs,
            ),
            Mutant(
                "proper at q = 1/2", "example", lhs=_example().claim.rhs, rhs=_example().claim.lhs
            ),
        ),
        check=CHECKS.get("difficulty.tsallis"),
    )
