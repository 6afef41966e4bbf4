"""A batch in parts: micro-batches, gradient accumulation, data-parallel ranks."""

from __future__ import annotations

import sympy as sp

from proofs.aggregation.assuming import assuming, put_in
from proofs.aggregation.notation import by_algebra
from proofs.first_principles import CHECKS
from proofs.kernel.domain import Array, Assumption, Domain, Integer
from proofs.kernel.theorem import Chain, Claim, Clause, Mutant, Reference, Step, Theorem

K, T, S, c, k, b, t, r, h = sp.symbols("K T S c k b t r h")
ell, n, v, tokens = map(sp.IndexedBase, ("ell", "n", "v", "tau"))
parts = Integer(K, 1, spread=2)
one_part = Integer(r, 1, K)


def over_parts(body: sp.Expr, index: sp.Symbol = c) -> sp.Sum:
    return sp.Sum(body.xreplace({c: index}), (index, 1, K))


class Split:
    """Σ over a part's items of their values; a part has n_c of at most ``most`` items."""

    def __init__(self, value: sp.IndexedBase, item: sp.Symbol, most: sp.Symbol) -> None:
        self.most = Integer(most, 1, spread=2)
        self.values, self.item = Array(value, (K, most)), item
        self.counts = Array(n, (K,), 1, most, integer=True)
        self.sum = sp.Sum(value[c, item], (item, 1, n[c]))
        self.mean = self.sum / n[c]
        self.count = over_parts(n[c], k)
        self.whole = over_parts(self.sum) / self.count
        self.unweighted = over_parts(self.mean, k) / K
        self.domain = Domain(parts, self.most, self.counts, self.values)
        self.equal = Assumption(n, (c,), h, "every part has the same number")
        self.marked = Assumption(
            value,
            (c, item),
            sp.KroneckerDelta(c, r),
            "the items of part r have the value 1, others 0",
        )

    def clauses(self) -> tuple[Clause, ...]:
        # A part's count as a sum over its items, so that it does not cancel as it is written down.
        own_count = sp.Sum(1, (self.item, 1, n[c]))
        weighted = over_parts(own_count / self.count * self.mean)
        mean_count = self.count / K
        covariance = over_parts((n[c] - mean_count) * (self.mean - self.unweighted)) / K
        error = -covariance / mean_count
        same = Domain(
            parts, self.most, Integer(h, 1, self.most.symbol), self.counts, self.equal, self.values
        )
        one = Domain(parts, self.most, one_part, self.counts, self.values, self.marked)
        gap = 1 / K - n[r] / self.count
        return (
            by_algebra(
                "weighted", self.domain, weighted, self.whole, "n_c times a part's mean is its sum"
            ),
            by_algebra(
                "error", self.domain, self.unweighted - self.whole, error, "expand the covariance"
            ),
            self._equal_counts(same),
            Clause(
                "converse",
                one,
                Claim(self.unweighted - self.whole, "=", gap),
                Chain(
                    (
                        *put_in(self.unweighted - self.whole, self.marked)[0],
                        Step("add up", "=", gap),
                    )
                ),
                words="if this is 0 for every part r, then all counts are equal",
            ),
        )

    def _equal_counts(self, domain: Domain) -> Clause:
        left, _ = put_in(self.unweighted, self.equal)
        _, rules = assuming(self.whole, self.equal)
        return Clause(
            "equal-counts",
            domain,
            Claim(self.unweighted, "=", self.whole),
            Chain((*left, Step(self.equal.meaning, "=", self.whole, by=rules))),
        )


def split() -> Theorem:
    it = Split(ell, t, T)
    clauses = it.clauses()
    return Theorem(
        id="aggregation.split",
        title="A token mean of parts is the token mean of the whole if weighted by tokens",
        words=(
            "Over K parts with n_c tokens each, the mean over all tokens is Σ (n_c/Σn) times the "
            "token mean of part c. The unweighted mean of the parts' means exceeds it by −Cov(n, "
            "mean)/mean(n), which is 0 for every loss iff all parts have the same token count."
        ),
        assumptions=("K ≥ 1 parts with at least one token each; the loss may be any numbers",),
        clauses=clauses,
        references=(
            Reference("folklore", "", "known to trainers as the gradient accumulation bug"),
        ),
        implements=("identity.aggregation.partial_sums", "identity.aggregation.combine"),
        mutants=(
            Mutant("equal weights", "weighted", lhs=it.unweighted),
            Mutant("no error", "error", rhs=0),
            Mutant("error of the other sign", "error", rhs=-clauses[1].claim.rhs),
            Mutant("any counts", "equal-counts", domain=it.domain),
            Mutant("no gap", "converse", rhs=0),
        ),
        check=CHECKS.get("aggregation.split"),
    )


def sequence_mean_split() -> Theorem:
    it = Split(v, b, S)
    clauses = it.clauses()
    counts = Array(tokens, (K, S), 1, T, integer=True)
    sequences = Domain(parts, it.most, Integer(T, 1, spread=2), counts, Array(ell, (K, S, T)))
    token_mean = sp.Sum(ell[c, b, t], (t, 1, tokens[c, b])) / tokens[c, b]
    of_parts = over_parts(sp.Sum(token_mean, (b, 1, S)) / S) / K
    whole = over_parts(sp.Sum(token_mean, (b, 1, S))) / (K * S)
    by_tokens = over_parts(
        sp.Sum(sp.Sum(ell[c, b, t], (t, 1, tokens[c, b])), (b, 1, S))
    ) / over_parts(sp.Sum(tokens[c, b], (b, 1, S)))
    return Theorem(
        id="aggregation.sequence-mean-split",
        title="A sequence mean of parts needs equal sequence counts",
        words=(
            "Over K parts with n_c sequences each, the mean over all sequences of any value per "
            "sequence (its token mean in GRPO, its token sum over a constant in Dr. GRPO) is "
            "Σ (n_c/Σn) times the mean of part c. The unweighted mean of the parts' means exceeds "
            "it by −Cov(n, mean)/mean(n), 0 for all values iff the sequence counts are equal. "
            "Token counts do not matter for that."
        ),
        assumptions=("K ≥ 1 parts with at least one sequence each",),
        clauses=(
            *clauses,
            by_algebra(
                "any-token-counts",
                sequences,
                of_parts,
                whole,
                "S sequences in every part",
                "GRPO with S sequences per part and any token counts: parts merge exactly",
            ),
        ),
        references=(Reference("folklore", "", "see aggregation.split"),),
        implements=("identity.aggregation.partial_sums", "identity.aggregation.combine"),
        mutants=(
            Mutant("equal weights", "weighted", lhs=it.unweighted),
            Mutant("error of the other sign", "error", rhs=-clauses[1].claim.rhs),
            Mutant("any counts", "equal-counts", domain=it.domain),
            Mutant("a token mean", "any-token-counts", rhs=by_tokens),
        ),
        check=CHECKS.get("aggregation.sequence-mean-split"),
    )
