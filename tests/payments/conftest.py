"""Deployments with a local gateway, Stripe, Razorpay or the sandbox.

The applications of a module are made once. Each test finds an empty database, and a gateway without orders and faults.
"""

from collections.abc import AsyncIterator, Callable

import asyncpg
import pytest

from infrastructure.settings import Settings
from tests.payments import razorpay_harness as razorpay
from tests.payments import stripe_harness as stripe
from tests.payments.gateway_harness import Deployment, SandboxDeployment, deployed, deployed_with_sandbox
from tests.support.app_harness import AppHarness, Worker, app_harness_of, running_workers
from tests.support.local_gateway import LocalGateway, LocalGatewayClient, running_local_gateway
from tests.support.razorpay_server import fake_razorpay
from tests.support.stripe_server import fake_stripe


@pytest.fixture(scope="module")
async def _two_workers(
    make_shared_settings: Callable[..., Settings],
) -> AsyncIterator[tuple[LocalGateway, list[Worker]]]:
    async with (
        running_local_gateway() as (local_gateway, gateway),
        running_workers(make_shared_settings(), gateway, 2) as workers,
    ):
        yield local_gateway, workers


@pytest.fixture
async def local_gateway() -> AsyncIterator[tuple[LocalGateway, LocalGatewayClient]]:
    """For tests that open a harness of their own."""
    async with running_local_gateway() as running:
        yield running


@pytest.fixture
async def harness(_two_workers: tuple[LocalGateway, list[Worker]], emptied_database: asyncpg.Connection) -> AppHarness:
    """With two workers."""
    local_gateway, workers = _two_workers
    local_gateway.reset()
    return await app_harness_of(workers, emptied_database, local_gateway)


@pytest.fixture(scope="module")
async def _stripe_deployment(make_shared_settings: Callable[..., Settings]) -> AsyncIterator[Deployment]:
    async with fake_stripe() as gateway, deployed(gateway, make_shared_settings) as deployment:
        yield deployment


@pytest.fixture
async def stripe_harness(_stripe_deployment: Deployment, emptied_database: asyncpg.Connection) -> stripe.GatewayHarness:
    return await _stripe_deployment.harness(stripe.GatewayHarness, emptied_database)


@pytest.fixture(scope="module")
async def _razorpay_deployment(make_shared_settings: Callable[..., Settings]) -> AsyncIterator[Deployment]:
    async with fake_razorpay() as gateway, deployed(gateway, make_shared_settings) as deployment:
        yield deployment


@pytest.fixture
async def razorpay_harness(
    _razorpay_deployment: Deployment, emptied_database: asyncpg.Connection
) -> razorpay.GatewayHarness:
    return await _razorpay_deployment.harness(razorpay.GatewayHarness, emptied_database)


@pytest.fixture(scope="module")
async def _sandbox_deployment(make_shared_settings: Callable[..., Settings]) -> AsyncIterator[SandboxDeployment]:
    async with deployed_with_sandbox(make_shared_settings) as deployment:
        yield deployment


@pytest.fixture
def sandbox_deployment(
    _sandbox_deployment: SandboxDeployment,
    emptied_database: asyncpg.Connection,
) -> SandboxDeployment:
    return _sandbox_deployment
