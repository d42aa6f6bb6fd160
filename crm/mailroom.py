"""Gets every pending mail out: once, soon, and whatever happens to this process or to the mail server.

The row is the memory. Whoever claims it (a request, or the round that each process makes) holds it by a lease, so
several processes share the work; a mail whose process died is due again when its lease ends, with the Message-ID it
had. While the mail server is away new mails wait in the table and one of them at a time asks whether it is back.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from random import uniform

import structlog

from crm.carriers import Carrier, CarrierAway, MailDeferred, MailError, MailRefused
from crm.database import DatabaseAway
from crm.letters import LetterWriter, UnusableAddress
from crm.notifications import MailStatus
from crm.store import Claim, NotificationStore, Recorded

LEASE = timedelta(seconds=60)
SEND_SECONDS = 40.0  # with the wait for a turn; shorter than the lease, or two processes would send
PATIENCE_SECONDS = 5.0
DRAIN_SECONDS = 8.0
ROUND_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 15.0
AT_ONCE = 8
BATCH = 20
BACK_OFF = tuple(timedelta(minutes=minutes) for minutes in (0.5, 1, 5, 15, 60))
GIVE_UP_AFTER = timedelta(days=5)  # RFC 5321, 4.5.4.1: at least four to five days

log = structlog.stdlib.get_logger("crm.mailroom")


class Mailroom:
    """Sends the mails of one process. Between `start` and `close` it also makes its round of the due ones."""

    def __init__(self, store: NotificationStore, letters: LetterWriter, carrier: Carrier) -> None:
        self._store = store
        self._letters = letters
        self._carrier = carrier
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._sending: set[asyncio.Task[bool]] = set()
        self._out_but_unmarked: set[int] = set()
        self._carrier_away = False
        self._round: asyncio.Task[None] | None = None

    @property
    def claims_new_mail(self) -> bool:
        """Whether a new notification's mail may be tried at once: not while the mail server is known to be away."""
        return not self._carrier_away

    def start(self) -> None:
        self._round = asyncio.create_task(self._make_rounds(), name="crm-mail-rounds")

    async def close(self) -> None:
        """Let the mails under way finish, give the rest back."""
        if self._round:
            self._round.cancel()
            await asyncio.wait({self._round})
        if self._sending:
            _, late = await asyncio.wait(self._sending, timeout=DRAIN_SECONDS)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)
        with suppress(DatabaseAway):
            await self._store.release_claims()

    async def settle(self, recorded: Recorded) -> bool:
        """Whether the notification's mail is out, waiting a short while for it.

        A repeated request finds the mail sent, or being sent by another, or left behind by one that died.
        """
        if recorded.status is not MailStatus.PENDING:
            return recorded.status is MailStatus.SENT
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                return await self._outcome(recorded.id, recorded.claim)
        except (TimeoutError, DatabaseAway):
            return False

    async def _outcome(self, notification_id: int, claim: Claim | None) -> bool:
        while True:
            if claim is None and self.claims_new_mail:
                claim = await self._store.claim(notification_id)
            if claim:
                return await asyncio.shield(self._post(claim))
            status, leased = await self._store.mail_state(notification_id)
            if status is not MailStatus.PENDING or not leased:
                return status is MailStatus.SENT
            await asyncio.sleep(0.05)

    async def _make_rounds(self) -> None:
        pause = ROUND_SECONDS
        while True:
            claims: list[Claim] = []
            try:
                claims = await self._store.claim_due(1 if self._carrier_away else BATCH)
                if claims:
                    await asyncio.wait({self._post(claim) for claim in claims})
            except DatabaseAway as error:
                log.warning("database away", error=str(error))
            except Exception:
                log.exception("mail round failed")
            if not self._carrier_away:
                pause = ROUND_SECONDS
            elif claims:
                pause = min(LONGEST_PAUSE_SECONDS, pause * 2)
            if self._carrier_away or not claims:
                await asyncio.sleep(pause * uniform(0.8, 1.2))  # noqa: S311

    def _post(self, claim: Claim) -> asyncio.Task[bool]:
        """Send in a task of its own: a caller that stops waiting must not cut a mail in two."""
        task = asyncio.create_task(self._send(claim), name=f"crm-mail-{claim.id}")
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)
        return task

    async def _send(self, claim: Claim) -> bool:
        if claim.id in self._out_but_unmarked:
            return True
        try:
            await self._hand_over(claim)
        except UnusableAddress as error:
            await self._give_up(claim, f"Email failed: no usable address: {error}")
        except MailRefused as error:
            await self._give_up(claim, f"Email failed: {error}")
        except CarrierAway as error:
            await self._owe(claim, timedelta(seconds=ROUND_SECONDS), f"Email not sent yet: {error}")
        except MailDeferred as error:
            await self._owe(claim, _back_off(claim), f"Email not sent yet: {error}")
        except Exception:
            log.exception("mail could not be made", notification_id=claim.id)
            await self._owe(claim, _back_off(claim), "Email not sent yet: an unexpected error, see the log")
        else:
            await self._mark_sent(claim)
            log.info("facilitator mailed", notification_id=claim.id, attempts=claim.attempts)
            return True
        return False

    async def _hand_over(self, claim: Claim) -> None:
        message = self._letters.compose(claim)
        try:
            async with asyncio.timeout(SEND_SECONDS), self._turns:
                await self._carrier.send(message)
        except (CarrierAway, TimeoutError) as error:
            reason = str(error) or "the mail server did not answer in time"
            self._note_carrier(away=True, reason=reason)
            raise CarrierAway(reason) from error
        except MailError:
            self._note_carrier(away=False)
            raise
        self._note_carrier(away=False)

    def _note_carrier(self, *, away: bool, reason: str | None = None) -> None:
        if away != self._carrier_away:
            log.warning("mail carrier away" if away else "mail carrier back", reason=reason)
        self._carrier_away = away

    async def _mark_sent(self, claim: Claim) -> None:
        """A mail that is out and not marked would go out again: stay until the database knows."""
        self._out_but_unmarked.add(claim.id)
        try:
            while True:
                try:
                    await self._store.mark_sent(claim, f"Email sent successfully to {claim.recipient_email}")
                except DatabaseAway:
                    await asyncio.sleep(0.25)
                else:
                    return
        finally:
            self._out_but_unmarked.discard(claim.id)

    async def _owe(self, claim: Claim, delay: timedelta, response: str) -> None:
        if datetime.now(UTC) - claim.received_at > GIVE_UP_AFTER:
            await self._give_up(claim, response.replace("not sent yet", "given up", 1))
            return
        with suppress(DatabaseAway):  # the lease ends by itself
            await self._store.try_later(claim, delay, response)

    async def _give_up(self, claim: Claim, response: str) -> None:
        log.warning("mail given up", notification_id=claim.id, response=response)
        with suppress(DatabaseAway):
            await self._store.mark_failed(claim, response)


def _back_off(claim: Claim) -> timedelta:
    return BACK_OFF[min(claim.attempts, len(BACK_OFF)) - 1] * uniform(0.9, 1.1)  # noqa: S311
