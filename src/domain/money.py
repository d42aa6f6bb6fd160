"""Amounts with their currency, as `Decimal`, never float. Only gateway adapters use minor units."""

from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

from domain.errors import Invalid

# ISO 4217:2015 with amendments up to No. 177; minor-unit exponents that are not 2.
EXPONENTS = {
    **dict.fromkeys("BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF".split(), 0),
    **dict.fromkeys("BHD IQD JOD KWD LYD OMR TND".split(), 3),
    **dict.fromkeys("CLF UYW".split(), 4),
}
TWO_DECIMALS = frozenset(
    "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY COP CRC CUP "
    "CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES "
    "KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK "
    "NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB "
    "TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VED VES WST XCD YER ZAR ZMW ZWG".split()
)
CURRENCIES = TWO_DECIMALS | EXPONENTS.keys()

MAX_AMOUNT = Decimal(10) ** 10

# Gateways transfer some currencies in larger steps than the minor unit: the last of three decimals must be 0
# (https://docs.stripe.com/currencies#three-decimal; the same at Razorpay), and the ariary has no decimals at Stripe.
_DECIMALS_MOVED = {"MGA": 0}
MOST_DECIMALS_MOVED = 2


@dataclass(frozen=True, slots=True)
class Money:
    """A finite, non-negative amount with at most the currency's own number of decimals.

    Raises `Invalid` (fields `price` and `currency`) for anything else: NaN, infinity, a negative amount, an unknown
    currency, a fraction smaller than the currency's minor unit, or more than 10^10. A currency in lower case is kept in
    upper case.
    """

    amount: Decimal
    currency: str

    def __post_init__(self) -> None:
        # Only ASCII, because `upper` also turns other letters, such as a dotless i, into Latin capitals.
        if self.currency.isascii():
            object.__setattr__(self, "currency", self.currency.upper())
        if self.currency not in CURRENCIES:
            raise Invalid({"currency": "Must be an ISO 4217 code such as INR"})
        if not self.amount.is_finite():
            raise Invalid({"price": "Must be a finite number"})
        if self.amount < 0:
            raise Invalid({"price": "Must not be negative"})
        if self.amount > MAX_AMOUNT:
            raise Invalid({"price": f"Must be at most {MAX_AMOUNT:,}"})
        places = exponent(self.currency)
        if self.amount != round(self.amount, places):
            raise Invalid({"price": f"{self.currency} has {places} decimal places"})
        object.__setattr__(self, "amount", abs(round(self.amount, places)))

    @property
    def is_zero(self) -> bool:
        return self.amount == 0

    @property
    def minor_units(self) -> int:
        return int(self.amount.scaleb(exponent(self.currency)))

    @classmethod
    def from_minor_units(cls, units: int, currency: str) -> "Money":
        return cls(Decimal(units).scaleb(-exponent(currency)), currency)

    @classmethod
    def computed(cls, amount: Decimal, currency: str) -> "Money":
        """A computed amount, such as a share of a price, rounded half up to the smallest step that gateways
        transfer."""
        return cls(amount.quantize(smallest_unit(currency), ROUND_HALF_UP), currency)

    def __str__(self) -> str:
        return f"{self.amount:,.{exponent(self.currency)}f} {self.currency}"


def exponent(currency: str) -> int:
    """Returns the number of decimals of the currency: 2 for INR, 0 for JPY, 3 for KWD."""
    return EXPONENTS.get(currency, 2)


def smallest_unit(currency: str) -> Decimal:
    """Returns the smallest amount that gateways transfer: 0.01 for INR and KWD, 1 for JPY and MGA."""
    decimals = _DECIMALS_MOVED.get(currency, min(exponent(currency), MOST_DECIMALS_MOVED))
    return Decimal(1).scaleb(-decimals)
