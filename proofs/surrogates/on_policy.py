"""On policy every clipped surrogate has the gradient of the unclipped one."""

from __future__ import annotations

import sympy as sp

from proofs.first_principles import CHECKS
from proofs.kernel.domain import Array, Domain, Real
from proofs.kernel.terms import Maximum, Minimum
from proofs.kernel.theorem import Mutant, Theorem
from proofs.surrogates.notation import (
    CISPO,
    DAPO,
    DUAL,
    GSPO,
    OFFSETS,
    PPO,
    A,
    G,
    T,
    by_rules,
    c,
    clip,
    clipped,
    dual,
    ell,
    high,
    i,
    lengths,
    low,
    over_responses,
    over_tokens,
    ratio,
    slope,
    t,
    token_mean,
    unclipped,
    w,
    x,
    z,
)

MOVES = "log π of each token moves as ℓ + xz; old log-probabilities and advantages are constants."
ON_POLICY = "On policy: the old policy is the current one, so every ratio is 1 at x = 0."


def on_policy() -> Theorem:
    tokens = (Array(w, (G, T)), Array(z, (G, T)))
    logs = Array(ell, (G, T), high=0, open_high=False)
    any_sign = Domain(*lengths, *OFFSETS, *tokens, Array(A, (G, T)))
    plain = Domain(*lengths, *tokens, Array(A, (G, T)))
    negative = Domain(*lengths, *OFFSETS, Real(c, 1), *tokens, Array(A, (G, T), high=0))
    per_response = Domain(*lengths, *OFFSETS, Array(w, (G,)), Array(z, (G, T)), Array(A, (G,)))

    def loss(objective: sp.Expr) -> sp.Expr:
        """−Σ_i Σ_t w_it · objective: to be minimised."""
        return over_responses(over_tokens(-w[i, t] * objective))

    advantage = A[i, t]
    log_prob = ell[i, t] + x * z[i, t]
    u = sp.Symbol("u")  # the token, inside a response's mean
    whole = sp.exp(x * token_mean(z[i, u], u))  # GSPO's ratio of response i
    sequence = over_responses(w[i] * over_tokens(-clipped(whole, A[i])))
    by_response = -over_responses(w[i] * A[i] * over_tokens(z[i, t]))
    uneven = over_responses(over_tokens(-w[i, t] * clipped(whole, A[i, t])))
    one_sided = Minimum(Maximum(ratio, 1 + low), 1 + high)
    return Theorem(
        id="surrogates.on-policy",
        title="At ratio 1 every clipped surrogate has the gradient of the unclipped one",
        words=(
            "For any token weights w, advantages A and lengths, on policy: REINFORCE, the "
            "unclipped ratio, PPO's clip (also with ε_low ≠ ε_high), the dual clip of negative "
            "advantages and CISPO all have the gradient −Σ w A ∇log π. So has GSPO, if weights and "
            "advantages are those of whole responses. For A ≥ 0 the dual clip is the clip, by "
            "definition."
        ),
        assumptions=(
            ON_POLICY,
            MOVES,
            "ε_low, ε_high > 0, so that the ratio 1 lies inside of the clip; c > 1.",
        ),
        clauses=(
            by_rules(
                "reinforce",
                plain.extended(logs),
                slope(loss(advantage * log_prob)),
                unclipped,
                text="differentiate",
                words="−A log π",
            ),
            by_rules(
                "ratio",
                plain,
                slope(loss(ratio * advantage)),
                unclipped,
                text="differentiate",
                words="−ρA, ρ = π/π_old",
            ),
            by_rules(
                "ppo-clip",
                any_sign,
                slope(loss(clipped(ratio, advantage))),
                unclipped,
                words="−min(ρA, clip(ρ)A); also for GSPO-token, whose ratio sg(s)π/sg(π) is ρ here",
            ),
            by_rules(
                "dual-clip",
                negative,
                slope(loss(dual(ratio, advantage))),
                unclipped,
                words="−max(min(ρA, clip(ρ)A), cA) for A < 0",
            ),
            by_rules(
                "cispo",
                any_sign.extended(logs),
                slope(loss(clip(sp.Integer(1)) * advantage * log_prob)),
                unclipped,
                text="the detached factor is constant",
                end="clip(1) = 1",
                words="−sg(clip(ρ)) A log π, with sg(clip(ρ)) = clip(1)",
            ),
            by_rules(
                "gspo",
                per_response,
                slope(sequence),
                by_response,
                end="the sum over t repeats the mean over the response L_i times",
                words="−min(sA, clip(s)A) at every token, s = exp(mean of log ρ over the response)",
            ),
        ),
        references=(PPO, DAPO, DUAL, CISPO, GSPO),
        implements=(
            "identity.surrogates.importance_ratio",
            "identity.surrogates.token_loss",
            "identity.surrogates.policy_loss",
        ),
        mutants=(
            Mutant("sign of a loss", "reinforce", rhs=-unclipped),
            Mutant("two steps of the same policy", "ratio", lhs=slope(loss(ratio**2 * advantage))),
            Mutant("an interval above 1", "ppo-clip", lhs=slope(loss(one_sided * advantage))),
            Mutant(
                "a cap below 1",
                "dual-clip",
                domain=Domain(*lengths, *OFFSETS, Real(c, 0, 1), *tokens, Array(A, (G, T), high=0)),
            ),
            Mutant(
                "the dual clip of positive advantages",
                "dual-clip",
                domain=Domain(*lengths, *OFFSETS, Real(c, 1), *tokens, Array(A, (G, T), 0)),
            ),
            Mutant(
                "bounds that are not offsets",
                "cispo",
                lhs=slope(loss(Minimum(1, high) * advantage * log_prob)),
            ),
            Mutant(
                "weights that differ within a response",
                "gspo",
                lhs=slope(uneven),
                rhs=unclipped,
                domain=any_sign,
            ),
            Mutant(
                "the product of the token ratios",
                "gspo",
                lhs=slope(
                    over_responses(
                        w[i] * over_tokens(-clipped(sp.exp(x * over_tokens(z[i, u], u)), A[i]))
                    )
                ),
            ),
        ),
        check=CHECKS.get("surrogates.on-policy"),
    )
