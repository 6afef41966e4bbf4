"""Bad input of identity.surrogates, its imports, and what its documentation promises."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from identity import DomainError
from identity.surrogates import importance_ratio, kl, policy_loss, token_loss
from tests.backends import Backend, load_or_skip

LOGP = np.array([[-1.0, -2.0], [-0.5, -1.0]])
OLD = np.array([[-1.1, -2.0], [-0.5, -1.2]])
WEIGHTS = np.array([1.0, -1.0])
MASK = np.array([[1, 1], [1, 0]])
GOOD: dict[str, Any] = {"logp": LOGP, "old_logp": OLD, "advantages": WEIGHTS, "mask": MASK}


def call(clip: Any = (0.2, 0.2), **changed: Any) -> Any:
    options = {k: v for k, v in changed.items() if k not in GOOD}
    given = {**GOOD, **{k: v for k, v in changed.items() if k in GOOD}}
    return token_loss(*(given[k] for k in GOOD), clip=clip, **options)


@pytest.mark.parametrize(
    ("argument", "value", "rule"),
    [
        ("logp", LOGP[0], "(B, T)"),
        ("logp", LOGP[None], "(B, T)"),
        ("logp", 0.5, "(B, T)"),
        ("old_logp", OLD[:1], "the shape of logp"),
        ("old_logp", OLD.T[:, :1], "the shape of logp"),
        ("old_logp", None, "array"),
        ("advantages", np.ones(3), "(B,) or (B, T)"),
        ("advantages", np.ones((2, 1)), "(B,) or (B, T)"),
        ("advantages", np.array(1.0), "(B,) or (B, T)"),
        ("advantages", None, "be an array"),
        ("mask", MASK[0], "the shape of logp"),
        ("mask", None, "be an array"),
        ("mask", MASK * 2, "be 0 or 1"),
        ("mask", MASK * 0.5, "be 0 or 1"),
        ("mask", MASK * math.nan, "be 0 or 1"),
        ("logp", LOGP * math.nan, "not NaN"),
        ("logp", LOGP + math.inf, "below +inf"),
        ("old_logp", OLD - math.inf, "the token was sampled"),
        ("old_logp", OLD * math.nan, "the token was sampled"),
        ("old_logp", OLD + math.inf, "the token was sampled"),
        ("advantages", np.array([1.0, math.inf]), "be finite"),
        ("advantages", np.array([[1.0, math.nan], [1.0, 1.0]]), "be finite"),
        ("logp", LOGP > 0, "hold numbers"),
        ("advantages", WEIGHTS > 0, "hold numbers"),
        ("logp", LOGP.astype(complex), "dtype"),
        ("logp", np.full((2, 2), 2**60), "integers"),
        ("logp", [["a", "b"], ["c", "d"]], "dtype"),
        ("logp", np.ma.masked_array(LOGP, MASK), "plain array"),
        ("clip", None, "pair"),
        ("clip", 0.2, "pair"),
        ("clip", (0.2,), "pair"),
        ("clip", (-0.1, 0.2), "offsets"),
        ("clip", (1.1, 0.2), "offsets"),
        ("clip", (0.2, -0.1), "offsets"),
        ("clip", (0.2, math.nan), "offsets"),
        ("clip", (True, 0.2), "offsets"),
        ("clip", (0.2, -(10**400)), "offsets"),
        ("dual_clip", 1.0, "above 1"),
        ("dual_clip", math.nan, "above 1"),
        ("dual_clip", -(10**400), "above 1"),
        ("dual_clip", "3", "above 1"),
        ("objective", "ppo", "be one of"),
        ("objective", ["ppo_clip"], "be one of"),
        ("level", "word", "be one of"),
    ],
)
def test_each_rule(argument: str, value: object, rule: str) -> None:
    with pytest.raises(DomainError) as caught:
        call(**{argument: value})
    assert caught.value.argument == argument
    assert rule in caught.value.rule
    assert argument in str(caught.value)


@pytest.mark.parametrize(
    ("argument", "options"),
    [
        ("dual_clip", {"objective": "cispo", "dual_clip": 3.0}),
        ("dual_clip", {"objective": "reinforce", "clip": None, "dual_clip": 3.0}),
        ("clip", {"objective": "reinforce", "clip": (0.2, 0.2)}),
        ("clip", {"objective": "gspo", "clip": None}),
        ("level", {"objective": "reinforce", "clip": None, "level": "token"}),
        ("level", {"objective": "gspo", "level": "token"}),
    ],
)
def test_options_that_do_not_fit(argument: str, options: dict[str, Any]) -> None:
    with pytest.raises(DomainError) as caught:
        call(**options)
    assert caught.value.argument == argument


def test_the_offending_token_is_named() -> None:
    old = OLD.copy()
    old[0, 1] = -math.inf
    with pytest.raises(DomainError, match=r"old_logp .* at index \(0, 1\)\); got -inf"):
        call(old_logp=old)


def test_values_are_looked_at_where_they_are_visible(xp: Backend) -> None:
    old = OLD.copy()
    old[0, 1] = -math.inf
    arrays = [xp.asarray(a, "float32") for a in (LOGP, old, WEIGHTS)]
    if xp.checks_values:
        with pytest.raises(DomainError, match="old_logp"):
            xp.call(token_loss, *arrays, xp.asarray(MASK), clip=(0.2, 0.2))
    else:  # documented: the ratio saturates
        loss = xp.to_numpy(xp.call(token_loss, *arrays, xp.asarray(MASK), clip=(0.2, 0.2)))
        assert np.isfinite(loss).all()
    nan = xp.asarray(LOGP * math.nan, "float32")
    if xp.checks_values:
        with pytest.raises(DomainError, match="logp"):
            xp.call(token_loss, nan, *arrays[1:], xp.asarray(MASK), objective="reinforce")


def test_a_response_without_tokens_needs_no_advantage() -> None:
    mask = np.array([[1, 1], [0, 0]])
    loss = call(mask=mask, advantages=np.array([1.0, math.nan]))
    assert np.isfinite(loss).all()
    total = policy_loss(
        LOGP, OLD, np.array([1.0, math.nan]), mask, clip=(0.2, 0.2), aggregation="grpo"
    )
    assert np.isfinite(total)


def test_a_result_that_the_dtype_cannot_hold() -> None:
    half = [a.astype(np.float16) for a in (LOGP, LOGP - 20, WEIGHTS * 100)]
    with pytest.raises(DomainError, match="that float16 can hold"):
        token_loss(*half, MASK, clip=(1.0, math.inf))
    with pytest.raises(DomainError, match="hold"):
        policy_loss(
            LOGP, LOGP - 512, np.full(2, 1e300), MASK, clip=(1.0, math.inf), aggregation="grpo"
        )


def test_no_floating_point_error_of_numpy() -> None:
    far = np.array([[-800.0, -math.inf]])
    near, mask = np.array([[-1.0, -1.0]]), np.ones((1, 2))
    half = [a.astype(np.float16) for a in (far / 40, near)]
    with np.errstate(all="raise"):
        for level in ("token", "sequence", "sequence_token"):
            assert importance_ratio(far, near, mask, level=level)[0, 1] == 0
            importance_ratio(*half, mask, level=level)
        assert token_loss(far, near, [1.0], mask, clip=(1.0, 1.0))[0, 1] == 0
        for estimator in ("k1", "k2", "k3"):
            assert np.isfinite(kl(near, far, estimator=estimator)).all()


def test_mixed_libraries() -> None:
    torch = load_or_skip("torch").xp
    with pytest.raises(DomainError, match="same array library"):
        call(old_logp=torch.asarray(OLD))


def test_aggregation_is_checked() -> None:
    for options in ({"aggregation": "mean"}, {"aggregation": "dr_grpo"},
                    {"aggregation": "grpo", "constant": 3.0}):  # fmt: skip
        with pytest.raises(DomainError):
            policy_loss(LOGP, OLD, WEIGHTS, MASK, clip=(0.2, 0.2), **options)
    with pytest.raises(TypeError):
        policy_loss(LOGP, OLD, WEIGHTS, MASK, clip=(0.2, 0.2))


def test_kl_and_ratio() -> None:
    for function in (kl, lambda a, b, **o: importance_ratio(a, b, MASK, **o)):
        with pytest.raises(DomainError, match="shape of logp"):
            function(LOGP, OLD[:1])
        with pytest.raises(DomainError, match="logp"):
            function(LOGP * math.nan, OLD)
    for option in ("estimator", "gradient"):
        with pytest.raises(DomainError, match=option):
            kl(LOGP, OLD, **{option: "k4"})
    with pytest.raises(DomainError, match="ref_logp must be finite where logp is -inf"):
        kl(np.array([-math.inf]), np.array([-math.inf]))
    with pytest.raises(DomainError, match="level"):
        importance_ratio(LOGP, OLD, MASK, level="word")
    assert np.isfinite(kl(LOGP, OLD - math.inf)).all()
