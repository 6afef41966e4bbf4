"""E[σ] as a function of G and p: the binomial sum, its limit, its expansion, its monotonicity."""

from __future__ import annotations

import sympy as sp

from proofs.expectation.notation import (
    G,
    K,
    R,
    i,
    k,
    mean,
    mu,
    p,
    paper,
    pmf,
    q,
    rollouts,
    sigma,
    sizes,
    std_mean,
    unit,
    variance,
    weight,
)
from proofs.expectation.weight import BINARY, ON_POLICY, SCORES, SEQUENCE
from proofs.first_principles import CHECKS
from proofs.kernel.domain import Domain, Integer, Real
from proofs.kernel.rules import (
    BinomialMoments,
    BinomialTheorem,
    Context,
    Differentiate,
    Instance,
    Linear,
    Shift,
    Split,
    Square,
    Termwise,
    Tower,
)
from proofs.kernel.terms import RolloutMean, binomial_mean
from proofs.kernel.theorem import Chain, Claim, Clause, Mutant, Step, Theorem

SETTING = (ON_POLICY, SEQUENCE, BINARY)
v = p * q
fidelity = std_mean() / sp.sqrt(v)  # φ(G, p)
ratio = k * (G - k) / (G**2 * v)  # (σ/√(p(1−p)))² at k correct
root = sp.sqrt(k * (G - k)) / G / sp.sqrt(v)  # σ/√(p(1−p)) at k correct


def power_mean(polynomial: sp.Expr, variable: sp.Symbol) -> sp.Expr:
    """E of a polynomial in (σ²/pq), as E of powers of K(G−K); only used to state a chain."""
    coefficients = sp.Poly(polynomial, variable).all_coeffs()[::-1]
    return sp.Add(
        *(
            c / (G**2 * v) ** n * binomial_mean((k * (G - k)) ** n, k, G, p)
            for n, c in enumerate(coefficients)
        )
    )


def polynomial_steps(polynomial: sp.Expr, variable: sp.Symbol, closed: sp.Expr) -> tuple[Step, ...]:
    """E[polynomial in σ²/pq] in closed form, one binomial moment per power."""
    coefficients = sp.Poly(polynomial, variable).all_coeffs()[::-1]
    total = sp.Sum(pmf(k) * polynomial.xreplace({variable: ratio}), (k, 0, G))
    parts = tuple(
        (c / (G**2 * v) ** n, binomial_mean((k * (G - k)) ** n, k, G, p).function)
        for n, c in enumerate(coefficients)
        if c != 0
    )
    moments = tuple(
        BinomialMoments(k, G, p, (k * (G - k)) ** n) if n else BinomialTheorem(k, G, p, q)
        for n, c in enumerate(coefficients)
        if c != 0
    )
    return (
        Step(
            "powers of K(G−K) apart",
            "=",
            power_mean(polynomial, variable),
            by=(Linear(total, parts),),
        ),
        Step("binomial moments", "=", closed, by=moments),
    )


def moments_of(polynomial: sp.Expr, variable: sp.Symbol) -> sp.Expr:
    """The closed form of E[polynomial], for writing down the next line of a chain."""
    context = Context(Domain(Integer(G, 1), unit))
    total = sp.Integer(0)
    for n, c in enumerate(sp.Poly(polynomial, variable).all_coeffs()[::-1]):
        moment = BinomialMoments(k, G, p, (k * (G - k)) ** n).prove(context).rhs if n else 1
        total += c / (G**2 * v) ** n * moment
    return total


def binomial_sum() -> Theorem:
    domain = rollouts()
    logit = R[i] - p  # score of a scalar-logit prompt: ∂ log π = R − p, so Δs = 1
    grpo = RolloutMean(mean((R[i] - mu) / sigma * logit), 1, G - 1)
    dr = RolloutMean(mean((R[i] - mu) * logit), 0, G)
    spread = RolloutMean(variance, 0, G)
    closed = sp.Sum(sp.binomial(G, k) * p**k * q ** (G - k) * sp.sqrt(k * (G - k)), (k, 1, G - 1))
    over_K = sp.Sum(closed.function.xreplace({k: K}), (K, 1, G - 1))
    second = v * (G - 1) / G
    first = Tower(grpo, K).value(Context(domain))

    def quadratic(lhs: RolloutMean) -> Chain:
        counted = Tower(lhs, K).value(Context(domain))
        moment = binomial_mean(K * (G - K), K, G, p)
        return Chain(
            (
                Step("K ~ Binomial(G, p)", "=", counted, by=(Tower(lhs, K),)),
                Step(
                    "K(G−K)/G² at every K",
                    "=",
                    moment / G**2,
                    by=(Linear(counted, ((1 / G**2, moment.function),)),),
                ),
                Step(
                    "E[K(G−K)] = G(G−1)p(1−p)",
                    "=",
                    second,
                    by=(BinomialMoments(K, G, p, K * (G - K)),),
                ),
            )
        )

    return Theorem(
        id="expectation.binomial-sum",
        title="The expected step of a scalar-logit prompt",
        words=(
            "With one logit per prompt, E[g] = (1/G) Σ_{k=1}^{G−1} C(G,k) p^k (1−p)^(G−k) "
            "√(k(G−k)); for Dr. GRPO E[g] = E[σ²] = p(1−p)(G−1)/G."
        ),
        assumptions=(
            *SETTING,
            "GRPO: g = 0 for unanimous groups; σ has ddof 0.",
            "p = sigmoid of the logit, so the score is R − p.",
        ),
        uses=(SCORES,),
        clauses=(
            Clause(
                "grpo",
                domain,
                Claim(grpo, "=", over_K / G),
                Chain(
                    (
                        Step("K ~ Binomial(G, p)", "=", first, by=(Tower(grpo, K),)),
                        Step(
                            "σ Δs = σ with Δs = 1",
                            "=",
                            over_K / G,
                            by=(Linear(first, ((1 / G, over_K.function),)),),
                        ),
                    )
                ),
            ),
            Clause("dr-grpo", domain, Claim(dr, "=", second), quadratic(dr)),
            Clause("variance", domain, Claim(spread, "=", second), quadratic(spread)),
        ),
        references=(paper("Proposition 2"),),
        implements=("identity.expectation.expected_std",),
        mutants=(
            Mutant("1/G dropped", "grpo", rhs=over_K),
            Mutant("(G−1)/G dropped", "dr-grpo", rhs=v),
            Mutant("root dropped", "grpo", rhs=sp.Sum(pmf(K) * K * (G - K), (K, 1, G - 1)) / G),
            Mutant("ddof 1", "variance", rhs=v),
        ),
        check=CHECKS["expectation.binomial-sum"],
    )


def arcsine() -> Theorem:
    x = sp.Symbol("x")
    arc = sp.Derivative(2 * sp.asin(sp.sqrt(x)), x)
    lower_poly = 1 + (x - 1) / 2 - (x - 1) ** 2 / 2
    floor = moments_of(lower_poly, x)
    gap = 1 - 1 / (2 * G * v)
    total = sp.Sum(pmf(k) * root, (k, 0, G))
    below = sp.Sum(pmf(k) * lower_poly.xreplace({x: ratio}), (k, 0, G))
    scaled = weight() * sp.sqrt(v)
    as_std = Step(
        "p(1−p) W_G = E[σ]", "=", fidelity, by=(Instance("expectation.grpo-weight", "mean-std"),)
    )
    return Theorem(
        id="expectation.arcsine",
        title="Large groups ascend the arcsine of √p",
        words=(
            "1 − 1/(2Gp(1−p)) ≤ √(p(1−p)) W_G(p) ≤ 1, so W_G → 1/√(p(1−p)) on (0, 1), which is "
            "the derivative of 2 arcsin √p."
        ),
        assumptions=SETTING,
        uses=("expectation.grpo-weight", "expectation.monotone"),
        clauses=(
            Clause(
                "derivative",
                Domain(Real(x, 0, 1)),
                Claim(arc, "=", 1 / sp.sqrt(x * (1 - x))),
                Chain(
                    (Step("chain rule", "=", 1 / sp.sqrt(x * (1 - x)), by=(Differentiate(arc),)),)
                ),
            ),
            Clause(
                "below",
                sizes,
                Claim(gap, "<=", scaled),
                Chain(
                    (
                        Step("the exact second-order mean is larger", "<=", floor),
                        *reversed_equalities(below, polynomial_steps(lower_poly, x, floor)),
                        Step(
                            "√x ≥ 1 + (x−1)/2 − (x−1)²/2 at every k",
                            "<=",
                            total,
                            by=(
                                (
                                    1,
                                    Termwise(
                                        below,
                                        pmf(k) * root,
                                        "<=",
                                        steps=(
                                            Step(
                                                "(√x − 1)²(x + 2√x)/2 ≥ 0",
                                                "<=",
                                                pmf(k) * root,
                                                by=(
                                                    (
                                                        pmf(k) * (root**2 + 2 * root) / 2,
                                                        Square(root - 1),
                                                    ),
                                                ),
                                            ),
                                        ),
                                    ),
                                ),
                            ),
                        ),
                        Step(
                            "E[σ]/√(p(1−p))",
                            "=",
                            fidelity,
                            by=(Linear(total, ((1 / sp.sqrt(v), std_mean().function),)),),
                        ),
                        Step(
                            "E[σ] = p(1−p) W_G",
                            "=",
                            scaled,
                            by=(Instance("expectation.grpo-weight", "mean-std"),),
                        ),
                    )
                ),
                words="√(p(1−p)) W_G ≥ 1 − 1/(2Gp(1−p))",
            ),
            Clause(
                "above",
                sizes,
                Claim(scaled, "<=", 1),
                Chain(
                    (
                        as_std,
                        Step(
                            "φ ≤ 1",
                            "<=",
                            1,
                            by=((1, Instance("expectation.monotone", "at-most-one")),),
                        ),
                    )
                ),
                words="√(p(1−p)) W_G ≤ 1",
            ),
        ),
        references=(paper("§3"),),
        implements=(
            "identity.expectation.surrogate",
            "identity.expectation.fidelity",
            "identity.expectation.gradient_mass",
        ),
        mutants=(
            Mutant(
                "arcsine without the 2", "derivative", lhs=sp.Derivative(sp.asin(sp.sqrt(x)), x)
            ),
            Mutant("closer to 1", "below", lhs=1 - 1 / (20 * G * v)),
            Mutant("strictly above", "above", lhs=1, rhs=scaled),
        ),
        check=CHECKS["expectation.arcsine"],
    )


def reversed_equalities(start: sp.Expr, steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """The same equalities read from the end to the start."""
    terms = [start, *(step.expr for step in steps)]
    return tuple(
        Step(step.text, "=", terms[n], step.by) for n, step in reversed(list(enumerate(steps)))
    )


eps = sp.Symbol("epsilon")
discriminant = 1 + 2 * eps * (7 - 16 * p * (1 - p))  # of ε = a/G + b/G², up to a factor
REMAINDER = sp.Integer(12)  # C in |remainder| ≤ C/(Gp(1−p))³


def attenuation() -> Theorem:
    x = sp.Symbol("x")
    e = x - 1
    taylor = 1 + e / 2 - e**2 / 8 + e**3 / 16 - 5 * e**4 / 128 + 7 * e**5 / 256
    worst = sp.Rational(63, 256)  # the Taylor polynomial at x = 0
    lower_poly = taylor - worst * e**6
    second = 1 - 1 / (8 * G * v) - (7 - 16 * v) / (128 * G**2 * v**2)
    bound = REMAINDER / (G * v) ** 3
    # Sampled at moderate p only: the samples sum over all of 0..G, and G ≥ 1/(p(1−p)).
    points = tuple(sp.Rational(1, n) for n in (2, 3, 4, 7, 10, 20))
    many = Integer(G, 1 / (p * (1 - p)), spread=60)
    half = sp.Rational(1, 2)
    low_half = Domain(Real(p, 0, half, open_high=False, samples=points), many)
    mirrored = tuple(1 - point for point in points)
    high_half = Domain(Real(p, half, 1, open_low=False, samples=mirrored), many)
    total = sp.Sum(pmf(k) * root, (k, 0, G))
    above = sp.Sum(pmf(k) * taylor.xreplace({x: ratio}), (k, 0, G))
    below = sp.Sum(pmf(k) * lower_poly.xreplace({x: ratio}), (k, 0, G))
    ceiling, floor = moments_of(taylor, x), moments_of(lower_poly, x)
    to_fidelity = Step(
        "E[σ]/√(p(1−p))",
        "=",
        fidelity,
        by=(Linear(total, ((1 / sp.sqrt(v), std_mean().function),)),),
    )
    # t = √x: the remainders factor with non-negative coefficients.
    t = sp.Symbol("t")
    high = sp.div(sp.Poly(taylor.subs(x, t**2) - t, t), sp.Poly((t - 1) ** 6, t))[0].as_expr()
    low = sp.div(sp.Poly(t - lower_poly.subs(x, t**2), t), sp.Poly((t - 1) ** 6, t))[0].as_expr()

    def coefficient(factor: sp.Expr) -> sp.Expr:
        return pmf(k) * factor.subs(t, root)

    def above_clause(name: str, domain: Domain) -> Clause:
        return Clause(
            f"above{name}",
            domain,
            Claim(fidelity, "<=", second + bound),
            Chain(
                (
                    *reversed_equalities(total, (to_fidelity,)),
                    Step(
                        "√x lies below its Taylor polynomial of degree 5",
                        "<=",
                        above,
                        by=(
                            (
                                1,
                                Termwise(
                                    total,
                                    above.function,
                                    "<=",
                                    steps=(
                                        Step(
                                            "(√x−1)⁶ times a factor ≥ 0",
                                            "<=",
                                            above.function,
                                            by=((coefficient(high), Square((root - 1) ** 3)),),
                                        ),
                                    ),
                                ),
                            ),
                        ),
                    ),
                    *polynomial_steps(taylor, x, ceiling),
                    Step("a rational inequality", "<=", second + bound),
                )
            ),
        )

    def below_clause(name: str, domain: Domain) -> Clause:
        return Clause(
            f"below{name}",
            domain,
            Claim(second - bound, "<=", fidelity),
            Chain(
                (
                    Step("a rational inequality", "<=", floor),
                    *reversed_equalities(below, polynomial_steps(lower_poly, x, floor)),
                    Step(
                        "√x ≥ Taylor − (63/256)(x−1)⁶",
                        "<=",
                        total,
                        by=(
                            (
                                1,
                                Termwise(
                                    below,
                                    total.function,
                                    "<=",
                                    steps=(
                                        Step(
                                            "(√x−1)⁶ times a factor ≥ 0",
                                            "<=",
                                            total.function,
                                            by=((coefficient(low), Square((root - 1) ** 3)),),
                                        ),
                                    ),
                                ),
                            ),
                        ),
                    ),
                    to_fidelity,
                )
            ),
        )

    return Theorem(
        id="expectation.attenuation",
        title="How much a finite group attenuates the step",
        words=(
            "φ(G, p) = E[σ]/√(p(1−p)) = 1 − 1/(8Gp(1−p)) − (7−16p(1−p))/(128 G²p²(1−p)²) + r with "
            f"|r| ≤ {REMAINDER}/(Gp(1−p))³ whenever Gp(1−p) ≥ 1, on either side of p = 1/2."
        ),
        assumptions=(BINARY, "Gp(1−p) ≥ 1."),
        uses=(),
        clauses=(
            above_clause("", low_half),
            below_clause("", low_half),
            above_clause("-high", high_half),
            below_clause("-high", high_half),
            Clause(
                "discriminant",
                Domain(unit, Real(eps, 0, 1)),
                Claim(0, "<", discriminant),
                Chain(
                    (
                        Step("a positive constant", "<", 1),
                        Step(
                            "7 − 16p(1−p) = 3 + 4(1−2p)²",
                            "<=",
                            discriminant,
                            by=((8 * eps, Square(1 - 2 * p)),),
                        ),
                    )
                ),
                words="a² + 4εb > 0: the second-order law has a real root",
            ),
        ),
        references=(paper("Corollary 1", "next order and remainder ours"),),
        implements=("identity.expectation.fidelity",),
        mutants=(
            Mutant("first order 1/(4Gpq)", "below", lhs=second + 1 / (2 * G * v)),
            Mutant("no remainder", "above", rhs=second - bound),
            Mutant("sign of the first term", "above", rhs=1 - 1 / (2 * G * v)),
            Mutant("no remainder beyond 1/2", "above-high", rhs=second - bound),
            Mutant("first order 1/(4Gpq) beyond 1/2", "below-high", lhs=second + 1 / (2 * G * v)),
            Mutant("7 − 32p(1−p)", "discriminant", rhs=1 + 2 * eps * (7 - 32 * v)),
        ),
        check=CHECKS["expectation.attenuation"],
    )


def monotone() -> Theorem:
    x = sp.Symbol("x")
    S, T = std_mean(), std_mean(G + 1)
    h = sp.sqrt(k * (G - k)) / G
    up = sp.Sum(pmf(k) * p * h, (k, 0, G))
    stay = sp.Sum(pmf(k) * q * h, (k, 0, G))
    up1, stay1 = sp.Sum(up.function, (k, 0, G - 1)), sp.Sum(stay.function, (k, 1, G))
    shifted = Shift(up1, -1).prove(Context(sizes)).rhs
    big = sp.binomial(G + 1, k) * p**k * q ** (G + 1 - k)
    x_k = sp.sqrt((k - 1) * (G - k + 1)) / G  # σ after dropping a correct rollout
    y_k = sp.sqrt(k * (G - k)) / G  # σ after dropping a wrong one
    w_k = sp.sqrt(k * (G + 1 - k)) / (G + 1)
    a_k, b_k = k / (G + 1), (G + 1 - k) / (G + 1)
    merged = sp.Sum(big * (a_k * x_k + b_k * y_k), (k, 1, G))
    inner = sp.Sum(big * w_k, (k, 1, G))
    total = sp.Sum(pmf(k) * root, (k, 0, G))
    half = (x + 1) / 2
    average = sp.Sum(pmf(k) * half.xreplace({x: ratio}), (k, 0, G))
    mean_half = moments_of(half, x)
    return Theorem(
        id="expectation.monotone",
        title="The fidelity grows with the group and never exceeds 1",
        words=(
            "E[σ], hence φ(G, p) = E[σ]/√(p(1−p)), is nondecreasing in G, and φ ≤ 1. So the "
            "smallest G that reaches a target is found by bisection."
        ),
        assumptions=(BINARY,),
        clauses=(
            Clause(
                "grows",
                sizes,
                Claim(S, "<=", T),
                Chain(
                    (
                        Step(
                            "1 = p + (1−p): draw one more rollout",
                            "=",
                            up + stay,
                            by=(Linear(up, ((p, S.function),)), Linear(stay, ((q, S.function),))),
                        ),
                        Step(
                            "σ = 0 at the ends",
                            "=",
                            up1 + stay1,
                            by=(Split(up, last=1), Split(stay, first=1)),
                        ),
                        Step(
                            "count the new rollout: k correct of G + 1",
                            "=",
                            shifted + stay1,
                            by=(Shift(up1, -1),),
                        ),
                        Step(
                            "C(G,k−1) = C(G+1,k) k/(G+1), C(G,k) = C(G+1,k)(G+1−k)/(G+1)",
                            "=",
                            merged,
                            by=(Linear(merged, ((1, shifted.function), (1, stay1.function))),),
                        ),
                        Step(
                            "Jensen for √, as three non-negative terms",
                            "<=",
                            inner,
                            by=(
                                (
                                    1,
                                    Termwise(
                                        merged,
                                        inner.function,
                                        "<=",
                                        steps=(
                                            Step(
                                                "2w(w − ax − by) = a(x−w)² + b(y−w)² + …",
                                                "<=",
                                                inner.function,
                                                by=(
                                                    (big * a_k / (2 * w_k), Square(x_k - w_k)),
                                                    (big * b_k / (2 * w_k), Square(y_k - w_k)),
                                                ),
                                            ),
                                        ),
                                    ),
                                ),
                            ),
                        ),
                        Step("σ = 0 at the ends", "=", T, by=(Split(T, first=1, last=1),)),
                    )
                ),
                words="E[σ] at G is at most E[σ] at G + 1",
            ),
            Clause(
                "at-most-one",
                sizes,
                Claim(fidelity, "<=", 1),
                Chain(
                    (
                        Step(
                            "σ/√(p(1−p)) at every k",
                            "=",
                            total,
                            by=(Linear(total, ((1 / sp.sqrt(v), S.function),)),),
                        ),
                        Step(
                            "√x ≤ (x + 1)/2",
                            "<=",
                            average,
                            by=(
                                (
                                    1,
                                    Termwise(
                                        total,
                                        average.function,
                                        "<=",
                                        steps=(
                                            Step(
                                                "(√x − 1)² ≥ 0",
                                                "<=",
                                                average.function,
                                                by=((pmf(k) / 2, Square(root - 1)),),
                                            ),
                                        ),
                                    ),
                                ),
                            ),
                        ),
                        *polynomial_steps(half, x, mean_half),
                        Step("E[σ²] = p(1−p)(G−1)/G", "<=", 1),
                    )
                ),
                words="φ(G, p) ≤ 1",
            ),
        ),
        references=(paper("§4", "proof ours: reverse martingale, written out"),),
        implements=(
            "identity.expectation.fidelity",
            "identity.expectation.smallest_group_size",
        ),
        mutants=(
            Mutant("decreasing", "grows", lhs=T, rhs=S),
            Mutant("grows by (G+1)/G", "grows", lhs=S * (G + 1) / G),
            Mutant("φ ≤ 9/10", "at-most-one", rhs=sp.Rational(9, 10)),
        ),
        check=CHECKS["expectation.monotone"],
    )
