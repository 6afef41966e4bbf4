"""CISPO: the clip is detached, so that clipped tokens keep a gradient."""

from __future__ import annotations

import sympy as sp

from proofs.first_principles import CHECKS
from proofs.kernel.domain import Array, Domain, Real
from proofs.kernel.terms import Minimum
from proofs.kernel.theorem import Claim, Clause, Mutant, Reference, Refutation, Theorem
from proofs.surrogates.clipping import NEGATIVE, POSITIVE
from proofs.surrogates.notation import (
    ABOVE,
    BELOW,
    CISPO,
    INSIDE,
    OFFSETS,
    PPO,
    A,
    G,
    L,
    T,
    adv,
    by_rules,
    clip,
    clipped,
    ell,
    high,
    i,
    lengths,
    low,
    over_responses,
    over_tokens,
    r,
    slope,
    t,
    unclipped,
    w,
    x,
    z,
)
from proofs.surrogates.on_policy import MOVES, ON_POLICY

score, log_prob = sp.symbols("z ell")  # of one token
bound = sp.Symbol("b")


def cispo_gradient() -> Theorem:
    ratio = Real(r, 0)
    log_prob_of_token = Real(log_prob, None, 0, open_high=False)
    cispo = slope(-clip(r) * adv * (log_prob + x * score))
    ppo = slope(-clipped(r * sp.exp(x * score)))
    live = slope(-clip(r * sp.exp(x * score)) * adv * (log_prob + x * score))
    zero = sp.Integer(0)

    def detached(name: str, piece: Real, factor: sp.Expr, words: str) -> Clause:
        return by_rules(
            name,
            Domain(*OFFSETS, Real(adv), Real(score), log_prob_of_token, piece),
            cispo,
            -(factor * adv * score),
            text="the detached factor is constant",
            end="which piece applies",
            words=words,
        )

    def of_ppo(name: str, sign: Real, piece: Real, closed: sp.Expr, words: str) -> Clause:
        return by_rules(name, Domain(*OFFSETS, sign, Real(score), piece), ppo, closed, words=words)

    kept = -r * adv * score
    return Theorem(
        id="surrogates.cispo-gradient",
        title="CISPO keeps a gradient on clipped tokens, PPO's clip has none there",
        words=(
            "The loss −sg(clip(r)) A log π of a token has the gradient −clip(r) A ∇log π at every "
            "ratio r: −(1 + ε_high) A ∇log π above the interval, −(1 − ε_low) A ∇log π below it, "
            "and that of PPO inside. PPO's clip has 0 above the interval if A > 0 and below it if "
            "A < 0, and −rA ∇log π on the other side, where CISPO's is clipped."
        ),
        assumptions=(
            "The ratio at the current parameters is r; log π moves as ℓ + xz; sg(clip(r)), the "
            "advantage and the old log-probability are constants.",
            "0 < ε_low ≤ 1, ε_high > 0; pieces are without their ends, where PPO's clip may have "
            "a kink.",
        ),
        clauses=(
            detached("any-ratio", ratio, clip(r), "CISPO at any r > 0"),
            detached("above", ABOVE, 1 + high, "CISPO, r > 1 + ε_high"),
            detached("below", BELOW, 1 - low, "CISPO, r < 1 − ε_low"),
            detached("inside", INSIDE, r, "CISPO, 1 − ε_low < r < 1 + ε_high"),
            of_ppo("ppo-inside", POSITIVE, INSIDE, kept, "PPO, A > 0, inside"),
            of_ppo("ppo-inside-negative", NEGATIVE, INSIDE, kept, "PPO, A < 0, inside"),
            of_ppo("ppo-above", POSITIVE, ABOVE, zero, "PPO, A > 0, r > 1 + ε_high"),
            of_ppo("ppo-below", NEGATIVE, BELOW, zero, "PPO, A < 0, r < 1 − ε_low"),
            of_ppo("ppo-above-negative", NEGATIVE, ABOVE, kept, "PPO, A < 0, r > 1 + ε_high"),
            of_ppo("ppo-below-positive", POSITIVE, BELOW, kept, "PPO, A > 0, r < 1 − ε_low"),
        ),
        references=(CISPO, PPO),
        implements=("identity.surrogates.token_loss", "identity.surrogates.policy_loss"),
        mutants=(
            Mutant("nothing above", "above", rhs=0),
            Mutant("the ratio unclipped", "any-ratio", rhs=kept),
            Mutant("the clip not detached", "above", lhs=live, rhs=kept),
            Mutant("the clip not detached, inside", "inside", lhs=live),
            Mutant("PPO as CISPO", "ppo-above", rhs=-(1 + high) * adv * score),
            Mutant("clipped for both signs", "ppo-above-negative", rhs=0),
            Mutant("the bound for the ratio", "ppo-below-positive", rhs=-(1 - low) * adv * score),
        ),
        check=CHECKS.get("surrogates.cispo-gradient"),
    )


def cispo_bound() -> Theorem:
    tokens = (Array(w, (G, T)), Array(z, (G, T)), Array(ell, (G, T), high=0, open_high=False))
    base = Domain(*lengths, *tokens, Array(A, (G, T)))
    small = Domain(*lengths, Real(bound, 0, 1, open_high=False), *tokens, Array(A, (G, T)))
    large = Domain(*lengths, Real(bound, 1, open_low=False), *tokens, Array(A, (G, T)))

    def gradient(factor: sp.Expr) -> sp.Expr:
        """Of −Σ w sg(factor) A log π."""
        loss = -w[i, t] * factor * A[i, t] * (ell[i, t] + x * z[i, t])
        return slope(over_responses(over_tokens(loss)))

    fifth = sp.Rational(1, 5)
    absolute = gradient(Minimum(1, fifth))
    one_token = ((G, 1), (T, 1), (L, (1,)), (w, ((1,),)), (z, ((1,),)), (ell, ((-1,),)))

    def clause(name: str, domain: Domain, top: sp.Expr, closed: sp.Expr, words: str) -> Clause:
        return by_rules(
            name,
            domain,
            gradient(Minimum(1, top)),
            closed,
            text="the detached factor is constant",
            end="which of the two is smaller",
            words=words,
        )

    return Theorem(
        id="surrogates.cispo-bound",
        title="An upper bound of 0.2 on the ratio itself is not CISPO with ε = 0.2",
        words=(
            "The claim that CISPO with the ratio bounded by 0.2 itself takes the unclipped step on "
            "policy, as it does with the offset ε_high = 0.2, fails: every ratio is 1 there, so "
            "every token is clipped to 1/5, and so is the gradient. A bound b ≤ 1 on the ratio "
            "scales the gradient by b, and b ≥ 1 leaves it as it is."
        ),
        assumptions=(ON_POLICY, MOVES),
        refutes=(
            Refutation(
                "absolute",
                base,
                Claim(absolute, "=", unclipped),
                (*one_token, (A, ((1,),))),
                "the gradient of −Σ w sg(min(ρ, 0.2)) A log π on policy is the unclipped one",
            ),
        ),
        clauses=(
            clause("one-fifth", base, fifth, fifth * unclipped, "bound 0.2: one fifth"),
            clause("at-most-one", small, bound, bound * unclipped, "a bound b ≤ 1 on the ratio"),
            clause("at-least-one", large, bound, unclipped, "a bound b ≥ 1 on the ratio"),
        ),
        references=(
            Reference("TRL", "", "loss type cispo", "epsilon_high bounds the ratio itself there"),
            CISPO,
        ),
        corrected_by=("surrogates.on-policy", "surrogates.cispo-gradient"),
        implements=("identity.surrogates.token_loss", "identity.surrogates.policy_loss"),
        mutants=(
            Mutant("also false: four fifths", "absolute", rhs=sp.Rational(4, 5) * unclipped),
            Mutant("also false: a bound of 0.8", "absolute", lhs=gradient(Minimum(1, 4 * fifth))),
            Mutant("left as it is", "one-fifth", rhs=unclipped),
            Mutant("1 − b", "at-most-one", rhs=(1 - bound) * unclipped),
            Mutant("scaled up", "at-least-one", rhs=bound * unclipped),
        ),
        check=CHECKS.get("surrogates.cispo-bound"),
    )
