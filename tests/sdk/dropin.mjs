// Uses textledger through Twilio's own library for Node, changed in nothing but the base URL, and compares
// what comes of it with what the simulator itself answers.
//
// Arguments: the folder with node_modules, the service's base URL, the simulator's, the account SID, the auth token, a
// sender's API key, a viewer's.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const [folder, service, simulator, accountSid, authToken, senderKey, viewerKey] = process.argv.slice(2);
const twilio = createRequire(path.join(folder, "index.js"))("twilio");
const [sender, person, messagingServiceSid] = ["+15005550006", "+14155550100", "MG" + "c".repeat(32)];

const clientOf = (baseUrl, key, account = accountSid) => {
  class Elsewhere extends twilio.RequestClient {
    request(options) {
      return super.request({ ...options, uri: options.uri.replace("https://api.twilio.com", baseUrl) });
    }
  }
  return twilio(account, key, { httpClient: new Elsewhere() });
};
const [ours, theirs] = [clientOf(service, senderKey), clientOf(simulator, authToken)];
const sendBy = (client, changed = {}) =>
  client.messages.create({ to: person, from: sender, body: "hello", ...changed });
const refusal = async (call) => {
  try {
    await call();
  } catch (error) {
    assert.ok(error instanceof twilio.RestException, String(error));
    return [error.code, error.status];
  }
  assert.fail("not refused");
};
const refused = async (code, status, call) => assert.deepEqual(await refusal(call), [code, status]);
const control = (path, body) =>
  fetch(simulator + path, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
// Slower than a caller may ask.
const POLL_INTERVAL_MS = 50;
const reaches = async (sid, status) => {
  for (;;) {
    const message = await ours.messages(sid).fetch();
    if (message.status === status) return message;
    await sleep(POLL_INTERVAL_MS);
  }
};

// Create, fetch and list.
const created = await sendBy(ours);
assert.match(created.sid, /^SM[0-9a-f]{32}$/);
assert.deepEqual([created.status, created.direction, created.numSegments], ["queued", "outbound-api", "1"]);
const delivered = await reaches(created.sid, "delivered");
assert.ok(delivered.dateSent instanceof Date);
assert.deepEqual(delivered.toJSON(), (await theirs.messages(created.sid).fetch()).toJSON());
for (let number = 0; number < 5; number += 1) {
  await reaches((await sendBy(ours, { to: `+1415555020${number}` })).sid, "delivered");
}
const all = await ours.messages.list({ pageSize: 2 });
assert.deepEqual(all.map((one) => one.toJSON()), (await theirs.messages.list()).map((one) => one.toJSON()));
assert.equal(all.length, 6);

// What is scheduled waits here.
const sendAt = new Date(Date.now() + 3600_000);
const later = { from: undefined, messagingServiceSid, scheduleType: "fixed", sendAt };
const scheduled = await sendBy(ours, later);
assert.equal(scheduled.status, "scheduled");
assert.equal((await ours.messages(scheduled.sid).update({ status: "canceled" })).status, "canceled");
await refused(30409, 409, () => ours.messages(scheduled.sid).update({ status: "canceled" }));
assert.equal((await theirs.messages.list()).length, 6);
assert.equal(await ours.messages(created.sid).remove(), true);
await refused(20404, 404, () => ours.messages(created.sid).fetch());

// Refusals, as the library's exception.
await refused(20003, 401, () => sendBy(clientOf(service, "wrong")));
await refused(20003, 403, () => sendBy(clientOf(service, viewerKey)));
for (const changed of [
  { to: "+15005550001" },
  { to: "+15005550003" },
  { to: "+15005550004" },
  { to: "+15005550009" },
  { from: "+15005550007" },
  { from: "+15005550008" },
  { from: undefined },
  { body: undefined },
  { body: "a".repeat(1601) },
  { mediaUrl: Array(11).fill("https://example.com/a.png") },
  { statusCallback: "nowhere" },
  { scheduleType: "fixed", sendAt },
]) {
  const expected = await refusal(() => sendBy(theirs, changed));
  assert.deepEqual(await refusal(() => sendBy(ours, changed)), expected, JSON.stringify(changed));
}
await control("/simulator/inbound", { from: person, to: sender, body: "STOP" });
await refused(21610, 400, () => sendBy(ours));
await control("/simulator/inbound", { from: person, to: sender, body: "START" });

// A lost answer is no exception.
await control("/simulator/faults", { accept_then_drop_response: 1 });
const lost = await sendBy(ours, { body: "lost" });
await control("/simulator/faults", {});
assert.equal((await reaches(lost.sid, "delivered")).sid, lost.sid);
// The account's own credentials: the base URL is all that changes.
const own = clientOf(service, authToken);
assert.equal((await sendBy(own)).status, "queued");
assert.equal((await sendBy(own, { from: messagingServiceSid })).messagingServiceSid, messagingServiceSid);
for (const client of [own, ours]) {
  assert.equal((await client.api.v2010.accounts(accountSid).fetch()).status, "active");
  assert.deepEqual((await client.api.v2010.accounts.list()).map((account) => account.sid), [accountSid]);
}
assert.deepEqual((await own.incomingPhoneNumbers.list()).map((number) => number.phoneNumber), [sender]);
await refused(20404, 404, () => ours.calls.create({ to: person, from: sender, url: "https://example.com/" }));

console.log("ok");
