"""Uses textledger through a client that openapi-python-client made of its document: sends a message, reads what became
of it, and follows a batch to its end.

Arguments: the folder in which the client is the package `textledger_client`, the service's base URL, a sender's API key.
"""

import sys
from time import monotonic, sleep

FOLDER, SERVICE, SENDER_KEY = sys.argv[1:4]
sys.path.insert(0, FOLDER)

from textledger_client import AuthenticatedClient, models
from textledger_client.api.sms_whats_app import (
    get_batch,
    get_message_status,
    list_batch_messages,
    list_events,
    send_bulk_sms,
    send_sms,
)

# Slower than a caller may ask.
POLL_INTERVAL_S = 0.05
DEADLINE_S = 30
PEOPLE = [f"+1415555010{digit}" for digit in range(5)]

client = AuthenticatedClient(base_url=SERVICE, token=SENDER_KEY)


def eventually(ask, holds):
    """Asks again until `holds` of the answer, and returns it."""
    deadline = monotonic() + DEADLINE_S
    while not holds(answer := ask()):
        assert monotonic() < deadline, answer
        sleep(POLL_INTERVAL_S)
    return answer


request = models.SendRequest(to_number=PEOPLE[0], message="Your inspection is due tomorrow.")
sent = send_sms.sync(client=client, body=request)
assert isinstance(sent, models.Sent), sent
assert sent.to == PEOPLE[0] and sent.created_at.tzinfo is not None, sent

status = eventually(
    lambda: get_message_status.sync(sent.message_sid, client=client), lambda message: message.status == "delivered"
)
assert isinstance(status, models.MessageStatus) and status.id == sent.id and status.final, status
assert [entry.status for entry in status.timeline][-1] == "delivered", status.timeline

faulty = send_sms.sync(client=client, body=models.SendRequest(to_number="", message="x" * 1601))
assert isinstance(faulty, models.Problem), faulty
assert {error.field for error in faulty.errors} == {"to_number", "message"}, faulty

bulk = models.BulkRequest(phone_numbers=PEOPLE + ["nobody"], message="The site is closed today.")
accepted = send_bulk_sms.sync(client=client, body=bulk)
assert isinstance(accepted, models.BulkAccepted), accepted
assert accepted.accepted == len(PEOPLE) and accepted.rejected[0].to_number == "nobody", accepted

batch = eventually(
    lambda: get_batch.sync(accepted.batch_id, client=client),
    lambda batch: batch.state == models.BatchState.DONE and batch.counts["delivered"] == len(PEOPLE),
)
assert isinstance(batch, models.Batch) and batch.finished_at >= batch.started_at, batch

seen, cursor = [], None
while True:
    further = {"cursor": cursor} if cursor else {}
    page = list_batch_messages.sync(accepted.batch_id, client=client, limit=2, **further)
    seen += [message.to for message in page.messages]
    cursor = page.next_cursor
    if cursor is None:
        break
assert seen == PEOPLE, seen

events = list_events.sync(
    client=client, batch_id=accepted.batch_id, type_=models.ListEventsType.DELIVERY
).events
assert events and all(isinstance(event, models.DeliveryEvent) for event in events), events
print("ok")
