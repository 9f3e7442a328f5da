"""Adapters without a gateway, with the default test configuration."""

import pytest

from tests.adapters.direct import DirectDevice, DirectLogspace, DirectMoesif, DirectOtlp


@pytest.fixture
def moesif() -> DirectMoesif:
    return DirectMoesif()


@pytest.fixture
def logspace() -> DirectLogspace:
    return DirectLogspace()


@pytest.fixture
def device() -> DirectDevice:
    return DirectDevice()


@pytest.fixture
def otlp() -> DirectOtlp:
    return DirectOtlp()
