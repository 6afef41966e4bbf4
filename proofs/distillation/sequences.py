"""Responses of several tokens: what a per-token divergence leaves out of the gradient.

A response is a first part i and the rest j, over finite alphabets. The first part may be one token
and the rest all that follows, so that the statements, used again for the rest, cover every length.
"""

from __future__ import annotations

import sympy as sp

from proofs.distillation.notation import OPD, N, along, b, outcomes, t, tau, w, worked_out
from proofs.first_principles import CHECKS
from proofs.kernel.domain import Array, Domain, Integer
from proofs.kernel.rules import Differentiate, Termwise
from proofs.kernel.theorem import Chain, Claim, Clause, Mutant, Refutation, Step, Theorem

M, i, j, k, l = sp.symbols("M i j k l")
W, T, c = map(sp.IndexedBase, ("W", "T", "c"))  # of the rest given the first part; its direction

seconds = Integer(M, 1, spread=3)
laws = (
    outcomes,
    seconds,
    Array(w, (N,), law=True),
    Array(tau, (N,), law=True),
    Array(W, (N, M), law=True),
    Array(T, (N, M), law=True),
)
directions = (Array(b, (N,)), Array(c, (N, M)))
moving = Domain(*laws, *directions)

LINE = (
    "The student's probabilities are w_i (1 + t s_i) for the first part and W_ij (1 + t u_ij) for "
    "the rest j after i, with any scores of mean 0: s = b − E b, and u_i = c_i − E c_i after i. At "
    "t = 0 that is any policy and any direction."
)
WRITTEN = "The teacher's probabilities are tau_i and T_ij; all are positive."
EVERY_LENGTH = (
    "The first part is one token, say, and the rest all that follows: a response of any length, "
    "one token at a time."
)


def first(body: sp.Expr) -> sp.Sum:
    """Σ over first parts."""
    return sp.Sum(body, (i, 1, N))


def rest(body: sp.Expr) -> sp.Sum:
    """Σ over rests."""
    return sp.Sum(body, (j, 1, M))


flat_score = b[i] - sp.Sum(w[k] * b[k], (k, 1, N))
flat_rest = c[i, j] - sp.Sum(W[i, l] * c[i, l], (l, 1, M))
moved_first, moved_rest = 1 + t * flat_score, 1 + t * flat_rest  # π_t over π
now_first, now_rest = sp.log(w[i] / tau[i]), sp.log(W[i, j] / T[i, j])  # log π/π_T at t = 0
ratio_first, ratio_rest = now_first + sp.log(moved_first), now_rest + sp.log(moved_rest)
FIRST, REST = w[i] * moved_first, W[i, j] * moved_rest  # π_t

# KL of responses, and the sum of the divergences of the parts, each given a prefix that the
# student sampled and that is held constant.
_both = rest(REST * (ratio_first + ratio_rest))
SEQUENCE = along(first(FIRST * _both))
_given_first = rest(REST * ratio_rest)
PER_TOKEN = along(first(FIRST * ratio_first) + first(w[i] * _given_first))

score_first = along(sp.log(moved_first))  # ∇log π(i)
DIVERGENCE_OF_REST = rest(W[i, j] * now_rest)  # KL of the rest, given i
FUTURE = first(w[i] * score_first * DIVERGENCE_OF_REST)
flat_future = first(w[i] * flat_score * DIVERGENCE_OF_REST)
_worked = Step("∇log π = b − E b", "=", flat_future.function, by=(Differentiate(score_first),))
future_worked_out = Termwise(FUTURE, flat_future.function, steps=(_worked,))


def future_terms() -> Theorem:
    # Each part's score times the log-ratios from there on.
    to_go = first(
        rest(w[i] * W[i, j] * (flat_score * (now_first + now_rest) + flat_rest * now_rest))
    )
    own = first(rest(w[i] * W[i, j] * (flat_score * now_first + flat_rest * now_rest)))
    whole = PER_TOKEN + FUTURE
    given_teacher = -rest(T[i, j] * ratio_rest)
    forward = along(first(tau[i] * rest(T[i, j] * (-ratio_first - ratio_rest))))
    of_first = -first(tau[i] * ratio_first)
    forward_parts = along(of_first + first(tau[i] * given_teacher))
    return Theorem(
        id="distillation.future-terms",
        title="The gradient of the divergence of responses, token by token",
        words=(
            "For responses of a first part i and a rest j, ∇KL(π‖π_T) over whole responses is the "
            "sum of the gradients of the two per-part divergences, at prefixes that the student "
            "sampled and that are held constant, plus the future term E[∇log π(i) · KL(rest | i)]. "
            "As a policy gradient: the score of each part times all log-ratios from there on, not "
            "only its own. The other divergence has no such term: ∇KL(π_T‖π) over responses is "
            "the sum of the per-part gradients at the teacher's prefixes."
        ),
        assumptions=(LINE, WRITTEN, EVERY_LENGTH),
        clauses=(
            Clause(
                "decomposition",
                moving,
                Claim(SEQUENCE, "=", whole),
                Chain(
                    (
                        Step(
                            "differentiate",
                            "=",
                            worked_out(SEQUENCE, moving),
                            by=(Differentiate(SEQUENCE),),
                        ),
                        Step(
                            "Σ π = 1 and Σ π ∇log π = 0, part by part",
                            "=",
                            worked_out(PER_TOKEN, moving) + flat_future,
                        ),
                        Step(
                            "the per-part gradients, and ∇log π = b − E b",
                            "=",
                            whole,
                            by=(Differentiate(PER_TOKEN), future_worked_out),
                        ),
                    )
                ),
                "∇KL of responses = ∇ of the per-part divergences + E[∇log π(i) KL(rest | i)]",
            ),
            Clause(
                "to-go",
                moving,
                Claim(SEQUENCE, "=", to_go),
                Chain(
                    (
                        Step(
                            "differentiate",
                            "=",
                            worked_out(SEQUENCE, moving),
                            by=(Differentiate(SEQUENCE),),
                        ),
                        Step("Σ π ∇log π = 0, part by part", "=", to_go),
                    )
                ),
                "each part's score, written out, times the log-ratios from there on",
            ),
            Clause(
                "forward",
                moving,
                Claim(forward, "=", forward_parts),
                Chain(
                    (
                        Step(
                            "differentiate",
                            "=",
                            worked_out(forward, moving),
                            by=(Differentiate(forward),),
                        ),
                        Step("Σ π_T = 1", "=", worked_out(forward_parts, moving)),
                        Step(
                            "the other one, differentiated",
                            "=",
                            forward_parts,
                            by=(Differentiate(forward_parts),),
                        ),
                    )
                ),
                "∇KL(π_T‖π) of responses is that of the parts, at the teacher's prefixes",
            ),
        ),
        references=(OPD,),
        implements=(
            "identity.distillation.on_policy_distillation_reward",
            "identity.distillation.reverse_kl",
            "identity.distillation.forward_kl",
        ),
        mutants=(
            Mutant("minus the future", "decomposition", rhs=PER_TOKEN - FUTURE),
            Mutant("own log-ratios only", "to-go", rhs=own),
            Mutant(
                "at the student's prefixes",
                "forward",
                rhs=along(of_first + first(w[i] * given_teacher)),
            ),
        ),
        check=CHECKS.get("distillation.future-terms"),
    )


def per_token_kl() -> Theorem:
    half, quarter = sp.Rational(1, 2), sp.Rational(1, 4)
    even = (half, half)
    point = (
        (N, 2),
        (M, 2),
        (w, even),
        (tau, even),
        (W, (even, even)),
        (T, (even, (quarter, 1 - quarter))),
        (b, (0, 1)),
        (c, ((0, 0), (0, 0))),
    )
    return Theorem(
        id="distillation.per-token-kl",
        title="The per-token reverse divergence has another gradient than that of responses",
        words=(
            "The claim that the gradient of the per-token reverse divergences, summed over the "
            "tokens of sampled responses, is the gradient of the divergence of responses fails. "
            "The values agree, but the prefixes are held constant: what is left out is how a token "
            "changes the divergences after it, E[∇log π(i) KL(rest | i)]. With two tokens of two "
            "kinds each, student and teacher equal but after the second first token, (1/2, 1/2) "
            "against (1/4, 3/4) there, and the logit of that first token as direction, the "
            "per-token gradient is 0 and the gradient is (1/8) log(4/3): descending it avoids the "
            "prefix after which they differ."
        ),
        assumptions=(LINE, WRITTEN, EVERY_LENGTH),
        refutes=(
            Refutation(
                "per-token",
                moving,
                Claim(PER_TOKEN, "=", SEQUENCE),
                point,
                "the sum of per-token gradients, prefixes held constant, is ∇KL of responses",
            ),
        ),
        references=(OPD,),
        corrected_by=("distillation.future-terms",),
        implements=(
            "identity.distillation.on_policy_distillation_reward",
            "identity.distillation.reverse_kl",
        ),
        mutants=(
            Mutant("also false: half of it", "per-token", rhs=SEQUENCE / 2),
            Mutant("also false: the opposite", "per-token", rhs=-SEQUENCE),
        ),
        check=CHECKS.get("distillation.per-token-kl"),
    )
