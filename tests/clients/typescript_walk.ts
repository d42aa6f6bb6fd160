// What a front end does, with the types that openapi-typescript generates and openapi-fetch: the one argument is the
// API's address. It is checked with `tsc --strict`, and run against a real API.
import createClient, { type Client } from "openapi-fetch";
import type { components, paths } from "./api.ts";

type Schemas = components["schemas"];
const PASSWORD = "password123";

function the<T>(answer: { data?: T; error?: unknown }): T {
  if (answer.data === undefined) throw new Error(JSON.stringify(answer.error));
  return answer.data;
}

function check(held: boolean, what: string): void {
  if (!held) throw new Error(`not so: ${what}`);
}

async function logInAsNew(address: string, role: Schemas["RegistrationRole"]): Promise<Client<paths>> {
  const anonymous = createClient<paths>({ baseUrl: address });
  const email = `${role}-${crypto.randomUUID()}@example.com`;
  const body = { email, password: PASSWORD, name: `A ${role}`, role };
  check(the(await anonymous.POST("/auth/register", { body })).user.email === email, "the address of the account");
  const tokens = the(await anonymous.POST("/auth/login", { body: { email, password: PASSWORD } }));
  return createClient<paths>({ baseUrl: address, headers: { Authorization: `Bearer ${tokens.access_token}` } });
}

// A person's part: the button of the sandbox's page.
async function pressPay(address: string, paymentUrl: string): Promise<void> {
  const page = new URL(new URL(paymentUrl).pathname, address);
  const answer = await fetch(`${page.href}/paid`, { method: "POST", redirect: "manual" });
  check(answer.status === 303, "paid at the sandbox");
}

async function main(address: string): Promise<void> {
  const facilitator = await logInAsNew(address, "facilitator");
  const startsAt = Date.now() + 30 * 24 * 3600 * 1000;
  const event: Schemas["NewEvent"] = {
    title: "Evening yoga",
    description: "",
    event_type: "session",
    start_datetime: new Date(startsAt).toISOString(),
    end_datetime: new Date(startsAt + 3600 * 1000).toISOString(),
    max_participants: 12,
    price: 300,
  };
  const saved = the(await facilitator.POST("/events", { body: event })).event;

  const guest = await logInAsNew(address, "user");
  const listed = the(await guest.GET("/events", { params: { query: { limit: 50 } } }));
  check(listed.events.some((each) => each.id === saved.id), "the event is listed");
  const headers = { "Idempotency-Key": crypto.randomUUID() };
  const created = the(await guest.POST("/bookings", { body: { event_id: saved.id }, params: { header: headers } }));
  check(created.payment_url !== null, "there is something to pay");
  await pressPay(address, created.payment_url ?? "");

  const path = { booking_id: created.booking.id };
  const deadline = Date.now() + 60_000;
  for (;;) {
    const booking: Schemas["Booking"] = the(await guest.GET("/bookings/{booking_id}", { params: { path } }));
    if (booking.payment_status === "completed") break;
    check(Date.now() < deadline, "the payment arrived");
    await new Promise((resolve) => setTimeout(resolve, 100));
  }

  const cancelled = the(await guest.POST("/bookings/{booking_id}/cancel", { params: { path } }));
  check(cancelled.refund?.amount === 300, "a full refund");
  const { error } = await guest.POST("/bookings/{booking_id}/cancel", { params: { path } });
  const expected: Schemas["ErrorCode"] = "booking_already_cancelled";
  check(error?.code === expected, "cancelled once");
  console.log("refused with", error?.code);
}

await main(process.argv[2] ?? "");
