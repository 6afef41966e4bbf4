"""The master identity: every such method ascends ∇p times a polynomial weight W_G(p)."""

from __future__ import annotations

import sympy as sp

from proofs.expectation.notation import (
    Dp,
    G,
    K,
    R,
    b,
    d,
    grpo_mean,
    i,
    k,
    mean,
    p,
    paper,
    pmf,
    q,
    rollouts,
    s,
    sizes,
    std_mean,
    std_sum,
    std_terms,
    weight,
    weight_terms,
)
from proofs.first_principles import CHECKS
from proofs.kernel.domain import D, Domain, Integer, Real, Table
from proofs.kernel.rules import (
    Ball,
    BinomialTheorem,
    Context,
    Differentiate,
    Instance,
    Linear,
    Reverse,
    Shift,
    Split,
    Square,
    Telescope,
    Termwise,
    Tower,
    Unroll,
)
from proofs.kernel.terms import RolloutMean
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

ON_POLICY = "On policy: importance ratio 1, no clipping, no KL term."
SEQUENCE = "Scores are sequence sums ∇ log π(y_i); no length normalisation."
BINARY = "Binary rewards; the G rollouts of a prompt are independent."
SCORES = "expectation.score-means"

Aplus, Aminus = sp.Function("A_plus"), sp.Function("A_minus")


def general_weight() -> Theorem:
    """E[g] = W ∇p for advantages that depend on the own reward and the number correct."""
    domain = rollouts().extended(Table(Aplus), Table(Aminus))
    correct = sp.Sum(R[sp.Symbol("j")], (sp.Symbol("j"), 1, G))
    update = mean((R[i] * Aplus(correct) + (1 - R[i]) * Aminus(correct)) * s[i, d])
    lhs = RolloutMean(update, 0, G)
    body = sp.binomial(G - 1, b) * p**b * q ** (G - 1 - b)
    W = sp.Sum(body * (Aplus(1 + b) - Aminus(b)), (b, 0, G - 1))
    counted = sp.Sum(Tower(lhs, K).value(Context(domain)).function, (K, 0, G))
    up = sp.Sum(pmf(K) * K * Aplus(K), (K, 0, G))
    down = sp.Sum(pmf(K) * (G - K) * Aminus(K), (K, 0, G))
    up1, down1 = sp.Sum(up.function, (K, 1, G)), sp.Sum(down.function, (K, 0, G - 1))
    absorbed_up = sp.Sum(
        G * p * sp.binomial(G - 1, K - 1) * p ** (K - 1) * q ** (G - K) * Aplus(K), (K, 1, G)
    )
    absorbed_down = sp.Sum(
        G * q * sp.binomial(G - 1, K) * p**K * q ** (G - 1 - K) * Aminus(K), (K, 0, G - 1)
    )
    shifted = Shift(absorbed_up, 1).prove(Context(domain)).rhs

    def over(part: sp.Expr, index: sp.Symbol) -> sp.Sum:
        return sp.Sum(part.xreplace({b: index}), (index, 0, G - 1))

    up_b, down_b = over(body * Aplus(1 + b), K), over(body * Aminus(b), K)
    W_K = over(W.function, K)
    # The surrogate: F = (1/G) Σ_b w_b Pr(K > b) has F' = W. First one term of it.
    one = Domain(Integer(G, 2), Integer(b, 0, G - 1), p_unit())
    tail = sp.Sum(pmf(k), (k, b + 1, G))
    v = (G - k) * sp.binomial(G, k) * p**k * q ** (G - k - 1)
    dtail = sp.Sum(
        k * sp.binomial(G, k) * p ** (k - 1) * q ** (G - k)
        - (G - k) * sp.binomial(G, k) * p**k * q ** (G - k - 1),
        (k, b + 1, G),
    )
    density = G * sp.binomial(G - 1, b) * p**b * q ** (G - 1 - b)
    whole = Domain(Integer(G, 2), p_unit(), Table(Aplus), Table(Aminus))
    surrogate = sp.Sum((Aplus(1 + b) - Aminus(b)) * tail, (b, 0, G - 1)) / G
    slope = sp.Derivative(surrogate, p)
    terms = Differentiate(slope).prove(Context(whole)).rhs
    (by_term,) = (e for e in terms.atoms(sp.Sum) if e.limits[0][0] == b)
    return Theorem(
        id="expectation.weight",
        title="The expected update is a polynomial weight times ∇p",
        words=(
            "If A_i depends only on its reward and on the number k correct (A⁺(k), A⁻(k)), then "
            "E[g] = W_G(p) ∇p with W_G(p) = E[A⁺(1+B) − A⁻(B)], B ~ Binomial(G−1, p). W_G is a "
            "polynomial in p; the method ascends F_G = (1/G) Σ_b (A⁺(1+b) − A⁻(b)) Pr(K > b), "
            "whose derivative is W_G."
        ),
        assumptions=(ON_POLICY, SEQUENCE, BINARY),
        uses=(SCORES,),
        clauses=(
            Clause(
                "weight",
                domain,
                Claim(lhs, "=", W_K * Dp[d]),
                Chain(
                    (
                        Step(
                            "tower property: mean scores given the rewards, K ~ Binomial(G, p)",
                            "=",
                            counted,
                            by=(Tower(lhs, K),),
                        ),
                        Step(
                            "correct and wrong rollouts apart",
                            "=",
                            (up / (G * p) - down / (G * q)) * Dp[d],
                            by=(
                                Linear(
                                    counted,
                                    (
                                        (Dp[d] / (G * p), up.function),
                                        (-Dp[d] / (G * q), down.function),
                                    ),
                                ),
                            ),
                        ),
                        Step(
                            "the terms k = 0 and k = G vanish",
                            "=",
                            (up1 / (G * p) - down1 / (G * q)) * Dp[d],
                            by=(Split(up, first=1), Split(down, last=1)),
                        ),
                        Step(
                            "k C(G,k) = G C(G−1,k−1) and (G−k) C(G,k) = G C(G−1,k)",
                            "=",
                            (absorbed_up / (G * p) - absorbed_down / (G * q)) * Dp[d],
                            by=(
                                Termwise(up1, absorbed_up.function),
                                Termwise(down1, absorbed_down.function),
                            ),
                        ),
                        Step(
                            "b = k − 1",
                            "=",
                            (shifted / (G * p) - absorbed_down / (G * q)) * Dp[d],
                            by=(Shift(absorbed_up, 1),),
                        ),
                        Step(
                            "cancel G p and G q",
                            "=",
                            (up_b - down_b) * Dp[d],
                            by=(
                                Linear(shifted, ((G * p, up_b.function),)),
                                Linear(absorbed_down, ((G * q, down_b.function),)),
                            ),
                        ),
                        Step(
                            "one mean over b",
                            "=",
                            W_K * Dp[d],
                            by=(Linear(W_K, ((1, up_b.function), (-1, down_b.function))),),
                        ),
                    )
                ),
                words="E[g] = W_G(p) ∇p",
            ),
            Clause(
                "surrogate",
                one,
                Claim(sp.Derivative(tail, p), "=", density),
                Chain(
                    (
                        Step(
                            "term by term: two neighbouring terms",
                            "=",
                            dtail,
                            by=(Differentiate(sp.Derivative(tail, p)),),
                        ),
                        Step("the sum telescopes", "=", v.subs(k, b), by=(Telescope(dtail, v),)),
                        Step("(G−b) C(G,b) = G C(G−1,b)", "=", density),
                    )
                ),
                words="d/dp Pr(K > b) = G times the weight of b in W_G",
            ),
            Clause(
                "ascends",
                whole,
                Claim(slope, "=", W),
                Chain(
                    (
                        Step("sum and product rule", "=", terms, by=(Differentiate(slope),)),
                        Step(
                            "each d/dp Pr(K > b) telescopes",
                            "=",
                            W,
                            by=(
                                Termwise(
                                    by_term,
                                    (Aplus(1 + b) - Aminus(b)) * density,
                                    steps=(
                                        Step(
                                            "the sum telescopes",
                                            "=",
                                            (Aplus(1 + b) - Aminus(b)) * v.subs(k, b),
                                            by=(Telescope(dtail, v),),
                                        ),
                                        Step(
                                            "(G−b) C(G,b) = G C(G−1,b)",
                                            "=",
                                            (Aplus(1 + b) - Aminus(b)) * density,
                                        ),
                                    ),
                                ),
                                Linear(
                                    W.func((Aplus(1 + b) - Aminus(b)) * density, *W.limits),
                                    ((G, W.function),),
                                ),
                            ),
                        ),
                    )
                ),
                words="F_G' = W_G",
            ),
        ),
        references=(paper("§3", "general form, ours"),),
        implements=("identity.expectation.update_weight", "identity.expectation.surrogate"),
        mutants=(
            Mutant(
                "A⁺(b) for A⁺(1+b)",
                "weight",
                rhs=sp.Sum(W_K.function.xreplace({Aplus(1 + K): Aplus(K)}), (K, 0, G - 1)) * Dp[d],
            ),
            Mutant(
                "plus for minus",
                "weight",
                rhs=sp.Sum(W_K.function.xreplace({Aminus(K): -Aminus(K)}), (K, 0, G - 1)) * Dp[d],
            ),
            Mutant(
                "B ~ Binomial(G, p)",
                "weight",
                rhs=sp.Sum(pmf(K) * (Aplus(1 + K) - Aminus(K)), (K, 0, G)) * Dp[d],
            ),
            Mutant("factor G dropped", "surrogate", rhs=density / G),
            Mutant("1/G dropped", "ascends", lhs=sp.Derivative(G * surrogate, p)),
        ),
        check=CHECKS["expectation.weight"],
    )


def p_unit() -> Real:
    return Real(p, 0, 1)


def weight_steps(
    lhs: RolloutMean, rate: sp.Expr, slope: sp.Expr, domain: Domain
) -> tuple[Step, ...]:
    """E[g] = E[σ]/(p(1−p)) ∇p = W_G ∇p, for GRPO rollouts that are rewarded at ``rate``."""
    counted = Tower(lhs, K).value(Context(domain))
    spread = sp.Sum(std_terms(G, rate).xreplace({k: K}), (K, 1, G - 1))
    factor = slope / (rate * (1 - rate))
    return (
        Step(
            "given the rewards, scores have their conditional means",
            "=",
            counted,
            by=(Tower(lhs, K),),
        ),
        Step(
            "at k correct the update is σ Δs, and E[Δs | k] = ∇p/(p(1−p))",
            "=",
            factor * spread,
            by=(Linear(counted, ((factor, spread.function),)),),
        ),
        *std_to_weight(spread, rate, factor),
    )


def std_to_weight(spread: sp.Sum, rate: sp.Expr, factor: sp.Expr) -> tuple[Step, ...]:
    """factor · E[σ] = factor · p(1−p) · W_G, by absorbing k and G−k into the binomials."""
    at, one_less = K, G - 1
    base = sp.binomial(G - 1, b) * rate**b * (1 - rate) ** (G - 1 - b)
    first = base * sp.sqrt((G - 1 - b) / (1 + b))
    second = base * sp.sqrt(b / (G - b))
    W = weight(G, rate)
    A, B = sp.Sum(first, (b, 0, one_less)), sp.Sum(second, (b, 0, one_less))
    A1, B1 = sp.Sum(first, (b, 0, G - 2)), sp.Sum(second, (b, 1, one_less))
    A2 = sp.Sum(first.subs(b, b - 1), (b, 1, one_less))
    same = spread.function.xreplace({at: b})
    S = sp.Sum(same, (b, 1, one_less))
    scale = factor * rate * (1 - rate)
    return (
        Step("the same sum, its index named b", "=", factor * S),
        Step("1 = (1−p) + p", "=", factor * ((1 - rate) * S + rate * S)),
        Step(
            "k C(G,k) = G C(G−1,k−1) and (G−k) C(G,k) = G C(G−1,k)",
            "=",
            scale * (A2 + B1),
            by=(Linear(A2, ((1 / rate, same),)), Linear(B1, ((1 / (1 - rate), same),))),
        ),
        Step("b = k − 1 in the first sum", "=", scale * (A1 + B1), by=(Shift(A1, -1),)),
        Step("terms that vanish", "=", scale * (A + B), by=(Split(A, last=1), Split(B, first=1))),
        Step("one mean over b", "=", scale * W, by=(Linear(W, ((1, first), (1, second))),)),
    )


def grpo_weight() -> Theorem:
    domain = rollouts()
    W, E = weight(), std_mean()
    inner = std_sum()
    spread = sp.Sum(inner.function.xreplace({k: K}), (K, 1, G - 1))
    closed_p = Domain(Real(p))
    at_zero, at_one = weight(G, sp.Integer(0)), weight(G, sp.Integer(1))
    reversed_ = Reverse(weight()).prove(Context(sizes)).rhs
    top = sp.sqrt(G - 1)
    base = sp.binomial(G - 1, b) * p**b * q ** (G - 1 - b)
    x, y = sp.sqrt((G - 1 - b) / (1 + b)), sp.sqrt(b / (G - b))
    middle = sp.Sum(weight_terms(), (b, 1, G - 2))
    bounded = sp.Sum(base * top, (b, 1, G - 2))
    everything = sp.Sum(base, (b, 0, G - 1))
    four = sp.sqrt(3) + (3 - 2 * sp.sqrt(3)) * p * q

    def concrete(size: int, value: sp.Expr, note: str) -> Clause:
        total_ = weight(sp.Integer(size))
        return Clause(
            f"W{size}",
            closed_p,
            Claim(total_, "=", value),
            Chain((Step(note, "=", value, by=(Unroll(total_),)),)),
        )

    return Theorem(
        id="expectation.grpo-weight",
        title="The weight of GRPO",
        words=(
            "E[g] = W_G(p) ∇p with W_G = E_B[√((G−1−B)/(1+B)) + √(B/(G−B))], B ~ Binomial(G−1,p), "
            "and p(1−p) W_G = E[σ]. W₂ = 1, W₃ = √2, W₄ = √3 + (3−2√3)p(1−p); W_G(0) = W_G(1) = "
            "√(G−1), which is also its maximum; W_G is symmetric under p ↔ 1−p."
        ),
        assumptions=(ON_POLICY, SEQUENCE, BINARY, "g = 0 for unanimous groups; σ has ddof 0."),
        uses=(SCORES,),
        clauses=(
            Clause(
                "update",
                domain,
                Claim(grpo_mean, "=", W * Dp[d]),
                Chain(
                    (
                        *weight_steps(grpo_mean, p, Dp[d], domain),
                        Step("p(1−p) cancels", "=", W * Dp[d]),
                    )
                ),
                words="E[g] = W_G(p) ∇p",
            ),
            Clause(
                "mean-std",
                sizes,
                Claim(E, "=", p * q * W),
                Chain(
                    (
                        Step(
                            "σ = 0 at k = 0 and k = G", "=", inner, by=(Split(E, first=1, last=1),)
                        ),
                        Step("the index named K", "=", spread),
                        *std_to_weight(spread, p, sp.Integer(1)),
                    )
                ),
                words="E[σ] = p(1−p) W_G(p)",
            ),
            concrete(2, sp.Integer(1), "(1−p) + p"),
            concrete(3, sp.sqrt(2), "√2 ((1−p)² + 2p(1−p) + p²)"),
            concrete(4, four, "four terms, collected"),
            Clause(
                "at-zero",
                Domain(Integer(G, 2)),
                Claim(at_zero, "=", top),
                Chain(
                    (
                        Step(
                            "only b = 0 has a non-zero probability",
                            "=",
                            top,
                            by=(
                                Split(at_zero, first=1),
                                Termwise(sp.Sum(at_zero.function, (b, 1, G - 1)), 0),
                            ),
                        ),
                    )
                ),
            ),
            Clause(
                "at-one",
                Domain(Integer(G, 2)),
                Claim(at_one, "=", top),
                Chain(
                    (
                        Step(
                            "only b = G − 1 has a non-zero probability",
                            "=",
                            top,
                            by=(
                                Split(at_one, last=1),
                                Termwise(sp.Sum(at_one.function, (b, 0, G - 2)), 0),
                            ),
                        ),
                    )
                ),
            ),
            Clause(
                "symmetric",
                sizes,
                Claim(weight(), "=", weight(G, q)),
                Chain(
                    (
                        Step("b ↔ G−1−b", "=", reversed_, by=(Reverse(weight()),)),
                        Step(
                            "C(n,b) = C(n,n−b); the two roots change places",
                            "=",
                            weight(G, q),
                            by=(Termwise(reversed_, weight(G, q).function),),
                        ),
                    )
                ),
            ),
            Clause(
                "bound",
                sizes,
                Claim(weight(), "<=", top),
                Chain(
                    (
                        Step(
                            "first and last term apart",
                            "=",
                            middle + top * q ** (G - 1) + top * p ** (G - 1),
                            by=(Split(weight(), first=1, last=1),),
                        ),
                        Step(
                            "between them x + y ≤ √(G−1), since 2(x² + y²) ≤ G−1",
                            "<=",
                            bounded + top * q ** (G - 1) + top * p ** (G - 1),
                            by=(
                                (
                                    1,
                                    Termwise(
                                        middle,
                                        base * top,
                                        "<=",
                                        steps=(
                                            Step(
                                                "two squares and a rational inequality",
                                                "<=",
                                                base * top,
                                                by=(
                                                    (base / (2 * top), Square(x + y - top)),
                                                    (base / (2 * top), Square(x - y)),
                                                ),
                                            ),
                                        ),
                                    ),
                                ),
                            ),
                        ),
                        Step(
                            "all terms together again",
                            "=",
                            top * everything,
                            by=(
                                Linear(bounded, ((top, base),)),
                                Split(everything, first=1, last=1),
                            ),
                        ),
                        Step(
                            "probabilities sum to 1",
                            "=",
                            top,
                            by=(BinomialTheorem(b, G - 1, p, q),),
                        ),
                    )
                ),
                words="W_G(p) ≤ √(G−1): the weight saturates",
            ),
            Clause("positive", sizes, Claim(0, "<", weight()), positive_proof(top)),
        ),
        references=(paper("§3, Proposition 2", "weight form, ours"),),
        implements=(
            "identity.expectation.update_weight",
            "identity.expectation.expected_std",
            "identity.expectation.gradient_mass",
        ),
        mutants=(
            Mutant(
                "W without the second root", "update", rhs=sp.Sum(base * x, (b, 0, G - 1)) * Dp[d]
            ),
            Mutant("ddof swapped", "update", rhs=sp.sqrt((G - 1) / G) * W * Dp[d]),
            Mutant("pq dropped", "mean-std", rhs=W),
            Mutant("W₃ = 3/2", "W3", rhs=sp.Rational(3, 2)),
            Mutant("W₄ with the sign changed", "W4", rhs=sp.sqrt(3) - (3 - 2 * sp.sqrt(3)) * p * q),
            Mutant("√G at the ends", "at-zero", rhs=sp.sqrt(G)),
            Mutant("bound √(G−2)", "bound", rhs=sp.sqrt(G - 2)),
            Mutant("W₂ = 2pq", "W2", rhs=2 * p * q),
            Mutant("√G at the other end", "at-one", rhs=sp.sqrt(G)),
            Mutant("mirrored in √(G−1)", "symmetric", rhs=2 * top - weight(G, q)),
            Mutant("more than 1", "positive", lhs=1),
        ),
        check=CHECKS["expectation.grpo-weight"],
    )


def positive_proof(top: sp.Expr) -> Chain:
    rest = sp.Sum(weight_terms(), (b, 1, G - 1))
    split = rest + top * q ** (G - 1)
    return Chain(
        (
            Step("every term is ≥ 0 and the term b = 0 is positive", "<", split),
            Step("first term apart", "=", weight(), by=(Split(weight(), first=1),)),
        )
    )


def of_size(size: int) -> Domain:
    return rollouts(Integer(G, size, size))


def grpo_at(name: str, size: int, value: sp.Expr, words: str = "") -> Clause:
    """E[g] = value ∇p for GRPO at one group size."""
    return Clause(
        name,
        of_size(size),
        Claim(grpo_mean, "=", value * Dp[d]),
        Chain(
            (
                Step(
                    "the weight of GRPO",
                    "=",
                    weight() * Dp[d],
                    by=(Instance("expectation.grpo-weight", "update"),),
                ),
                Step(f"W_{size} written out", "=", value * Dp[d], by=(Unroll(weight()),)),
            )
        ),
        words=words,
    )


def no_bias_at_two() -> Theorem:
    return Theorem(
        id="expectation.no-bias-at-two",
        title="Two or three rollouts have no difficulty bias",
        words=(
            "With G = 2 or G = 3 std-normalised GRPO ascends c·p with c = 1 or √2: every prompt "
            "has the same weight, whatever its difficulty."
        ),
        assumptions=(ON_POLICY, SEQUENCE, BINARY, "g = 0 for unanimous groups; σ has ddof 0."),
        uses=("expectation.grpo-weight",),
        clauses=(grpo_at("two", 2, sp.Integer(1)), grpo_at("three", 3, sp.sqrt(2))),
        references=(paper("§3", "corollary, ours"),),
        implements=(
            "identity.expectation.update_weight",
            "identity.expectation.surrogate",
        ),
        mutants=(
            Mutant("four rollouts", "three", domain=of_size(4)),
            Mutant("arcsine weight", "two", rhs=Dp[d] / sp.sqrt(p * q)),
            Mutant("factor 2", "two", rhs=2 * Dp[d]),
        ),
        check=CHECKS["expectation.no-bias-at-two"],
    )


def unbiased_any_group() -> Theorem:
    # W_G(1/2): if E[g] is a fixed multiple of ∇p, this is the multiple (grpo-weight at p = 1/2).
    scale = weight(G, sp.Rational(1, 2))
    four = sp.sqrt(3) + (3 - 2 * sp.sqrt(3)) * p * q
    point = ((D, 1), (d, 1), (Dp, (1,)))
    at_half, at_eighth = (weight(sp.Integer(8), sp.Rational(1, n)) for n in (2, 8))

    def at(size: int, value: sp.Expr) -> Clause:
        return grpo_at(f"at-{size}", size, value, f"E[g] at G = {size}")

    return Theorem(
        id="expectation.unbiased-any-group",
        title="The group size changes what is ascended, not only the noise",
        words=(
            "The claim that the group estimate is unbiased regardless of G, so that G changes only "
            "the Monte Carlo error, fails for std-normalised advantages: at G = 2 E[g] = ∇p, but "
            "at G = 4 E[g] = (√3 + (3−2√3)p(1−p)) ∇p, and at G = 8 the weight at p = 1/2 is less "
            "than at p = 1/8. So no scale common to all prompts makes these updates equal."
        ),
        assumptions=(ON_POLICY, SEQUENCE, BINARY, "g = 0 for unanimous groups; σ has ddof 0."),
        uses=("expectation.grpo-weight",),
        refutes=(
            Refutation(
                "same-shape",
                rollouts(),
                Claim(grpo_mean, "=", scale * Dp[d]),
                ((G, 4), (p, sp.Rational(1, 8)), *point),
                "at every G, E[g] is the multiple of ∇p at all p that it is at p = 1/2",
            ),
        ),
        clauses=(
            at(2, sp.Integer(1)),
            at(4, four),
            Clause(
                "weight-8",
                Domain(),
                Claim(at_half, "<", at_eighth),
                Chain(
                    (Step("two numbers", "<", at_eighth, by=((1, Ball(at_half, "<", at_eighth)),)),)
                ),
                words="W₈(1/2) < W₈(1/8)",
            ),
        ),
        references=(Reference("arXiv 2510.00977", "", "§4", "reconstructed"),),
        corrected_by=("expectation.grpo-weight", "expectation.no-bias-at-two"),
        mutants=(
            Mutant("also false at G = 5", "same-shape", domain=rollouts(Integer(G, 5, 5))),
            Mutant(
                "also false: the multiple at 1/3",
                "same-shape",
                rhs=weight(G, sp.Rational(1, 3)) * Dp[d],
                domain=rollouts(Integer(G, 4, 4)),
            ),
            Mutant("W₂ for W₄", "at-4", rhs=Dp[d]),
            Mutant("√2 for W₂", "at-2", rhs=sp.sqrt(2) * Dp[d]),
            Mutant("half a unit more", "weight-8", lhs=at_half + sp.Rational(1, 2)),
            Mutant("√3 at every p", "at-4", rhs=sp.sqrt(3) * Dp[d]),
        ),
        check=CHECKS["expectation.unbiased-any-group"],
    )


def saturation() -> Theorem:
    limit = 1 / sp.sqrt(p * q)
    one = ((D, 1), (d, 1), (Dp, (1,)))
    square = grpo_mean**2
    W, top = weight(), sp.sqrt(G - 1)
    return Theorem(
        id="expectation.saturation",
        title="At a finite group size the difficulty weight saturates",
        words=(
            "“The difficulty weight diverges like 1/√p at the extremes” holds for the limit "
            "1/√(p(1−p)) only: at a finite G the weight is at most √(G−1), the value at both ends, "
            "so |E[g]| ≤ √(G−1) |∇p| in each coordinate."
        ),
        assumptions=(ON_POLICY, SEQUENCE, BINARY, "g = 0 for unanimous groups; σ has ddof 0."),
        uses=("expectation.grpo-weight",),
        refutes=(
            Refutation(
                "limit-weight",
                rollouts(),
                Claim(grpo_mean, "=", limit * Dp[d]),
                ((G, 2), (p, sp.Rational(1, 5)), *one),
                "E[g] = ∇p/√(p(1−p)) at every G",
            ),
            Refutation(
                "diverges",
                rollouts(),
                Claim(Dp[d] ** 2 / p, "<=", 4 * square),
                ((G, 4), (p, sp.Rational(1, 10000)), *one),
                "|E[g]| is at least ½ p^(−1/2) |∇p|, also as p → 0",
            ),
        ),
        clauses=(
            Clause(
                "saturates",
                rollouts(),
                Claim(square, "<=", (G - 1) * Dp[d] ** 2),
                Chain(
                    (
                        Step(
                            "the weight of GRPO",
                            "=",
                            W**2 * Dp[d] ** 2,
                            by=(Instance("expectation.grpo-weight", "update"),),
                        ),
                        Step(
                            "0 ≤ W_G ≤ √(G−1)",
                            "<=",
                            (G - 1) * Dp[d] ** 2,
                            by=(
                                (
                                    (W + top) * Dp[d] ** 2,
                                    Instance("expectation.grpo-weight", "bound"),
                                ),
                            ),
                        ),
                    )
                ),
                words="|E[g]| ≤ √(G−1) |∇p|",
            ),
        ),
        references=(Reference("folklore", "", "", "the large-G limit read at finite G"),),
        corrected_by=("expectation.grpo-weight", "expectation.arcsine"),
        mutants=(
            Mutant("also false: a tenth of it", "diverges", rhs=400 * square),
            Mutant("also false at G = 3", "limit-weight", domain=rollouts(Integer(G, 3, 3))),
            Mutant("bound √(G−2)", "saturates", rhs=(G - 2) * Dp[d] ** 2),
        ),
        check=CHECKS["expectation.saturation"],
    )
