"""The whole real trainers of TRL, built in memory: no network, no file kept, nothing drawn from
the caller's random generators.

The policy is a one-layer random Llama of 44 parameters with a tokenizer of five words. The one
reward function returns the data set's column ``reward``, so that a completion's reward is what
the row given to the trainer says.
"""

from __future__ import annotations

import functools
import logging
import random
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import numpy as np

from identity.conformance.calls import attribute, check_signature
from identity.conformance.operation import CannotRun

__all__ = ["INTERNALS", "Inputs", "Policy", "one_step", "quiet", "rank_loss", "trainer"]

# What is read, set or called and is not documented.
INTERNALS = (
    "_generate_and_score_completions",
    "_get_per_token_logps_and_entropies",
    "_compute_loss",
    "accelerator",
    "beta",
    "model",
)
# What `_compute_loss` must read of the trainer for the numbers set there to mean something.
READ = {
    "GRPOTrainer": ("current_gradient_accumulation_steps", "steps_per_generation", "num_processes"),
    "RLOOTrainer": (),
}
BASE = {
    "report_to": [],
    "use_cpu": True,
    "bf16": False,
    "gradient_checkpointing": False,
    "disable_tqdm": True,
    "logging_strategy": "no",
    "save_strategy": "no",
    "max_steps": 1,
    "beta": 0.0,  # no reference model, which would be loaded by name
}


@contextmanager
def quiet() -> Iterator[None]:
    """No log lines, no warnings, and the global random generators as they were."""
    kept = random.getstate(), np.random.get_state()  # noqa: NPY002 (TRL seeds this one)
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with attribute("torch", "random.fork_rng")(devices=[]):
                yield
    finally:
        logging.disable(level)
        random.setstate(kept[0])
        np.random.set_state(kept[1])  # noqa: NPY002


def _rewards(completions: list[Any], reward: list[float | None], **_: Any) -> list[float | None]:
    return reward


def _tokenizer() -> Any:
    words = {"<pad>": 0, "<eos>": 1, "a": 2, "b": 3, "c": 4}
    plain = attribute("tokenizers", "Tokenizer")(
        attribute("tokenizers.models", "WordLevel")(words, unk_token="a")
    )
    plain.pre_tokenizer = attribute("tokenizers.pre_tokenizers", "Whitespace")()
    return attribute("transformers", "PreTrainedTokenizerFast")(
        tokenizer_object=plain, pad_token="<pad>", eos_token="<eos>", padding_side="left"
    )


def _model() -> Any:
    config = attribute("transformers", "LlamaConfig")(
        vocab_size=5, hidden_size=2, intermediate_size=2, num_hidden_layers=1,
        num_attention_heads=1, max_position_embeddings=64, tie_word_embeddings=True,
        pad_token_id=0, eos_token_id=1, bos_token_id=None,
    )  # fmt: skip
    return attribute("transformers", "LlamaForCausalLM")(config)


@contextmanager
def _built(name: str, settings: dict[str, Any]) -> Iterator[Any]:
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        stack.enter_context(quiet())
        configure = attribute("trl", name.replace("Trainer", "Config"))
        construct = attribute("trl", name)
        # A trainer counts itself on the hub when it is built, unless the hub is offline.
        constants = attribute("huggingface_hub", "constants")
        if not hasattr(constants, "HF_HUB_OFFLINE"):
            raise CannotRun("huggingface_hub.constants has no HF_HUB_OFFLINE")
        stack.enter_context(mock.patch.object(constants, "HF_HUB_OFFLINE", True))
        arguments = {"output_dir": folder, **BASE, **settings}
        check_signature(configure, arguments)
        config = configure(**arguments)  # what it rejects is the library's answer, not a failure
        parts = {
            "model": _model(),
            "reward_funcs": _rewards,
            "args": config,
            "train_dataset": attribute("datasets", "Dataset").from_list(
                [{"prompt": "a b", "reward": 0.0}] * 8
            ),
            "processing_class": _tokenizer(),
        }
        check_signature(construct, parts)
        try:
            built = construct(**parts)
        except Exception as why:
            raise CannotRun(f"{name} cannot be built: {type(why).__name__}: {why}") from why
        absent = [internal for internal in INTERNALS if not hasattr(built, internal)]
        names = construct._compute_loss.__code__.co_names
        absent += [read for read in READ[name] if read not in names]
        if absent:
            raise CannotRun(f"{name} has no {', '.join(absent)} any more")
        built.model.train()
        yield built


def trainer(
    *,
    name: str,
    accumulation: int = 1,
    beta: float = 0.0,
    exact_length: int | None = None,
    **settings: Any,
) -> Any:
    """A real trainer, built once for each settings; its temporary folder is gone.

    Parameters
    ----------
    name : {"GRPOTrainer", "RLOOTrainer"}
        Which one.
    accumulation : int
        Micro-batches of the optimizer step under way: ``Trainer`` sets it while it trains, as
        `current_gradient_accumulation_steps` (transformers/trainer.py, "This is used to
        correctly scale the loss").
    beta : float
        Set after the building, since the configuration's would load a reference model by name.
    exact_length : int, optional
        Number of tokens of every completion.
    **settings
        Of its ``Config``.

    Raises
    ------
    CannotRun
        If it cannot be built, or has lost something that is read or set here.
    ValueError
        If its ``Config`` rejects the settings.
    """
    built = _kept(name, accumulation, beta, exact_length, tuple(settings.items()))
    if not hasattr(built.accelerator.state, "device"):
        # A configuration resets what all trainers of the process share, even one that is rejected.
        attribute("accelerate", "Accelerator")(cpu=True, mixed_precision="no")
    return built


@functools.lru_cache(maxsize=64)
def _kept(name: str, accumulation: int, beta: float, exact_length: int | None, items: Any) -> Any:
    settings = dict(items)
    if exact_length is not None:
        settings["max_completion_length"] = exact_length
        settings["generation_kwargs"] = {"min_new_tokens": exact_length}
    with _built(name, settings) as built:
        built.current_gradient_accumulation_steps = accumulation
        built.beta = beta
        return built


def rank_loss(*, trainer: Any, processes: int, model: Any, inputs: Any) -> Any:
    """The trainer's ``_compute_loss`` while it takes itself for one of several processes.

    Only the property ``accelerator.num_processes`` is replaced; what the loss gathers from other
    processes goes to the logs.
    """
    check_signature(trainer._compute_loss, {"model": model, "inputs": inputs})
    with mock.patch.object(type(trainer.accelerator), "num_processes", processes):
        return trainer._compute_loss(model=model, inputs=inputs)


class _Outputs:
    def __init__(self, logp: Any) -> None:
        self.log_probs = logp
        self.entropy = logp.detach() * 0

    def __getattr__(self, name: str) -> Any:
        raise CannotRun(f"the trainer reads {name!r} of the model's output, which is not given")


class Policy:
    """Stands for the language model alone: its output holds the given log-probabilities.

    Parameters
    ----------
    logp : torch.Tensor, shape (B, T)
        Of the tokens of the completions, which the trainer's loss is differentiated by.
    """

    def __init__(self, *, logp: Any) -> None:
        self._outputs = _Outputs(logp)

    def __call__(self, **inputs: Any) -> Any:
        known = {"input_ids", "attention_mask", "labels", "fused_lm_head"}
        if set(inputs) != known:
            raise CannotRun(f"the trainer passes {sorted(set(inputs) ^ known)} to the model")
        return self._outputs


class Inputs(dict[str, Any]):
    """A batch as the trainer makes it; says so where the loss wants more."""

    def __missing__(self, key: str) -> Any:
        raise CannotRun(f"the loss reads {key!r} of its inputs, which is not given")


def one_step(rewards: list[float], **settings: Any) -> list[dict[str, Any]]:
    """What passes through the loss in one optimizer step of a real ``GRPOTrainer.train()``.

    Nothing is replaced: the completions are sampled from the random Llama, and its own head
    gives the log-probabilities.

    Parameters
    ----------
    rewards : list of float
        Of the completions, in the order of generation.
    **settings
        Of ``GRPOConfig``.

    Returns
    -------
    list of dict
        For each micro-batch the inputs of ``_compute_loss``, and under "logp", "loss" and
        "gradient" the log-probabilities, the loss and its gradient by them; "generated" is the
        whole generation batch with its advantages.
    """
    seen: list[dict[str, Any]] = []
    queue = list(rewards)

    def pop(completions: list[Any], **_: Any) -> list[float]:
        return [queue.pop(0) for _ in completions]

    with _built("GRPOTrainer", settings) as built:
        built.reward_funcs = [pop]
        built.remove_callback(attribute("transformers", "PrinterCallback"))
        score, compute = built._generate_and_score_completions, built._compute_loss
        logps, batches = built._get_per_token_logps_and_entropies, []

        def scored(inputs: Any) -> Any:
            batches.append(score(inputs))
            return batches[-1]

        def kept(*args: Any, **keywords: Any) -> Any:
            out = logps(*args, **keywords)
            if out[0].requires_grad:
                out[0].retain_grad()
                seen[-1]["logp"] = out[0]
            return out

        def computed(model: Any, inputs: Any) -> Any:
            seen.append({**inputs, "generated": batches[-1]})
            seen[-1]["loss"] = compute(model, inputs)
            return seen[-1]["loss"]

        built._generate_and_score_completions = scored
        built._get_per_token_logps_and_entropies = kept
        built._compute_loss = computed
        built.train()
    for step in seen:
        step["gradient"] = step["logp"].grad
    return seen
