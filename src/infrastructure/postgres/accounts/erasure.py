# ruff: noqa: S608 (composed of constants)
"""Erasure of personal data in the tables of accounts."""

from infrastructure.postgres.erasure.statements import USER

ERASE = (
    f"UPDATE facilitator_profiles SET bio = NULL, specialization = NULL WHERE user_id = {USER}",
    f"UPDATE logins SET network = NULL, user_agent = NULL WHERE user_id = {USER}",
    f"DELETE FROM login_networks WHERE user_id = {USER}",
    f"DELETE FROM account_tokens WHERE user_id = {USER}",
    f"DELETE FROM login_tickets WHERE user_id = {USER}",
    f"DELETE FROM recovery_codes WHERE user_id = {USER}",
    f"DELETE FROM second_factors WHERE user_id = {USER}",
    f"DELETE FROM api_keys WHERE user_id = {USER}",
    """DELETE FROM unverified_mails WHERE address IN (
        SELECT sha256(convert_to(address, 'UTF8')) FROM unnest(CAST(:addresses AS text[])) AS found(address))""",
    # Without mail from here and from the CRM, which mails facilitators whose address is not limited.
    f"""UPDATE users SET name = CAST(:name AS text), email = CAST(:email AS text), phone = NULL, timezone = NULL,
        google_id = NULL, profile_picture = NULL, password_hash = NULL, requested_role = NULL, is_active = false,
        is_verified = false, mail_limited = true
        WHERE id = {USER}""",
)
