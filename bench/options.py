"""How long and how often each part measures."""

import msgspec


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """`minutes` is the length of the long measurements (booking to CRM, open transaction, memory) in place of their
    short ones."""

    blocks: int = 5
    seconds: float = 3
    minutes: float | None = None

    def scaled(self, seconds: float) -> float:
        """Seconds of a measurement that takes `seconds` with the default of `--seconds`."""
        return seconds * self.seconds / Options().seconds

    def long(self, seconds: float) -> float:
        """Seconds of a long measurement that takes `seconds` by default."""
        return 60 * self.minutes if self.minutes else self.scaled(seconds)
