"""PPO's clip and the dual clip, piece by piece."""

from __future__ import annotations

from collections.abc import Callable

import sympy as sp

from proofs.first_principles import CHECKS
from proofs.kernel.domain import Domain, Real
from proofs.kernel.rules import Branch, Differentiate
from proofs.kernel.terms import Maximum, Minimum, Slope
from proofs.kernel.theorem import Chain, Claim, Clause, Mutant, Step, Theorem
from proofs.surrogates.notation import (
    ABOVE,
    BELOW,
    DAPO,
    DUAL,
    INSIDE,
    PPO,
    adv,
    c,
    clipped,
    dual,
    high,
    low,
    r,
    x,
)

h = sp.Symbol("h")

OFFSETS = (Real(low, 0, 1), Real(high, 0))
POSITIVE, NEGATIVE = Real(adv, 0), Real(adv, None, 0)
SIGNS = (("positive", POSITIVE, "A > 0"), ("negative", NEGATIVE, "A < 0"))
PIECES = (  # the closed ones share their ends, so that they cover all ratios
    ("below", Real(r, 0, 1 - low, open_high=False), BELOW, "r ≤ 1 − ε_low"),
    ("inside", Real(r, 1 - low, 1 + high, False, False), INSIDE, "1 − ε_low ≤ r ≤ 1 + ε_high"),
    ("above", Real(r, 1 + high, open_low=False), ABOVE, "r ≥ 1 + ε_high"),
)
BOUNDS = {("positive", "above"): 1 + high, ("negative", "below"): 1 - low}  # where it is constant


def value(sign: str, declared: Real, piece: str, closed: Real, words: str) -> Clause:
    """min(rA, clip(r)A) on a piece with its ends."""
    inner = 1 + high if piece == "above" else r
    outer = 1 - low if piece == "below" else inner
    result = BOUNDS.get((sign, piece), r) * adv
    rules = (
        Branch(Minimum(r, 1 + high)),
        Branch(Maximum(inner, 1 - low)),
        Branch(Minimum(r * adv, outer * adv)),
    )
    step = Step("which bound applies, and which product is smaller", "=", result, by=rules)
    claim = Claim(clipped(r), "=", result)
    return Clause(
        f"{sign}-{piece}", Domain(*OFFSETS, declared, closed), claim, Chain((step,)), words
    )


def gradient(name: str, domain: Domain, objective: sp.Expr, result: sp.Expr, words: str) -> Clause:
    """The derivative by the ratio, inside a piece."""
    lhs = Slope(objective.xreplace({r: x}), x, r)
    step = Step("the branch that applies, differentiated", "=", result, by=(Differentiate(lhs),))
    return Clause(name, domain, Claim(lhs, "=", result), Chain((step,)), words)


def tie(
    name: str,
    domain: Domain,
    objective: Callable[[sp.Expr], sp.Expr],
    at: sp.Expr,
    distance: sp.Expr,
    result: sp.Expr,
    words: str,
) -> Clause:
    """The difference quotient on one side of a tie: exact, so the one-sided derivative too."""
    lhs = (objective(at + distance) - objective(at)) / distance
    step = Step("both values lie on the same straight piece", "=", result)
    return Clause(name, domain, Claim(lhs, "=", result), Chain((step,)), words)


def pieces() -> tuple[Clause, ...]:
    values, gradients = [], []
    for sign, declared, sign_words in SIGNS:
        for piece, closed, open_, words in PIECES:
            values.append(value(sign, declared, piece, closed, f"{sign_words}, {words}"))
            strict = f"{sign_words}, {words}".replace("≤", "<").replace("≥", ">")
            result = sp.Integer(0) if (sign, piece) in BOUNDS else adv
            domain = Domain(*OFFSETS, declared, open_)
            gradients.append(
                gradient(f"{sign}-{piece}-gradient", domain, clipped(r), result, strict)
            )
    return (*values, *gradients)


def ties() -> tuple[Clause, ...]:
    near, far = Real(h, 0, low + high, open_high=False), Real(h, 0)
    up, down = Domain(*OFFSETS, POSITIVE, near), Domain(*OFFSETS, NEGATIVE, near)
    beyond = Domain(*OFFSETS, POSITIVE, far)
    short = Domain(*OFFSETS, NEGATIVE, Real(h, 0, 1 - low))
    zero = sp.Integer(0)
    return (
        tie("upper-left", up, clipped, 1 + high, -h, adv, "A > 0, from 1 + ε_high downwards"),
        tie("upper-right", beyond, clipped, 1 + high, h, zero, "A > 0, from 1 + ε_high upwards"),
        tie("lower-left", short, clipped, 1 - low, -h, zero, "A < 0, from 1 − ε_low downwards"),
        tie("lower-right", down, clipped, 1 - low, h, adv, "A < 0, from 1 − ε_low upwards"),
    )


def dual_clip() -> tuple[Clause, ...]:
    zero, cap = sp.Integer(0), Real(c, 1 + high)
    near = Real(h, 0, c - 1 - high, open_high=False)

    def piece(name: str, result: sp.Expr, words: str, *more: Real) -> Clause:
        return gradient(name, Domain(*OFFSETS, NEGATIVE, *more), dual(r), result, words)

    def at_cap(name: str, distance: sp.Expr, result: sp.Expr, words: str, room: Real) -> Clause:
        return tie(name, Domain(*OFFSETS, NEGATIVE, cap, room), dual, c, distance, result, words)

    return (
        piece("dual-below", zero, "A < 0, r < 1 − ε_low, c > 1", Real(c, 1), BELOW),
        piece("dual-inside", adv, "A < 0, 1 − ε_low < r < 1 + ε_high, r < c", INSIDE, Real(c, r)),
        piece("dual-above", adv, "A < 0, 1 + ε_high < r < c", ABOVE, Real(c, r)),
        piece("dual-capped", zero, "A < 0, 1 + ε_high < r, 1 < c < r", ABOVE, Real(c, 1, r)),
        piece(
            "dual-capped-early",
            zero,
            "A < 0, 1 < c < r < 1 + ε_high",
            Real(c, 1, 1 + high),
            Real(r, c, 1 + high),
        ),
        at_cap("cap-left", -h, adv, "A < 0, from c > 1 + ε_high downwards", near),
        at_cap("cap-right", h, zero, "A < 0, from c > 1 + ε_high upwards", Real(h, 0)),
    )


def clip_gradient() -> Theorem:
    return Theorem(
        id="surrogates.clip-gradient",
        title="The clipped surrogate, piece by piece",
        words=(
            "For A > 0, min(rA, clip(r)A) is rA up to r = 1 + ε_high and constant from there; for "
            "A < 0 it is constant up to r = 1 − ε_low and rA from there; so its derivative by r is "
            "A or 0, and at those two points alone it has two one-sided ones, A towards the inside "
            "and 0 towards the outside. The dual clip max(·, cA), for A < 0 and c > 1, has inside "
            "of its pieces the derivative 0 below 1 − ε_low, A from there to c, and 0 beyond c."
        ),
        assumptions=(
            "0 < ε_low < 1 and ε_high > 0; r > 0. At A = 0 all of it is 0.",
            "Derivatives are by the ratio r; surrogates.cispo-gradient has those along log π.",
        ),
        clauses=(*pieces(), *ties(), *dual_clip()),
        references=(PPO, DAPO, DUAL),
        implements=("identity.surrogates.token_loss", "identity.surrogates.policy_loss"),
        mutants=(
            Mutant("raised to the lower bound", "positive-below", rhs=(1 - low) * adv),
            Mutant("clipped for both signs", "negative-above", rhs=(1 + high) * adv),
            Mutant("kept above the interval", "positive-above-gradient", rhs=adv),
            Mutant("cut off above for both signs", "negative-above-gradient", rhs=0),
            Mutant("kept below the interval", "negative-below-gradient", rhs=adv),
            Mutant("by log π", "positive-inside-gradient", rhs=r * adv),
            Mutant("half of it at the tie", "upper-left", rhs=adv / 2),
            Mutant("outside as inside", "lower-left", rhs=adv),
            Mutant("the dual clip lifts the floor", "dual-below", rhs=adv),
            Mutant(
                "beyond the cap",
                "dual-above",
                domain=Domain(*OFFSETS, NEGATIVE, ABOVE, Real(c, 1, r)),
            ),
            Mutant("no cap", "dual-capped", rhs=adv),
            Mutant("no kink at c", "cap-right", rhs=adv),
        ),
        check=CHECKS.get("surrogates.clip-gradient"),
    )
