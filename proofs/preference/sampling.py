"""Over sampling: what two-rollout GRPO and DPO ascend, and the advantage that is expected."""

from __future__ import annotations

import sympy as sp

from proofs.expectation.notation import G, R, k, mean, mu, rollouts, sigma, sizes, std_mean, std_sum
from proofs.expectation.notation import i as rollout
from proofs.expectation.notation import weight as grpo_weight
from proofs.first_principles import CHECKS
from proofs.kernel.domain import Domain, Integer
from proofs.kernel.rules import (
    Context,
    Differentiate,
    Instance,
    Linear,
    Split,
    Termwise,
    Tower,
    Unroll,
)
from proofs.kernel.terms import RolloutMean, Slope
from proofs.kernel.theorem import Chain, Claim, Clause, Mutant, Refutation, Step, Theorem
from proofs.preference.notation import (
    LINE,
    ON_POLICY,
    PAIRS,
    UNDIVIDED,
    M,
    N,
    alpha,
    beta,
    correct,
    correct_now,
    descent,
    f,
    gamma,
    h,
    i,
    j,
    log_ratio,
    over_pairs,
    p,
    paper,
    q,
    strength,
    success,
    t,
    verdicts,
    wrong,
    wrong_now,
)

ONES = (
    "A mixed pair has the advantages 1 and −1 (preference.two-grpo; that its weight is 1 is "
    f"expectation.no-bias-at-two): {UNDIVIDED}"
)

# A mixed pair, in either order: response i is correct, j is wrong.
chance = 2 * correct_now * wrong_now
# Of GRPO's surrogate (1/2) Σ A_i π(y_i)/sg[π(y_i)], A = 1 and −1, and of DPO's loss.
grpo_step = Slope((correct(i) / correct_now - wrong(j) / wrong_now) / 2, t, 0)
dpo_step = descent(log_ratio(correct(i), correct_now) - log_ratio(wrong(j), wrong_now))
grpo_mean = over_pairs(chance * grpo_step)
dpo_sum = over_pairs(chance * dpo_step)
dpo_mean = dpo_sum / over_pairs(chance)
slope_of_success = Slope(success, t, 0)

prompt = Domain(*verdicts)
with_beta = Domain(*verdicts, strength)


def _worked_out(step: Slope, value: sp.Expr) -> tuple[sp.Expr, Termwise]:
    """The sum over mixed pairs with the step of one pair worked out."""
    inner, flat = (sp.Sum(chance * e, (j, 1, N)) for e in (step, value))
    one = Step("of one pair", "=", flat.function, by=(Differentiate(step),))
    each = Step("of one pair", "=", flat, by=(Termwise(inner, flat.function, steps=(one,)),))
    return over_pairs(chance * value), Termwise(over_pairs(chance * step), flat, steps=(each,))


grpo_flat, grpo_rule = _worked_out(grpo_step, (f[i] - h[j]) / 2)
dpo_flat, dpo_rule = _worked_out(dpo_step, beta * (f[i] - h[j]) / 2)
GRPO = Step(
    "the step of one pair: half the score difference, the normaliser cancelling",
    "=",
    grpo_flat,
    by=(grpo_rule,),
)
DPO = "the step of one pair at the reference: β/2 times the score difference"


def weighted_pairs() -> Theorem:
    ascends = Step(
        "Pr(correct) p and Pr(wrong) 1−p; quotient rule for p",
        "=",
        slope_of_success,
        by=(Differentiate(slope_of_success),),
    )
    scaled = beta * slope_of_success
    return Theorem(
        id="preference.weighted-pairs",
        title="With mixed pairs as they come, GRPO and, at the reference, DPO ascend p",
        words=(
            "Over the two rollouts of a prompt, the mean step of two-rollout GRPO is ∇p. If a "
            "mixed pair counts as often as it is sampled, 2p(1−p), the mean descent of DPO's loss "
            "at the reference is β∇p: the same, up to a factor that no prompt changes."
        ),
        assumptions=(LINE, ON_POLICY, PAIRS, ONES),
        clauses=(
            Clause(
                "grpo",
                prompt,
                Claim(grpo_mean, "=", slope_of_success),
                Chain((GRPO, ascends)),
                words="E[g] = ∇p",
            ),
            Clause(
                "dpo",
                with_beta,
                Claim(dpo_sum, "=", scaled),
                Chain(
                    (
                        Step(DPO, "=", dpo_flat, by=(dpo_rule,)),
                        Step(ascends.text, "=", scaled, by=ascends.by),
                    )
                ),
                words="E[−∇L; mixed] = β∇p, equal rewards counting 0",
            ),
            Clause(
                "chance",
                prompt,
                Claim(over_pairs(chance), "=", 2 * p * q),
                Chain((Step("probabilities sum to 1", "=", 2 * p * q),)),
                words="Pr(mixed) = 2p(1−p)",
            ),
        ),
        references=(paper("two-rollout GRPO and DPO", "correction ours"),),
        mutants=(
            Mutant("2∇p", "grpo", rhs=2 * slope_of_success),
            Mutant("β/2", "dpo", rhs=scaled / 2),
            Mutant("divided by p(1−p)", "dpo", rhs=scaled / (p * q)),
            Mutant("one order only", "chance", rhs=p * q),
        ),
        check=CHECKS["preference.weighted-pairs"],
    )


def prompt_level() -> Theorem:
    logit = Slope(beta / 2 * sp.log(success / (1 - success)), t, 0)
    per_prompt = beta / (2 * p * q)
    at_one_half = 2 * beta  # what it is at p = 1/2
    one_response = ((alpha, (1,)), (gamma, (1,)), (f, (1,)), (h, (0,)), (beta, 1))
    uses = "preference.weighted-pairs"
    as_they_come = (
        Step(
            "mixed pairs come with probability 2p(1−p)",
            "=",
            dpo_sum / (2 * p * q),
            by=(Instance(uses, "chance"),),
        ),
        Step(
            "weighted as they come, DPO ascends βp",
            "=",
            per_prompt * slope_of_success,
            by=(Instance(uses, "dpo"),),
        ),
    )
    return Theorem(
        id="preference.prompt-level",
        title="Over prompts, two-rollout GRPO and DPO ascend different functions",
        words=(
            "The claim that two-rollout GRPO and DPO optimise the same objective, up to a factor, "
            "fails over sampling. With one mixed pair for each prompt and the policy at its "
            "reference, DPO ascends (β/2) log(p/(1−p)), two-rollout GRPO ascends p: the mean steps "
            "differ by the factor β/(2p(1−p)), which is 2β at p = 1/2 and 8β/3 at p = 1/4. Where "
            "∇p is not 0 they agree up to a constant only if a prompt's pair has a weight "
            "proportional to p(1−p)."
        ),
        assumptions=(
            LINE,
            ON_POLICY,
            PAIRS,
            ONES,
            "DPO: one pair for each prompt, drawn until its rewards differ.",
        ),
        uses=(uses,),
        refutes=(
            Refutation(
                "same-objective",
                with_beta,
                Claim(dpo_mean, "=", at_one_half * grpo_mean),
                ((M, 1), (N, 1), (p, sp.Rational(1, 4)), *one_response),
                "at every p, E[−∇L | mixed] is the multiple of E[g] that it is at p = 1/2",
            ),
        ),
        clauses=(
            Clause(
                "logit",
                with_beta,
                Claim(dpo_mean, "=", logit),
                Chain(
                    (
                        *as_they_come,
                        Step(
                            "∂ log(p/(1−p)) = ∂p/(p(1−p)), and ∂p by the quotient rule",
                            "=",
                            logit,
                            by=(Differentiate(logit), Differentiate(slope_of_success)),
                        ),
                    )
                ),
                words="E[−∇L | mixed] = ∇ (β/2) log(p/(1−p))",
            ),
            Clause(
                "factor",
                with_beta,
                Claim(dpo_mean, "=", per_prompt * grpo_mean),
                Chain(
                    (
                        *as_they_come,
                        Step(
                            "and GRPO ascends p",
                            "=",
                            per_prompt * grpo_mean,
                            by=(Instance(uses, "grpo"),),
                        ),
                    )
                ),
                words="E[−∇L | mixed] = β/(2p(1−p)) · E[g]",
            ),
        ),
        references=(paper("two-rollout GRPO and DPO", "read as a statement about objectives"),),
        corrected_by=(uses, "preference.equivalence"),
        mutants=(
            Mutant("also false: β, as on one pair", "same-objective", rhs=beta * grpo_mean),
            Mutant(
                "also false: the factor at p = 1/3",
                "same-objective",
                rhs=sp.Rational(9, 4) * beta * grpo_mean,
            ),
            Mutant("β for β/2", "logit", rhs=Slope(2 * logit.args[0], t, 0)),
            Mutant("log p", "logit", rhs=Slope(beta / 2 * sp.log(success), t, 0)),
            Mutant("no factor 1/2", "factor", rhs=2 * per_prompt * grpo_mean),
        ),
        check=CHECKS["preference.prompt-level"],
    )


def advantage_limit() -> Theorem:
    domain, two = rollouts(), rollouts(Integer(G, 2, 2))
    A = (R[rollout] - mu) / sigma
    by_verdict = (mean(R[rollout] * A), mean((1 - R[rollout]) * A))
    W = grpo_weight()
    weight, bound = "expectation.grpo-weight", "expectation.arcsine"
    spread = std_sum()

    def given(correct_: bool) -> tuple[sp.Expr, RolloutMean, sp.Expr, int]:
        """E[A | R], the mean in it, Pr(R), and the sign of A."""
        numerator = RolloutMean(by_verdict[0 if correct_ else 1], 1, G - 1)
        share = p if correct_ else q
        return numerator / share, numerator, share, 1 if correct_ else -1

    def to_weight(correct_: bool) -> tuple[Step, ...]:
        _, numerator, share, sign = given(correct_)
        counted = Tower(numerator, k).value(Context(domain))
        return (
            Step("K ~ Binomial(G, p)", "=", counted / share, by=(Tower(numerator, k),)),
            Step(
                "the advantages of the correct rollouts add up to Gσ, those of the wrong to −Gσ",
                "=",
                sign * spread / share,
                by=(Linear(counted, ((sign, spread.function),)),),
            ),
            Step(
                "σ = 0 in unanimous groups",
                "=",
                sign * std_mean() / share,
                by=(Split(std_mean(), first=1, last=1),),
            ),
            Step(
                "E[σ] = p(1−p) W_G",
                "=",
                sign * p * q / share * W,
                by=(Instance(weight, "mean-std"),),
            ),
        )

    def general(name: str, correct_: bool, words: str) -> Clause:
        steps = to_weight(correct_)
        claim = Claim(given(correct_)[0], "=", steps[-1].expr)
        return Clause(name, domain, claim, Chain(steps), words=words)

    def pairs(name: str, correct_: bool, words: str) -> Clause:
        lhs, numerator, share, sign = given(correct_)
        counted, value = Tower(numerator, k).value(Context(two)), sign * p * q / share
        steps = (
            Step("K ~ Binomial(2, p)", "=", counted / share, by=(Tower(numerator, k),)),
            Step("K = 1 is the only mixed count", "=", value, by=(Unroll(counted),)),
        )
        return Clause(name, two, Claim(lhs, "=", value), Chain(steps), words=words)

    def large(name: str, correct_: bool, words: str) -> tuple[Clause, Clause]:
        """The size of E[A | R] against its limit."""
        share = given(correct_)[2]
        value, limit = p * q / share * W, sp.sqrt(p * q) / share
        short = (1 - 1 / (2 * G * p * q)) * limit

        def clause(suffix: str, ends: tuple[sp.Expr, sp.Expr], text: str, of: str) -> Clause:
            step = Step(text, "<=", ends[1], by=((limit, Instance(bound, of)),))
            claim = Claim(ends[0], "<=", ends[1])
            says = f"{words} is {suffix.replace('-', ' ')} {'' if ends[1] == limit else small}"
            return Clause(f"{name}-{suffix}", sizes, claim, Chain((step,)), f"{says}its limit")

        small = "1 − 1/(2Gp(1−p)) times "
        return (
            clause("at-most", (value, limit), "√(p(1−p)) W_G ≤ 1", "above"),
            clause("at-least", (short, value), "√(p(1−p)) W_G ≥ 1 − 1/(2Gp(1−p))", "below"),
        )

    return Theorem(
        id="preference.advantage-limit",
        title="The advantage expected of a correct and of a wrong rollout",
        words=(
            "E[A | R] = (R − p) W_G(p): over the other rollouts of its group, a correct one "
            "expects (1−p) W_G(p) and a wrong one −p W_G(p). For pairs that is R − p exactly. For "
            "every G its size lies between 1 − 1/(2Gp(1−p)) and 1 times that of "
            "(R − p)/√(p(1−p)), which is therefore the limit as G → ∞."
        ),
        assumptions=(
            "Binary rewards; the rollouts of a prompt are independent; equal rewards have no "
            "advantage.",
            UNDIVIDED,
            "E[A | R = 1] is the mean of A_i R_i over rollouts i and groups, divided by "
            "Pr(R = 1) = p; for R = 0 likewise.",
        ),
        uses=("expectation.score-means", weight, bound),
        clauses=(
            general("right", True, "E[A | R = 1] = (1−p) W_G(p)"),
            general("wrong", False, "E[A | R = 0] = −p W_G(p)"),
            pairs("pair-right", True, "G = 2: E[A | R = 1] = 1 − p"),
            pairs("pair-wrong", False, "G = 2: E[A | R = 0] = −p"),
            *large("right", True, "E[A | R = 1] = (1−p) W_G(p)"),
            *large("wrong", False, "−E[A | R = 0] = p W_G(p)"),
        ),
        references=(paper("Proposition C.1", "every G and the rate are ours; reconstructed"),),
        implements=("identity.preference.expected_advantage",),
        mutants=(
            Mutant("p for 1 − p", "right", rhs=p * W),
            Mutant("ddof 1", "wrong", rhs=-p * W * sp.sqrt((G - 1) / G)),
            Mutant("the limit at G = 2", "pair-right", rhs=sp.sqrt(q / p)),
            Mutant("1 − p with its sign", "pair-wrong", rhs=p - 1),
            Mutant("half the limit", "right-at-most", rhs=sp.sqrt(p * q) / (2 * p)),
            Mutant("at the limit", "right-at-least", lhs=sp.sqrt(p * q) / p),
            Mutant("half the limit, wrong", "wrong-at-most", rhs=sp.sqrt(p * q) / (2 * q)),
            Mutant("at the limit, wrong", "wrong-at-least", lhs=sp.sqrt(p * q) / q),
        ),
        check=CHECKS["preference.advantage-limit"],
    )
