"""Correct minus wrong: no control variate, but a contrast, and what it gains."""

from __future__ import annotations

import sympy as sp

from proofs.first_principles import CHECKS
from proofs.kernel.domain import Array, Domain, Integer, Real
from proofs.kernel.rules import Differentiate, Square, Termwise
from proofs.kernel.theorem import (
    Chain,
    Claim,
    Clause,
    Mutant,
    Refutation,
    Step,
    Theorem,
)
from proofs.preference.notation import (
    LINE,
    M,
    N,
    alpha,
    correct,
    counts,
    f,
    gamma,
    h,
    i,
    j,
    over_pairs,
    p,
    paper,
    q,
    score,
    verdicts,
    wrong,
)

c, l, n = sp.symbols("c l n")
half = sp.Rational(1, 2)

# One coordinate of g⁺ and of g⁻: functions of a correct response i and of a wrong response j.
X, Z = sp.IndexedBase("X"), sp.IndexedBase("Z")
laws = (*counts, Array(alpha, (M,), law=True), Array(gamma, (N,), law=True))
values = (Array(X, (M,)), Array(Z, (N,)))
amount = Real(c)
INDEPENDENT = (
    "Given the prompt and which rollouts are correct, the responses are independent draws from "
    "the laws of the correct (α) and of the wrong ones (γ); g⁺ depends on correct rollouts only, "
    "g⁻ on wrong ones only."
)

_both = alpha[i] * gamma[j]
mean_X = sp.Sum(alpha[l] * X[l], (l, 1, M))
mean_Z = sp.Sum(gamma[n] * Z[n], (n, 1, N))
variance_X = sp.Sum(alpha[i] * (X[i] - mean_X) ** 2, (i, 1, M))
variance_Z = sp.Sum(gamma[j] * (Z[j] - mean_Z) ** 2, (j, 1, N))
_mean = sp.Sum(alpha[l] * gamma[n] * (X[l] - c * Z[n]), (n, 1, N), (l, 1, M))
variance_of_contrast = over_pairs(_both * (X[i] - c * Z[j] - _mean) ** 2)
covariance = over_pairs(_both * (X[i] - mean_X) * (Z[j] - mean_Z))

# The mean score of a correct response, and of a wrong one.
E_plus = sp.Sum(alpha[i] * score(correct(i)), (i, 1, M))
E_minus = sp.Sum(gamma[j] * score(wrong(j)), (j, 1, N))


def _scores() -> tuple[Termwise, Termwise, sp.Expr, sp.Expr]:
    """E⁺ and E⁻ worked out."""
    centre = sp.Sum(p * alpha[l] * f[l], (l, 1, M)) + sp.Sum(q * gamma[n] * h[n], (n, 1, N))
    plus = sp.Sum(alpha[i] * (f[i] - centre), (i, 1, M))
    minus = sp.Sum(gamma[j] * (h[j] - centre), (j, 1, N))

    def rule(total: sp.Sum, flat: sp.Sum, slope: sp.Expr) -> Termwise:
        step = Step("d log π = b − E b", "=", flat.function, by=(Differentiate(slope),))
        return Termwise(total, flat.function, steps=(step,))

    return rule(E_plus, plus, score(correct(i))), rule(E_minus, minus, score(wrong(j))), plus, minus


def control_variate() -> Theorem:
    domain = Domain(*laws, *values, amount)
    added = variance_X + c**2 * variance_Z
    coin = ((M, 2), (N, 2), (alpha, (half, half)), (gamma, (half, half)))
    corrected = "preference.contrast-gain"
    at_one = variance_of_contrast.xreplace({c: sp.Integer(1)})
    return Theorem(
        id="preference.control-variate",
        title="Wrong rollouts are no control variate for correct ones",
        words=(
            "The claim that subtracting the part g⁻ of the wrong rollouts, as a control variate, "
            "lowers the variance of the part g⁺ of the correct ones fails: given the prompt both "
            "are independent, so their covariance is 0 and Var(g⁺ − cg⁻) = Var(g⁺) + c²Var(g⁻), "
            "for no c less than Var(g⁺), and equal to it only if c = 0 or Var(g⁻) = 0. Nor has g⁻ "
            "mean 0, as a control variate must: it has the mean −(p/(1−p)) E g⁺, which is 0 only "
            "if E g⁺ is (preference.contrast-gain)."
        ),
        assumptions=(INDEPENDENT, "One coordinate; variances of vectors are sums over them."),
        refutes=(
            Refutation(
                "reduction",
                Domain(*laws, *values),
                Claim(at_one, "<=", variance_X),
                (*coin, (X, (0, 1)), (Z, (0, 1))),
                "Var(g⁺ − g⁻) ≤ Var(g⁺): a pair's step varies no more than its correct part",
            ),
            Refutation(
                "mean-zero",
                Domain(*verdicts),
                Claim(E_minus, "=", 0),
                ((M, 1), (N, 1), (p, half), (alpha, (1,)), (gamma, (1,)), (f, (1,)), (h, (0,))),
                "the score of a wrong rollout has mean 0",
            ),
        ),
        clauses=(
            Clause(
                "covariance",
                Domain(*laws, *values),
                Claim(covariance, "=", 0),
                Chain((Step("the double sum is a product of two sums", "=", 0),)),
                words="Cov(g⁺, g⁻) = 0, so the best control coefficient Cov/Var(g⁻) is 0",
            ),
            Clause(
                "variance",
                domain,
                Claim(variance_of_contrast, "=", added),
                Chain((Step("expand the square; the covariance is 0", "=", added),)),
                words="Var(g⁺ − cg⁻) = Var(g⁺) + c²Var(g⁻)",
            ),
            Clause(
                "no-reduction",
                domain,
                Claim(variance_X, "<=", variance_of_contrast),
                Chain(
                    (
                        Step(
                            "c²Var(g⁻) ≥ 0",
                            "<=",
                            added,
                            by=((1, Square(c * (Z[j] - mean_Z), weight=gamma[j], over=((j, N),))),),
                        ),
                        Step("the covariance is 0", "=", variance_of_contrast),
                    )
                ),
                words="Var(g⁺) ≤ Var(g⁺ − cg⁻) for every c",
            ),
        ),
        references=(paper("Proposition 4.1", "as used there for two rollouts; reconstructed"),),
        corrected_by=(corrected,),
        mutants=(
            Mutant("also false: half of it", "reduction", lhs=at_one / 2 + variance_Z / 2),
            Mutant("also false: mean of E g⁺", "mean-zero", rhs=E_plus),
            Mutant("the second moment", "covariance", lhs=over_pairs(_both * X[i] * Z[j])),
            Mutant("c for c²", "variance", rhs=variance_X + c * variance_Z),
            Mutant("minus", "variance", rhs=variance_X - c**2 * variance_Z),
            Mutant("always more, by Var(g⁻)", "no-reduction", lhs=variance_X + variance_Z),
        ),
        check=CHECKS["preference.control-variate"],
    )


def contrast_gain() -> Theorem:
    V, U, m = sp.symbols("V_plus V_minus m")  # traces of both covariances, and the norm of E g⁺
    odds = p / q
    rule_plus, rule_minus, plus, minus = _scores()
    scores = "a score is the direction less its mean over the policy"
    mean, scaled = E_plus - c * E_minus, (1 + c * odds) * E_plus
    relative = (V + c**2 * U) / ((1 + c * odds) * m) ** 2
    least = V * U / (U + odds**2 * V) / m**2
    over = ((1 + c * odds) * m) ** 2 * (U + odds**2 * V)
    square = (c * U - odds * V) ** 2 / over
    sizes = (Real(p, 0, 1), Real(V, 0), Real(U, 0), Real(m, 0))
    all_sizes = Domain(*sizes)
    at_best = relative.xreplace({c: odds * V / U})

    def both(suffix: str, low: sp.Expr | None, high: sp.Expr | None) -> tuple[Clause, Clause]:
        domain = Domain(*sizes, Real(c, low, high))
        gap = Step("a common denominator", "=", square)
        fact = (1 / over, Square(c * U - odds * V))
        below = Step("the gap is a square over a positive number", "<=", relative, by=(fact,))
        return (
            Clause(
                f"gap{suffix}",
                domain,
                Claim(relative - least, "=", square),
                Chain((gap,)),
                words="what the relative variance at c exceeds the least one by: 0 only at c = c*",
            ),
            Clause(
                f"least{suffix}",
                domain,
                Claim(least, "<=", relative),
                Chain((below,)),
                words="no c has a smaller relative variance",
            ),
        )

    def gain(name: str, rhs: sp.Expr, words: str) -> Clause:
        step = Step("a larger denominator", "<", rhs)
        return Clause(name, all_sizes, Claim(least, "<", rhs), Chain((step,)), words)

    return Theorem(
        id="preference.contrast-gain",
        title="What the contrast of correct and wrong rollouts gains",
        words=(
            "The score of a wrong rollout has the mean E g⁻ = −(p/(1−p)) E g⁺, so g⁺ − cg⁻ has the "
            "mean (1 + cp/(1−p)) E g⁺ and, both parts being independent, the variance V₊ + c²V₋. "
            "Its variance relative to the squared length of its mean, (V₊ + c²V₋)/((1 + cp/(1−p))² "
            "‖E g⁺‖²), for c other than −(1−p)/p, where the mean is 0, is least at c* = (p/(1−p)) "
            "V₊/V₋: V₊V₋/(V₋ + (p/(1−p))²V₊) over ‖E g⁺‖², which is less than either part has by "
            "itself."
        ),
        assumptions=(
            LINE,
            INDEPENDENT,
            "V₊ and V₋ are the traces of the covariances of g⁺ and g⁻, both positive, and E g⁺ is "
            "not 0.",
        ),
        clauses=(
            Clause(
                "means",
                Domain(*verdicts),
                Claim(E_minus, "=", -odds * E_plus),
                Chain(
                    (
                        Step(scores, "=", minus, by=(rule_minus,)),
                        Step("that mean is p E⁺b + (1−p) E⁻b", "=", -odds * plus),
                        Step(scores, "=", -odds * E_plus, by=(rule_plus,)),
                    )
                ),
                words="E g⁻ = −(p/(1−p)) E g⁺ for the scores of a wrong and of a correct rollout",
            ),
            Clause(
                "mean-of-contrast",
                Domain(*verdicts, amount),
                Claim(mean, "=", scaled),
                Chain(
                    (
                        Step(scores, "=", plus - c * minus, by=(rule_plus, rule_minus)),
                        Step("that mean is p E⁺b + (1−p) E⁻b", "=", (1 + c * odds) * plus),
                        Step(scores, "=", scaled, by=(rule_plus,)),
                    )
                ),
                words="E g⁺ − c E g⁻ = (1 + cp/(1−p)) E g⁺",
            ),
            _variance_of_vectors(),
            *both("", -q / p, None),
            *both("-reversed", None, -q / p),
            Clause(
                "at-best",
                all_sizes,
                Claim(at_best, "=", least),
                Chain((Step("put in c* = (p/(1−p)) V₊/V₋", "=", least),)),
                words="the least value is attained at c* = (p/(1−p)) V₊/V₋",
            ),
            gain(
                "below-correct", V / m**2, "less than correct rollouts by themselves have (c = 0)"
            ),
            gain(
                "below-wrong",
                U / (odds * m) ** 2,
                "less than wrong rollouts by themselves have (c → ∞)",
            ),
        ),
        references=(paper("Proposition 4.1", "the correction is ours"),),
        implements=("identity.preference.contrast_gain", "identity.preference.optimal_contrast"),
        mutants=(
            Mutant("mean 0", "means", rhs=0),
            Mutant("p and 1 − p swapped", "means", rhs=-E_plus / odds),
            Mutant("c drops the mean", "mean-of-contrast", rhs=(1 - c * odds) * E_plus),
            Mutant("at c = 1", "gap", lhs=relative - relative.xreplace({c: sp.Integer(1)})),
            Mutant("at c = 1, reversed", "gap-reversed", lhs=relative - V / m**2),
            Mutant("least at c = 0", "least", lhs=V / m**2),
            Mutant("least at c = 0, reversed", "least-reversed", lhs=2 * V / m**2),
            Mutant("c* without p/(1−p)", "at-best", lhs=relative.xreplace({c: V / U})),
            Mutant("half of V₊", "below-correct", rhs=V / (2 * m**2)),
            Mutant("half of V₋", "below-wrong", rhs=U / (2 * (odds * m) ** 2)),
            Mutant("a covariance", "variance", rhs=_added_for_vectors(c**2 - 2 * c)),
        ),
        check=CHECKS["preference.contrast-gain"],
    )


L, d = sp.symbols("L d")
GX, GZ = sp.IndexedBase("A"), sp.IndexedBase("B")


def _spread(law: sp.IndexedBase, of: sp.IndexedBase, index: sp.Symbol, size: sp.Symbol) -> sp.Sum:
    """Trace of the covariance: the variances of all coordinates."""
    centre = sp.Sum(law[l] * of[l, d], (l, 1, size))
    return sp.Sum(sp.Sum(law[index] * (of[index, d] - centre) ** 2, (index, 1, size)), (d, 1, L))


def _added_for_vectors(factor: sp.Expr) -> sp.Expr:
    return _spread(alpha, GX, i, M) + factor * _spread(gamma, GZ, j, N)


def _variance_of_vectors() -> Clause:
    """Tr Cov(g⁺ − cg⁻) = V₊ + c²V₋, with Var = E h² − (E h)² over the product of both laws."""
    domain = Domain(
        *counts,
        Integer(L, 1, spread=4),
        Array(alpha, (M,), law=True),
        Array(gamma, (N,), law=True),
        Array(GX, (M, L)),
        Array(GZ, (N, L)),
        amount,
    )
    each = GX[i, d] - c * GZ[j, d]
    moments = over_pairs(_both * each**2) - over_pairs(_both * each) ** 2
    lhs = sp.Sum(moments, (d, 1, L))
    added = _added_for_vectors(c**2)
    return Clause(
        "variance",
        domain,
        Claim(lhs, "=", added),
        Chain((Step("coordinate by coordinate; the covariances are 0", "=", added),)),
        words="Tr Cov(g⁺ − cg⁻) = V₊ + c²V₋, for vectors of any dimension L",
    )
