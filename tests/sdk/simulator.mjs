// Uses the simulator through Twilio's own library for Node, changed in nothing but the host.
//
// Arguments: the folder with node_modules, the simulator's base URL, the account SID, the auth token.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const [folder, baseUrl, accountSid, authToken] = process.argv.slice(2);
const twilio = createRequire(path.join(folder, "index.js"))("twilio");
const [sender, person, service] = ["+15005550006", "+14155550100", "MG" + "c".repeat(32)];

class ToSimulator extends twilio.RequestClient {
  request(options) {
    const uri = options.uri.replace(/^https:\/\/(api|lookups|messaging)\.twilio\.com/, baseUrl);
    return super.request({ ...options, uri });
  }
}

const clientWith = (token) => twilio(accountSid, token, { httpClient: new ToSimulator() });
const client = clientWith(authToken);
const send = (changed = {}) => client.messages.create({ to: person, from: sender, body: "hello", ...changed });
const refused = (code, status, call) =>
  assert.rejects(call, (error) => {
    assert.ok(error instanceof twilio.RestException, String(error));
    assert.deepEqual([error.code, error.status], [code, status], error.message);
    return true;
  });
const control = (path, body) =>
  fetch(baseUrl + path, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
// Slower than a caller may ask.
const POLL_INTERVAL_MS = 50;
const reaches = async (sid, status) => {
  for (;;) {
    const message = await client.messages(sid).fetch();
    if (message.status === status) return message;
    await sleep(POLL_INTERVAL_MS);
  }
};

// Create and fetch: the library's own types.
const created = await send();
assert.match(created.sid, /^SM[0-9a-f]{32}$/);
assert.deepEqual([created.status, created.direction, created.numSegments], ["queued", "outbound-api", "1"]);
assert.ok(created.dateCreated instanceof Date && created.errorCode === null);
const delivered = await reaches(created.sid, "delivered");
assert.ok(delivered.dateSent instanceof Date);
const failed = await reaches((await send({ to: "+14155530003" })).sid, "undelivered");
assert.equal(failed.errorCode, 30003);

// Listing, across pages.
for (let number = 0; number < 7; number += 1) await send({ to: `+1415555020${number}` });
const all = await client.messages.list({ pageSize: 3 });
assert.equal(new Set(all.map((message) => message.sid)).size, 9);
assert.equal((await client.messages.list({ limit: 4, pageSize: 2 })).length, 4);
const page = await client.messages.page({ pageSize: 5 });
assert.deepEqual([page.instances.length, (await page.nextPage()).instances.length], [5, 4]);

// Update and delete.
const sendAt = new Date(Date.now() + 3600_000);
const scheduled = await send({ from: undefined, messagingServiceSid: service, scheduleType: "fixed", sendAt });
assert.equal(scheduled.status, "scheduled");
assert.equal((await client.messages(scheduled.sid).update({ status: "canceled" })).status, "canceled");
await refused(30409, 409, () => client.messages(scheduled.sid).update({ status: "canceled" }));
assert.equal((await client.messages(created.sid).update({ body: "" })).body, "");
assert.equal(await client.messages(created.sid).remove(), true);
await refused(20404, 404, () => client.messages(created.sid).fetch());

// The account and Lookup.
assert.equal((await client.api.accounts(accountSid).fetch()).status, "active");
const number = await client.lookups.v2.phoneNumbers("+14155552671").fetch({ fields: "line_type_intelligence" });
assert.deepEqual([number.valid, number.countryCode, number.lineTypeIntelligence.type], [true, "US", "mobile"]);

// What the account has to write to, page by page.
await control("/simulator/senders", {
  numbers: { [sender]: "https://a.example/in", "+15005550007": null },
  services: [{ sid: service, inbound_request_url: "https://c.example/in", senders: [sender] }],
});
const numbers = await client.incomingPhoneNumbers.list({ pageSize: 1 });
assert.deepEqual(numbers.map((number) => [number.phoneNumber, number.smsUrl]), [
  [sender, "https://a.example/in"],
  ["+15005550007", ""],
]);
const [listed] = await client.messaging.v1.services.list({ pageSize: 1 });
assert.deepEqual([listed.sid, listed.inboundRequestUrl], [service, "https://c.example/in"]);
assert.deepEqual(await client.messaging.v2.channelsSenders.list({ channel: "whatsapp" }), []);

// Refusals, as the library's exception.
await refused(20003, 401, () => clientWith("wrong").messages.create({ to: person, from: sender, body: "hello" }));
for (const [code, changed] of [
  [21211, { to: "+15005550001" }],
  [21408, { to: "+15005550003" }],
  [21610, { to: "+15005550004" }],
  [21614, { to: "+15005550009" }],
  [21606, { from: "+15005550007" }],
  [21611, { from: "+15005550008" }],
  [21603, { from: undefined }],
  [21602, { body: undefined }],
  [21617, { body: "a".repeat(1601) }],
  [21623, { mediaUrl: Array(11).fill("https://example.com/a.png") }],
  [21609, { statusCallback: "nowhere" }],
  [35118, { scheduleType: "fixed", sendAt }],
]) {
  await refused(code, 400, () => send(changed));
}

// Faults.
await control("/simulator/faults", { rate_limit: 1 });
await refused(20429, 429, () => send());
await control("/simulator/faults", { server_error: 1 });
await refused(20500, 500, () => send());
await control("/simulator/faults", {});
await send();
console.log("ok");
