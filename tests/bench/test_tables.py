"""The measurements' own arithmetic, their table and their arguments. Nothing is measured."""

from email import message_from_bytes
from email.policy import default

import pytest

from bench import draining, mails, pgbench
from bench.__main__ import PARTS, options_of, parser
from bench.figures import alternating, median_of, median_ratio, percentile
from bench.open_transaction import claim_times
from bench.options import Options
from bench.site import EVENTS, MEMBERS, pair
from bench.table import Goal, Line, at_least, at_most, table
from bench.usage import Usage, cpu_seconds_of
from infrastructure.email.composer import MailComposer

LOG = """2026-11-28 22:00:00.000 UTC [1] LOG:  duration: 0.310 ms  bind __asyncpg_stmt_3__: WITH due AS (
	SELECT id, claimed_by FROM outbox FOR UPDATE SKIP LOCKED
	)
2026-11-28 22:00:00.001 UTC [1] LOG:  duration: 1.250 ms  execute __asyncpg_stmt_3__: WITH due AS (
	SELECT id, claimed_by FROM outbox FOR UPDATE SKIP LOCKED
	) SELECT 1
2026-11-28 22:00:00.002 UTC [1] LOG:  duration: 9.000 ms  execute __stmt_4__: UPDATE outbox SET claimed_by = NULL
2026-11-28 22:00:00.003 UTC [1] LOG:  duration: 2.500 ms  execute <unnamed>: WITH due AS (
	SELECT id, claimed_by FROM outbox FOR UPDATE SKIP LOCKED
	) SELECT 1
"""


@pytest.mark.parametrize(
    ("values", "share", "found"),
    [([7], 0.5, 7), ([3, 1, 2], 0.5, 2), ([4, 1, 2, 3], 0.5, 2), (range(1, 101), 0.99, 99), (range(1, 101), 1, 100)],
)
def test_percentile_is_the_smallest_value_that_the_share_does_not_exceed(
    values: list[float], share: float, found: float
) -> None:
    assert percentile(values, share) == found


def test_percentile_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)


async def test_every_second_block_runs_in_the_opposite_order() -> None:
    ran: list[str] = []

    def measure(name: str) -> int:
        ran.append(name)
        return len(ran)

    async def product() -> int:
        return measure("product")

    async def peer() -> int:
        return measure("peer")

    figures = await alternating(3, {"product": product, "peer": peer})
    assert ran == ["product", "peer", "peer", "product", "product", "peer"]
    assert figures == {"product": [1, 4, 5], "peer": [2, 3, 6]}


def test_ratio_is_that_of_each_block_and_not_that_of_the_medians() -> None:
    """A slow block slows both: the medians may come from different blocks."""
    product, peer = [100.0, 10.0, 50.0], [200.0, 40.0, 60.0]
    assert median_of(product, float) / median_of(peer, float) == pytest.approx(50 / 60)
    assert median_ratio(product, peer, float) == 0.5


def test_table_says_what_was_reached_and_what_was_missed() -> None:
    lines = [
        Line("bookings a second", "70: 0.70 of the limit", "100", (at_least(0.7, 0.7, "of the limit"),)),
        Line("start", "3.2 s", goals=(at_most(3.2, 3, "s"), Goal("0 lost", met=True))),
        Line("only measured", "5"),
    ]
    assert table(lines) == (
        "| work | now | limit or peer, same run | to reach | |\n"
        "| --- | --- | --- | --- | --- |\n"
        "| bookings a second | 70: 0.70 of the limit | 100 | ≥ 0.7 of the limit | reached |\n"
        "| start | 3.2 s | – | ≤ 3 s, 0 lost | missed: ≤ 3 s |\n"
        "| only measured | 5 | – | – |  |"
    )


def test_drained_outbox_is_compared_with_each_peer() -> None:
    (line,) = draining.lines({"product": [400.0], "aiohttp": [1000.0], "procrastinate": [100.0]})
    assert line.now == "400: 0.40 of aiohttp, 4.0 × procrastinate"
    assert [goal.met for goal in line.goals] == [True, True]
    assert "graphile-worker: could not be fetched" in line.limit


def test_only_executed_claims_are_read_from_the_log() -> None:
    assert list(claim_times(LOG)) == [1.25, 2.5]


def test_cpu_time_is_read_behind_the_name_of_the_process() -> None:
    """The name may contain blanks and brackets. A postmaster counts its ended children as well."""
    stat = "42 (a) b) S 1 42 42 0 -1 4194560 100 200 0 0 150 50 30 20 20 0 1 0 100 1000 10"
    assert cpu_seconds_of(stat) == 2
    assert cpu_seconds_of(stat, ended_children=True) == 2.5


def test_usage_is_divided_among_the_bookings() -> None:
    used = Usage({"API": 3.0, "worker": 5.0}).since(Usage({"API": 1.0, "worker": 1.0})).shared_by(1000)
    assert used.total == pytest.approx(0.006)
    assert used.milliseconds() == "API 2.0, worker 4.0"


def test_pairs_of_member_and_event_do_not_repeat() -> None:
    numbers = [*range(5_000), *range(MEMBERS - 5, MEMBERS + 5_000), *range(MEMBERS * EVENTS - 10, MEMBERS * EVENTS)]
    pairs = {pair(number, first_event=1) for number in dict.fromkeys(numbers)}
    assert len(pairs) == len(dict.fromkeys(numbers))
    assert all(0 <= member < MEMBERS and 1 <= event <= EVENTS for member, event in pairs)


def test_pgbench_runs_the_statement_of_the_product_with_all_its_parameters() -> None:
    statement = pgbench.statement()
    assert "INSERT INTO bookings" in statement
    assert "$" not in statement
    assert "\n" not in statement.rstrip()
    assert "--" not in statement, "the rest of the line would be a comment"


def test_parts_are_chosen_and_shortened_by_arguments() -> None:
    chosen = parser().parse_args(["--only", "drain", "up", "--quick"])
    assert chosen.only == ["drain", "up"]
    assert options_of(chosen) == Options(blocks=1, seconds=1)
    assert options_of(parser().parse_args([])).blocks >= 5
    assert options_of(parser().parse_args(["--minutes", "10"])).long(15) == 600
    assert "open-transaction" in PARTS


def test_unknown_part_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args(["--only", "everything"])
    assert "drain" in capsys.readouterr().err


async def test_library_writes_the_texts_of_the_mails_that_are_measured() -> None:
    message = mails._confirmation(7)
    mail = MailComposer(mail_from="no-reply@convene.example", public_url="https://book.example.org").compose(message)
    product, library = (message_from_bytes(octets, policy=default) for octets in (mail.octets(), mails._written(mail)))
    body = product.get_body(("plain",))
    assert body is not None
    assert "Ada Löwe 7" in body.get_content()
    kinds = [[part.get_content_type() for part in each.walk()] for each in (product, library)]
    assert kinds[0] == kinds[1]
    assert "application/ics" in kinds[0]


def test_cost_of_a_mail_is_compared_with_that_of_the_library() -> None:
    [line] = mails.lines({"product": [0.4, 0.6, 0.4], "library": [4.0, 6.0, 8.0]})
    assert str(line).startswith(
        "| ms of CPU to compose a mail with its calendar entry | 0.40: 0.10 of `EmailMessage` |"
    )
    assert line.goals == (Goal("≤ 0.5 ms", True),)
