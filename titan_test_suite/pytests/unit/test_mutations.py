"""The mutations fit the code: what each replaces is there once, and the tests that must notice exist."""

from __future__ import annotations

from pathlib import Path

import pytest

from titan_test_suite.mutations.check import AnchorGone, apply
from titan_test_suite.mutations.mutations import MUTATIONS, Mutation

ROOT = Path(__file__).resolve().parents[3]


def copy_of(mutation: Mutation, root: Path) -> Path:
    path = root / mutation.path
    path.parent.mkdir(parents=True)
    path.write_text((ROOT / mutation.path).read_text(encoding="utf-8"), encoding="utf-8")
    return path


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_mutation_can_be_applied_and_the_result_is_still_python(mutation: Mutation, tmp_path: Path) -> None:
    path = copy_of(mutation, tmp_path)
    before = apply(mutation, tmp_path)
    assert path.read_text(encoding="utf-8") != before
    compile(path.read_text(encoding="utf-8"), mutation.path, "exec")


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_the_tests_of_a_mutation_exist(mutation: Mutation) -> None:
    for test in mutation.tests:
        path, _, name = test.partition("::")
        text = (ROOT / path).read_text(encoding="utf-8")
        assert f"def {name.partition('[')[0]}(" in text or not name


def test_a_mutation_whose_anchor_is_gone_fails_loudly(tmp_path: Path) -> None:
    path = copy_of(MUTATIONS[0], tmp_path)
    path.write_text("pass\n", encoding="utf-8")
    with pytest.raises(AnchorGone, match=MUTATIONS[0].name):
        apply(MUTATIONS[0], tmp_path)


def test_there_are_enough_of_them_and_each_has_its_name() -> None:
    assert len({mutation.name for mutation in MUTATIONS}) == len(MUTATIONS) >= 10
