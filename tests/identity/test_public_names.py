"""What the packages export: documented, linked to its own topic, with examples that run."""

from __future__ import annotations

import doctest
import importlib
import inspect

import pytest

PACKAGES = {
    "groups": ("advantages", "spread", "updates"),
    "expectation": ("group_size", "silent", "surrogate", "weight"),
    "preference": ("budget", "contrast", "dpo", "pairs", "sampling"),
    "aggregation": ("bias", "estimators", "parts", "weights"),
    "surrogates": ("divergence", "losses", "preset", "published", "ratios"),
    "dynamics": (
        "cold_start",
        "fitting",
        "noise",
        "oscillator",
        "success",
        "threshold",
        "trajectory",
    ),
    "distillation": ("divergence", "reward", "teacher"),
    "difficulty": ("atlas", "kernel", "pool", "robust", "success", "tsallis"),
}
WITHOUT_EXAMPLES = {("surrogates", "published")}
FUNCTIONS = [
    (topic, name)
    for topic in PACKAGES
    for name in importlib.import_module(f"identity.{topic}").__all__
    if inspect.isfunction(getattr(importlib.import_module(f"identity.{topic}"), name))
]


def test_there_are_functions_of_every_package() -> None:
    assert {topic for topic, _ in FUNCTIONS} == set(PACKAGES)
    assert len(FUNCTIONS) >= 30


@pytest.mark.parametrize(("topic", "name"), FUNCTIONS)
def test_public_functions_are_documented_and_linked(topic: str, name: str) -> None:
    function = getattr(importlib.import_module(f"identity.{topic}"), name)
    assert all(i.startswith(f"{topic}.") for i in function.__proven__)
    doc = inspect.getdoc(function)
    assert doc is not None
    for section in ("Parameters", "Returns", "Raises", "Notes", "References", "Examples"):
        assert f"\n{section}\n---" in doc, section
    for promise in ("*Preconditions", "*Postcondition"):
        assert promise in doc, promise
    if topic != "expectation":  # whose docstrings say what is checked there
        assert "assumed under" in " ".join(doc.split())


@pytest.mark.parametrize(
    ("topic", "module"), [(topic, m) for topic, modules in PACKAGES.items() for m in modules]
)
def test_examples_run(topic: str, module: str) -> None:
    results = doctest.testmod(importlib.import_module(f"identity.{topic}.{module}"))
    assert results.attempted or (topic, module) in WITHOUT_EXAMPLES
    assert not results.failed
