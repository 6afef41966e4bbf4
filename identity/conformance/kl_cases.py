"""Cases of the estimators of KL(π‖π_ref): value, gradient, and what happens far out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import strategies as st

from identity.conformance import inputs
from identity.conformance.advantage_cases import unrecognised
from identity.conformance.batches import Gaps
from identity.conformance.context import Context, Outcome, Raised, controlled, departs, traced
from identity.conformance.conventions import KLConvention
from identity.conformance.expected import Expected
from identity.conformance.frameworks import DTYPES
from identity.conformance.operation import CannotRun
from identity.conformance.recognise import matches
from identity.conformance.results import DIFFERS

__all__ = ["kl_extremes", "kl_gradient", "kl_values"]


def kl_values(context: Context) -> Outcome:
    """Values at log-ratios up to 2."""
    model, theorem = context.reference("kl_values"), "surrogates.kl-values"
    if model is None:
        return unrecognised(context, inputs.gaps((0.5, -1.0), context.dtype), theorem)

    def value_only(batch: Gaps) -> Expected:
        return replace(model(batch), gradient=None)

    found = departs(
        context, inputs.gap_batches(context.dtype), value_only, theorem=theorem,
        convention=_estimator(context), reason=context.promise("kl_values"),
    )  # fmt: skip
    return _named(context, found, "kl_values")


def _named(context: Context, found: Outcome, case: str) -> Outcome:
    if found.verdict != DIFFERS:
        return found
    return replace(found, convention=context.departure(case))


def _estimator(context: Context) -> str:
    convention = context.recognised.convention
    assert isinstance(convention, KLConvention)
    return convention.estimator


def kl_gradient(context: Context) -> Outcome:
    """What it is differentiated to, at log-ratios up to 2."""
    model, theorem = context.reference("kl_gradient"), "surrogates.kl-gradients"
    if model is None:
        raise CannotRun("no convention was recognised to hold it against")
    found = departs(
        context, inputs.gap_batches(context.dtype), model, theorem=theorem,
        convention=str(context.recognised), reason=context.promise("kl_gradient"),
    )  # fmt: skip
    return _named(context, found, "kl_gradient")


def kl_extremes(context: Context) -> Outcome:
    """Log-ratios of ±10, ±20 and ±30: still the estimator, or a plateau?"""
    model, theorem = context.recognised.model, "surrogates.kl-values"
    if model is None:
        raise CannotRun("no convention was recognised to hold it against")
    reach = DTYPES[context.dtype][1] * np.log(2)  # beyond, e^gap is no number of the dtype
    sizes = [gap for gap in inputs.EXTREME_GAPS if gap < reach]
    found = departs(
        context,
        st.sampled_from([inputs.gaps([s * gap], context.dtype) for gap in sizes for s in (1, -1)]),
        model,
        theorem=theorem,
        convention=f"the estimator up to log-ratios of ±{sizes[-1]:g}",
    )  # fmt: skip
    if found.verdict != DIFFERS:
        return found
    return _plateau(context, sizes) or found


def _plateau(context: Context, sizes: list[float]) -> Outcome | None:
    """Which log-ratios are met, and what comes out at the first that is not."""
    model = context.recognised.model
    assert model is not None
    wrong = []
    for gap in (sign * size for size in sizes for sign in (1, -1)):
        batch = inputs.gaps([gap], context.dtype)
        try:
            fits = matches(context.run(batch), model(batch), context.dtype)
        except Raised:
            fits = False
        if not fits:
            wrong.append(gap)
    if not wrong:
        return None
    first = inputs.gaps([wrong[0]], context.dtype)
    snippet, got = traced(context.run, first)
    flat = isinstance(got, dict) and not np.any(got.get("gradient", [1.0]))
    finite = isinstance(got, dict) and bool(np.all(np.isfinite(got["value"])))
    if not finite:
        what = "no finite value"
    elif flat:
        what = f"a plateau of {got['value'][0]:.6g} without gradient"
    else:
        what = f"{got['value'][0]:.6g}"
    tame = inputs.gaps([0.5], context.dtype)
    expected = model(first)
    return Outcome(
        DIFFERS,
        f"{what} at a log-ratio of {wrong[0]:g}; departs at "
        + ", ".join(f"{gap:g}" for gap in wrong),
        theorem="surrogates.kl-values",
        input=snippet,
        expected={"value": expected.value.tolist(), "gradient": _listed(expected)},
        got=got,
        control=controlled(context.run, tame),
        reason="log-ratios of ±10, ±20 and ±30",
    )


def _listed(expected: Expected) -> list[float] | None:
    return None if expected.gradient is None else expected.gradient.tolist()
