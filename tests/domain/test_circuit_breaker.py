"""When a destination is left alone, and which attempts say something about it."""

import pytest

from domain.circuit_breaker import AttemptCounts, CircuitBreakerRule, destination_is_healthy
from domain.outbox import Delivered, Failed, Outcome


@pytest.mark.parametrize(
    ("attempts", "failures", "trips"),
    [(9, 9, False), (10, 10, True), (10, 7, True), (10, 6, False), (100, 70, True), (100, 69, False), (0, 0, False)],
)
def test_circuit_opens_at_seventy_percent_of_at_least_ten_attempts(attempts: int, failures: int, trips: bool) -> None:
    assert CircuitBreakerRule().trips(AttemptCounts(attempts, failures)) is trips


@pytest.mark.parametrize(
    ("outcome", "well"),
    [
        (Delivered(), True),
        (Failed("503", status_code=503, destination_fault=True), False),
        (Failed("no answer", destination_fault=True), False),
        (Failed("422: this one is wrong", status_code=422, permanent=True), True),
        (Failed("it could not even be written"), None),
    ],
)
def test_only_answers_of_the_destination_count_for_its_health(outcome: Outcome, well: bool | None) -> None:
    assert destination_is_healthy(outcome) is well
