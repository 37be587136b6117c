"""Weights of other people's networks: fetched on first use, and tests that need them say why they cannot run."""

import functools

import pytest

from genie.errors import UserError


@functools.cache
def _have(make):
    try:
        return make(), None
    except UserError as error:
        return None, str(error)


@pytest.fixture(scope="session")
def pretrained():
    """pretrained(make): what `make()` gives, once for all tests; they are skipped where its weights cannot be had."""

    def get(make):
        made, reason = _have(make)
        if reason is not None:
            pytest.skip(reason)
        return made

    return get
