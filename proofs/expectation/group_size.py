"""How large a group must be: the published law refuted, the exact table, the rare-success limit."""

from __future__ import annotations

import sympy as sp

from proofs.expectation.notation import G, k, p, paper, pmf, q, std_mean, unit
from proofs.expectation.shape import fidelity
from proofs.expectation.weight import BINARY
from proofs.first_principles import CHECKS
from proofs.kernel.domain import Domain, Integer, Real
from proofs.kernel.rules import (
    Ball,
    BinomialMoments,
    Cite,
    Hypothesis,
    Instance,
    Linear,
    Square,
    Termwise,
)
from proofs.kernel.terms import PoissonMean, binomial_mean
from proofs.kernel.theorem import (
    Chain,
    Claim,
    Clause,
    Induction,
    Mutant,
    Refutation,
    Step,
    Theorem,
)

eps, m = sp.symbols("epsilon m")
v = p * q
first = 1 / (8 * v)  # a: coefficient of 1/G in 1 − φ
second = (7 - 16 * v) / (128 * v**2)  # b: coefficient of 1/G²

# (p, ε) -> exact smallest G and the first-order law 1/(8εp(1−p)) rounded to the nearest integer.
TABLE = {
    ("1/2", "1/10"): (7, 5),
    ("1/2", "1/20"): (11, 10),
    ("1/2", "1/100"): (51, 50),
    ("3/10", "1/10"): (9, 6),
    ("3/10", "1/20"): (14, 12),
    ("3/10", "1/100"): (61, 60),
    ("1/10", "1/10"): (22, 14),
    ("1/10", "1/20"): (36, 28),
    ("1/10", "1/100"): (144, 139),
    ("1/20", "1/10"): (42, 26),
    ("1/20", "1/20"): (69, 53),
    ("1/20", "1/100"): (273, 263),
}


def at(size: int, rate: sp.Rational) -> sp.Expr:
    """φ(size, rate): a closed sum of square roots."""
    return fidelity.xreplace({G: sp.Integer(size), p: rate})


def closed(name: str, lhs: sp.Expr, rhs: sp.Expr, words: str, relation: str = "<") -> Clause:
    return Clause(
        name,
        Domain(),
        Claim(lhs, relation, rhs),
        Chain((Step(words, relation, rhs, by=((1, Ball(lhs, relation, rhs)),)),)),
        words=words,
    )


def near(name: str, value: sp.Expr, text: str, words: str) -> Clause:
    """The value rounds to the printed decimal: within half a unit of its last digit."""
    unit_ = sp.Rational(1, 2 * 10 ** len(text.split(".")[1]))
    return closed(name, (value - sp.Rational(text)) ** 2, unit_**2, words, "<=")


def smaller_is_worse() -> Clause:
    """If G is too small, so is every smaller size: φ is nondecreasing over any distance."""
    n = sp.Symbol("n")
    further, next_ = fidelity.xreplace({G: G + n}), fidelity.xreplace({G: G + n + 1})
    grows = Instance("expectation.monotone", "grows", ((G, G + n),))
    return Clause(
        "smaller",
        Domain(Integer(G, 2), Integer(n, 0), unit),
        Claim(fidelity, "<=", further),
        Induction(
            n,
            base=Chain((Step("the same size", "<=", fidelity),)),
            step=Chain(
                (
                    Step("the hypothesis", "<=", further, by=((1, Hypothesis()),)),
                    Step("one more rollout", "<=", next_, by=((1 / sp.sqrt(v), grows),)),
                )
            ),
        ),
        words="φ(G, p) ≤ φ(G + n, p): below a size that is too small every size is",
    )


def group_size_law() -> Theorem:
    domain = Domain(unit, Real(eps, 0, 1), Integer(G, 1 / (8 * eps * p * (1 - p))))
    claim = Claim(1 - eps, "<=", fidelity)
    refutes, clauses = [], []
    for (rate_text, eps_text), (exact_size, printed) in TABLE.items():
        rate, error = sp.Rational(rate_text), sp.Rational(eps_text)
        law = 1 / (8 * error * rate * (1 - rate))
        label = f"p-{rate_text.replace('/', '-')}-eps-{eps_text.replace('/', '-')}"
        refutes.append(
            Refutation(
                label,
                domain,
                claim,
                ((p, rate), (eps, error), (G, int(sp.ceiling(law)))),
                "G ≥ 1/(8εp(1−p)) gives φ(G, p) ≥ 1 − ε",
            )
        )
        clauses += [
            closed(
                f"{label}-too-small",
                at(exact_size - 1, rate),
                1 - error,
                f"G = {exact_size - 1} is too small at p = {rate_text}, ε = {eps_text}",
            ),
            closed(
                f"{label}-enough",
                1 - error,
                at(exact_size, rate),
                f"G = {exact_size} is enough at p = {rate_text}, ε = {eps_text}",
                "<=",
            ),
            closed(
                f"{label}-law",
                (law - printed) ** 2,
                sp.Rational(1, 4),
                f"the law gives {printed} (nearest integer) there",
                "<=",
            ),
        ]
    clauses += [
        near("phi-8-half", at(8, sp.Rational(1, 2)), "0.9278", "φ(8, 1/2) = 0.9278"),
        near("phi-8-rare", at(8, sp.Rational(1, 20)), "0.5390", "φ(8, 1/20) = 0.5390"),
        smaller_is_worse(),
    ]
    return Theorem(
        id="expectation.group-size-law",
        title="The first-order group-size law is too small",
        words=(
            "“G ≥ G* = 1/(8εp(1−p)) gives φ ≥ 1 − ε” fails at ⌈G*⌉ in all twelve cells of the "
            "published table. The exact smallest G (in brackets G*, rounded to the nearest "
            "integer, as printed) for ε = 10/5/1 %: p = .5: "
            "7 (5), 11 (10), 51 (50); .3: 9 (6), 14 (12), 61 (60); .1: 22 (14), 36 (28), "
            "144 (139); .05: 42 (26), 69 (53), 273 (263). One rollout fewer is too few, and φ is "
            "nondecreasing in G."
        ),
        assumptions=(BINARY,),
        uses=("expectation.monotone",),
        refutes=tuple(refutes),
        clauses=tuple(clauses),
        references=(paper("Corollary 2 and Table 1", "the exact sizes are in the same table"),),
        implements=("identity.expectation.group_size_law",),
        corrected_by=("expectation.monotone", "expectation.group-size-law-second-order"),
        mutants=(
            Mutant(
                "also false with one more rollout",
                "p-1-20-eps-1-10",
                domain=Domain(unit, Real(eps, 0, 1), Integer(G, 1 / (8 * eps * p * (1 - p)) - 1)),
            ),
            Mutant(
                "also false for 1.01 ε", "p-1-20-eps-1-100", lhs=1 - eps * sp.Rational(101, 100)
            ),
            Mutant(
                "G = 6 enough at p = 1/2", "p-1-2-eps-1-10-enough", rhs=at(6, sp.Rational(1, 2))
            ),
            Mutant(
                "G = 273 too small at p = 1/20",
                "p-1-20-eps-1-100-too-small",
                lhs=at(273, sp.Rational(1, 20)),
            ),
            Mutant(
                "the law gives 264 there",
                "p-1-20-eps-1-100-law",
                lhs=(sp.Rational(10000, 38) - 264) ** 2,
            ),
            Mutant(
                "φ(8, 1/2) = 0.9279",
                "phi-8-half",
                lhs=(at(8, sp.Rational(1, 2)) - sp.Rational(9279, 10**4)) ** 2,
            ),
            Mutant(
                "φ(8, 1/20) = 0.5391",
                "phi-8-rare",
                lhs=(at(8, sp.Rational(1, 20)) - sp.Rational(5391, 10**4)) ** 2,
            ),
            Mutant("strictly worse", "smaller", relation="<"),
        ),
        check=CHECKS["expectation.group-size-law"],
    )


def second_order() -> Theorem:
    domain = Domain(unit, Real(eps, 0, 1))
    root = (first + sp.sqrt(first**2 + 4 * eps * second)) / (2 * eps)
    predicted = first / root + second / root**2
    point = {p: sp.Rational(1, 20), eps: sp.Rational(1, 100)}
    value = root.xreplace(point)
    exact_root = sp.sqrt(first**2 + 4 * eps * second)
    return Theorem(
        id="expectation.group-size-law-second-order",
        title="The second-order group-size law",
        words=(
            "The expansion 1 − φ = a/G + b/G² + …, a = 1/(8p(1−p)), b = (7−16p(1−p))/"
            "(128p²(1−p)²), reaches ε at G = (a + √(a² + 4εb))/(2ε), the remainder left out; at "
            "p = .05, ε = 1 % that is 271.1, more than the first-order 263.2. (The exact size is "
            "273: expectation.group-size-law.)"
        ),
        assumptions=(
            "G is the point where a/G + b/G² = ε; what is left out is bounded by "
            "expectation.attenuation.",
        ),
        uses=("expectation.attenuation",),
        clauses=(
            Clause(
                "root",
                domain,
                Claim(predicted, "=", eps),
                Chain(
                    (
                        Step(
                            "clear the root's denominators",
                            "=",
                            4
                            * eps**2
                            * (first * (first + exact_root) / (2 * eps) + second)
                            / (first + exact_root) ** 2,
                        ),
                        Step("(a + √(a²+4εb))² = 2a(a + √(a²+4εb)) + 4εb", "=", eps),
                    )
                ),
                given=(Instance("expectation.attenuation", "discriminant"),),
            ),
            near("value", value, "271.1", "271.1 at p = 1/20, ε = 1/100"),
            closed(
                "larger",
                first.xreplace(point) / point[eps],
                value,
                "more than the first-order 263.2 there",
            ),
        ),
        references=(paper("Corollary 2", "second order ours"),),
        implements=("identity.expectation.group_size_law",),
        mutants=(
            Mutant("b halved", "root", lhs=(first / root + second / (2 * root**2))),
            Mutant("a doubled", "root", lhs=2 * first / root + second / root**2),
            Mutant("a dropped", "root", rhs=eps / 2),
            Mutant("271.2", "value", lhs=(value - sp.Rational(2712, 10)) ** 2),
            Mutant(
                "less than the first order", "larger", lhs=value, rhs=first.xreplace(point) * 100
            ),
        ),
        check=CHECKS["expectation.group-size-law-second-order"],
    )


def rare() -> Theorem:
    """√G E[σ] against E√Poisson(Gp), within p(1 + 2Gp)."""
    S = std_mean()
    domain = Domain(Integer(G, 2, spread=30), unit)
    scaled = sp.sqrt(G) * S
    mean_root = binomial_mean(sp.sqrt(k), k, G, p)
    poisson = PoissonMean(sp.sqrt(m), m, G * p)
    body = pmf(k) * sp.sqrt(k * (G - k)) / sp.sqrt(G)
    total = sp.Sum(body, (k, 0, G))
    slack = G * p**2
    square = binomial_mean((k**2 + k) / 2, k, G, p)
    low_body = pmf(k) * sp.sqrt(k) - pmf(k) * (k**2 + k) / 2 / G
    low = sp.Sum(low_body, (k, 0, G))
    y = sp.sqrt(G - k) / sp.sqrt(G)
    spread_in = Step("one sum", "=", total, by=(Linear(total, ((sp.sqrt(G), S.function),)),))
    spread_out = Step("one sum", "=", scaled, by=(Linear(total, ((sp.sqrt(G), S.function),)),))
    cite = ((sp.Symbol("n"), G), (sp.Symbol("p"), p))

    def ratio(rate: str) -> sp.Expr:
        value = sp.Rational(rate)
        return PoissonMean(sp.sqrt(m), m, value) / sp.sqrt(value)

    def bracket(label: str, text: str, error: str) -> tuple[Clause, Clause]:
        unit_ = sp.Rational(1, 2 * 10 ** len(text.split(".")[1]))
        low_, high_ = sp.Rational(text) - unit_, sp.Rational(text) + unit_
        target = 1 - sp.Rational(error)
        return (
            closed(
                f"lambda-{label}-below",
                ratio(str(low_)),
                target,
                f"E√Poisson(λ)/√λ < {target} at λ = {low_}",
            ),
            closed(
                f"lambda-{label}-above",
                target,
                ratio(str(high_)),
                f"and > {target} at λ = {high_}, so λ = {text}",
            ),
        )

    return Theorem(
        id="expectation.group-size-rare",
        title="Rare successes: the group must hold a few of them",
        words=(
            "With λ = Gp, √(λ(1−p)) φ(G, p) = √G E[σ] lies between E√Poisson(λ) − p(1 + 2λ) and "
            "E√Poisson(λ) + λp. So as p → 0 at a fixed λ, φ → E√Poisson(λ)/√λ, which crosses 1 − ε "
            "(below before, above after) at λ_ε = 2.0415, 3.3447, 12.976 for ε = 10, 5, 1 %, to "
            "the digits printed: G ≈ λ_ε/p rollouts are needed."
        ),
        assumptions=(
            BINARY,
            "That each crossing is the only one is not proved here; the first-principles check "
            "sees E√Poisson(λ)/√λ increase along λ = 1/4, 2/4, …, 16.",
        ),
        clauses=(
            Clause(
                "fidelity",
                domain,
                Claim(sp.sqrt(G * p * q) * fidelity, "=", scaled),
                Chain((Step("φ = E[σ]/√(p(1−p))", "=", scaled),)),
                words="√(λ(1−p)) φ = √G E[σ]",
            ),
            Clause(
                "above",
                domain,
                Claim(scaled, "<=", poisson + slack),
                Chain(
                    (
                        spread_in,
                        Step(
                            "√(1 − k/G) ≤ 1",
                            "<=",
                            mean_root,
                            by=(
                                (
                                    1,
                                    Termwise(
                                        total,
                                        mean_root.function,
                                        "<=",
                                        steps=(
                                            Step(
                                                "√(G−k)/√G ≤ 1 by (y − 1)² ≥ 0 and y² ≤ 1",
                                                "<=",
                                                mean_root.function,
                                                by=((pmf(k) * sp.sqrt(k) / 2, Square(y - 1)),),
                                            ),
                                        ),
                                    ),
                                ),
                            ),
                        ),
                        Step(
                            "Binomial(G, p) against Poisson(Gp)",
                            "<=",
                            poisson + slack,
                            by=((1, Cite("poisson-root-above", cite)),),
                        ),
                    )
                ),
                words="√G E[σ] ≤ E√Poisson(Gp) + Gp²",
            ),
            Clause(
                "below",
                domain,
                Claim(poisson - p * (1 + 2 * G * p), "<=", scaled),
                Chain(
                    (
                        Step(
                            "p(1 + 2Gp) is at least Gp² + E[(K² + K)/2]/G",
                            "<=",
                            poisson - slack - (G * p + G * (G - 1) * p**2 / 2) / G,
                        ),
                        Step(
                            "E[(K² + K)/2] = Gp + G(G−1)p²/2",
                            "=",
                            poisson - slack - square / G,
                            by=(BinomialMoments(k, G, p, (k**2 + k) / 2),),
                        ),
                        Step(
                            "Binomial(G, p) against Poisson(Gp)",
                            "<=",
                            mean_root - square / G,
                            by=((1, Cite("poisson-root-below", cite)),),
                        ),
                        Step(
                            "one sum",
                            "=",
                            low,
                            by=(Linear(low, ((1, mean_root.function), (-1 / G, square.function))),),
                        ),
                        Step(
                            "√k √(1 − k/G) ≥ √k (1 − k/G) ≥ √k − (k² + k)/(2G)",
                            "<=",
                            total,
                            by=(
                                (
                                    1,
                                    Termwise(
                                        low,
                                        body,
                                        "<=",
                                        steps=(
                                            Step(
                                                "√k ≤ (k + 1)/2 by (√k − 1)² ≥ 0",
                                                "<=",
                                                pmf(k) * sp.sqrt(k) * (1 - k / G),
                                                by=(
                                                    (pmf(k) * k / (2 * G), Square(sp.sqrt(k) - 1)),
                                                ),
                                            ),
                                            Step(
                                                "y² ≤ y for y = √(1−k/G) ≤ 1",
                                                "<=",
                                                body,
                                                by=((pmf(k) * sp.sqrt(k) * y / 2, Square(y - 1)),),
                                            ),
                                        ),
                                    ),
                                ),
                            ),
                        ),
                        spread_out,
                    )
                ),
                words="√G E[σ] ≥ E√Poisson(Gp) − p(1 + 2Gp)",
            ),
            *bracket("10", "2.0415", "1/10"),
            *bracket("5", "3.3447", "1/20"),
            *bracket("1", "12.976", "1/100"),
        ),
        references=(paper("§4", "rare-success limit ours"),),
        mutants=(
            Mutant(
                "E√Poisson(2Gp)",
                "below",
                lhs=PoissonMean(sp.sqrt(m), m, 2 * G * p) - p * (1 + 2 * G * p),
            ),
            Mutant("no slack, reversed", "above", lhs=poisson + slack, rhs=scaled),
            Mutant("λ for 5 % at 10 %", "lambda-10-below", lhs=ratio("3.3447")),
            Mutant("2.0416 at 10 %", "lambda-10-below", lhs=ratio("2.04155")),
            Mutant("3.3446 at 5 %", "lambda-5-above", rhs=ratio("3.34465")),
            Mutant("12.975 at 1 %", "lambda-1-above", rhs=ratio("12.9755")),
            Mutant(
                "√G E[σ] in terms of φ without 1 − p",
                "fidelity",
                lhs=sp.sqrt(G * p) * fidelity,
            ),
        ),
        check=CHECKS["expectation.group-size-rare"],
    )
