# ruff: noqa: S608 (composed of constants)
"""Erasure of personal data in the tables of the outbox."""

from domain.outbox import Destination, MessageType
from infrastructure.postgres.erasure.statements import USER, USER_TEXT, has_address, scrubbed, scrubbed_json

OWN_ORDERING_KEYS = f"""
    SELECT 'user:' || {USER}
    UNION ALL
    SELECT 'booking:' || id || part FROM bookings, unnest(ARRAY['', ':' || 'facilitator']) AS parts(part)
    WHERE user_id = {USER}
    UNION ALL
    SELECT 'booking:' || b.id || ':' || 'facilitator' FROM bookings b JOIN events e ON e.id = b.event_id
    WHERE e.facilitator_id = {USER}
    UNION ALL
    SELECT 'event:' || id || ':' || 'facilitator' FROM events WHERE facilitator_id = {USER}
    UNION ALL
    SELECT 'coaching:' || id || part FROM coaching_bookings,
        unnest(ARRAY['', ':' || 'client', ':' || 'coach']) AS parts(part)
    WHERE client_id = {USER}
    UNION ALL
    SELECT 'coaching:' || id || ':' || 'coach' FROM coaching_bookings WHERE coach_id = {USER}
    UNION ALL
    SELECT 'invitation:' || id FROM invitations WHERE email = ANY (CAST(:addresses AS text[]))"""
"""Of the messages to the person, and about what the person has booked."""

PEOPLE = ("user", "client", "coach", "facilitator", "person")
"""The parts of a payload that are people."""
_PERSON = f"({USER_TEXT} IN ({', '.join(f'snapshot #>> {chr(39)}{{{part},id}}{chr(39)}' for part in PEOPLE)}))"
_OWN = f"""(lane IN ({OWN_ORDERING_KEYS}) OR snapshot #>> '{{person,id}}' = {USER_TEXT}
    OR snapshot ->> 'email' = ANY (CAST(:addresses AS text[])) OR held_for = ANY (CAST(:addresses AS text[])))"""
_BOOKED = f"(SELECT event_id::text FROM bookings WHERE user_id = {USER})"

PENDING = f"""
SELECT EXISTS (
    SELECT FROM outbox WHERE status = 'pending' AND (
        lane IN ({OWN_ORDERING_KEYS}
            UNION ALL
            SELECT 'payment:' || p.id FROM payments p LEFT JOIN bookings b ON b.id = p.booking_id
                LEFT JOIN coaching_bookings c ON c.id = p.coaching_booking_id
            WHERE {USER} IN (b.user_id, c.client_id))
        OR {_PERSON}
        OR snapshot ->> 'connection_id' IN (SELECT id::text FROM calendar_connections WHERE user_id = {USER})))
"""

FORMER_IDENTIFIERS = f"""
SELECT DISTINCT person.value ->> 'name' AS name, person.value ->> 'email' AS email
FROM outbox, jsonb_each(snapshot) AS person
WHERE person.key IN ({", ".join(f"'{part}'" for part in PEOPLE)}) AND person.value ->> 'id' = {USER_TEXT}
"""

_WITHOUT_TEXTS = """snapshot
    || CASE WHEN snapshot -> 'booking' ? 'notes'
        THEN jsonb_build_object('booking', snapshot -> 'booking' || '{"notes": null}') ELSE '{}' END
    || CASE WHEN snapshot -> 'coaching' ? 'notes'
        THEN jsonb_build_object('coaching', snapshot -> 'coaching' || '{"notes": null}') ELSE '{}' END"""

# Messages that are to be delivered or decided on stay, without the person. The mails among them are no longer sent.
ERASE = (
    f"""DELETE FROM outbox WHERE status IN ('delivered', 'discarded', 'held') AND {_OWN}
        AND destination <> '{Destination.PAYMENTS}'""",
    f"""UPDATE outbox SET held_for = NULL, last_error = {scrubbed("last_error")}, snapshot = {
        scrubbed_json(_WITHOUT_TEXTS)
    } WHERE {_OWN} AND destination <> '{Destination.PAYMENTS}'""",
    f"""UPDATE outbox SET last_error = {scrubbed("last_error")}, snapshot = {scrubbed_json("snapshot")}
        WHERE {_PERSON} OR {has_address("snapshot::text")} OR {has_address("last_error")}""",
    # What the facilitators of booked events wrote to all participants.
    f"""UPDATE outbox SET snapshot = jsonb_set(snapshot, '{{written}}', {scrubbed_json("snapshot -> 'written'")})
        WHERE snapshot ? 'written' AND snapshot #>> '{{event,id}}' IN {_BOOKED}""",
    f"""UPDATE delivery_attempts SET detail = {scrubbed("detail")} WHERE {has_address("detail")}
        OR message_id IN (SELECT id FROM outbox WHERE {_PERSON} OR {_OWN})""",
    f"UPDATE destinations SET reason = {scrubbed('reason')} WHERE {has_address('reason')}",
    f"""INSERT INTO outbox (destination, lane, fact, snapshot, occurred_at)
        VALUES ('{Destination.CRM}', 'user:' || {USER}, '{MessageType.USER_ERASED}',
            jsonb_build_object('user', jsonb_build_object('id', {USER})), clock_timestamp())""",
)

# What is ahead was cancelled before, and a cancelled booking gets no mail about a change: so no mail is lost.
ERASE_CHANGE_MAILS = (
    f"""DELETE FROM change_mails WHERE booking_id IN (
            SELECT id FROM bookings WHERE user_id = {USER}
            UNION ALL
            SELECT b.id FROM bookings b JOIN events e ON e.id = b.event_id WHERE e.facilitator_id = {USER})
        OR coaching_booking_id IN (SELECT id FROM coaching_bookings WHERE client_id = {USER} OR coach_id = {USER})""",
)
"""After the statements on events and appointments, which the end of a wait locks first."""
