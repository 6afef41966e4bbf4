"""The gradient of each method's full loss on policy: an exact prefactor times the identity."""

from __future__ import annotations

import sympy as sp

from proofs.first_principles import CHECKS
from proofs.groups.notation import leave_one_out, paper
from proofs.kernel.domain import SCORES, Array, D, Domain, Group, Integer, Real
from proofs.kernel.theorem import Clause, Mutant, Reference, Theorem
from proofs.surrogates.notation import (
    CISPO,
    GSPO,
    OFFSETS,
    G,
    L,
    R,
    T,
    by_rules,
    clip,
    clipped,
    d,
    ell,
    i,
    lengths,
    mu,
    over_responses,
    over_tokens,
    sigma,
    slope,
    t,
    token_mean,
    variance,
    x,
    z,
)
from proofs.surrogates.on_policy import MOVES, ON_POLICY

k, M, alpha, beta, j, u = sp.symbols("k M alpha beta j u")
b, ref = sp.IndexedBase("b"), sp.IndexedBase("ref")

LOGS = tuple(sp.Rational(-n, 4) for n in (0, 1, 2, 3, 5, 8, 13))
EXPONENTS = tuple(sp.Rational(n, 4) for n in (-4, 0, 1, 2, 3, 4, 6))

score = z[i, t, d]
ratio = sp.exp(x * score)
log_prob = ell[i, t] + x * score
standard = (R[i] - mu) / sigma  # GRPO's advantage
power = L[i] ** (-alpha)
powers = over_responses(L[j] ** (-alpha), j)
all_tokens = over_responses(L[i])


def group(
    *more: Real | Array, size: Integer | None = None, least: int = 1, clip: bool = True
) -> Domain:
    """Binary rewards of both kinds, lengths, and the slopes of the tokens in D coordinates."""
    return Domain(
        size or Integer(G, 2),
        Integer(k, least, G - least),
        *SCORES,
        Integer(T, 1, spread=3),
        *(OFFSETS if clip else ()),
        *(x for x in more if isinstance(x, Real)),
        Group(G, correct=k),
        Array(L, (G,), 1, T, integer=True),
        Array(z, (G, T, D)),
        *(x for x in more if isinstance(x, Array)),
    )


def contrast(of_response: sp.Expr) -> sp.Expr:
    """Δv: the mean of v_i over the correct responses minus that over the wrong ones."""
    right = over_responses(R[i] * of_response) / k
    return right - over_responses((1 - R[i]) * of_response) / (G - k)


def token_losses(advantage: sp.Expr) -> sp.Sum:
    """The sum of the losses of a response's tokens: PPO's clip."""
    return over_tokens(-clipped(ratio, advantage))


def clause(
    name: str,
    domain: Domain,
    loss: sp.Expr,
    closed: sp.Expr,
    words: str,
    text: str = "the branch that applies at x = 0, differentiated",
    end: str = "the two class sums: Σ R_i = k, R_i² = R_i",
) -> Clause:
    return by_rules(name, domain, slope(loss), closed, text=text, end=end, words=words)


def full_loss() -> Theorem:
    response, average = over_tokens(score), token_mean(score)  # s_i, and s_i/L_i
    probs = Array(ell, (G, T), high=0, open_high=False)
    logs = tuple(Array(a, (G, T), high=0, open_high=False, samples=LOGS) for a in (ell, ref))
    whole = sp.exp(x * token_mean(z[i, u, d], u))  # GSPO's ratio
    log_r = ref[i, t] - log_prob
    k3 = sp.exp(log_r) - 1 - log_r
    pull = over_responses(token_mean((1 - sp.exp(ref[i, t] - ell[i, t])) * score)) / G
    grpo = over_responses(token_losses(standard) / L[i]) / G
    dr_grpo = over_responses(token_losses(R[i] - mu)) / (G * M)
    dapo = over_responses(token_losses(standard)) / all_tokens
    rloo = -over_responses((R[i] - leave_one_out(i)) * over_tokens(log_prob)) / G
    delta_l = over_responses(power / (M * powers) * token_losses(standard))
    gspo = over_responses(token_mean(-clipped(whole, standard))) / G
    detached = clip(sp.Integer(1))
    cispo = over_responses(over_tokens(-detached * standard * log_prob)) / all_tokens
    of_grpo = -sigma * contrast(average)
    of_dapo = -G / all_tokens * sigma * contrast(response)
    of_rloo = -G / (G - 1) * variance * contrast(response)
    of_delta_l = -G / (M * over_responses(power)) * sigma * contrast(power * response)
    return Theorem(
        id="surrogates.full-loss",
        title="The gradient of the full loss: an exact prefactor times the identity",
        words=(
            "On policy, for binary rewards with 0 < k < G, the gradient of the loss that is "
            "minimised is: GRPO −σ Δ(s/L); Dr. GRPO −(σ²/M) Δs; DAPO −(G/ΣL) σ Δs; RLOO "
            "−(G/(G−1)) σ² Δs; 2-GRPO −½ Δ(s/L); ΔL −(G/(M ΣL^−α)) σ Δ(L^−α s); GSPO as GRPO, "
            "CISPO as DAPO. Here s_i = Σ_t z_it sums the scores of the L_i tokens of response i, "
            "and Δv is the mean of v over the correct minus that over the wrong responses. GRPO's "
            "penalty β k3 adds β times the mean of (1 − π_ref/π) z, which is 0 at π = π_ref."
        ),
        assumptions=(
            ON_POLICY,
            MOVES + " So in each coordinate d of the parameters, z_itd = ∂ log π/∂θ_d.",
            "The score of a response is the sum over its tokens, s_i = Σ_t z_it, and written so.",
            "ε_low, ε_high > 0. σ has ddof 0 and nothing is added to it.",
            "One group; at k = 0 and k = G advantages and gradient are 0 by convention.",
        ),
        clauses=(
            clause(
                "any-weights",
                group(Array(b, (G,))),
                over_responses(b[i] * token_losses(standard)),
                -sigma * contrast(G * b[i] * response),
                "(R_i − μ)/σ with a weight b_i at every token of response i: −σ Δ(G b s)",
            ),
            clause("grpo", group(), grpo, of_grpo, "b_i = 1/(G L_i): a mean of token means"),
            clause(
                "kl-penalty",
                Domain(
                    *lengths, *SCORES, Real(beta, 0, open_low=False), Array(z, (G, T, D)), *logs
                ),
                beta * over_responses(token_mean(k3)) / G,
                beta * pull,
                "what β k3 adds in GRPO's loss, k3 = π_ref/π − 1 − log(π_ref/π) at each token",
                text="differentiate; π_ref is constant",
                end="collect",
            ),
            clause(
                "dr-grpo",
                group(Real(M, 0)),
                dr_grpo,
                -variance / M * contrast(response),
                "R_i − μ, with 1/(G M) for a constant M",
            ),
            clause("dapo", group(), dapo, of_dapo, "b_i = 1/ΣL: the mean over all tokens"),
            clause(
                "rloo",
                group(probs, clip=False),
                rloo,
                of_rloo,
                "R_i minus the mean of the others, times log π of the whole response, without "
                "ratio and clip",
                text="differentiate",
            ),
            clause(
                "two-grpo",
                group(size=Integer(G, 2, 2)),
                grpo,
                -contrast(average) / 2,
                "GRPO at G = 2, k = 1, where σ = 1/2",
            ),
            clause(
                "delta-l",
                group(Real(M, 0), Real(alpha, samples=EXPONENTS)),
                delta_l,
                of_delta_l,
                "b_i = (1/M) L_i^−α/ΣL_j^−α",
            ),
            clause("gspo", group(), gspo, of_grpo, "one ratio for all tokens of a response"),
            clause(
                "cispo",
                group(probs),
                cispo,
                of_dapo,
                "−sg(clip(ρ)) A log π, with sg(clip(ρ)) = clip(1)",
                text="the detached factor is constant",
                end="clip(1) = 1, and the two class sums",
            ),
        ),
        references=(
            paper("Theorem 1", "the identity; the prefactors are ours"),
            Reference("arXiv 2402.03300", "v3", "equations 3 and 4", "GRPO, as we read them"),
            Reference("arXiv 2503.20783", "v1", "§3.2", "Dr. GRPO, as we read it"),
            Reference("arXiv 2503.14476", "v2", "equation 8", "DAPO, as we read it"),
            Reference("arXiv 2402.14740", "v2", "§3", "RLOO, as we read it"),
            Reference("arXiv 2510.00977", "v1", "", "2-GRPO, reconstructed"),
            Reference("arXiv 2509.07558", "v1", "", "ΔL, reconstructed"),
            GSPO,
            CISPO,
        ),
        implements=("identity.surrogates.policy_loss",),
        mutants=(
            Mutant("responses, not tokens", "any-weights", rhs=-sigma * contrast(b[i] * response)),
            Mutant("sums for means", "grpo", rhs=-sigma * contrast(response)),
            Mutant("the sign of an objective", "grpo", rhs=-of_grpo),
            Mutant("the penalty of k1", "kl-penalty", rhs=beta * over_responses(average) / G),
            Mutant("σ for σ²", "dr-grpo", rhs=-sigma / M * contrast(response)),
            Mutant("GRPO's prefactor", "dapo", rhs=-sigma * contrast(response)),
            Mutant("Dr. GRPO's prefactor", "rloo", rhs=-variance * contrast(response)),
            Mutant("the whole contrast", "two-grpo", rhs=-contrast(average)),
            Mutant("α = 0", "delta-l", rhs=-sigma / M * contrast(response)),
            Mutant("token sums", "gspo", rhs=-sigma * contrast(response)),
            Mutant("unanimous groups allowed", "dr-grpo", domain=group(Real(M, 0), least=0)),
        ),
        check=CHECKS.get("surrogates.full-loss"),
    )
