"""Codes of authenticator apps by pyotp, which is imported when the first one is needed."""

ISSUER = "Convene"


class PyotpCodes:
    """`issuer` is what the app shows beside the account."""

    def __init__(self, issuer: str = ISSUER) -> None:
        self._issuer = issuer

    def new_secret(self) -> str:
        import pyotp

        return pyotp.random_base32(32)

    def code(self, secret: str, step: int) -> str:
        import pyotp

        return pyotp.TOTP(secret).generate_otp(step)

    def uri(self, secret: str, account: str) -> str:
        import pyotp

        return pyotp.TOTP(secret).provisioning_uri(name=account, issuer_name=self._issuer)
