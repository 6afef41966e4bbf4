"""Groups of one batch, and the width to which a batch is padded."""

from __future__ import annotations

import sympy as sp

from proofs.aggregation.assuming import put_in
from proofs.aggregation.notation import (
    POSITIVE,
    G,
    L,
    M,
    alpha,
    by_algebra,
    delta_paper,
    exponent,
    g,
    i,
    j,
    maximum,
    over_group,
    responses,
)
from proofs.first_principles import CHECKS
from proofs.kernel.domain import Array, Assumption, Domain, Integer
from proofs.kernel.rules import Unroll
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

Q, T, W, c, k, r, t = sp.symbols("Q T W c k r t")
z, ell, junk, mask, pad = map(sp.IndexedBase, ("z", "ell", "junk", "mask", "pad"))

# -- one normaliser per group, or one for the batch ---------------------------------------------

prompts = Integer(Q, 1, spread=2)
table = Array(L, (Q, G), 0, samples=POSITIVE)
gradients = Array(g, (Q, G))


def over_prompts(body: sp.Expr, index: sp.Symbol = c) -> sp.Sum:
    return sp.Sum(body, (index, 1, Q))


def _norm(at: sp.Symbol) -> sp.Sum:
    """S_c = Σ L^-α over the group of prompt c."""
    return over_group(L[at, j] ** (-alpha), j)


def _update(at: sp.Symbol) -> sp.Expr:
    """M times the group's own ΔL estimate."""
    return over_group(L[at, i] ** (-alpha) * g[at, i]) / _norm(at)


per_group = over_prompts(over_group(L[c, i] ** (-alpha) / (M * _norm(c)) * g[c, i])) / Q
whole_batch = over_prompts(
    over_group(L[c, i] ** (-alpha) / (M * over_prompts(_norm(k), k)) * g[c, i])
)


def batch_group_gap() -> Theorem:
    base = (prompts, responses, maximum, exponent)
    domain = Domain(*base, table, gradients)
    same = Assumption(L, (c, i), z[i], "every prompt has the same lengths")
    alike = Domain(*base, Array(z, (G,), 0, samples=POSITIVE), table, same, gradients)
    marked = Assumption(
        g, (c, i), sp.KroneckerDelta(c, r), "prompt r has the gradients 1, all others 0"
    )
    one = Domain(prompts, Integer(r, 1, Q), *base[1:], table, gradients, marked)
    norms = over_prompts(_norm(k), k)
    mean_norm, mean_update = norms / Q, over_prompts(_update(k), k) / Q
    covariance = over_prompts((_norm(c) - mean_norm) * (_update(c) - mean_update)) / Q
    gap = covariance / (mean_norm * M)
    share = (_norm(r) / norms - 1 / Q) / M
    difference = whole_batch - per_group
    steps, _ = put_in(difference, marked)
    return Theorem(
        id="aggregation.batch-group-gap",
        title="One ΔL normaliser for the batch weighs prompts by their Σ L^(−α)",
        words=(
            "With one sum Σ L^(−α) over the whole batch in place of one per group, the ΔL estimate "
            "exceeds the mean of the groups' estimates by Cov(S, u)/(M mean S) over prompts, S_c = "
            "Σ_i L_(c,i)^(−α) and u_c/M the group's own estimate: prompts count in proportion to "
            "S_c. The two agree for all gradients iff all S_c are equal, as where every prompt has "
            "the same lengths."
        ),
        assumptions=("Q prompts with G responses each; both forms have the total weight 1/M",),
        clauses=(
            by_algebra("gap", domain, difference, gap, "expand the covariance over prompts"),
            Clause(
                "same-lengths",
                alike,
                Claim(whole_batch, "=", per_group),
                Chain(_same_lengths(same)),
            ),
            Clause(
                "converse",
                one,
                Claim(difference, "=", share),
                Chain((*steps, Step("add up", "=", share))),
                words="if this is 0 for every prompt r, then all S_r are equal",
            ),
        ),
        references=(delta_paper("formula and published code", "as we read them"),),
        mutants=(
            Mutant("no gap", "gap", rhs=0),
            Mutant("gap of the other sign", "gap", rhs=-gap),
            Mutant("any lengths", "same-lengths", domain=domain),
            Mutant("no share", "converse", rhs=0),
        ),
        check=CHECKS.get("aggregation.batch-group-gap"),
    )


def _same_lengths(same: Assumption) -> tuple[Step, ...]:
    left, _ = put_in(whole_batch, same)
    right, other = put_in(per_group, same)
    return (
        *left,
        Step("Q equal sums", "=", other),
        Step(same.meaning, "=", per_group, by=right[0].by),
    )


def batch_or_group() -> Theorem:
    domain = Domain(prompts, responses, maximum, exponent, table, gradients)
    two_groups = Domain(Integer(Q, 2, 2), *domain.declarations[1:])
    one_group = Domain(Integer(Q, 1, 1), *domain.declarations[1:])
    single = (Unroll(whole_batch), Unroll(over_prompts(_norm(k), k)), Unroll(per_group * Q))
    return Theorem(
        id="aggregation.batch-or-group",
        title="Normalising lengths over the batch is another estimate",
        words=(
            "The claim that ΔL's code and its formula are equivalent holds for one prompt, and not "
            "for more: the formula divides by Σ L^(−α) of the group, the published code by that of "
            "the whole batch. Two prompts with lengths (1, 1) and (2, 2), gradients 1 and 0, α = 1 "
            "and M = 1: 1/2 per group, 2/3 over the batch."
        ),
        assumptions=(
            "equivalent for all lengths and gradients; both forms have the total weight 1/M",
        ),
        refutes=(
            Refutation(
                "two-prompts",
                domain,
                Claim(whole_batch, "=", per_group),
                (
                    (Q, 2),
                    (G, 2),
                    (M, 1),
                    (alpha, 1),
                    (L, ((1, 1), (2, 2))),
                    (g, ((1, 1), (0, 0))),
                ),
                "the batch's normaliser gives what the groups' normalisers give",
            ),
        ),
        clauses=(
            Clause(
                "one-prompt",
                one_group,
                Claim(whole_batch, "=", per_group),
                Chain((Step("one term each", "=", per_group, by=single),)),
                words="the batch is the group",
            ),
        ),
        references=(
            delta_paper("its formula", "over the group, as we read it"),
            Reference(
                "github.com/zerolllin/Delta-L-Normalization",
                "89da5b9",
                "README, compute_grpo_outcome_advantage",
                "over the rows of the batch, as we read it; it says equivalent to the paper",
            ),
        ),
        implements=("identity.aggregation.token_weights", "identity.aggregation.aggregate"),
        corrected_by=("aggregation.batch-group-gap",),
        mutants=(
            Mutant("also false: nine tenths", "two-prompts", rhs=sp.Rational(9, 10) * per_group),
            Mutant("two prompts", "one-prompt", domain=two_groups),
            Mutant("half", "one-prompt", rhs=per_group / 2),
        ),
        check=CHECKS.get("aggregation.batch-or-group"),
    )


# -- padding -------------------------------------------------------------------------------------

width, wider = Integer(T, 1, spread=3), Integer(W, 1, spread=3)
empty = Assumption(pad, (i, t), 0, "the padding is masked")
losses = (
    Array(mask, (G, T), 0, 1, False, False),
    Array(ell, (G, T)),
    Array(pad, (G, W), 0, 1, False, False),
    empty,
    Array(junk, (G, W)),
)
kept = over_group(sp.Sum(mask[i, t] * ell[i, t], (t, 1, T)))
padded = kept + over_group(sp.Sum(pad[i, t] * junk[i, t], (t, 1, W)))


def _padding_clause(
    name: str, domain: Domain, before: sp.Expr, after: sp.Expr, text: str, words: str = ""
) -> Clause:
    steps, _ = put_in(before, empty)
    return Clause(
        name, domain, Claim(before, "=", after), Chain((*steps, Step(text, "=", after))), words
    )


def padding() -> Theorem:
    domain = Domain(responses, width, wider, maximum, *losses)
    row = Domain(responses, Integer(r, 1, G), width, wider, losses[0], *losses[2:4])
    open_padding = Domain(*(d for d in domain.declarations if d != empty))
    row_open = Domain(*(d for d in row.declarations if d != empty))
    own = sp.Sum(mask[r, t], (t, 1, T))
    count = own + sp.Sum(pad[r, t], (t, 1, W))
    return Theorem(
        id="aggregation.padding",
        title="Padding changes nothing if the constant does not depend on the width",
        words=(
            "Padding a batch by any number of masked columns leaves the masked token sum over a "
            "constant (Dr. GRPO) unchanged, whatever stands in them, and every count of unmasked "
            "tokens, from which the weights of the other methods are made."
        ),
        assumptions=("padded positions have the mask 0; the constant M is one of the run",),
        clauses=(
            _padding_clause(
                "constant", domain, padded / (G * M), kept / (G * M), "masked terms are 0"
            ),
            _padding_clause("counts", row, count, own, "masked positions do not count"),
        ),
        references=(Reference("arXiv 2503.20783", "", "§3", "a constant, as we read it"),),
        implements=("identity.aggregation.token_weights", "identity.aggregation.aggregate"),
        mutants=(
            Mutant("padding not masked", "constant", domain=open_padding),
            Mutant("padding counted", "counts", domain=row_open),
            Mutant(
                "mask not applied",
                "constant",
                rhs=over_group(sp.Sum(ell[i, t], (t, 1, T))) / (G * M),
            ),
        ),
        check=CHECKS.get("aggregation.padding"),
    )


def padded_width() -> Theorem:
    domain = Domain(responses, width, wider, *losses)
    before, after = padded / (G * (T + W)), kept / (G * T)
    return Theorem(
        id="aggregation.padded-width",
        title="Dr. GRPO's constant must not be the padded width",
        words=(
            "The claim that the constant may be the width of the padded batch fails: it makes the "
            "loss depend on the padding: W more masked columns multiply it by T/(T + W). One "
            "response of one token with loss 1, padded from width 1 to 2: 1 becomes 1/2."
        ),
        assumptions=("padded positions have the mask 0",),
        refutes=(
            Refutation(
                "one-more-column",
                domain,
                Claim(before, "=", after),
                (
                    (G, 1),
                    (T, 1),
                    (W, 1),
                    (mask, ((1,),)),
                    (ell, ((1,),)),
                    (pad, ((0,),)),
                    (junk, ((0,),)),
                ),
                "the loss over the padded width does not change when a batch is padded",
            ),
        ),
        clauses=(
            _padding_clause("factor", domain, (1 + W / T) * before, after, "masked terms are 0"),
        ),
        references=(
            Reference("folklore", "", "token sums over loss.shape[-1]"),
            Reference("arXiv 2503.20783", "", "§3", "a constant, as we read it"),
        ),
        implements=("identity.aggregation.token_weights", "identity.aggregation.aggregate"),
        corrected_by=("aggregation.padding",),
        mutants=(
            Mutant("factor inverted", "factor", lhs=before / (1 + W / T)),
            Mutant("also false: nine tenths", "one-more-column", rhs=sp.Rational(9, 10) * after),
            Mutant("no factor", "factor", lhs=before),
        ),
        check=CHECKS.get("aggregation.padded-width"),
    )
