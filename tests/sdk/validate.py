"""Asks the validator of Twilio's library for Python whether requests are signed by Twilio.

Arguments: the auth token, a file with a JSON list of requests, each with `url`, `signature` and `body`.
"""

import json
import sys
from urllib.parse import parse_qsl

from twilio.request_validator import RequestValidator

validator = RequestValidator(sys.argv[1])
with open(sys.argv[2]) as file:
    requests = json.load(file)
assert requests, "there is nothing to validate"
for request in requests:
    parameters = dict(parse_qsl(request["body"], keep_blank_values=True))
    assert validator.validate(request["url"], parameters, request["signature"]), request["url"]
    assert not validator.validate(request["url"], {**parameters, "MessageStatus": "x"}, request["signature"])
print("ok")
