"""GRPO with a penalty towards a reference policy: one step's success probability in closed form."""

from __future__ import annotations

import sympy as sp

from proofs.first_principles import CHECKS
from proofs.kernel.domain import Array, Declaration, Domain, Integer, Real
from proofs.kernel.rules import MeanValue, Square, Termwise
from proofs.kernel.theorem import Chain, Claim, Clause, Mutant, Reference, Step, Theorem

SUCCESS_RECURSION = "dynamics.success-recursion"

p, ref, beta, eps, x = sp.symbols("p pref beta epsilon x")
N, M, i, j, s, t, z, w = sp.symbols("N M i j s t z w")
right, wrong, a, b = map(sp.IndexedBase, ("c", "d", "a", "b"))

RLVR = Reference("arXiv 2503.06639", "", "recursion of the success probability", "as we read it")


def tangent(exponent: sp.Expr, relation: str = "<=") -> MeanValue:
    """1 ≤ e^z − z, since d/dt (e^(tz) − tz) = z(e^(tz) − 1), and that grows from 0 with t.

    For a strict relation z must be shown to be positive, or negative.
    """
    slope = exponent * (sp.exp(t * exponent) - 1)
    weight = t * sp.exp(s * t * exponent)
    square = Step("a square", "<=", weight * exponent**2, by=((weight, Square(exponent)),))
    inner = MeanValue(
        exponent * sp.exp(s * t * exponent),
        s,
        0,
        1,
        weight * exponent**2,
        relation,
        () if relation == "<" else (square,),
    )
    steps = (Step("it grows with t from 0", relation, slope, by=((1, inner),)),)
    return MeanValue(sp.exp(t * exponent) - t * exponent, t, 0, 1, slope, relation, steps)


# -- one step --------------------------------------------------------------------------------------

deviation = sp.sqrt(p * (1 - p) + eps)  # of binary rewards with mean p
odds = (1 - ref) / ref
following = 1 / (1 + odds * sp.exp(-1 / (beta * deviation)))  # p_n, for p = p_{n−1}
ceiling = 1 / (1 + odds * sp.exp(-1 / (beta * sp.sqrt(eps))))


def advantage(reward: int) -> sp.Expr:
    return (reward - p) / deviation


def interior(positive: bool = False) -> tuple[Real, ...]:
    """0 < p, p_ref < 1, β > 0 and ε ≥ 0, or ε > 0; sampled where exp(1/(β√ε)) has no 100 digits."""
    rates = tuple(sp.Rational(k, 20) for k in (1, 3, 7, 10, 14, 19))
    penalties = tuple(sp.Rational(k, 4) for k in (1, 2, 4, 6, 12, 40))
    noises = tuple(sp.Rational(k, 500) for k in (1, 2, 5, 20, 100, 1000))
    return (
        Real(p, 0, 1, samples=rates),
        Real(ref, 0, 1, samples=rates),
        Real(beta, 0, samples=penalties),
        Real(eps, 0, open_low=positive, samples=noises if positive else (0, *noises)),
    )


POLICIES: tuple[Declaration, ...] = (
    Integer(N, 1, spread=1),
    Integer(M, 1, spread=1),
    Real(x, 0, 1),
    *(Array(base, (size,), law=True) for base, size in ((right, N), (a, N), (wrong, M), (b, M))),
)


def over_right(body: sp.Expr) -> sp.Sum:
    return sp.Sum(body, (i, 1, N))


def over_wrong(body: sp.Expr) -> sp.Sum:
    return sp.Sum(body, (j, 1, M))


class OneStep:
    """max E_π[A] − β KL(π‖π_ref) over all policies π, A the advantages of the last policy."""

    def __init__(self) -> None:
        up, down = advantage(1), advantage(0)
        rise, fall = sp.exp(up / beta), sp.exp(down / beta)
        total = ref * rise + (1 - ref) * fall  # Z
        self.best = beta * sp.log(total)
        # Probabilities of a right and of a wrong response, and their logarithms.
        self.policy = x * right[i], (1 - x) * wrong[j]
        self.logs = sp.log(x) + sp.log(right[i]), sp.log(1 - x) + sp.log(wrong[j])
        base = sp.log(ref) + sp.log(a[i]), sp.log(1 - ref) + sp.log(b[j])
        self.reference_logs = base
        self.tilted = ref * a[i] * rise / total, (1 - ref) * b[j] * fall / total
        self.tilted_logs = (
            base[0] + up / beta - sp.log(total),
            base[1] + down / beta - sp.log(total),
        )
        self.gain = x * up + (1 - x) * down
        self.objective = self.gain - beta * self.divergence(base)
        at = (self.tilted, self.tilted_logs)
        self.value = self.mean(
            self.tilted, (up - beta * (at[1][0] - base[0]), down - beta * (at[1][1] - base[1]))
        )
        self.excess = self.divergence(self.tilted_logs)  # KL(π‖π*)
        self.success = over_right(self.tilted[0])

    @staticmethod
    def mean(law: tuple[sp.Expr, sp.Expr], values: tuple[sp.Expr, sp.Expr]) -> sp.Expr:
        return over_right(law[0] * values[0]) + over_wrong(law[1] * values[1])

    def divergence(self, logs: tuple[sp.Expr, sp.Expr]) -> sp.Expr:
        """KL of π from the policy with these log-probabilities."""
        gaps = self.logs[0] - logs[0], self.logs[1] - logs[1]
        return self.mean(self.policy, gaps)


def _optimal(one: OneStep, domain: Domain) -> Clause:
    """π log(π/π*) ≥ π − π* for every response; both sum to 1."""
    rules = []
    for n, over in enumerate((over_right, over_wrong)):
        law, best = one.policy[n], one.tilted[n]
        gap = one.logs[n] - one.tilted_logs[n]
        each = Step("1 + z ≤ e^z at z = log(π*/π)", "<=", law * gap, by=((law, tangent(-gap)),))
        rules.append((beta, Termwise(over(law - best), law * gap, "<=", (each,))))
    steps = (
        Step("the deficit is a divergence", "=", one.best - beta * one.excess),
        Step("π log(π/π*) ≥ π − π*, and both sum to 1", "<=", one.best, by=tuple(rules)),
    )
    return Clause(
        "optimal",
        domain,
        Claim(one.objective, "<=", one.best),
        Chain(steps),
        "so no policy has a larger objective than π*",
    )


def _only(name: str, side: Real, words: str) -> Clause:
    rhs = sp.exp(z) - 1 - z
    step = Step("e^(tz) − tz grows with t", "<", rhs, by=((1, tangent(z, "<")),))
    return Clause(name, Domain(side), Claim(0, "<", rhs), Chain((step,)), words)


def _grows(first: sp.Expr, last: sp.Expr, difference: sp.Expr) -> MeanValue:
    """1/(1 + ρe^(−y)) grows with y, ρ the odds of a failure; last − first as a positive term."""
    y = first + t * (last - first)
    body = 1 / (1 + odds * sp.exp(-y))
    return MeanValue(body, t, 0, 1, odds * difference * sp.exp(-y) * body**2, "<")


def _closed_form() -> tuple[Clause, ...]:
    exponent = 1 / (beta * deviation)
    largest = 1 / (beta * sp.sqrt(eps))
    root = deviation + sp.sqrt(eps)
    further = p * (1 - p) / (beta * deviation * sp.sqrt(eps) * root)  # largest − exponent
    domain, regular = Domain(*interior()), Domain(*interior(positive=True))
    raised = following / (1 - following)
    return (
        Clause(
            "odds",
            domain,
            Claim(raised, "=", ref / (1 - ref) * sp.exp(exponent)),
            Chain((Step("insert", "=", ref / (1 - ref) * sp.exp(exponent)),)),
            "the odds of p_n are those of p_ref times exp(1/(β√(p(1−p)+ε)))",
        ),
        Clause(
            "exceeds",
            domain,
            Claim(ref, "<", following),
            Chain(
                (
                    Step("exponent 0", "=", 1 / (1 + odds)),
                    Step(
                        "it grows with the exponent",
                        "<",
                        following,
                        by=((1, _grows(sp.Integer(0), exponent, exponent)),),
                    ),
                )
            ),
            "p_n > p_ref for every p = p_{n−1}: so every fixed point exceeds p_ref",
        ),
        Clause(
            "below-one",
            domain,
            Claim(following, "<", 1),
            Chain((Step("the exponential is positive", "<", 1),)),
            "p_n < 1",
        ),
        Clause(
            "ceiling",
            regular,
            Claim(following, "<", ceiling),
            Chain(
                (
                    Step(
                        "√(p(1−p)+ε) > √ε, as a difference of squares",
                        "<",
                        ceiling,
                        by=((1, _grows(exponent, largest, further)),),
                    ),
                )
            ),
            "for ε > 0, p_n is below a number c < 1, its value at p = 0 and p = 1",
        ),
    )


def success_recursion() -> Theorem:
    one, domain = OneStep(), Domain(*interior(), *POLICIES)
    half = sp.Rational(1, 2)
    rate = w**2 / (1 + w**2)
    inverse = 1 / sp.sqrt(rate * (1 - rate))
    opposite = 1 / (1 + odds * sp.exp(1 / (beta * deviation)))

    def equal(name: str, lhs: sp.Expr, rhs: sp.Expr, text: str, words: str) -> Clause:
        return Clause(name, domain, Claim(lhs, "=", rhs), Chain((Step(text, "=", rhs),)), words)

    return Theorem(
        id=SUCCESS_RECURSION,
        title="The success probability after one step with a penalty towards the reference",
        words=(
            "Let A = (R − p)/√(p(1−p) + ε) be the advantages under a policy of success probability "
            "p. The policy that maximises E[A] − β KL(π‖π_ref) is π_ref e^(A/β)/Z; its success "
            "probability is 1/(1 + ((1−p_ref)/p_ref) exp(−1/(β√(p(1−p) + ε)))), larger than p_ref "
            "for every p. So every fixed point is larger than p_ref; for ε > 0 there is one."
        ),
        assumptions=(
            "Finitely many responses with binary rewards, none of probability 0: the right ones "
            "have the law c given success (the wrong ones d given failure), a and b for π_ref. "
            "0 < p, p_ref < 1, β > 0, ε ≥ 0. The maximum is taken exactly, over all policies "
            "that give no response the probability 0.",
            "That there is a fixed point for ε > 0 is the intermediate value theorem between "
            "p_ref, which p_n exceeds, and the bound c < 1 of the clause ceiling.",
        ),
        clauses=(
            equal(
                "gap",
                advantage(1) - advantage(0),
                1 / deviation,
                "one denominator",
                "the advantages of a right and of a wrong response differ by 1/√(p(1−p)+ε)",
            ),
            equal(
                "deficit",
                one.best - one.objective,
                beta * one.excess,
                "the logarithms of π* are those of π_ref, plus A/β − log Z",
                "β log Z − (E_π[A] − β KL(π‖π_ref)) = β KL(π‖π*)",
            ),
            equal(
                "value",
                one.value,
                one.best,
                "the probabilities of π* sum to 1",
                "the objective of π* is β log Z",
            ),
            _optimal(one, domain),
            _only("only-below", Real(z, 0), "where π < π*, π log(π/π*) > π − π*: z = log(π*/π)"),
            _only(
                "only-above",
                Real(z, None, 0),
                "and where π > π*: so no other policy reaches β log Z",
            ),
            equal(
                "next",
                one.success,
                following,
                "divide by p_ref e^(A/β)",
                "the success probability of π*",
            ),
            *_closed_form(),
            Clause(
                "by-odds",
                Domain(Real(w, 0)),
                Claim(inverse, "=", w + 1 / w),
                Chain((Step("p(1−p) = w²/(1 + w²)²", "=", w + 1 / w),)),
                "at odds w², p = w²/(1 + w²), 1/√(p(1−p)) is w + 1/w",
            ),
        ),
        references=(RLVR,),
        implements=(
            "identity.dynamics.success_recursion",
            "identity.dynamics.success_fixed_point",
        ),
        mutants=(
            Mutant("of the variance", "gap", rhs=1 / deviation**2),
            Mutant("twice the divergence", "deficit", rhs=2 * beta * one.excess),
            Mutant("from π_ref", "deficit", rhs=beta * one.divergence(one.reference_logs)),
            Mutant("log Z", "value", rhs=one.best / beta),
            Mutant("strictly smaller by p(1−p)", "optimal", lhs=one.objective + p * (1 - p)),
            Mutant("quadratically", "only-below", lhs=z**2),
            Mutant("by more than z²/2", "only-above", lhs=z**2 / 2),
            Mutant("downwards", "next", rhs=opposite),
            Mutant("the reference has p", "next", rhs=following.xreplace({ref: p})),
            Mutant("half of the reward gap", "odds", rhs=ref / (1 - ref) * sp.exp(half / beta)),
            Mutant("larger than p", "exceeds", lhs=p),
            Mutant("at most 9/10", "below-one", rhs=sp.Rational(9, 10)),
            Mutant("odds w", "by-odds", rhs=sp.sqrt(w) + 1 / sp.sqrt(w)),
            Mutant("at its lowest", "ceiling", rhs=1 / (1 + odds * sp.exp(-2 / beta))),
        ),
        check=CHECKS.get(SUCCESS_RECURSION),
    )
