"""Tables of conventions, departures, factors and cases, from the data of `identity.conformance`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from identity.conformance import conventions as data
from identity.conformance import expected, factors, inputs
from identity.conformance.cases import CASES, COMPARISONS
from identity.conformance.conventions import AdvantageConvention
from identity.conformance.deviations import DEVIATIONS
from identity.conformance.operation import KINDS


class Text(NamedTuple):
    """Words of a cell, as they are, as code or as a formula."""

    words: str
    kind: str = "plain"


Table = tuple[tuple[str, ...], list[list[Text]]]


def code(words: str) -> Text:
    return Text(words, "code")


def formula(tex: str) -> Text:
    return Text(tex, "math")


# Weight of a token of response i in a batch of B responses with lengths L, padded to T; c is the
# constant. A test holds each against what the convention gives.
WEIGHTS = {
    "token_mean": r"1/\sum_j L_j",
    "sequence_mean_token_mean": r"1/(B L_i)",
    "sequence_mean_token_sum": r"1/B",
    "constant": r"1/(B c)",
    "padded_width": r"1/(B T)",
    "token_sum": r"1",
}
# What is maximised for a token with ratio ρ and advantage A; sg stops the gradient.
OBJECTIVES = {
    "ppo_clip": r"\min(\rho A,\ \mathrm{clip}(\rho) A)",
    "cispo": r"\mathrm{sg}(\mathrm{clip}(\rho))\, A \log\pi",
    "reinforce": r"A \log\pi",
    "importance": r"\rho A",
}
# Of `kl_readings`, which needs torch; a test compares.
KL_READINGS = ("k3 of the inverse ratio", "twice k2", "k1 with the sign reversed")


def words_of(table: Mapping[str, str], head: str) -> Table:
    return (head, "in words"), [[code(name), Text(words)] for name, words in table.items()]


def normalisers() -> Table:
    lines = [
        [code(name), Text(words), formula(WEIGHTS[name])]
        for name, words in data.NORMALISERS.items()
    ]
    return ("normaliser", "in words", "weight of a token"), lines


def objectives() -> Table:
    lines = [
        [code(name), Text(words), formula(OBJECTIVES[name])]
        for name, words in data.OBJECTIVES.items()
    ]
    return ("objective", "in words", "what a token gains"), lines


def divergences() -> Table:
    lines = [[code(c.estimator), code(c.gradient), Text(str(c))] for c in data.kl_conventions()]
    return ("estimator", "gradient", "in words"), lines


# -- the factor on σΔs -----------------------------------------------------------------------------


def plain_conventions() -> Iterator[AdvantageConvention]:
    """Those under which the advantages of a binary group are parallel to (R − p)/σ; one ε."""
    for baseline in ("mean", "leave_one_out"):
        yield AdvantageConvention(baseline, "none")
        for placement in data.PLACEMENTS:
            for ddof in (0, 1):
                eps = 0.0 if placement == "absent" else 1e-4
                yield AdvantageConvention(baseline, "std", ddof, placement, eps)


def measured(convention: AdvantageConvention, size: int, k: int) -> float:
    """The factor of a convention on σΔs, from the advantages that it gives."""
    batch = inputs.binary_rewards(size, k, "float64")
    ideal = (batch.rewards - k / size) / np.sqrt(k * (size - k)) * size
    answer = expected.advantages(batch, convention).value
    return float(answer @ ideal / (ideal @ ideal))


def factor(convention: AdvantageConvention) -> factors.Factor | None:
    """Its closed form, found as for a library."""
    groups = [(size, k) for size in inputs.GROUP_SIZES for k in range(1, size)]
    found = np.asarray([measured(convention, *group) for group in groups])
    size, k = np.asarray(groups, np.float64).T
    return factors.fit(size, k, found, 1e-12 * np.abs(found))


def factor_table() -> Table:
    kept: dict[tuple[str, str], list[str]] = {}
    for convention in plain_conventions():
        form = str(factor(convention) or "no closed form of the list")
        number = f"{measured(convention, 8, 1):.6g}"
        kept.setdefault((form, number), []).append(str(convention))
    lines = [[Text(form), Text(n), Text("; ".join(names))] for (form, n), names in kept.items()]
    return ("factor on σΔs", "at G = 8, k = 1", "conventions that have it"), lines


def multipliers() -> Table:
    """At sizes at which no two agree."""
    rows, width = 3, 5
    lines = [
        [Text(name), Text(f"{value(rows, width):.6g}")]
        for name, value in factors.MULTIPLIERS.items()
    ]
    return ("factor", f"at B = {rows}, T = {width}"), lines


# -- departures and cases --------------------------------------------------------------------------


def deviations() -> Table:
    lines = [[Text(deviation.name), code(deviation.case)] for deviation in DEVIATIONS]
    lines += [[Text(name), code("kl_values")] for name in KL_READINGS]
    return ("departure", "case"), lines


def cases() -> Table:
    lines = [[code(c.name), Text(", ".join(c.kinds)), Text(c.title)] for c in CASES.values()]
    every = ", ".join(KINDS)
    lines += [[code(name), Text(every), Text(words)] for name, words in COMPARISONS.items()]
    return ("case", "of", "what is asked"), lines


TABLES: dict[str, Callable[[], Table]] = {
    "baselines": lambda: words_of(data.BASELINES, "baseline"),
    "scales": lambda: words_of(data.SCALES, "scale"),
    "placements": lambda: words_of(data.PLACEMENTS, "eps_placement"),
    "normalisers": normalisers,
    "objectives": objectives,
    "bounds": lambda: words_of(data.BOUNDS, "bounds"),
    "divergences": divergences,
    "factors": factor_table,
    "multipliers": multipliers,
    "deviations": deviations,
    "cases": cases,
}
