"""Adapters without a gateway, with the default test configuration."""

import pytest

from tests.adapters.direct import DirectDevice, DirectLogspace, DirectMoesif


@pytest.fixture
def moesif() -> DirectMoesif:
    return DirectMoesif()


@pytest.fixture
def logspace() -> DirectLogspace:
    return DirectLogspace()


@pytest.fixture
def device() -> DirectDevice:
    return DirectDevice()
