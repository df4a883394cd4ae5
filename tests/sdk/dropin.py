"""Uses textledger through Twilio's own library for Python, changed in nothing but the base URL, and wants it
to behave as Twilio does: every result and every refusal is compared with the simulator's own.

Arguments: the service's base URL, the simulator's, the account SID, the auth token, a sender's API key, a viewer's, the SID
and the secret of a sender's key that is kept in the store.
"""

import json
import sys
import urllib.request
from datetime import datetime, timedelta, timezone
from time import sleep

from twilio.base.exceptions import TwilioRestException
from twilio.http.http_client import TwilioHttpClient
from twilio.rest import Client

# Slower than a caller may ask.
POLL_INTERVAL_S = 0.05

SERVICE, SIMULATOR, ACCOUNT_SID, AUTH_TOKEN, SENDER_KEY, VIEWER_KEY, KEY_SID, KEY_SECRET = sys.argv[1:9]
SENDER, PERSON, MESSAGING_SERVICE = "+15005550006", "+14155550100", "MG" + "c" * 32
STAND_IN = "SM000000000000"
FINAL = ("delivered", "undelivered", "failed", "canceled", "read")


class To(TwilioHttpClient):
    def __init__(self, base_url):
        super().__init__()
        self.base_url = base_url

    def request(self, method, url, *args, **kwargs):
        return super().request(method, url.replace("https://api.twilio.com", self.base_url), *args, **kwargs)


def client(key=SENDER_KEY, account=ACCOUNT_SID):
    return Client(account, key, http_client=To(SERVICE))


ours, theirs = client().messages, Client(ACCOUNT_SID, AUTH_TOKEN, http_client=To(SIMULATOR)).messages


def control(path, body):
    request = urllib.request.Request(SIMULATOR + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    return urllib.request.urlopen(request).read()


def send(through=ours, **changed):
    arguments = {"to": PERSON, "from_": SENDER, "body": "hello", **changed}
    return through.create(**{name: value for name, value in arguments.items() if value is not None})


def refusal(call):
    try:
        call()
    except TwilioRestException as error:
        return error.code, error.status, error.method
    raise AssertionError("not refused")


def refused(code, status, call):
    assert refusal(call)[:2] == (code, status), (code, status, refusal(call))


def shown(message):
    """All that the library knows of a message, but for what it uses itself."""
    return {name: value for name, value in vars(message).items() if not name.startswith("_")}


def settled(sid):
    while (message := ours(sid).fetch()).status not in FINAL:
        sleep(POLL_INTERVAL_S)
    return message


# Create and fetch: the library's own types, and the same fields and values.
message = send()
direct = send(theirs)
assert message.sid.startswith("SM") and message.status == "queued" and isinstance(message.date_created, datetime)
volatile = ("sid", "uri", "subresource_uris", "date_created", "date_updated", "date_sent")
same = lambda one: {name: value for name, value in shown(one).items() if name not in volatile}
assert same(message) == same(direct), (same(message), same(direct))
assert settled(message.sid).status == "delivered"
assert shown(ours(message.sid).fetch()) == shown(theirs(message.sid).fetch())
failed = settled(send(to="+14155530003").sid)
assert (failed.status, failed.error_code) == ("undelivered", 30003)
assert send(media_url=["https://example.com/a.png", "https://example.com/b.png"]).num_media == "2"
assert send(messaging_service_sid=MESSAGING_SERVICE, from_=None).status == "accepted"
assert send(to="(415) 555-0100".replace("(415)", "+1 415")).to == PERSON

# An API key signs in as Twilio's own do, and no other secret does.
by_key = lambda secret: Client(KEY_SID, secret, ACCOUNT_SID, http_client=To(SERVICE)).messages
assert settled(send(by_key(KEY_SECRET)).sid).status == "delivered"
refused(20003, 401, lambda: send(by_key(SENDER_KEY)))

# The account's own credentials do, and then the base URL is all that changes.
own = Client(ACCOUNT_SID, AUTH_TOKEN, http_client=To(SERVICE))
direct_client = Client(ACCOUNT_SID, AUTH_TOKEN, http_client=To(SIMULATOR))
assert settled(send(own.messages).sid).status == "delivered"
assert send(own.messages, from_=MESSAGING_SERVICE).messaging_service_sid == MESSAGING_SERVICE
for one in (own, client()):
    account = one.api.v2010.accounts(ACCOUNT_SID).fetch()
    assert shown(account) == shown(direct_client.api.v2010.accounts(ACCOUNT_SID).fetch())
    assert [listed.sid for listed in one.api.v2010.accounts.list()] == [ACCOUNT_SID]
    with_media = send(one.messages, media_url=["https://example.com/a.png"])
    [file] = one.messages(with_media.sid).media.list()
    assert file.parent_sid == with_media.sid and file.content_type == "image/png"
    assert one.messages(with_media.sid).media(file.sid).delete() is True
numbers = [number.phone_number for number in own.incoming_phone_numbers.list()]
assert numbers == [number.phone_number for number in direct_client.incoming_phone_numbers.list()] == [SENDER]
for one in (own, client()):
    refused(20404, 404, lambda: one.calls.create(to=PERSON, from_=SENDER, url="https://example.com/"))

# Listing: the same messages, page by page through us.
settled(direct.sid)
for one in theirs.list():
    settled(one.sid)
everything = [shown(one) for one in ours.list(page_size=2)]
assert everything == [shown(one) for one in theirs.list()] and len(everything) > 5
assert [one.sid for one in ours.list(to="+14155530003")] == [failed.sid]
page = ours.page(page_size=3)
assert len(list(page)) == 3 and len(list(page.next_page())) == 3

# Update and delete go through.
assert ours(message.sid).update(body="").body == ""
assert theirs(message.sid).fetch().body == ""
assert ours(message.sid).delete() is True
refused(20404, 404, ours(message.sid).fetch)
refused(20404, 404, theirs(message.sid).fetch)

# What is scheduled waits here and not at Twilio.
known = len(theirs.list())
in_an_hour = datetime.now(timezone.utc) + timedelta(hours=1)
later = {"from_": None, "messaging_service_sid": MESSAGING_SERVICE, "schedule_type": "fixed", "send_at": in_an_hour}
scheduled = send(**later)
assert scheduled.sid.startswith(STAND_IN) and scheduled.status == "scheduled" and scheduled.body == "hello"
assert scheduled.to == PERSON and scheduled.from_ is None and scheduled.messaging_service_sid == MESSAGING_SERVICE
assert shown(ours(scheduled.sid).fetch()) == shown(scheduled)
refused(20009, 409, ours(scheduled.sid).delete)
assert ours(scheduled.sid).update(status="canceled").status == "canceled"
assert ours(scheduled.sid).fetch().status == "canceled"
refused(30409, 409, lambda: ours(scheduled.sid).update(status="canceled"))
assert len(theirs.list()) == known

# Who may call.
viewer = client(VIEWER_KEY).messages
assert viewer(direct.sid).fetch().sid == direct.sid
refused(20003, 403, lambda: send(viewer))
refused(20003, 401, lambda: send(client("wrong").messages))
refused(20003, 401, lambda: send(client(account="AC" + "b" * 32).messages))
refused(20404, 404, ours(STAND_IN + "0" * 20).fetch)

# Every refusal is the one that Twilio gives.
for changed in [
    {"to": "+15005550001"},
    {"to": "nobody"},
    {"to": "+15005550002"},
    {"to": "+15005550003"},
    {"to": "+15005550004"},
    {"to": "+15005550009"},
    {"from_": "+15005550001"},
    {"from_": "+15005550007"},
    {"from_": "+15005550008"},
    {"from_": PERSON},
    {"to": "whatsapp:" + PERSON},
    {"from_": None},
    {"body": None},
    {"body": "a" * 1601},
    {"media_url": ["ftp://example.com/a.png"]},
    {"media_url": ["https://example.com/a.png"] * 11},
    {"status_callback": "nowhere"},
    {"status_callback": "https://example.com/" + "a" * 4000},
    {"validity_period": 0},
    {"content_variables": "{}"},
    {"content_sid": "HX1"},
    {"content_sid": "HX" + "d" * 32, "content_variables": "{"},
    {"messaging_service_sid": "MG1"},
    {"messaging_service_sid": MESSAGING_SERVICE, "schedule_type": "fixed"},
    {"messaging_service_sid": MESSAGING_SERVICE, "schedule_type": "loose", "send_at": in_an_hour},
    {"messaging_service_sid": MESSAGING_SERVICE, "schedule_type": "fixed", "send_at": datetime(2000, 1, 1)},
    {"schedule_type": "fixed", "send_at": in_an_hour},
    {**later, "body": None},
    {**later, "body": "a" * 1601},
    {**later, "content_variables": "{}"},
]:
    through_us, direct = refusal(lambda: send(**changed)), refusal(lambda: send(theirs, **changed))
    assert through_us == direct, (changed, through_us, direct)

# STOP blocks until START; what had been scheduled before is not sent.
waiting = send(**later)
inbound = {"from": PERSON, "to": SENDER}
control("/simulator/inbound", {**inbound, "body": "STOP"})
refused(21610, 400, send)
refused(21610, 400, lambda: send(**later))
blocked = ours(waiting.sid).fetch()
assert (blocked.status, blocked.error_code) == ("failed", 21610), (blocked.status, blocked.error_code)
control("/simulator/inbound", {**inbound, "body": "START"})
send()

# A lost answer is no exception: whoever repeats the call would send twice.
control("/simulator/faults", {"accept_then_drop_response": 1})
lost = send(body="lost")
control("/simulator/faults", {})
assert lost.status in ("queued", "sent", "delivered") and lost.sid.startswith("SM")
while (found := ours(lost.sid).fetch()).status != "delivered":
    sleep(POLL_INTERVAL_S)
assert found.sid == lost.sid and found.body == "lost"
assert len([one for one in theirs.list() if one.body == "lost"]) == 1
control("/simulator/faults", {"rate_limit": 1})
refused(20429, 429, ours(found.sid).fetch)
control("/simulator/faults", {})
print("ok")
