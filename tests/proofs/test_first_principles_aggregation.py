"""The first-principles checks of aggregation can fail: a wrong formula is rejected by each."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction as F
from functools import partial
from typing import Any

import pytest

from proofs.first_principles import CHECKS, FirstPrinciplesError, aggregation, lengths, splitting
from proofs.first_principles.aggregation import LAWS, centred_gradients
from proofs.first_principles.definitions import total_rational
from proofs.first_principles.lengths import Numbers, dot, power_sum, table_row


def only_variances(x: Numbers, matrix: list[Numbers]) -> F:
    """Σ x_i² C_ii."""
    return total_rational(a * a * row[i] for i, (a, row) in enumerate(zip(x, matrix, strict=True)))


def per_response(method: str, roots: tuple[int, ...], mean: F, v: F, m: F, alpha: F) -> tuple[F, F]:
    """The table with GRPO's variance not divided by G a second time."""
    found = table_row(method, roots, mean, v, m, alpha)
    return (found[0], found[1] * len(roots)) if method == "grpo" else found


def by_root(roots: tuple[int, ...]) -> list[F]:
    """Weights ∝ 1/√L."""
    inverse = [F(1, r * r) for r in roots]
    return [x / total_rational(inverse) for x in inverse]


def without_covariance(law: lengths.Joint, size: int, alpha: F) -> F:
    """Σ E W_i E g_i."""
    gradient = total_rational(c * g[0] for c, _, g in law)
    return gradient * total_rational(
        c * power_sum(roots, -alpha) / power_sum(roots, -alpha) for c, roots, _ in law
    )


def first_order(law: aggregation.Law, size: int) -> tuple[F, F]:
    """The expansion with the leading term's sign reversed."""
    value, bound = aggregation.ratio_expansion(law, size)
    rate = aggregation.policy_gradient(law) / sum(c * y[2] for c, y in law)
    return 2 * rate - value, bound


def only_the_covariance(law: aggregation.Law) -> F:
    """Cov(g, L)."""
    return lengths.covariance(law, lambda y: y[0] * y[1], lengths.entry(2))


def product_of_means(law: aggregation.Law) -> F:
    """E[g] E[1/L]."""
    return aggregation.policy_gradient(law) * total_rational(c / y[2] for c, y in law)


CHANGES: list[tuple[str, dict[str, Any]]] = [
    ("linear-moments", {"closed_form": only_variances}),
    ("table", {"closed_form": per_response}),
    ("delta-l-minimum-variance", {"best": by_root}),
    ("tilted-mean", {"sign": lambda x: 1}),
    ("delta-l-alpha", {"turn": F(1, 2)}),
    ("delta-l-unbiased", {"closed_form": lambda j, m: j}),
    ("delta-l-bias", {"closed_form": without_covariance}),
    ("delta-l-unconditional", {"values": {2: F(1, 4)}}),
    ("delta-l-unconditional", {"slack": 1}),
    ("shared-baseline-covariance", {"closed_form": lambda j, size: F(0)}),
    ("shared-baseline-covariance", {"closed_form": lambda j, size: j * j / size}),
    ("best-weights", {"best": lambda c: [F(1, len(c))] * len(c)}),
    ("shared-baseline", {"gradients": lambda group: [r * s for r, s, *_ in group]}),
    ("batch-group-gap", {"closed_form": lambda batch, g, alpha: F(0)}),
    ("batch-or-group", {"group_form": aggregation.whole_batch}),
    ("token-mean-ratio", {"closed_form": first_order}),
    ("token-mean-ratio", {"leading": only_the_covariance}),
    ("grpo-length", {"closed_form": product_of_means}),
    ("split", {"error": lambda parts: -splitting.count_covariance(parts)}),
    ("sequence-mean-split", {"error": lambda parts: F(0)}),
    ("padding", {"constant": F}),
    ("padded-width", {"factor": lambda t, w: F(1)}),
]
MUTANTS: list[tuple[str, Callable[[], int]]] = [
    (identifier, partial(CHECKS[f"aggregation.{identifier}"], **changed))
    for identifier, changed in CHANGES
]


def test_every_theorem_has_a_check_and_every_check_a_mutant() -> None:
    own = {name.split(".")[1] for name in CHECKS if name.startswith("aggregation.")}
    assert own == {name for name, _ in MUTANTS}
    for name in own:
        assert CHECKS[f"aggregation.{name}"] is getattr(aggregation, name.replace("-", "_"))


@pytest.mark.parametrize("slug", sorted({name for name, _ in MUTANTS}))
def test_the_entry_holds_from_first_principles(slug: str) -> None:
    assert CHECKS[f"aggregation.{slug}"]() >= 9


@pytest.mark.parametrize(("name", "wrong"), MUTANTS, ids=[name for name, _ in MUTANTS])
def test_a_wrong_formula_is_rejected(name: str, wrong: Callable[[], int]) -> None:
    with pytest.raises(FirstPrinciplesError, match="fails at"):
        wrong()


def test_the_tools_are_what_they_say() -> None:
    matrix = [[F(2), F(1)], [F(1), F(3)]]
    x = aggregation.solved(matrix)
    assert sum(x) == 1
    assert dot(matrix[0], x) == dot(matrix[1], x)
    assert sum(chance for chance, _ in aggregation.draws(LAWS[2], 3)) == 1
    assert sum(centred_gradients([(F(1), F(1), F(1)), (F(4), F(1), F(1))])) == 0
    assert lengths.mean_log_grows([1, 2], 0, 1) == 1
    assert lengths.mean_log_grows([2, 2], -1, 1) == 0
    with pytest.raises(ValueError, match="multiple of 1/4"):
        lengths.power(2, F(1, 3))
