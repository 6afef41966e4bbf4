"""Rules about means: over rollouts, over draws from a law, over a Beta law."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sympy as sp
from sympy.utilities.iterables import multiset_partitions

from proofs.kernel.context import Context, Fact
from proofs.kernel.domain import COORDINATE, Integer
from proofs.kernel.errors import ProofError, Undecided
from proofs.kernel.names import check_name
from proofs.kernel.terms import BetaMean, PoissonMean, RolloutMean, SampleMean, peel

__all__ = ["BetaIntegral", "LinearMean", "Moments", "Outcomewise", "Tower"]

SCORE_MEANS = "expectation.score-means"  # the theorem that gives the two conditional means


@dataclass(frozen=True)
class Tower:
    """E[h · 1(a ≤ K ≤ b)] over i.i.d. binary rollouts, for h linear in the scores.

    Tower property: given the rewards the scores are independent with means ∇p/p (correct) and
    -∇p/(1-p) (wrong), so Σ_correct s has mean K ∇p/p and Σ_wrong s has mean -(G-K) ∇p/(1-p);
    K itself is Binomial(G, p). The rule writes h by K, Σ R_i s_i and Σ s_i and refuses any
    other dependence on the rollouts.
    """

    mean: RolloutMean
    k: sp.Symbol

    def prove(self, ctx: Context) -> Fact:
        if not isinstance(self.mean, RolloutMean):
            raise ProofError("not a mean over rollouts")
        ctx.term(self.mean)
        means = ctx.ledger.get(SCORE_MEANS)
        if means is None or means.verdict != "proved":
            raise ProofError(f"{SCORE_MEANS} is not proved (yet)")
        return ctx.admit(self.mean, "=", self.value(ctx), "tower property", means.grade)

    def value(self, ctx: Context) -> sp.Expr:
        """The sum over k, also for building the next line of a derivation."""
        h, low, high = self.mean.args
        group, k = ctx.domain.group, self.k
        if group is None or group.success is None or group.slope is None:
            raise ProofError("the domain has no random group")
        i, size, p = sp.Symbol("_0"), group.size, group.reward_rate
        if ctx.domain.variable(k) is not None or k in h.atoms(sp.Symbol):
            raise ProofError(f"{k} is not a fresh symbol")
        if h.has(RolloutMean, BetaMean, PoissonMean, sp.Derivative):
            raise Undecided("a mean or a derivative inside the update")
        for end in (low, high):
            ctx.require(ctx.domain.is_integer(end), f"the window {end} is not an integer")
        for bound in (low, size - high):
            ctx.require(ctx.nonnegative(bound), f"cannot show that the window {bound} >= 0")
        ctx.require(ctx.nonnegative(high - low), "cannot show that the window is not empty")
        h = _read_moments(h, group, k, ())
        inside = ctx.inside(Integer(k, low, high))
        up, all_ = sp.Symbol("_correct_scores"), sp.Symbol("_all_scores")
        score = group.scores[i, COORDINATE]
        h = h.xreplace(
            {
                sp.Sum(group.rewards[i] * score, (i, 1, size)): up,
                sp.Sum(score, (i, 1, size)): all_,
            }
        )
        if h.has(group.rewards, group.scores):
            raise Undecided(f"the update depends on the rollouts in another way: {h}")
        constant = h.xreplace({up: sp.Integer(0), all_: sp.Integer(0)})
        a = h.xreplace({up: sp.Integer(1), all_: sp.Integer(0)}) - constant
        b = h.xreplace({up: sp.Integer(0), all_: sp.Integer(1)}) - constant
        ctx.require(inside.zero(h - constant - a * up - b * all_), "not linear in the scores")
        slope = group.gain * group.slope[COORDINATE]
        mean_up = k * slope / p
        mean_all = mean_up - (size - k) * slope / (1 - p)
        value = constant + a * mean_up + b * mean_all
        weight = sp.binomial(size, k) * p**k * (1 - p) ** (size - k)
        return sp.Sum(weight * value, (k, low, high))


def _read_moments(h: sp.Expr, group: Any, k: sp.Symbol, around: tuple[Any, ...]) -> sp.Expr:
    """Expand the group sums of a term into Σ R = k, Σ R s, Σ s; only linear bodies are read."""
    if isinstance(h, sp.Sum):
        inner, var, low, high = peel(h)
        if low != 1 or high != group.size:
            raise Undecided(f"a sum over {low}..{high} inside the update")
        body = sp.expand(_read_moments(inner, group, k, (*around, var)))
        terms = sp.Add.make_args(body)
        return sp.Add(*(_read_term(term, group, k, var, around) for term in terms))
    if not h.args or not h.has(sp.Sum):
        return h
    return h.func(*(_read_moments(a, group, k, around) for a in h.args))


def _read_term(
    term: sp.Expr, group: Any, k: sp.Symbol, var: sp.Symbol, around: tuple[Any, ...]
) -> sp.Expr:
    """Σ over the group of one product; ``_0`` is the index of the sums that remain."""
    i = sp.Symbol("_0")
    fixed = moving = sp.Integer(1)
    for factor in sp.Mul.make_args(term):
        if var not in factor.free_symbols:
            fixed *= factor
            continue
        base, power = factor.as_base_exp()
        if base == group.rewards[var] and power.is_Integer and power > 0:
            factor = base  # a binary reward equals its powers
        moving *= factor
    factors = sp.Mul.make_args(moving)
    delta = next((f for f in factors if isinstance(f, sp.KroneckerDelta)), None)
    if delta is not None:  # Σ_j δ_ij f(j) = f(i), for an index i of the same range
        (other,) = (x for x in delta.args if x != var)
        rest = (moving / delta).xreplace({var: other})
        if other not in around or rest.has(sp.KroneckerDelta):
            raise Undecided(f"cannot sum {moving} over {var}")
        return fixed * rest
    reward, score = group.rewards[var], group.scores[var, COORDINATE]
    remaining = {var: i}
    readable = {
        sp.Integer(1): group.size,
        reward: k,
        score: sp.Sum(score.xreplace(remaining), (i, 1, group.size)),
        reward * score: sp.Sum((reward * score).xreplace(remaining), (i, 1, group.size)),
    }
    if moving not in readable:
        raise Undecided(f"the rollouts enter as {moving}")
    return fixed * readable[moving]


@dataclass(frozen=True)
class BetaIntegral:
    """E[p^m (1-p)^n] = B(a+m, b+n)/B(a, b) for p ~ Beta(a, b): Euler's integral defines B."""

    mean: BetaMean
    m: Any
    n: Any

    def prove(self, ctx: Context) -> Fact:
        if type(self.mean) is not BetaMean:
            raise ProofError("not a mean over a Beta law")
        ctx.term(self.mean)
        h, p, a, b = self.mean.args
        m, n = ctx.term(self.m), ctx.term(self.n)  # p is bound, so they cannot mention it
        if h != p**m * (1 - p) ** n:
            raise ProofError(f"{h} is not p^m (1-p)^n")
        for part in (m, n):
            ctx.require(ctx.nonnegative(part), f"cannot show {part} >= 0")
        for part in (a, b):
            ctx.require(ctx.algebra.nonnegative(part, strict=True), f"cannot show {part} > 0")
        value = sp.beta(a + m, b + n) / sp.beta(a, b)
        return ctx.admit(self.mean, "=", value, "Euler's beta integral")


MOST_SUMS = 4  # factors of one product: their set partitions are gone through


@dataclass(frozen=True)
class Moments:
    """E[h] over independent draws Y_1..Y_G of one law, h a polynomial in sums Σ_i f(Y_i).

    E[Π_a Σ_i f_a(Y_i)] = Σ over set partitions P of the factors of G(G-1)…(G-|P|+1) Π over the
    blocks B of E[Π_{a in B} f_a(Y)]: the indices of a product of sums agree exactly within the
    blocks of one partition, draws with different indices are independent, and each is distributed
    as Y, with E f(Y) = Σ_y π_y f(y).
    """

    mean: SampleMean
    y: sp.Symbol  # the outcome, in the sums over the law

    def prove(self, ctx: Context) -> Fact:
        if type(self.mean) is not SampleMean:
            raise ProofError("not a mean over draws")
        ctx.term(self.mean)
        return ctx.admit(self.mean, "=", self.value(ctx), "moments of independent draws")

    def value(self, ctx: Context) -> sp.Expr:
        """The right side, also for building the next line of a derivation."""
        draws = ctx.domain.draws
        if draws is None:
            raise ProofError("the domain has no draws")
        check_name(self.y)
        if ctx.domain.variable(self.y) is not None or self.y in self.mean.atoms(sp.Symbol):
            raise ProofError(f"{self.y} is not a fresh symbol")
        return sp.Add(*(self._term(ctx, t) for t in sp.Add.make_args(sp.expand(self.mean.args[0]))))

    def _term(self, ctx: Context, term: sp.Expr) -> sp.Expr:
        draws = ctx.domain.draws
        assert draws is not None
        constant, bodies = sp.Integer(1), []
        for factor in sp.Mul.make_args(term):
            base, power = factor.as_base_exp()
            if not factor.has(draws.base):
                constant *= factor
            elif isinstance(base, sp.Sum) and power.is_Integer and 0 < power <= MOST_SUMS:
                bodies += [self._body(ctx, base)] * int(power)
            else:
                raise Undecided(f"the draws enter as {factor}")
        if len(bodies) > MOST_SUMS:
            raise Undecided(f"a product of more than {MOST_SUMS} sums")
        law = ctx.domain.arrays[draws.law]
        total = sp.Integer(0)
        for partition in multiset_partitions(list(range(len(bodies)))) if bodies else [[]]:
            count = len(partition)
            value = sp.Mul(*(draws.size - j for j in range(count)))
            for block in partition:
                f = sp.Mul(law.base[self.y], *(bodies[a] for a in block))
                value *= sp.Sum(f, (self.y, 1, law.shape[0]))
            total += value
        return constant * total

    def _body(self, ctx: Context, total: sp.Sum) -> sp.Expr:
        """f(y) of one sum Σ_i f(Y_i)."""
        body, var, low, high = peel(total)
        draws = ctx.domain.draws
        assert draws is not None
        if low != 1 or high != draws.size or body.has(sp.Sum):
            raise Undecided(f"{total} is no single sum over the draws")
        body = body.xreplace({draws.base[var]: self.y})
        if body.has(draws.base) or var in body.free_symbols:
            raise Undecided(f"{total} depends on the draws in another way")
        return body


def _any_outcome(ctx: Context) -> Context:
    """Where the draws have some value, whichever it is."""
    domain = ctx.domain.with_any_draws()
    if domain is None:
        raise ProofError("the domain has no draws")
    return Context(domain, ctx.ledger, ctx.hypothesis, ctx.given)


@dataclass(frozen=True)
class LinearMean:
    """E[Σ_j c_j f_j] = Σ_j c_j E[f_j] over draws, the c_j free of them; the split is checked."""

    mean: SampleMean
    parts: tuple[tuple[Any, Any], ...]

    def prove(self, ctx: Context) -> Fact:
        if type(self.mean) is not SampleMean:
            raise ProofError("not a mean over draws")
        ctx.term(self.mean)
        inside = _any_outcome(ctx)
        for c, f in self.parts:
            ctx.term(c)  # free of the draws, which have no value here
            inside.term(f)
        body = sp.Add(*(c * f for c, f in self.parts))
        ctx.require(inside.zero(self.mean.args[0] - body), "the parts do not add up")
        result = sp.Add(*(c * SampleMean(f) for c, f in self.parts))
        return ctx.admit(self.mean, "=", result, "linearity of the mean")


@dataclass(frozen=True)
class Outcomewise:
    """Means over draws compare as what is averaged does, for every outcome of the draws."""

    mean: SampleMean
    body: Any
    relation: str = "="
    steps: tuple[Any, ...] = ()  # a chain from the old to the new term

    def prove(self, ctx: Context) -> Fact:
        from proofs.kernel.theorem import Step, check_chain

        if type(self.mean) is not SampleMean:
            raise ProofError("not a mean over draws")
        ctx.term(self.mean)
        inside = _any_outcome(ctx)
        body = inside.term(self.body)
        steps = self.steps or (Step("outcome by outcome", self.relation, body),)
        grade = check_chain(inside, self.mean.args[0], self.relation, body, steps)
        new = SampleMean(body)
        return ctx.admit(self.mean, self.relation, new, "comparison outcome by outcome", grade)
