"""Refund policies in words."""

from collections.abc import Iterator

from domain.refunds import RefundPolicy, RefundTier
from interfaces.http.web.languages import Language


def sentences(policy: RefundPolicy, language: Language) -> list[str]:
    """What a cancellation refunds, one sentence a tier, the earliest first."""
    return [*_sentences(policy, language)]


def _sentences(policy: RefundPolicy, language: Language) -> Iterator[str]:
    tiers = [tier for tier in policy.tiers if tier.percent]
    if not tiers:
        yield language.gettext("There is no refund.")
        return
    for tier in tiers:
        share = language.percent(tier.percent)
        if tier.hours_before == 0:
            yield language.gettext("Until the start: %(share)s of the price is refunded.") % {"share": share}
        else:
            yield _until(tier, language) % {"share": share, "number": _length(tier)}
    if tiers[-1].hours_before:
        yield language.gettext("Later: no refund.")


def _until(tier: RefundTier, language: Language) -> str:
    if tier.hours_before % 24:
        return language.ngettext(
            "Until %(number)s hour before the start: %(share)s of the price is refunded.",
            "Until %(number)s hours before the start: %(share)s of the price is refunded.",
            _length(tier),
        )
    return language.ngettext(
        "Until %(number)s day before the start: %(share)s of the price is refunded.",
        "Until %(number)s days before the start: %(share)s of the price is refunded.",
        _length(tier),
    )


def _length(tier: RefundTier) -> int:
    """Whole days, else hours."""
    return tier.hours_before if tier.hours_before % 24 else tier.hours_before // 24
