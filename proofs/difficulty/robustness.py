"""What a misspecified weight costs: the least efficiency over all weights within a factor."""

from __future__ import annotations

from typing import Any

import sympy as sp

from proofs.difficulty.notation import N, outcomes, paced, t
from proofs.first_principles import CHECKS
from proofs.kernel.domain import Array, Domain, Real
from proofs.kernel.rules import MeanValue, Square, Termwise
from proofs.kernel.theorem import Chain, Claim, Clause, Mutant, Reference, Step, Theorem

delta, i, x = sp.symbols("delta i x")
u, v = sp.symbols("u v")  # the ideal weights of two prompts
P, ideal, ratio, shift = map(sp.IndexedBase, ("P", "w", "r", "s"))
relative_error = Real(delta, 0, 1, open_low=False)
log_error = Real(delta, 0, open_low=False, samples=tuple(sp.Rational(k, 4) for k in range(9)))
up, down = sp.exp(delta), sp.exp(-delta)
sech = 1 / ((up + down) / 2) ** 2  # its square


def over(body: sp.Expr) -> sp.Sum:
    return sp.Sum(P[i] * body, (i, 1, N))


def efficiency(r: sp.Expr) -> sp.Expr:
    """(E w w*)²/(E w² E w*²) for the weight w = r·w* in place of the ideal w*."""
    w = ideal[i]
    return over(r * w * w) ** 2 / (over((r * w) ** 2) * over(w**2))


def at_least(
    name: str, domain: Domain, r: sp.Expr, ends: Any, least: sp.Expr, steps: Any, words: str
) -> Clause:
    """4ab/(a+b)² for ratios r between a and b: Σ P w*² (r − a)(b − r) ≥ 0, and a square."""
    total, product = ends[0] + ends[1], ends[0] * ends[1]
    w = ideal[i]
    cross, used, best = over(r * w * w), over((r * w) ** 2), over(w**2)
    chord = P[i] * w**2 * (total * r - product)
    rules: tuple[Any, ...] = (
        (4 * product / (total**2 * used), Termwise(used, chord, "<=", steps(chord))),
        (1 / (used * best), Square(cross - 2 * product / total * best)),
    )
    text = "r² ≤ (a + b)r − ab for a ≤ r ≤ b, and a square is non-negative"
    claim = Claim(least, "<=", efficiency(r))
    return Clause(name, domain, claim, Chain((Step(text, "<=", claim.rhs, by=rules),)), words)


def _between(chord: sp.Expr) -> tuple[Step, ...]:
    """e^s + e^(−s) ≤ e^δ + e^(−δ) for |s| ≤ δ: both of δ − s and δ + s are non-negative."""
    s = shift[i]
    falling = sp.exp(-x * (delta + s))
    shrinks = MeanValue(-falling, x, 0, 1, (delta + s) * falling)
    rest = 1 - sp.exp(-(delta + s))
    path = sp.exp(s + t * (delta - s))
    slope = (delta - s) * path * rest
    steps = (Step("e^(−(δ+s)) ≤ 1", "<=", slope, by=(((delta - s) * path, shrinks),)),)
    grows = MeanValue(path * rest, t, 0, 1, slope, "<=", steps)
    by = ((P[i] * ideal[i] ** 2 * sp.exp(s), grows),)
    return (Step("(e^δ − e^s)(1 − e^(−(δ+s))) ≥ 0", "<=", chord, by=by),)


def two_prompts(low: sp.Expr, high: sp.Expr) -> sp.Expr:
    """The efficiency for two prompts, one weighted low times the ideal u, one high times v."""
    first, second = high * v**2, low * u**2  # their probabilities, up to a common factor
    square, cross, used = (
        (first * low**k * u**2 + second * high**k * v**2) / (first + second) for k in range(3)
    )
    return cross**2 / (used * square)


def attained(name: str, error: Real, low: sp.Expr, high: sp.Expr, least: sp.Expr) -> Clause:
    step = Step("where E[w w*] = 2ab/(a + b) E[w*²]", "=", least)
    claim = Claim(two_prompts(low, high), "=", least)
    words = (
        "two prompts with any ideal weights u, v: one too low, one too high, by all of the range"
    )
    return Clause(name, Domain(error, Real(u, 0), Real(v, 0)), claim, Chain((step,)), words)


def minimax() -> Theorem:
    law = (outcomes, Array(P, (N,), law=True), Array(ideal, (N,), 0))
    near = Array(ratio, (N,), 1 - delta, 1 + delta, open_low=False, open_high=False)
    logs = Array(
        *(shift, (N,), -delta, delta),
        open_low=False,
        open_high=False,
        samples=tuple(sp.Rational(k, 8) for k in range(-16, 17)),
    )
    beyond = Array(ratio, (N,), 1 - 2 * delta, 1 + delta, open_high=False)
    return Theorem(
        id="difficulty.minimax",
        title="A weight within a factor 1 ± δ of the ideal one has efficiency at least 1 − δ²",
        words=(
            "For a weight w = r w* in place of the ideal w* > 0, over any finite law of prompts, "
            "the efficiency (E w w*)²/(E w² E w*²) is at least 1 − δ² if r lies in [1−δ, 1+δ] with "
            "0 ≤ δ < 1, and at least sech²δ if log r lies in [−δ, δ]. Two prompts attain each "
            "bound, whatever their ideal weights, so neither can be improved."
        ),
        assumptions=("Finitely many prompts; w* and w positive.",),
        clauses=(
            at_least(
                "relative",
                Domain(relative_error, *law, near),
                ratio[i],
                (1 - delta, 1 + delta),
                1 - delta**2,
                lambda chord: (),
                "1 − δ² ≤ efficiency for r in [1−δ, 1+δ]",
            ),
            attained("relative-attained", relative_error, 1 - delta, 1 + delta, 1 - delta**2),
            at_least(
                "logarithmic",
                Domain(log_error, *law, logs),
                sp.exp(shift[i]),
                (down, up),
                sech,
                _between,
                "sech²δ ≤ efficiency for r = e^s, |s| ≤ δ",
            ),
            attained("logarithmic-attained", log_error, down, up, sech),
        ),
        references=(
            paced("Theorem 6", "states a loss of O(δ²); the constants are ours"),
            Reference(
                "G. Pólya, G. Szegő", "", "Aufgaben und Lehrsätze I, II.92", "the inequality"
            ),
        ),
        implements=(
            "identity.difficulty.minimax_efficiency",
            "identity.difficulty.weight_efficiency",
        ),
        mutants=(
            Mutant("1 − δ²/2", "relative", lhs=1 - delta**2 / 2),
            Mutant("(1−δ)²", "relative-attained", rhs=(1 - delta) ** 2),
            Mutant(
                "ratios down to 1 − 2δ",
                "relative",
                domain=Domain(Real(delta, 0, sp.Rational(1, 2)), *law, beyond),
            ),
            Mutant("1 − δ² for logarithms as well", "logarithmic", lhs=1 - delta**2 / 4),
            Mutant("sech δ", "logarithmic-attained", rhs=2 / (up + down)),
            Mutant("1 − δ² there", "logarithmic-attained", rhs=1 - delta**2),
        ),
        check=CHECKS.get("difficulty.minimax"),
    )
