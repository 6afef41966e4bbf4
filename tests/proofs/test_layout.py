"""The same topic nouns name packages of identity and proofs, test files and pages."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from proofs.first_principles import CHECKS
from proofs.ledger import TOPICS, theorems

ROOT = Path(__file__).resolve().parents[2]
LEMMAS = {"score-means", "power-order", "tangent-line", "mixed-share"}


def test_pages_are_the_topics() -> None:
    assert {page.stem for page in (ROOT / "docs" / "theory").glob("*.rst")} == set(TOPICS)


@pytest.mark.parametrize("topic", TOPICS)
def test_every_topic_has_functions_proofs_and_tests(topic: str) -> None:
    assert importlib.import_module(f"identity.{topic}").__all__
    assert importlib.import_module(f"proofs.{topic}").THEOREMS
    assert list((ROOT / "tests" / "identity").glob(f"test_{topic}*.py"))


def test_first_principles_cover_the_ledger() -> None:
    """All but the lemmas, whose checks stand beside them."""
    ids = {t.id for t in theorems()}
    assert ids - set(CHECKS) == {f"expectation.{slug}" for slug in LEMMAS}
    assert set(CHECKS) <= ids
