# ruff: noqa: S608 (composed of constants)
"""Erasure of personal data in the tables of payments. Amounts, states and the ids at the gateways are kept."""

from infrastructure.postgres.erasure.statements import USER, has_address, scrubbed, scrubbed_json

_OWN = f"""
    SELECT p.id FROM payments p LEFT JOIN bookings b ON b.id = p.booking_id
        LEFT JOIN coaching_bookings c ON c.id = p.coaching_booking_id
    WHERE {USER} IN (b.user_id, c.client_id)"""
# What a webhook about one of these payments has in it.
_REFERENCES = f"""
    SELECT '%' || reference || '%' FROM payments p LEFT JOIN refunds r ON r.payment_id = p.id,
        unnest(ARRAY[p.id::text, p.gateway_reference, p.gateway_payment_id, r.id::text, r.gateway_refund_id])
            AS found(reference)
    WHERE p.id IN ({_OWN}) AND reference IS NOT NULL"""
_ABOUT_THEM = f"(payload::text LIKE ANY (ARRAY({_REFERENCES})) OR {has_address('payload::text')})"

ERASE = (
    f"UPDATE payments SET checkout_url = NULL, return_url = NULL WHERE id IN ({_OWN})",
    f"UPDATE refunds SET reason = {scrubbed('reason')} WHERE payment_id IN ({_OWN})",
    # One that is not applied stays for an operator.
    f"""UPDATE gateway_events SET report = {scrubbed_json("report")},
        payload = CASE WHEN settled_at IS NULL AND report IS NOT NULL THEN {scrubbed_json("payload")} ELSE '{{}}' END
        WHERE payload <> '{{}}' AND {_ABOUT_THEM}""",
    f"""UPDATE payment_differences SET report = {scrubbed_json("report")}, settled_note = {scrubbed("settled_note")}
        WHERE payment_id IN ({_OWN}) OR {has_address("report::text")} OR {has_address("settled_note")}""",
)
