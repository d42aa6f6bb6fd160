"""Operations of facilitators on the participants of their events: not in contract B, with its error format."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from litestar import Request, Response, get, post
from litestar.params import FromPath, FromQuery, JSONBody
from msgspec import Struct

from application.accounts.sessions import Actor
from application.bookings.cancellation import CancelParticipant
from application.bookings.invitations import InviteParticipant, ListInvitations, WithdrawInvitation
from application.events.participant_messages import WriteToParticipants
from application.ports import DEFAULT_PAGE, PageRequest
from domain.api_keys import Scope
from domain.invitations import Invitation, InvitationId, InvitationNotFound, InvitationStatus
from interfaces.emails import email_address
from interfaces.http.authentication import facilitators
from interfaces.http.booking_api.bookings import BookingCancelled, refund_body
from interfaces.http.booking_api.facilitator import TAGS
from interfaces.http.injection import Inject
from interfaces.http.parameters import BookingIdInPath, Cursor, EventIdInPath, PageSize, uuid_in_path
from interfaces.http.schemas import object_page, whole_seconds

InvitationIdInPath = Annotated[InvitationId, uuid_in_path("The invitation's id.", InvitationNotFound)]


class MessageToParticipants(Struct):
    """`subject`: one line of at most 200 characters. `text`: at most 5,000 characters, with line breaks."""

    subject: str
    text: str


class MessageAccepted(Struct):
    """`recipients`: how many people receive a mail."""

    message: str
    recipients: int


class ParticipantToAdd(Struct):
    name: str
    email: str


class InvitationBody(Struct):
    """`status`: `pending` until the person has `confirmed` or `declined`, the invitation has `expired`, or the
    facilitator has `withdrawn` it. `booking_id`: the booking of a person who has confirmed, else `null`."""

    id: UUID
    event_id: int
    name: str
    email: str
    status: InvitationStatus
    created_at: datetime
    expires_at: datetime
    answered_at: datetime | None
    booking_id: int | None


class InvitationSent(Struct):
    message: str
    invitation: InvitationBody


class InvitationList(Struct):
    event_id: int
    invitations: list[InvitationBody]
    next_cursor: str | None


@post(
    "/facilitator/bookings/{booking_id:str}/cancel",
    operation_id="cancelParticipant",
    tags=TAGS,
    status_code=200,
    guards=[facilitators.with_scope(Scope.BOOKINGS_WRITE)],
)
async def cancel_booking_of_participant(
    booking_id: FromPath[BookingIdInPath], actor: Inject[Actor], cancel_participant: Inject[CancelParticipant]
) -> BookingCancelled:
    refund = await cancel_participant(actor.user, booking_id)
    return BookingCancelled("Booking cancelled successfully", refund_body(refund) if refund else None)


@post(
    "/facilitator/events/{event_id:str}/messages",
    operation_id="writeToParticipants",
    tags=TAGS,
    status_code=202,
    guards=[facilitators.with_scope(Scope.EVENTS_WRITE)],
)
async def write_to_participants_of_event(
    event_id: FromPath[EventIdInPath],
    data: JSONBody[MessageToParticipants],
    actor: Inject[Actor],
    write_to_participants: Inject[WriteToParticipants],
) -> MessageAccepted:
    recipients = await write_to_participants(actor.user, event_id, subject=data.subject, text=data.text)
    return MessageAccepted("Message accepted for delivery", recipients)


@post(
    "/facilitator/events/{event_id:str}/bookings",
    operation_id="addParticipant",
    tags=TAGS,
    status_code=202,
    guards=[facilitators.with_scope(Scope.BOOKINGS_WRITE)],
)
async def add_participant_by_hand(
    event_id: FromPath[EventIdInPath],
    data: JSONBody[ParticipantToAdd],
    actor: Inject[Actor],
    invite_participant: Inject[InviteParticipant],
) -> InvitationSent:
    invitation = await invite_participant(actor.user, event_id, name=data.name, email=email_address(data.email))
    return InvitationSent("A seat is held, and the person is asked to confirm by mail", _invitation(invitation))


@get(
    "/facilitator/events/{event_id:str}/invitations",
    operation_id="listInvitations",
    tags=TAGS,
    guards=[facilitators.with_scope(Scope.BOOKINGS_READ)],
)
async def list_invitations_of_event(
    request: Request[Any, Any, Any],
    event_id: FromPath[EventIdInPath],
    actor: Inject[Actor],
    list_invitations: Inject[ListInvitations],
    limit: FromQuery[PageSize] = DEFAULT_PAGE,
    cursor: FromQuery[Cursor] = None,
) -> Response[InvitationList]:
    page = await list_invitations(actor.user, event_id, PageRequest(limit, cursor))
    return object_page(request, InvitationList(event_id, [_invitation(each) for each in page.items], page.next))


@post(
    "/facilitator/invitations/{invitation_id:str}/cancel",
    operation_id="withdrawInvitation",
    tags=TAGS,
    status_code=200,
    guards=[facilitators.with_scope(Scope.BOOKINGS_WRITE)],
)
async def withdraw_invitation_of_person(
    invitation_id: FromPath[InvitationIdInPath], actor: Inject[Actor], withdraw_invitation: Inject[WithdrawInvitation]
) -> InvitationSent:
    return InvitationSent("The seat is released", _invitation(await withdraw_invitation(actor.user, invitation_id)))


ROUTES = [
    cancel_booking_of_participant,
    write_to_participants_of_event,
    add_participant_by_hand,
    list_invitations_of_event,
    withdraw_invitation_of_person,
]


def _invitation(invitation: Invitation) -> InvitationBody:
    return InvitationBody(
        id=invitation.id,
        event_id=invitation.event_id,
        name=invitation.name,
        email=invitation.email,
        status=invitation.status,
        created_at=whole_seconds(invitation.created_at),
        expires_at=whole_seconds(invitation.expires_at),
        answered_at=whole_seconds(invitation.answered_at) if invitation.answered_at else None,
        booking_id=invitation.booking_id,
    )
