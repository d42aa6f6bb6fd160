"""What a refusal means, in the language of the page."""

from collections.abc import Callable


def sentence_of(code: str, gettext: Callable[[str], str]) -> str | None:
    """By the code of the error; None for one without a sentence of its own."""
    sentences = {
        "invalid_credentials": gettext("The e-mail address or the password is wrong."),
        "too_many_requests": gettext("There were too many attempts. Please wait some minutes and try again."),
        "second_factor_not_valid": gettext("This code is not valid, or it was used before."),
        "ticket_not_valid": gettext("The log-in took too long. Please begin again."),
        "email_taken": gettext("There is an account with this e-mail address. Please log in."),
        "form_not_valid": gettext("This form is too old. Please load the page again and repeat what you did."),
        "second_factor_required_for_role": gettext("Your role needs a second factor. Please add one by the API first."),
        "event_full": gettext("This event is fully booked."),
        "event_cancelled": gettext("This event is cancelled."),
        "event_started": gettext("This event has started and cannot be booked any more."),
        "already_booked": gettext("You have booked this event already."),
        "too_many_unpaid_holds": gettext("You have too many unpaid bookings. Please pay or cancel one first."),
        "email_not_verified": gettext("Please confirm your e-mail address first, by the link in our mail."),
        "booking_over": gettext("The event has started, so its booking cannot be cancelled any more."),
        "booking_already_cancelled": gettext("This booking is cancelled already."),
    }
    return sentences.get(code)
