"""Checks requests with the official library of Standard Webhooks: its secret, and the requests as base64 of JSON."""

import base64
import json
import sys

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

secret, requests = sys.argv[1:]
webhook = Webhook(secret)
requests = json.loads(base64.b64decode(requests))
assert requests
for request in requests:
    headers = {name.lower(): value for name, value in request["headers"].items()}
    assert webhook.verify(request["body"], headers) == json.loads(request["body"])
    try:
        webhook.verify(request["body"] + " ", headers)
    except WebhookVerificationError:
        continue
    raise AssertionError("what was changed is accepted")
print("ok")
