"""Uses the simulator through Twilio's own library for Python, changed in nothing but the host.

Arguments: the simulator's base URL, the account SID, the auth token.
"""

import json
import sys
import urllib.error
import urllib.request
from datetime import datetime, timedelta, timezone
from time import sleep

from twilio.base.exceptions import TwilioRestException
from twilio.http.http_client import TwilioHttpClient
from twilio.rest import Client

# Slower than a caller may ask.
POLL_INTERVAL_S = 0.05

BASE_URL, ACCOUNT_SID, AUTH_TOKEN = sys.argv[1:4]
SENDER, PERSON, SERVICE = "+15005550006", "+14155550100", "MG" + "c" * 32


class ToSimulator(TwilioHttpClient):
    def request(self, method, url, *args, **kwargs):
        for host in ("https://api.twilio.com", "https://lookups.twilio.com", "https://messaging.twilio.com"):
            url = url.replace(host, BASE_URL)
        return super().request(method, url, *args, **kwargs)


def client(token=AUTH_TOKEN):
    return Client(ACCOUNT_SID, token, http_client=ToSimulator())


def control(path, body):
    request = urllib.request.Request(BASE_URL + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    return urllib.request.urlopen(request).read()


def refused(code, status, call):
    try:
        call()
    except TwilioRestException as error:
        assert (error.code, error.status) == (code, status), (code, status, error.code, error.status, error.msg)
        return
    raise AssertionError(f"not refused with {code}")


twilio = client()
messages = twilio.messages


def send(**changed):
    arguments = {"to": PERSON, "from_": SENDER, "body": "hello", **changed}
    return messages.create(**{name: value for name, value in arguments.items() if value is not None})


# Create and fetch: the library's own types.
message = send()
assert message.sid.startswith("SM") and message.status == "queued" and message.direction == "outbound-api"
assert message.num_segments == "1" and message.num_media == "0" and message.error_code is None
assert isinstance(message.date_created, datetime) and message.api_version == "2010-04-01"
while (message := messages(message.sid).fetch()).status != "delivered":
    sleep(POLL_INTERVAL_S)
assert message.body == "hello" and isinstance(message.date_sent, datetime)
failed = send(to="+14155530003")
while (failed := messages(failed.sid).fetch()).status != "undelivered":
    sleep(POLL_INTERVAL_S)
assert failed.error_code == 30003 and failed.error_message
assert send(media_url=["https://example.com/a.png"]).sid.startswith("MM")

# Listing, across pages and by number and date.
for number in range(7):
    send(to=f"+1415555020{number}")
everything = messages.list(page_size=3)
assert len(everything) == 10 and len({one.sid for one in everything}) == 10
assert [one.to for one in messages.list(to="+14155550203")] == ["+14155550203"]
assert len(messages.list(limit=4, page_size=2)) == 4
assert messages.list(date_sent_before=datetime(2000, 1, 1)) == []
page = messages.page(page_size=4)
assert len(list(page)) == 4 and len(list(page.next_page())) == 4

# Update and delete.
in_an_hour = datetime.now(timezone.utc) + timedelta(hours=1)
scheduled = send(from_=None, messaging_service_sid=SERVICE, schedule_type="fixed", send_at=in_an_hour)
assert scheduled.status == "scheduled"
refused(20009, 409, messages(scheduled.sid).delete)
assert messages(scheduled.sid).update(status="canceled").status == "canceled"
refused(30409, 409, lambda: messages(scheduled.sid).update(status="canceled"))
assert messages(message.sid).update(body="").body == ""
refused(20422, 400, lambda: messages(message.sid).update(body="other"))
assert messages(message.sid).delete() is True
refused(20404, 404, messages(message.sid).fetch)

# A stream of pages goes on while what it has read is deleted.
for number in range(5):
    send(to=f"+1415555030{number}")
streamed = []
for one in messages.stream(page_size=2):
    while one.status not in ("delivered", "undelivered", "canceled", "failed"):
        sleep(POLL_INTERVAL_S)
        one = messages(one.sid).fetch()
    assert messages(one.sid).delete()
    streamed.append(one.sid)
assert len(streamed) == len(set(streamed)) > 10 and messages.list() == []

# The account and Lookup.
assert twilio.api.accounts(ACCOUNT_SID).fetch().status == "active"
number = twilio.lookups.v2.phone_numbers("+14155552671").fetch(fields="line_type_intelligence")
assert number.valid and number.country_code == "US" and number.line_type_intelligence["type"] == "mobile"
assert number.phone_number == "+14155552671" and number.caller_name is None and number.validation_errors is None
short = twilio.lookups.v2.phone_numbers("+1415").fetch()
assert short.valid is False and short.validation_errors == ["TOO_SHORT"]
refused(20404, 404, twilio.lookups.v2.phone_numbers("nobody").fetch)

# What the account has to write to, page by page.
senders = {
    "numbers": {SENDER: "https://a.example/in", "+15005550007": None},
    "whatsapp_senders": {"whatsapp:" + SENDER: "https://b.example/in"},
    "services": [
        {"sid": SERVICE, "friendly_name": "shop", "inbound_request_url": "https://c.example/in", "senders": [SENDER]}
    ],
}
control("/simulator/senders", senders)
numbers = list(twilio.incoming_phone_numbers.stream(page_size=1))
assert [(number.phone_number, number.sms_url) for number in numbers] == [
    (SENDER, "https://a.example/in"),
    ("+15005550007", ""),
]
(service,) = twilio.messaging.v1.services.list(page_size=1)
assert (service.friendly_name, service.inbound_request_url) == ("shop", "https://c.example/in")
assert service.use_inbound_webhook_on_number is False
assert [number.phone_number for number in twilio.messaging.v1.services(SERVICE).phone_numbers.list()] == [SENDER]
(sender,) = twilio.messaging.v2.channels_senders.list(channel="whatsapp")
assert (sender.sender_id, sender.webhook["callback_url"]) == ("whatsapp:" + SENDER, "https://b.example/in")

# Every documented refusal, as the library's exception.
refused(20003, 401, lambda: client("wrong").messages.create(to=PERSON, from_=SENDER, body="hello"))
refused(20404, 404, messages("SM" + "0" * 32).fetch)
for code, changed in [
    (21211, {"to": "+15005550001"}),
    (21211, {"to": "nobody"}),
    (21612, {"to": "+15005550002"}),
    (21408, {"to": "+15005550003"}),
    (21610, {"to": "+15005550004"}),
    (21614, {"to": "+15005550009"}),
    (21212, {"from_": "+15005550001"}),
    (21606, {"from_": "+15005550007"}),
    (21611, {"from_": "+15005550008"}),
    (21266, {"from_": PERSON}),
    (21910, {"to": "whatsapp:" + PERSON}),
    (21603, {"from_": None}),
    (21602, {"body": None}),
    (21617, {"body": "a" * 1601}),
    (21620, {"media_url": ["ftp://example.com/a.png"]}),
    (21623, {"media_url": ["https://example.com/a.png"] * 11}),
    (21609, {"status_callback": "nowhere"}),
    (21624, {"validity_period": 0}),
    (21654, {"content_variables": "{}"}),
    (21655, {"content_sid": "HX1"}),
    (21656, {"content_sid": "HX" + "d" * 32, "content_variables": "{"}),
    (21705, {"messaging_service_sid": "MG1"}),
    (35111, {"messaging_service_sid": SERVICE, "schedule_type": "fixed"}),
    (35114, {"messaging_service_sid": SERVICE, "schedule_type": "fixed", "send_at": datetime(2000, 1, 1)}),
    (35118, {"schedule_type": "fixed", "send_at": in_an_hour}),
]:
    refused(code, 400, lambda: send(**changed))


# STOP blocks until START.
def write(text):
    try:
        nowhere = "http://127.0.0.1:9/"
        control("/simulator/inbound", {"from": PERSON, "to": SENDER, "body": text, "webhook_url": nowhere})
    except urllib.error.HTTPError as error:
        assert error.code == 502  # Nobody takes the webhook; the block stands all the same.


write("STOP")
refused(21610, 400, send)
write("START")
send()

# Faults.
control("/simulator/faults", {"rate_limit": 1})
refused(20429, 429, send)
control("/simulator/faults", {"server_error": 1})
refused(20500, 500, send)
control("/simulator/faults", {})
send()
print("ok")
