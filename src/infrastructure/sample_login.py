"""The login of the sample facilitator, which `convene up` prints."""

FACILITATOR_EMAIL = "facilitator@example.com"
FACILITATOR_PASSWORD = "password123"  # noqa: S105 (published, in contract C)
