"""Which logins expire."""

# An expired token is rejected with or without its row. The row of its login is locked, so that no other worker
# deletes tokens of the same login meanwhile; with its last token a login is deleted.
PRUNE_REFRESH_TOKENS = """
DELETE FROM refresh_tokens WHERE fingerprint IN (
    SELECT t.fingerprint FROM refresh_tokens t JOIN logins l ON l.id = t.login_id
    WHERE t.expires_at < now() - $1::interval
    ORDER BY t.expires_at LIMIT $2
    FOR UPDATE SKIP LOCKED)
RETURNING login_id
"""
"""$1: time since the token expired, $2: at most so many rows."""

PRUNE_LOGINS = """
DELETE FROM logins l WHERE id = ANY ($1::uuid[]) AND NOT EXISTS (SELECT FROM refresh_tokens t WHERE t.login_id = l.id)
"""
"""$1: the logins of the deleted tokens. An access token needs the row of its login until it expires."""
