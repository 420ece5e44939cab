"""Property tests take as long as their examples: the usual limit of a test is not for them."""

from __future__ import annotations

from pathlib import Path

import pytest

_HERE = Path(__file__).parent
_LIMIT_S = 900


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(_HERE):
            item.add_marker(pytest.mark.timeout(_LIMIT_S))
