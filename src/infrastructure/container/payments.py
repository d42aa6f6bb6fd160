"""Composition of payments for web, worker and CLI."""

import hashlib
import hmac
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from application.outbox.ports import WakeUps
from application.payments.callbacks import ConfirmPayment, ReportPaymentFailure
from application.payments.checkout import CloseCheckout, OpenCheckout
from application.payments.checkout_return import ShowPaymentReturn
from application.payments.disputes import SettleDispute
from application.payments.hold_expiry import ExpireHolds
from application.payments.jobs import PaymentJobs
from application.payments.offline import RecordOfflinePayment
from application.payments.ports.gateways import PaymentGateway
from application.payments.reconciliation import Reconcile
from application.payments.refunds import RefundBooking, Refunds, ShowCancellation
from application.payments.sandbox import PayAtSandbox
from application.payments.settlement import SettlePayment
from application.payments.webhooks import ApplyWebhook, ReceiveWebhook
from application.ports import Clock
from application.unit_of_work import OpenUnitOfWork
from domain.booking_urls import BookingUrls
from domain.checkout_return import ReturnUrls
from domain.unpaid_holds import HoldLimits
from infrastructure.gateways.offline import OfflineGateway
from infrastructure.gateways.registry import GatewayRegistry
from infrastructure.gateways.return_addresses import SignedReturnAddresses
from infrastructure.gateways.sandbox import SandboxGateway
from infrastructure.postgres.engine import Database
from infrastructure.postgres.payments.checkouts import PostgresCheckouts
from infrastructure.postgres.payments.queries import PostgresPaymentQueries
from infrastructure.settings import Settings

if TYPE_CHECKING:
    from infrastructure.gateways.razorpay.gateway import RazorpayGateway


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Money:
    """The parts that deal with money."""

    gateways: GatewayRegistry
    hold_for: timedelta
    hold_limits: HoldLimits
    refunds: Refunds
    open_checkout: OpenCheckout
    settle_payment: SettlePayment
    receive_webhook: ReceiveWebhook
    pay_at_sandbox: PayAtSandbox
    record_offline_payment: RecordOfflinePayment
    confirm_payment: ConfirmPayment
    report_payment_failure: ReportPaymentFailure
    show_cancellation: ShowCancellation
    refund_booking: RefundBooking
    show_payment_return: ShowPaymentReturn
    jobs: PaymentJobs
    expire_holds: ExpireHolds
    reconcile: Reconcile


def build_gateways(
    settings: Settings, database: Database, clock: Clock, added: PaymentGateway | None = None
) -> tuple[GatewayRegistry, SandboxGateway]:
    """The gateways that have keys. New payments use PAYMENT_PROVIDER, or `added` if given."""
    returns = _return_addresses(settings)
    sandbox = SandboxGateway(database, public_url=settings.public_url, secret=_sandbox_secret(settings))
    gateways: list[PaymentGateway] = [OfflineGateway(), sandbox]
    if settings.stripe_secret_key and settings.stripe_webhook_secret:
        # Its package takes 0.2 s of CPU to import, in each process.
        from infrastructure.gateways.stripe.gateway import StripeGateway

        gateways.append(
            StripeGateway(
                settings.stripe_secret_key,
                settings.stripe_webhook_secret,
                base_url=settings.stripe_api_base,
                returns=returns,
                clock=clock,
            )
        )
    if settings.razorpay_key_id and settings.razorpay_key_secret and settings.razorpay_webhook_secret:
        from infrastructure.gateways.razorpay.gateway import RazorpayGateway

        gateways.append(
            RazorpayGateway(
                settings.razorpay_key_id,
                settings.razorpay_key_secret,
                settings.razorpay_webhook_secret,
                base_url=settings.razorpay_api_base,
                returns=returns,
                clock=clock,
            )
        )
    if added is not None:
        gateways.append(added)
    return GatewayRegistry(gateways, chosen=added.name if added else settings.payment_provider), sandbox


def build_money(
    settings: Settings,
    database: Database,
    open_work: OpenUnitOfWork,
    gateways: GatewayRegistry,
    sandbox: SandboxGateway,
    wake_ups: WakeUps,
    clock: Clock,
) -> Money:
    reader = PostgresPaymentQueries(database)
    refunds = Refunds(open_work, gateways, wake_ups, clock)
    settle_payment = SettlePayment(open_work, refunds, wake_ups, clock)
    settle_dispute = SettleDispute(open_work, gateways, wake_ups, clock)
    returns = _return_addresses(settings)
    return_urls = ReturnUrls(settings.payment_return_url, frozenset(settings.oauth_redirect_allowlist))
    checkouts = PostgresCheckouts(database)
    open_checkout = OpenCheckout(gateways, reader, checkouts, return_urls)
    close_checkout = CloseCheckout(open_work, gateways, settle_payment)
    receive_webhook = ReceiveWebhook(gateways, open_work, wake_ups, clock)
    razorpay = _razorpay(gateways)
    return Money(
        gateways=gateways,
        hold_for=timedelta(minutes=settings.payment_hold_minutes),
        hold_limits=HoldLimits(
            per_account=settings.unpaid_holds_per_account, per_coach=settings.unpaid_holds_per_coach
        ),
        refunds=refunds,
        open_checkout=open_checkout,
        settle_payment=settle_payment,
        receive_webhook=receive_webhook,
        pay_at_sandbox=PayAtSandbox(sandbox, receive_webhook, gateways.chosen is sandbox, reader, returns, clock),
        record_offline_payment=RecordOfflinePayment(open_work, wake_ups, clock),
        confirm_payment=ConfirmPayment(open_work, razorpay, settle_payment, reader),
        report_payment_failure=ReportPaymentFailure(open_work, gateways, settle_payment, reader),
        show_cancellation=ShowCancellation(open_work, clock),
        refund_booking=RefundBooking(open_work, refunds, wake_ups),
        show_payment_return=ShowPaymentReturn(
            reader,
            returns,
            razorpay,
            return_urls,
            BookingUrls(settings.booking_url_template) if settings.booking_url_template else None,
            clock,
        ),
        jobs=PaymentJobs(
            refunds,
            close_checkout,
            ApplyWebhook(open_work, settle_payment, refunds, settle_dispute, clock),
            settle_dispute,
        ),
        expire_holds=ExpireHolds(open_work, reader, wake_ups, clock),
        reconcile=Reconcile(open_work, reader, checkouts, gateways, open_checkout, close_checkout, settle_payment),
    )


def _sandbox_secret(settings: Settings) -> bytes:
    """The key of the sandbox's signatures, derived from JWT_SECRET_KEY."""
    return hmac.digest(settings.jwt_secret_key.encode(), b"sandbox gateway", hashlib.sha256)


def _return_addresses(settings: Settings) -> SignedReturnAddresses:
    key = hmac.digest(settings.jwt_secret_key.encode(), b"payment return addresses", hashlib.sha256)
    return SignedReturnAddresses(settings.public_url, key)


def _razorpay(gateways: GatewayRegistry) -> "RazorpayGateway | None":
    """Its packages are imported if it is configured."""
    if "razorpay" not in gateways:
        return None
    from infrastructure.gateways.razorpay.gateway import RazorpayGateway

    return gateways.find(RazorpayGateway)
