"""Fixtures for tests that break servers: a stack that no other process uses. Import them into a test module."""

import pytest

from tests.support.local_stack.databases import make_template
from tests.support.local_stack.stack import Stack

__all__ = ["stack", "template"]


@pytest.fixture(scope="session")
def stack(breakable_stack: Stack) -> Stack:
    """Return servers that may be stopped."""
    return breakable_stack


@pytest.fixture(scope="session")
def template(stack: Stack) -> str:
    """Create the template database on the server of this stack."""
    return make_template(stack)
