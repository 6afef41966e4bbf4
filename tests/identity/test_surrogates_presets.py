"""Presets: their constants, their sources, and what they do with rewards and groups."""

from __future__ import annotations

import copy
import dataclasses
import math
import pickle
import re
from fractions import Fraction

import numpy as np
import pytest

from identity import DomainError
from identity.aggregation import aggregate
from identity.groups import dr_grpo_advantages, grpo_advantages, rloo_advantages
from identity.surrogates import PRESETS, Preset, kl, policy_loss, token_loss
from tests.backends import Backend, load_or_skip

NAMES = ("grpo", "dr_grpo", "dapo", "rloo", "gspo", "cispo", "two_grpo", "delta_l")
presets = pytest.mark.parametrize("name", NAMES)
CONSTANTS = {
    "grpo": ("grpo", "ppo_clip", (0.2, 0.2), "grpo", 0.04),
    "dr_grpo": ("dr_grpo", "ppo_clip", (0.2, 0.2), "dr_grpo", 0.0),
    "dapo": ("grpo", "ppo_clip", (0.2, 0.28), "dapo", 0.0),
    "rloo": ("rloo", "reinforce", None, "sequence_sum", 0.0),
    "gspo": ("grpo", "gspo", (3e-4, 4e-4), "grpo", 0.0),
    "cispo": ("grpo", "cispo", (1.0, 4.0), "dapo", 0.0),
    "two_grpo": ("grpo", "ppo_clip", (0.2, 0.2), "grpo", 0.0),
    "delta_l": ("grpo", "ppo_clip", (0.2, 0.3), "delta_l", 0.0),
}
SHAPE = (4, 5)
MASK = np.arange(5) < np.array([[5], [2], [3], [1]])
REWARDS = np.array([1.0, 0.0, 0.0, 1.0])
IDS = np.array([3, 8, 3, 8])


def needs_constant(preset: Preset) -> float | None:
    return 9.0 if preset.aggregation in ("dr_grpo", "delta_l") else None


def arrays(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    old = rng.uniform(-3, 0, SHAPE)
    return old + rng.normal(0, 0.3, SHAPE), old, old + rng.normal(0, 0.3, SHAPE)


def test_names() -> None:
    assert tuple(PRESETS) == NAMES
    assert all(PRESETS[name].name == name for name in NAMES)
    with pytest.raises(TypeError):
        PRESETS["mine"] = PRESETS["grpo"]  # type: ignore[index]


@presets
def test_constants(name: str) -> None:
    p = PRESETS[name]
    found = (p.advantage, p.objective, p.clip, p.aggregation, p.kl_coefficient)
    assert found == CONSTANTS[name]
    assert (p.ddof, p.eps, p.alpha, p.dual_clip) == (0, 0.0, 1.0, None)
    assert p.group_size == (2 if name == "two_grpo" else None)


@presets
def test_every_constant_has_a_source(name: str) -> None:
    preset = PRESETS[name]
    required = {"advantage", "objective", "clip", "aggregation", "kl_coefficient"}
    defaults = {f.name: f.default for f in dataclasses.fields(Preset)}
    required |= {
        f for f, default in defaults.items()
        if f not in ("name", "sources") and getattr(preset, f) != default
    }  # fmt: skip
    assert required <= set(preset.sources)
    for text in preset.sources.values():
        assert re.search(r"arXiv \d{4}\.\d{5} v\d", text), text
    assert set(preset.sources) <= set(defaults)


@presets
def test_loss_is_made_of_the_parts_that_it_names(xp: Backend, name: str) -> None:
    if xp.compiled or xp.name == "torch-vmap":
        return  # compared in tests/agreement
    preset = PRESETS[name]
    logp, old, ref = (xp.asarray(a, "float64") for a in arrays())
    rewards, mask, ids = (xp.asarray(a) for a in (REWARDS, MASK, IDS))
    function = {"grpo": grpo_advantages, "dr_grpo": dr_grpo_advantages, "rloo": rloo_advantages}
    advantages = function[preset.advantage](rewards, groups=ids)
    np.testing.assert_array_equal(
        xp.to_numpy(preset.advantages(rewards, ids)), xp.to_numpy(advantages)
    )
    options = {"groups": ids} if preset.per_group else {}
    if needs_constant(preset):
        options["constant"] = needs_constant(preset)
    given = ref if name == "grpo" else None
    loss = preset.loss(
        logp, old, rewards, mask, ref_logp=given, groups=ids, constant=needs_constant(preset)
    )
    tokens = token_loss(
        logp, old, advantages, mask, objective=preset.objective, clip=preset.clip,
        dual_clip=preset.dual_clip, level=preset.level,
    )  # fmt: skip
    if name == "grpo":
        tokens = tokens + 0.04 * kl(logp, ref, estimator="k3", mask=mask)
    expected = aggregate(tokens, mask, preset.aggregation, **options)
    np.testing.assert_array_equal(xp.to_numpy(loss), xp.to_numpy(expected))
    again = preset.token_loss(logp, old, advantages, mask, ref_logp=given)
    np.testing.assert_array_equal(xp.to_numpy(again), xp.to_numpy(tokens))
    if name != "grpo":
        direct = policy_loss(
            logp, old, advantages, mask, objective=preset.objective, clip=preset.clip,
            level=preset.level, aggregation=preset.aggregation, **options,
        )  # fmt: skip
        np.testing.assert_array_equal(xp.to_numpy(loss), xp.to_numpy(direct))


@presets
def test_rewards_by_rows_are_groups(xp: Backend, name: str) -> None:
    if xp.compiled or xp.name == "torch-vmap":
        return
    preset = PRESETS[name]
    logp, old, ref = (xp.asarray(a, "float64") for a in arrays(1))
    mask = xp.asarray(MASK)
    options = {"constant": needs_constant(preset), "ref_logp": ref if name == "grpo" else None}
    rows = preset.loss(logp, old, xp.asarray([[1.0, 0.0], [0.0, 1.0]]), mask, **options)
    flat = preset.loss(
        logp,
        old,
        xp.asarray([1.0, 0.0, 0.0, 1.0]),
        mask,
        groups=xp.asarray([4, 4, 7, 7]),
        **options,
    )
    np.testing.assert_array_equal(xp.to_numpy(rows), xp.to_numpy(flat))


@presets
def test_unanimous_groups_and_empty_batches_give_zero(name: str) -> None:
    preset = dataclasses.replace(PRESETS[name], kl_coefficient=0.0)
    logp, old, _ = arrays(2)
    constant = needs_constant(preset)
    for rewards in ([[1.0, 1.0], [0.1, 0.1]], [[0.0, 0.0], [0.0, 0.0]]):
        assert preset.loss(logp, old, rewards, MASK, constant=constant) == 0
    empty = np.zeros((0, 5))
    for rewards in (np.zeros(0), np.zeros((0, 2))):
        loss = preset.loss(empty, empty, rewards, empty.astype(bool), constant=constant)
        assert loss == 0


def test_a_variant_of_ones_own() -> None:
    mine = dataclasses.replace(PRESETS["dapo"], clip=(0.1, 0.1), dual_clip=3.0, per_group=False)
    logp, old, _ = arrays(3)
    loss = mine.loss(logp, old, REWARDS, MASK, groups=IDS)
    expected = policy_loss(
        logp, old, grpo_advantages(REWARDS, groups=IDS), MASK, clip=(0.1, 0.1), dual_clip=3.0,
        aggregation="dapo",
    )  # fmt: skip
    assert loss == expected
    assert PRESETS["dapo"].clip == (0.2, 0.28)
    assert pickle.loads(pickle.dumps(mine)) == mine
    assert hash(mine) != hash(PRESETS["dapo"])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("advantage", "ppo"),
        ("objective", "ppo"),
        ("clip", None),
        ("clip", (-0.1, 0.2)),
        ("dual_clip", 1.0),
        ("level", "word"),
        ("kl_coefficient", -1.0),
        ("kl_coefficient", math.inf),
        ("kl_coefficient", "much"),
        ("kl_estimator", "k4"),
        ("kl_gradient", "none"),
        ("group_size", 1),
        ("group_size", 2.0),
        ("name", 3),
        ("aggregation", "nonsense"),
        ("aggregation", None),
        ("alpha", "x"),
        ("alpha", 99),
        ("alpha", 0.5),  # grpo has none
        ("per_group", "yes"),
        ("per_group", True),  # nor that
        ("ddof", 5),
        ("ddof", True),
        ("eps", -1.0),
        ("eps", math.nan),
        ("sources", None),
        ("sources", {"clip": 1}),
    ],
)
def test_fields_are_checked(field: str, value: object) -> None:
    with pytest.raises(DomainError, match=field.split("_")[0]) as caught:
        dataclasses.replace(PRESETS["grpo"], **{field: value})
    assert caught.value.argument == field


def test_fields_are_plain_values() -> None:
    changed = {"clip": [0.25, Fraction(1, 4)], "kl_coefficient": Fraction(1, 25), "dual_clip": 3,
               "eps": np.float32(0.5), "ddof": np.int64(1), "group_size": np.int64(2)}  # fmt: skip
    mine = dataclasses.replace(PRESETS["grpo"], **changed)
    assert (mine.clip, mine.kl_coefficient, mine.dual_clip) == ((0.25, 0.25), 0.04, 3.0)
    for name, kind in (("kl_coefficient", float), ("dual_clip", float), ("eps", float),
                       ("ddof", int), ("group_size", int), ("alpha", float)):  # fmt: skip
        assert type(getattr(mine, name)) is kind, name
    hash(mine)
    logp, old, ref = arrays()
    assert np.isfinite(mine.loss(logp, old, REWARDS, MASK, groups=IDS, ref_logp=ref))


def test_sources_cannot_be_changed() -> None:
    given = {"clip": "a paper"}
    mine = dataclasses.replace(PRESETS["grpo"], sources=given)
    given["clip"] = "another"
    assert mine.sources == {"clip": "a paper"}
    with pytest.raises(TypeError):
        mine.sources["clip"] = "mine"  # type: ignore[index]
    for again in (pickle.loads(pickle.dumps(mine)), copy.deepcopy(mine), copy.copy(mine)):
        assert again == mine
        assert again.sources == {"clip": "a paper"}
    assert dataclasses.asdict(mine)["sources"] == {"clip": "a paper"}
    assert repr(mine.sources) == "{'clip': 'a paper'}"


def test_rewards_follow_the_log_probabilities(xp: Backend) -> None:
    if xp.compiled or xp.name == "torch-vmap":
        return
    preset, mask, ids = PRESETS["dapo"], xp.asarray(MASK), xp.asarray([0, 0, 0, 0])
    for dtype in {"float16", "float32", "float64"} & set(xp.dtypes):
        logp, old = (xp.asarray(a, dtype) for a in arrays()[:2])
        numbers = xp.asarray([1.0, 0.0, 0.0, 0.0], dtype)
        for groups in (None, ids, [0, 0, 0, 0]):
            expected = preset.loss(logp, old, numbers, mask, groups=groups)
            for rewards in ([1, 0, 0, 0], xp.asarray([1, 0, 0, 0]),
                            xp.asarray([True, False, False, False])):  # fmt: skip
                loss = preset.loss(logp, old, rewards, mask, groups=groups)
                assert loss.dtype == logp.dtype
                np.testing.assert_array_equal(xp.to_numpy(loss), xp.to_numpy(expected))


def test_integer_rewards_are_exact_even_if_float16_has_them_not() -> None:
    dr = PRESETS["dr_grpo"]
    logp = np.zeros((2, 1), dtype=np.float16)
    losses = [
        dr.loss(logp, logp, rewards, np.array([[1], [0]]), constant=1.0)
        for rewards in ([3003, 3001], [2, 0])
    ]
    assert losses[0].dtype == np.float16
    assert losses[0] == losses[1] == -0.5
    with pytest.raises(DomainError, match="rewards must give a result that float16 can hold"):
        dr.loss(logp, logp, [200_000, 0], np.ones((2, 1)), constant=1.0)


def test_an_empty_batch_stays_on_its_device() -> None:
    torch = load_or_skip("torch").xp
    empty = torch.zeros((0, 5), device="meta")
    for rewards in (torch.zeros(0, device="meta"), torch.zeros((0, 2), device="meta").bool()):
        loss = PRESETS["dapo"].loss(empty, empty, rewards, empty.bool())
        assert (loss.device.type, loss.dtype) == ("meta", torch.float32)


@pytest.mark.parametrize("ids", ["abc", [0, 0, 1], [[0, 0, 1, 1]], [0.0, 0.0, 1.0, 1.0]])
@pytest.mark.parametrize("name", ["two_grpo", "dapo"])
def test_groups_are_checked_even_if_unused(name: str, ids: object) -> None:
    logp, old, _ = arrays()
    for function in (PRESETS[name].loss, PRESETS[name].partial_sums):
        given = {"advantages": REWARDS, "mask": MASK, "groups": ids}
        if function == PRESETS[name].loss:
            given["rewards"] = None
        with pytest.raises(DomainError) as caught:
            function(logp, old, **given)  # type: ignore[arg-type]
        assert caught.value.argument == "groups"


def test_group_size_is_checked_where_there_are_groups() -> None:
    logp, old, _ = arrays()
    two = PRESETS["two_grpo"]
    loss = two.loss(logp, old, None, MASK, advantages=REWARDS, groups=IDS)
    assert loss == two.loss(logp, old, None, MASK, advantages=REWARDS)
    with pytest.raises(DomainError, match="groups must name each group 2 times"):
        two.loss(logp, old, None, MASK, advantages=REWARDS, groups=[0, 0, 0, 1])
    with pytest.raises(DomainError, match="groups must name each group 2 times"):
        two.loss(logp[:3], old[:3], None, MASK[:3], advantages=REWARDS[:3], groups=[0, 0, 1])


def test_two_grpo_insists_on_pairs() -> None:
    two = PRESETS["two_grpo"]
    logp, old, _ = arrays()
    assert two.advantages([[3.0, 5.0], [1.0, 1.0]]).tolist() == [[-1, 1], [0, 0]]
    assert two.advantages([3.0, 1.0, 5.0, 1.0], [7, 2, 7, 2]).tolist() == [-1, 0, 1, 0]
    for rewards, ids in (
        ([[1.0, 0.0, 1.0]], None),
        (REWARDS, None),
        (REWARDS, [0, 0, 0, 0]),
        (REWARDS, [0, 0, 0, 1]),
        (REWARDS, [0, 1, 1, 1]),
        ([1.0, 0.0, 1.0], [0, 0, 0]),
    ):
        with pytest.raises(DomainError):
            two.advantages(rewards, ids)
        with pytest.raises(DomainError):
            two.loss(logp, old, rewards, MASK, groups=ids)


def test_what_is_given_is_used_or_refused() -> None:
    logp, old, ref = arrays()
    dapo, grpo, dr = PRESETS["dapo"], PRESETS["grpo"], PRESETS["dr_grpo"]
    with pytest.raises(DomainError, match="ref_logp must be None"):
        dapo.loss(logp, old, REWARDS, MASK, groups=IDS, ref_logp=ref)
    with pytest.raises(DomainError, match="ref_logp"):
        grpo.loss(logp, old, REWARDS, MASK, groups=IDS)
    with pytest.raises(DomainError, match="constant"):
        dr.loss(logp, old, REWARDS, MASK, groups=IDS)
    with pytest.raises(DomainError, match="constant"):
        grpo.loss(logp, old, REWARDS, MASK, groups=IDS, ref_logp=ref, constant=3.0)
    for both in ((None, None), (REWARDS, REWARDS)):
        with pytest.raises(DomainError, match="advantages"):
            dapo.loss(logp, old, both[0], MASK, advantages=both[1])
    with pytest.raises(DomainError, match="rewards"):
        dapo.loss(logp, old, REWARDS[:, None, None], MASK)
    with pytest.raises(DomainError, match="rewards"):
        dapo.loss(logp, old, REWARDS.reshape(2, 2), MASK, groups=IDS)
    with pytest.raises(DomainError, match="rewards"):
        dapo.loss(logp, old, REWARDS[:3], MASK)


def test_rewards_are_one_for_each_response() -> None:
    logp, mask = np.zeros((5, 3)), np.ones((5, 3))
    for rewards in (np.array([1.0, 0.0, 1.0]), np.ones((2, 3))):
        with pytest.raises(DomainError) as caught:
            PRESETS["gspo"].loss(logp, logp, rewards, mask)
        assert caught.value.argument == "rewards"
