//! The descriptions, sorted by code: class, code or codes; title; meaning; mend.

use super::{
    Class::{Account, Configuration, Information, Message, OptOut, Recipient, Sender, Transient, Webhook},
    Row,
};

macro_rules! rows {
    ($($class:ident $first:literal $(..= $last:literal)?
        $title:literal $meaning:literal $mend:literal;)+) => {
        pub(super) const TABLE: &[Row] = &[$(Row {
            codes: $first..=rows!(@last $first $($last)?),
            class: $class,
            title: $title,
            meaning: $meaning,
            mend: $mend,
        }),+];
    };
    (@last $first:literal) => { $first };
    (@last $first:literal $last:literal) => { $last };
}

rows! {
    // The account.

    Account 10001 "Account not active"
        "The Twilio account is suspended or closed."
        "Look at the account in the Twilio Console, settle what is open, or write to Twilio's support.";

    // Webhooks: what Twilio met when it called us.

    Webhook 11100 "Webhook URL malformed"
        "Twilio can not read the URL it should call."
        "Set TEXTLEDGER_PUBLIC_URL, and the URL at the number or messaging service, to a whole https:// URL.";
    Webhook 11200 "Webhook did not answer well"
        "Twilio called the URL and got a 4xx, a 5xx, or nothing it could use."
        "Look for the request in the log of the service and of any proxy before it. A 403 means a signature \
         that did not match: the log line says why.";
    Webhook 11201 "Webhook connection timed out"
        "Twilio could not open a TCP connection to the webhook's host in time."
        "Check that the host is reachable from the internet and that no firewall drops the connection.";
    Webhook 11202 "Webhook connection refused"
        "Nothing accepts connections at the webhook's host and port."
        "Check that the service runs, and that the public URL names the right port.";
    Webhook 11203 "Webhook took too long"
        "The webhook had not answered when all of Twilio's time, 15 seconds at most, was used up."
        "Look for slow answers in the metrics, most likely from the store.";
    Webhook 11205 "Webhook connection failed"
        "Twilio could not connect to the webhook, or the connection broke, twice."
        "Check that the host is reachable from the internet and the service is not being restarted over and \
         over.";
    Webhook 11206 "Webhook broke the HTTP protocol"
        "What answered at the webhook's URL did not speak proper HTTP."
        "Check that the URL's scheme and port belong together (https on the TLS port) and what the proxy \
         does.";
    Webhook 11210 "Webhook host name not found"
        "The webhook's host name is malformed or has no address."
        "Correct the host name, or its DNS record. It must be public and hold no underscore.";
    Webhook 11215 "Webhook redirected too often"
        "The webhook's URL answers with redirects that do not end."
        "Give Twilio the final URL; a redirect also breaks the signature.";
    Webhook 11216 "Webhook redirect not followed"
        "The webhook answered with a redirect that Twilio does not follow."
        "Give Twilio the final URL; a redirect also breaks the signature.";
    Webhook 11220 "Webhook TLS handshake failed"
        "Twilio and the webhook's host could not agree on TLS."
        "Serve TLS 1.2 or newer with common ciphers, and answer to the host name (SNI) in the URL.";
    Webhook 11235 "Webhook certificate is for another host"
        "The certificate does not name the host in the webhook's URL."
        "Install a certificate for that host name, or correct the URL.";
    Webhook 11236 "Webhook certificate expired"
        "The certificate of the webhook's host is out of date."
        "Renew the certificate, and check why it was not renewed by itself.";
    Webhook 11237 "Webhook certificate not trusted"
        "Twilio finds no path from the certificate to an authority it trusts."
        "Use a certificate of a public authority and serve the intermediate certificates with it.";
    Webhook 11240 "Egress edge not valid"
        "The connection override `e` on a webhook URL names no edge location."
        "Correct or remove `e` in TEXTLEDGER_CALLBACK_OVERRIDES.";
    Webhook 11241 "Egress edge not supported"
        "The edge location in the connection override `e` can not be used for webhooks."
        "Choose another edge in TEXTLEDGER_CALLBACK_OVERRIDES, or remove `e`.";
    Webhook 11242 "Interconnect not allowed"
        "The connection override asks for Twilio Interconnect, which the account does not have."
        "Use an edge without `-ix` in TEXTLEDGER_CALLBACK_OVERRIDES.";
    Webhook 11243 "Retry policy not valid"
        "The connection override `rp` on a webhook URL is not a list of 4xx, 5xx, ct, rt or all."
        "Correct `rp` in TEXTLEDGER_CALLBACK_OVERRIDES.";
    Webhook 11750 "Webhook answer too large"
        "The webhook answered with more than 64 kB."
        "Check what really answers at the URL, for instance an error page of a proxy.";
    Message 11751 "Media too large for the carrier"
        "The media at the URL is larger than the carrier or channel takes."
        "Send smaller media, or a link in the text.";
    Webhook 12100 "TwiML can not be parsed"
        "The answer to an incoming message is no well-formed XML."
        "Check what really answers at the URL; a proxy may have put its own page in place of the answer.";
    Webhook 12200 "TwiML not valid"
        "The answer to an incoming message is XML, but not TwiML that Twilio knows. Names are case-sensitive."
        "Check what really answers at the URL, and the version of whatever wrote the document.";
    Webhook 12300 "Webhook content type not valid"
        "The webhook's answer has no content type, or one that Twilio can not use there."
        "Answer incoming messages as text/xml. Check that no proxy changes the header.";
    Webhook 14101 "TwiML message: `to` not valid"
        "The `to` of a <Message> is no number that can be texted."
        "Leave `to` out to answer the sender, or write it in E.164.";
    Webhook 14102 "TwiML message: `from` not valid"
        "The `from` of a <Message> is no number of this account."
        "Leave `from` out to answer from the number that was texted.";
    Webhook 14103 "TwiML message: body not valid"
        "The text of a <Message> is missing or too long."
        "Write between 1 and 1600 characters, or answer with an empty <Response/>.";
    Webhook 14104 "TwiML message: `method` not valid"
        "The `method` of a <Message> is neither GET nor POST."
        "Correct the attribute, or leave it out.";
    Webhook 14105 "TwiML message: callback URL not valid"
        "The `action` or `statusCallback` of a <Message> is no URL that Twilio can call."
        "Write a whole http:// or https:// URL, or leave the attribute out.";
    Webhook 14106 "Too many TwiML documents"
        "Answering one message took more documents than Twilio fetches; they redirect to each other."
        "Answer with the message itself rather than with <Redirect>.";
    Webhook 14107 "Reply loop stopped"
        "Too many replies went between the two numbers in a short time, as when two machines answer each \
         other."
        "Do not answer numbers that answer automatically, and never one of your own.";
    Webhook 14108 "TwiML message: sender can not text"
        "The number that should send a <Message> can not send this kind of message."
        "Use a number with SMS or MMS capability.";
    Webhook 14109 "Too many replies in one document"
        "The document holds more than ten messages."
        "Answer with one message; send the others through the API.";
    Webhook 14110 "TwiML verb not allowed"
        "The answer to a message holds a verb other than Message and Redirect."
        "Use only <Message> and <Redirect> in answers to messages.";
    Webhook 14111 "TwiML message: number not verified"
        "A trial account may answer only numbers that are verified."
        "Verify the number in the Twilio Console, or upgrade the account.";
    Webhook 15003 "Webhook answered with a warning"
        "The status callback was answered with something Twilio takes as a warning."
        "Answer status callbacks with 204. Check that no proxy changes the answer.";

    // The API.

    Account 20003 "Credentials rejected"
        "The account SID, auth token or API key is wrong, or may not do this."
        "Save the account SID and its current token again, and run the connection test. After a rotation of \
         tokens the old one stops at once.";
    Account 20005 "Account suspended or closed"
        "Twilio does not serve requests of this account any more."
        "Look at the account in the Twilio Console, settle what is open, or write to Twilio's support.";
    Configuration 20008 "Not possible with test credentials"
        "Twilio's test credentials can not be used for this resource."
        "Use the live account SID and token.";
    Message 20404 "Not found"
        "The account has no such message, or the URL of the API is wrong."
        "Check the SID, that it belongs to this account, and TWILIO_API_BASE_URL.";
    Message 20409 "Conflict"
        "The resource is in a state in which this can not be done."
        "Fetch its state, and decide anew.";
    Message 20422 "Parameter not valid"
        "Twilio can not read one of the parameters."
        "Look at Twilio's text for the parameter's name, and correct the request.";
    Transient 20429 "Too many requests at once"
        "Too many requests of the account were being handled at the same time. This one was not processed."
        "Repeat the request after a pause, with its Idempotency-Key; what waits in the queue is tried again by itself. If it happens often, lower TEXTLEDGER_MPS.";
    Transient 20500 "Internal error at Twilio"
        "Twilio failed while it handled the request. The message may exist nonetheless."
        "Wait; textledger asks Twilio whether the message exists before it sends it again.";
    Transient 20503 "Twilio not available"
        "Twilio could not handle the request at the time. The message may exist nonetheless."
        "Wait, and look at https://status.twilio.com if it lasts.";

    // Requests to send.

    Recipient 21211 "Recipient's number not valid"
        "`To` is no number that can exist: badly formatted, one of your own, or no phone number at all."
        "Correct the number; write it in E.164, such as +14155552671.";
    Configuration 21212 "Sender not valid"
        "`From` is no valid number, short code or sender name."
        "Correct the sender in the request or the settings; write numbers in E.164.";
    Recipient 21214 "Recipient's number can not be reached"
        "Twilio finds no way to this number."
        "Check the number with its owner.";
    Recipient 21217 "Recipient's number seems not valid"
        "The number does not look like one that is in use."
        "Check the number with its owner; write it in E.164.";
    Configuration 21218 "ApplicationSid not valid"
        "The TwiML application named in the request does not exist in this account."
        "Correct or remove the application SID.";
    Configuration 21219 "Recipient not verified (trial)"
        "A trial account may send only to numbers that are verified."
        "Verify the number in the Twilio Console, or upgrade the account.";
    Recipient 21265 "Recipient is a short code"
        "Short codes can not receive messages from Twilio numbers."
        "Ask the person for a mobile number.";
    Message 21266 "Recipient is the sender"
        "`To` and `From` are the same number."
        "Send to another number, or from another one.";
    Configuration 21267 "Sender name not possible on trial"
        "A trial account can not send from an alphanumeric sender."
        "Send from a phone number, or upgrade the account.";
    Recipient 21268 "Recipient is a premium-rate number"
        "Twilio does not send to premium-rate and information-service numbers."
        "Ask the person for a mobile number.";
    Configuration 21408 "Country not enabled"
        "The account's geo permissions do not allow messages to the recipient's country."
        "Enable the country in the Twilio Console under Messaging, Settings, Geo permissions.";
    Configuration 21601 "Sender can not text"
        "`From` can not send messages, or is no number of this account."
        "Use a number of this account that has SMS capability.";
    Message 21602 "Message has no content"
        "Neither a text nor media was given."
        "Give a text, media, or a content template.";
    Configuration 21603 "Sender missing"
        "Neither a `From` number nor a messaging service was given."
        "Save a phone number or a messaging service in the settings, or name one in the request.";
    Message 21604 "Recipient missing"
        "The request names no `To`."
        "Give the recipient's number.";
    Message 21605 "Text longer than 160 characters"
        "The old SMS endpoint takes 160 characters at most."
        "Send through the Messages resource, which takes 1600, or shorten the text.";
    Configuration 21606 "Sender not usable for this recipient"
        "`From` is not yours, can not send such messages, or can not reach the recipient's country."
        "Use another sender for this country, or a messaging service that chooses one.";
    Configuration 21607 "Sender is not the sandbox number"
        "A trial account must send from its sandbox number."
        "Send from the sandbox number, or upgrade the account.";
    Configuration 21608 "Recipient not verified"
        "A trial account may send only to verified numbers. The same is said of accounts whose compliance \
         profile is not approved yet."
        "Verify the number in the Twilio Console, or upgrade the account and complete its profile.";
    Configuration 21609 "StatusCallback URL not valid"
        "Twilio can not use the callback URL: not http(s), over 4000 characters, or a bad host name."
        "Set TEXTLEDGER_PUBLIC_URL to a public https:// URL whose host name holds no underscore.";
    OptOut 21610 "Recipient opted out"
        "The person has texted STOP to this sender or messaging service, and Twilio blocks further messages."
        "Do not send. Only the person can lift the block, by texting START to the sender.";
    Transient 21611 "Sender's queue is full"
        "More messages wait for this sender than it can send in ten hours."
        "Wait, send more slowly, or add senders to the messaging service.";
    Recipient 21612 "No route to the recipient"
        "Twilio can not carry messages from this sender to this number."
        "Try another kind of sender for this country, or ask for another number.";
    Recipient 21614 "Recipient is not a mobile number"
        "The number can not receive SMS; it is a landline, or not in use."
        "Ask the person for a mobile number.";
    Configuration 21616 "Sender ambiguous"
        "`From` matches more than one number of the account."
        "Write the sender's whole number in E.164.";
    Message 21617 "Text too long"
        "The text has more than 1600 characters."
        "Shorten the text, or send it in several messages.";
    Message 21618 "Text blocked by all carriers"
        "Every carrier that could take the message filters this content."
        "Change the text; shortened links and forbidden subjects are the usual reasons.";
    Message 21619 "Message is empty"
        "A text, media or a content template is required, and all are missing or blank."
        "Give a text, media, or a content template.";
    Message 21620 "Media URL not valid"
        "Twilio can not read one of the media URLs."
        "Use public http(s) URLs that need no sign-in.";
    Configuration 21621 "Sender can not send MMS"
        "`From` has no MMS capability, or not in the recipient's country."
        "Send the media as a link in the text, or use a sender with MMS.";
    Configuration 21622 "MMS not enabled for the account"
        "The account may not send media."
        "Ask Twilio to enable MMS, or send the media as a link in the text.";
    Message 21623 "Too many media files"
        "A message carries ten media files at most."
        "Send fewer files, or several messages.";
    Configuration 21624 "Validity period not valid"
        "The validity period is not between 1 and 36,000 seconds."
        "Choose a validity period within the bounds, or leave it out.";
    Configuration 21627 "Maximum price not valid"
        "`MaxPrice` is no number, or out of bounds."
        "Leave it out; Twilio does not use it any more.";
    Recipient 21635 "Recipient is a landline"
        "The number belongs to a landline, which can not receive messages."
        "Ask the person for a mobile number.";
    Message 21652 "Subject too long"
        "The subject has more than 40 characters."
        "Shorten the subject.";
    Message 21653 "Too many recipients"
        "The request names more recipients than Twilio takes at once."
        "Send to fewer recipients per request.";
    Message 21654 "Content template missing"
        "Variables were given without the content template they belong to."
        "Give the template's SID (HX…), or leave the variables out.";
    Configuration 21655 "Content template not valid"
        "The content SID is malformed, or the account has no such template."
        "Check the template in the Twilio Console under Content templates.";
    Message 21656 "Content variables not valid"
        "The variables are no JSON object, or do not fit the template."
        "Give an object from the template's variable names to texts, with no value empty.";
    Configuration 21657 "Sender name not valid"
        "The alphanumeric sender has forbidden characters, no letter, or more than 11 characters."
        "Use letters, digits and blanks, at least one letter, up to 11 characters.";
    Message 21658 "Parameter too long"
        "One of the parameters is longer than Twilio takes."
        "Look at Twilio's text for the parameter's name, and shorten it.";
    Configuration 21659 "Sender is not a Twilio number"
        "`From` is no number of Twilio's, or a short code of another country than the recipient's."
        "Use a number of this account; wait if it is still being ported.";
    Configuration 21660 "Sender belongs to another account"
        "`From` is a Twilio number, but not of this account."
        "Use the credentials of the account that has the number, or another number.";
    Configuration 21661 "Sender has no SMS capability"
        "The number is yours, but can not send SMS."
        "Choose a number with SMS capability.";
    Configuration 21662 "Sender and recipient not possible in Ireland"
        "In Twilio's Ireland region this sender can not send to this recipient."
        "Use a sender that the region supports, or the US region.";
    Configuration 21663 "Sender's routing set up wrongly"
        "The number is routed to another Twilio region than the request was made in."
        "Correct the number's routing, or use that region's API (TWILIO_API_BASE_URL).";
    Configuration 21664 "Fallback sender together with `From`"
        "`FallbackFrom` can not be used together with a `From` sender."
        "Send through a messaging service and leave `From` out.";
    Configuration 21665 "Fallback sender not valid"
        "`FallbackFrom` is no sender that can be used."
        "Name an SMS sender of the messaging service.";
    Configuration 21666 "Fallback sender needs a messaging service"
        "`FallbackFrom` works only through a messaging service."
        "Name the messaging service, or leave `FallbackFrom` out.";
    Configuration 21667 "Fallback sender needs an RCS sender"
        "`FallbackFrom` works only if the messaging service has an RCS sender."
        "Add an RCS sender to the service, or leave `FallbackFrom` out.";
    Configuration 21668 "Kind of number not supported in Ireland"
        "Numbers of this kind can not send in Twilio's Ireland region."
        "Use another kind of number, or the US region.";
    Configuration 21701 "Messaging service does not exist"
        "The account has no messaging service with this SID."
        "Check the messaging service SID (MG…) in the settings, and that it belongs to this account.";
    Configuration 21702 "Messaging service not available"
        "The messaging service can not be used at present."
        "Look at the service in the Twilio Console.";
    Configuration 21703 "Messaging service has no fitting sender"
        "None of the service's senders can reach this recipient."
        "Add a sender for the recipient's country and channel to the service.";
    Configuration 21704 "Messaging service is empty"
        "The service has no senders."
        "Add a phone number or another sender to the service.";
    Configuration 21705 "Messaging service not valid"
        "The messaging service SID is malformed, or the service may not be used so."
        "Check the messaging service SID (MG…) in the settings.";
    Configuration 21708 "Sender name missing"
        "The request needs an alphanumeric sender, and names none."
        "Name the sender, or add one to the messaging service.";
    Configuration 21709 "Sender name not allowed in this service"
        "The alphanumeric sender is not valid, or not one of the messaging service."
        "Correct the name, or add it to the messaging service.";
    Configuration 21710 "Sender already in this messaging service"
        "The number was to be added to a service that has it already."
        "Nothing needs to be done.";
    Configuration 21711 "Sender not in the messaging service"
        "The sender named does not belong to the messaging service named."
        "Add it to the service, or leave `From` out so that the service chooses.";
    Configuration 21712 "Sender in another messaging service"
        "A number can be in one messaging service only, and this one is in another."
        "Remove it from the other service first.";
    Configuration 21713 "Messaging service's use case not valid"
        "The use case given for the messaging service does not exist."
        "Choose one of the use cases that the Twilio Console offers.";
    Configuration 21714 "Messaging service is full"
        "The messaging service has as many senders as it may."
        "Remove senders that are not used, or use a second service.";
    Configuration 21715 "Sender lacks what the service needs"
        "The number does not have the capabilities that the messaging service asks for."
        "Choose a number with SMS, or MMS, capability.";
    Configuration 21717 "A2P brand not registered"
        "The US A2P campaign names a brand that is not registered, or not valid."
        "Look at the brand's registration in the Twilio Console.";
    Configuration 21719 "A2P use case does not fit the service"
        "The use cases of the US A2P campaign and of the messaging service contradict each other."
        "Use a messaging service of its own for each campaign.";
    Configuration 21900 ..= 21901 "Indian DLT registration not valid"
        "The DLT entity or template given for a message to India is not valid."
        "Correct the DLT identifiers; they must be the registered ones.";
    Message 21910 "Sender and recipient on unlike channels"
        "`From` and `To` must be addresses of the same channel."
        "Use a WhatsApp sender for WhatsApp recipients, and a number for SMS.";
    Configuration 23004 "Advanced Opt-Out conflicts with redaction"
        "Advanced Opt-Out can not work while phone numbers are redacted."
        "Decide for one of them, and ask Twilio's support to switch the other off.";

    // Delivery.

    Transient 30001 "Queue overflow"
        "The message waited in a queue that grew too long, and was dropped."
        "Send it again later, and more slowly; more senders help.";
    Account 30002 "Account suspended"
        "The account was suspended between taking the message and sending it."
        "Stop sending, and settle the suspension in the Twilio Console.";
    Transient 30003 "Handset unreachable"
        "The phone is off, out of reach, or can not take messages now. The number may also not exist."
        "Try once or twice more over some hours, then ask for another number.";
    Recipient 30004 "Blocked on the way"
        "The recipient, their carrier or a do-not-disturb register blocks the message."
        "Do not try again; reach the person in another way.";
    Recipient 30005 "Number unknown"
        "The number does not exist, or not any more."
        "Take the number off your records, and ask the person for the present one.";
    Recipient 30006 "Landline or unreachable carrier"
        "The number is a landline, or its carrier does not take messages."
        "Ask the person for a mobile number.";
    Configuration 30007 "Filtered as unwanted"
        "Twilio or the carrier took the message for spam or for forbidden content."
        "Do not send the same text again. Check its links and wording, the sender's registration, and your \
         opt-in.";
    Transient 30008 "Unknown delivery error"
        "The carrier reported a failure without a reason."
        "Try once more later; if it is the same again, check the number.";
    Information 30009 "Part of an inbound message missing"
        "A long message arrived without one of its parts."
        "Ask the person to send it again if it matters.";
    Configuration 30010 "Price above the maximum"
        "The message would have cost more than the maximum price in the request."
        "Leave the maximum price out; Twilio does not use it any more.";
    Message 30011 "MMS not supported there"
        "The recipient's carrier or country does not take media."
        "Send the text as SMS, with a link to the media.";
    Configuration 30012 "Validity period too short"
        "The validity period is shorter than the message takes to be sent."
        "Choose a longer validity period; below 5 seconds is not advised.";
    Configuration 30013 "Validity period too long"
        "The validity period is longer than Twilio keeps messages."
        "Choose 36,000 seconds (10 hours) or less, or leave it out.";
    Configuration 30014 "List of recipients not valid"
        "The list of recipients is empty, or too long."
        "Send to at least one recipient, and to fewer per request.";
    Configuration 30015 "Channel not supported"
        "`To` or `From` has a channel prefix that Twilio does not know, or lacks one."
        "Write WhatsApp addresses as `whatsapp:+…` and RCS ones as `rcs:…`.";
    Configuration 30016 "Sender and recipient on different channels"
        "`To` and `From` are addresses of channels that do not go together."
        "Use a WhatsApp sender for WhatsApp recipients, and a number for SMS.";
    Transient 30017 "Carrier congested"
        "The carrier's network took no more messages at the time."
        "Send it again later.";
    Configuration 30018 "Sender must be registered first"
        "The recipient's country demands that senders are registered before they send."
        "Register the sender for that country in the Twilio Console, or use one that is.";
    Message 30019 "Too large for the carrier"
        "The media is larger than the recipient's carrier takes."
        "Send smaller media, or a link.";
    Transient 30020 "Scheduling failed at Twilio"
        "An internal error kept Twilio from sending a scheduled message."
        "Send it again, as a new message.";
    Transient 30021 "Processing failed at Twilio"
        "An internal error kept Twilio from handling the message."
        "Send it again; write to Twilio's support if it lasts.";
    Transient 30022 "10DLC rate exceeded"
        "Messages left faster than the US A2P campaign may send."
        "Lower TEXTLEDGER_MPS for this sender, and send it again later.";
    Transient 30023 "Daily 10DLC limit reached"
        "The brand has sent as many messages today as the carrier takes from it."
        "Go on tomorrow; a brand with a better trust score has a higher limit.";
    Sender 30024 "Sender not provisioned at the carrier"
        "The carrier does not know the sender yet, or not any more."
        "Check the sender's registration in the Twilio Console; after a new one, wait some days.";
    Information 30025 "Half of the daily limit used"
        "The brand has used 50 % of what it may send today."
        "Watch the rest of the day's messages.";
    Information 30026 "70 % of the daily limit used"
        "The brand has used 70 % of what it may send today."
        "Hold back what can wait until tomorrow.";
    Transient 30027 "Daily limit at T-Mobile reached"
        "The brand has sent as many messages to T-Mobile today as it may."
        "Go on tomorrow; a brand with a better trust score has a higher limit.";
    Configuration 30028 "API version not valid"
        "The request names a version of the API that does not exist."
        "Check TWILIO_API_BASE_URL, and whatever stands between it and Twilio.";
    Configuration 30029 "ContentRetention not valid"
        "`ContentRetention` is neither `retain` nor `discard`, or not enabled for the account."
        "Correct it, or leave it out.";
    Configuration 30030 "AddressRetention not valid"
        "`AddressRetention` is neither `retain` nor `obfuscate`, or not enabled for the account."
        "Correct it, or leave it out.";
    Configuration 30031 "Maximum rate not valid"
        "`MaxRate` is no number above zero."
        "Correct it, or leave it out.";
    Sender 30032 "Toll-free number not verified"
        "A toll-free number may send to the US and Canada only once it is verified."
        "Submit the number's verification in the Twilio Console, or use another sender.";
    Sender 30033 "Campaign suspended"
        "The US A2P campaign of this sender was suspended for a breach of rules."
        "Stop sending, and clear it up with Twilio's support.";
    Sender 30034 "Number not registered for 10DLC"
        "US carriers take messages from long codes only if they belong to a registered campaign."
        "Register a brand and a campaign in the Twilio Console, and add the number to its messaging service.";
    Transient 30035 "Number still being set up"
        "The number was added to its campaign or service a short time ago and is not ready."
        "Wait some hours, then send it again.";
    Message 30036 "Validity period expired"
        "The message was not delivered within its validity period."
        "Send a new message if it still matters; allow more time, or send more slowly.";
    Sender 30037 "Outbound messages disabled"
        "Twilio has disabled sending for the account or the sender."
        "Look for a notice in the Twilio Console, or write to Twilio's support.";
    Information 30038 "Inbound one-time code withheld"
        "A message with a one-time passcode came in, and Twilio did not pass it on."
        "Receive passcodes on a number that is not Twilio's.";
    Information 30039 "Inbound loop filtered"
        "Two numbers kept answering each other, so Twilio stopped passing messages on."
        "Do not answer numbers that answer automatically.";
    Configuration 30040 "Carrier wants the sender registered"
        "The recipient's carrier takes messages only from sender names that are registered."
        "Register the sender for that country in the Twilio Console, or use one that is.";
    Configuration 30041 "Sender restricted in this country"
        "The sender is not registered in a country that demands it, or is restricted there."
        "Register the sender for that country in the Twilio Console, or use one that is.";
    Configuration 30042 "Sender name too general"
        "The alphanumeric sender is a general word, or not one this account may use."
        "Use the name of your business or product as the sender.";
    Configuration 30043 "International message by a domestic route"
        "An international message went by a route for domestic ones, and was refused."
        "Use a sender that is meant for the recipient's country; ask Twilio's support if it lasts.";
    Message 30044 "Text too long for a trial account"
        "A trial account may send short texts only."
        "Shorten the text, or upgrade the account.";
    Configuration 30045 "Validity period out of bounds"
        "The validity period is below zero, or above what Twilio allows."
        "Choose between 1 and 36,000 seconds, or leave it out.";
    Recipient 30046 "Delivery not confirmed"
        "The channel took the message, but never confirmed that it arrived."
        "Reach the person by SMS; the phone may have been offline for long.";
    Configuration 30100 "Link domain's SID not valid"
        "The SID given for the link shortening domain is not valid."
        "Check the domain in the Twilio Console.";
    Configuration 30101 "Link domain not verified"
        "The domain for shortened links has not been verified."
        "Verify the domain for your organization in the Twilio Console.";
    Configuration 30102 "Link domain's certificate expired"
        "The TLS certificate of the domain for shortened links is out of date."
        "Upload a new certificate, or let Twilio manage it, in the Twilio Console.";
    Configuration 30103 "Links not shortened"
        "Twilio's link shortening failed on its own side."
        "Send it again; to have long links sent in such a case, set ContinueOnFailure for the domain.";
    Information 30104 "Shortened link not found, fallback used"
        "Somebody opened a short link that has expired or never was, and was sent to the fallback URL."
        "Nothing needs to be done, unless it happens often.";
    Configuration 30105 "Shortened link not found"
        "Somebody opened a short link that has expired or never was, and there is no fallback."
        "Set a fallback URL for the domain.";
    Configuration 30106 "Link domain not set up for this account"
        "The domain for shortened links does not belong to this account."
        "Set the domain up for the account in the Twilio Console.";
    Configuration 30107 "Link domain has no certificate"
        "The domain for shortened links has no TLS certificate and private key at Twilio."
        "Upload both, or let Twilio manage them, in the Twilio Console.";
    Configuration 30108 "Account belongs to no organization"
        "Link shortening needs an account that belongs to a Twilio organization."
        "Add the account to your organization in the Twilio Console.";
    Configuration 30109 "Link domain's callback URL not valid"
        "Twilio can not use the URL that should be told of clicks."
        "Give a whole https:// URL.";
    Configuration 30110 "Link leads to a blocked domain"
        "Twilio blocks the domain that a link in the message leads to."
        "Link to another domain, or write to Twilio's support.";
    Message 30111 "Link is on a deny list"
        "Twilio does not send this link."
        "Link to another address, or write to Twilio's support.";
    Configuration 30112 "Account not found"
        "Twilio knows no such account."
        "Check the account SID in the settings.";
    Message 30113 ..= 30115 "Date of a list not valid"
        "The list asked for, such as that of deactivated numbers, has no such day."
        "Ask for a recent day that is over, written like 2026-03-09.";
    Configuration 30116 ..= 30120 "Link domain's certificate not accepted"
        "The certificate or its private key is missing, can not be read, or does not fit the other."
        "Upload the certificate with its chain and its own private key, both as PEM.";
    Configuration 30121 ..= 30123 "Link domain's URLs incomplete"
        "The fallback URL or the callback URL of the domain is missing or not valid."
        "Give both as whole https:// URLs.";
    Configuration 30124 "Messaging service for links missing"
        "The request about link shortening names no messaging service."
        "Give the messaging service's SID (MG…).";
    Configuration 30125 ..= 30126 "Number's 10DLC registration failed"
        "The number could not be registered for US A2P 10DLC."
        "Look at the number in the messaging service in the Twilio Console; remove it and add it again.";
    Configuration 30127 ..= 30128 "Messaging service for links not valid"
        "The messaging service, or what to do with it, is not valid in the request about link shortening."
        "Check the messaging service's SID (MG…).";
    Configuration 30129 "Link domain's certificate self-signed"
        "The certificate of the domain for shortened links is signed by no authority."
        "Upload a certificate of a public authority.";
    Configuration 30130 ..= 30140 "Link domain not in order"
        "The certificate, DNS record or messaging service of the link shortening domain is not in order."
        "Look at the domain in the Twilio Console.";
    Message 30409 "Too late to cancel"
        "Only a message that is still scheduled can be cancelled."
        "Nothing can be done: the message has left, or was cancelled before.";
    Transient 30410 "Carrier did not answer in time"
        "The carrier or channel did not answer Twilio in time."
        "Send it again later.";
    Configuration 30440 ..= 30449 "Toll-free verification rejected"
        "The verification of the toll-free number was rejected, so it may not send."
        "Read the reason in the Twilio Console, correct the submission, and submit it again.";
    Transient 30450 "Blocked as likely SMS pumping"
        "Twilio's fraud protection blocks this range of numbers, usually for 15 to 30 minutes."
        "Check who asks for these messages. For known recipients use the Safe List or RiskCheck.";
    Configuration 30451 ..= 30452 "Toll-free verification: contact not valid"
        "The address or email in the toll-free verification is not valid."
        "Correct it in the Twilio Console, and submit it again.";
    Transient 30453 "Blocked for hours as SMS pumping"
        "Twilio's fraud protection blocks this range of numbers, usually for some hours."
        "Check who asks for these messages; limit them per person and country.";
    Configuration 30454 "Trial account's limit reached"
        "A trial account has sent as many messages as it may."
        "Upgrade the account; the limit is lifted three to four hours later.";
    Configuration 30455 ..= 30469 "Toll-free verification: content not allowed"
        "The toll-free verification was rejected for what the messages are about."
        "Read the reason in the Twilio Console; such messages can not be sent from toll-free numbers.";
    Configuration 30470 ..= 30499 "Toll-free verification: details not accepted"
        "The toll-free verification was rejected for its details: the business, links or opt-in."
        "Read the reason in the Twilio Console, correct the submission, and submit it again.";
    Transient 30500 "Message failed inside Twilio"
        "An internal error kept Twilio from sending this message."
        "Send it again, as a new message.";
    Configuration 30501 ..= 30531 "Toll-free verification: requirements not met"
        "The toll-free verification lacks something that is required, mostly of the opt-in or the privacy \
         policy."
        "Read the reason in the Twilio Console, correct the submission, and submit it again.";
    Transient 30610 "Recipient's quiet hours"
        "Twilio's Compliance Toolkit blocks messages at this hour in the recipient's place."
        "Send it in the daytime there; TEXTLEDGER_QUIET_HOURS holds messages by itself.";
    OptOut 30630 "Recipient opted out elsewhere"
        "Twilio's Compliance Toolkit knows that the recipient has opted out."
        "Do not send to this person.";
    OptOut 30640 "Recipient known to sue"
        "Twilio's Compliance Toolkit blocks this number as one of a known litigator."
        "Do not send to this number.";
    Configuration 30646 "Consent not recorded at Twilio"
        "An entry of a bulk update of consent was refused."
        "Correct the entry and submit it again.";
    Configuration 30647 "Contact not recorded at Twilio"
        "An entry of a bulk update of contacts was refused."
        "Correct the entry and submit it again.";
    Configuration 30883 "Campaign refused for its content"
        "The vetting of a 10DLC campaign was refused: its content is of a kind that carriers do not allow."
        "Look at the campaign in the Twilio Console. Content of this kind is not accepted with another wording either.";

    // Scheduling.

    Configuration 35111 "Time to send missing"
        "A scheduled message needs `SendAt`."
        "Give the time to send, or send at once.";
    Configuration 35112 ..= 35113 "Scheduling parameter not valid"
        "One of the parameters for scheduling can not be read."
        "Use `ScheduleType=fixed` and a time such as 2026-03-09T12:00:00Z.";
    Configuration 35114 "Time to send out of range"
        "`SendAt` is too soon, or more than 35 days ahead."
        "Choose a time more than 5 minutes and at most 35 days ahead.";
    Configuration 35115 "Time to send not supported"
        "`SendAt` is less than 5 minutes or more than 35 days ahead, or not in UTC."
        "Choose a time within the bounds, written like 2026-03-09T12:00:00Z.";
    Configuration 35116 "Scheduling request not valid"
        "The parameters for scheduling do not fit together."
        "Use `ScheduleType=fixed`, a time in UTC, and a messaging service.";
    Configuration 35117 "Time to send not accepted"
        "`SendAt` is outside what can be scheduled."
        "Choose a time within the bounds, written like 2026-03-09T12:00:00Z.";
    Configuration 35118 "Scheduling needs a messaging service"
        "Messages can be scheduled at Twilio only through a messaging service."
        "Save a messaging service, or use `send_at`, which waits in textledger's own queue.";
    Configuration 35119 ..= 35124 "Scheduling not possible"
        "Twilio can not schedule this message."
        "Use `send_at`, which waits in textledger's own queue.";
    Configuration 35125 "Too many scheduled messages"
        "The account has 500,000 messages scheduled, the most there may be."
        "Wait until some have left, or use `send_at`, which waits in textledger's own queue.";
    Configuration 35126 "Scheduling not supported on this channel"
        "The kind of schedule can not be used on this channel."
        "Use `ScheduleType=fixed`, or `send_at`, which waits in textledger's own queue.";
    Message 35127 "Text and template variables together"
        "A message has either a text or a template with variables."
        "Leave one of them out.";

    // Other parts of Twilio.

    Configuration 45000 "Something about the account is not in order"
        "Twilio refuses it for a reason that is not about the message itself; its own words say which."
        "Read Twilio's message beside this code, and the account's error log in the Twilio Console.";
    Webhook 57012 "Signature not valid"
        "A signature did not match the request it came with."
        "Check the auth token and the exact URL, scheme, port and trailing slash included.";
    Transient 59004 "Webhooks API limits its rate"
        "Too many requests to the API that configures webhooks."
        "Wait as long as `Retry-After` says, then try again.";
    Transient 60728 "Hourly limit of the account reached"
        "The account has sent as many messages in this hour as it may."
        "Go on in the next hour, or ask Twilio for a higher limit.";

    // WhatsApp, RCS and other channels.

    Configuration 63001 "Channel rejects its credentials"
        "The channel does not accept the credentials that Twilio has for the sender."
        "Look at the sender in the Twilio Console; it may have to be connected again.";
    Configuration 63002 "Sender not found on the channel"
        "The channel does not know the `From` address."
        "Check that the sender is registered for this channel, and how it is written.";
    Recipient 63003 "Recipient not found on the channel"
        "The person does not use this channel, or the address is malformed."
        "Reach the person by SMS, or ask for another number.";
    Message 63005 "Content refused by the channel"
        "The channel did not accept the message's content."
        "Check text, media and template against what the channel allows.";
    Message 63006 "Content can not be formatted"
        "Twilio could not bring the message into the channel's form."
        "Simplify the content; check template variables and media types.";
    Configuration 63007 "Sender not on this channel"
        "The account has no such sender on this channel."
        "Register the number as a WhatsApp sender in the Twilio Console, or correct it in the settings.";
    Configuration 63008 "Channel set up wrongly"
        "The channel's setup at Twilio is incomplete or wrong."
        "Look at the sender in the Twilio Console.";
    Transient 63009 "Channel's server failed"
        "The channel's server answered with an error of its own (5xx)."
        "Send it again later; look at the channel's status page if it lasts.";
    Transient 63010 "Channel message failed inside Twilio"
        "Twilio failed while it handled the message for the channel."
        "Send it again later.";
    Configuration 63011 "Request to the channel not valid"
        "The channel could not make sense of the request."
        "Check sender, recipient and content; write to Twilio's support if they are right.";
    Transient 63012 "Channel failed"
        "The channel's own service returned an internal error."
        "Send it again later; look at the channel's status page if it lasts.";
    Configuration 63013 "Against the channel's rules"
        "The channel refused the message as a breach of its policy."
        "Read the channel's rules for business messages, and change what is sent.";
    OptOut 63014 "Recipient blocked the sender"
        "The person has blocked this sender on the channel."
        "Do not send on this channel. Only the person can undo it, in their app.";
    Configuration 63015 "Recipient has not joined the sandbox"
        "The WhatsApp sandbox sends only to people who joined it within the last three days."
        "Let the person text `join` and the sandbox's code to its number, or use a sender of your own.";
    Message 63016 "Outside the 24-hour window"
        "A free text is allowed on WhatsApp only within 24 hours after the person's last message."
        "Send an approved template (`content_sid`) instead.";
    Transient 63017 "Channel rate exceeded"
        "Messages left faster than Twilio sends for this sender on this channel."
        "Lower TEXTLEDGER_MPS for this sender, and send it again later.";
    Transient 63018 "Channel limits its rate"
        "The channel takes no more messages of this sender, or to this person, at present."
        "Send it again later, and more slowly.";
    Transient 63019 "Media could not be fetched"
        "Twilio or the channel could not download the media."
        "Check that the URL is public and quick, then send it once more.";
    Configuration 63020 "Business manager not in order"
        "An invitation or setting in the Meta Business Manager is open."
        "Finish it in the Business Manager.";
    Message 63021 "Content not valid for the channel"
        "The channel refused the content as not valid."
        "Check text, media, template and variables against what the channel allows.";
    Configuration 63022 "Sender's name certificate not valid"
        "The WhatsApp name certificate of the sender is missing or was refused."
        "Look at the sender's display name in the Twilio Console.";
    Transient 63023 "Channel reports an error"
        "The channel gave an error that Twilio has no code for."
        "Look at the channel's own message in the event; send it once more later.";
    Recipient 63024 "Recipient not valid on the channel"
        "The person can not receive messages on this channel. Some blocks show so too."
        "Reach the person by SMS.";
    Information 63025 "Media already exists"
        "The channel has this media already."
        "Nothing needs to be done.";
    Sender 63026 "Content flagged as spam"
        "The channel takes what this sender sends for spam."
        "Stop sending, read the sender's quality rating, and send only what was asked for.";
    Configuration 63027 "Template missing for this language"
        "The template does not exist, or is not approved in the language asked for."
        "Check the template and its approval in the Twilio Console.";
    Configuration 63028 "Template variables do not fit"
        "The number of variables is not the one the template has."
        "Give one value for every variable of the template.";
    Message 63029 "Recipient could not load the template"
        "The person's app could not fetch the template."
        "Send it once more later, or reach the person by SMS.";
    Configuration 63030 "Parameter not supported on the channel"
        "The request has a parameter that this channel does not know."
        "Leave the parameter out.";
    Configuration 63031 "Sender is the recipient on the channel"
        "`To` and `From` are the same address."
        "Send to another address, or from another one.";
    Recipient 63032 "WhatsApp does not deliver to this user now"
        "WhatsApp holds back messages to this person, for instance for an experiment of its own."
        "Reach the person by SMS, or try again after some days.";
    OptOut 63033 "Recipient opted out of WhatsApp marketing"
        "The person told WhatsApp that they want no marketing from this business."
        "Send no marketing to this person on WhatsApp; other messages are still allowed.";
    Message 63034 "Media too large for the channel"
        "The media is larger than the channel takes."
        "Send smaller media, or a link.";
    Configuration 63035 "RCS sender may not reach this recipient"
        "The RCS sender is not launched for this recipient, and the person is no invited tester."
        "Finish the launch for the person's country and carrier, or invite the person as a tester.";
    Recipient 63036 "Recipient not on RCS"
        "The person's phone or carrier does not take RCS messages."
        "Send by SMS, or through a messaging service that falls back to it.";
    Transient 63037 "Media could not be handed over"
        "The upload of the media to the channel failed."
        "Send it again later.";
    Transient 63038 "Daily limit of the account reached"
        "The account has sent as many messages today as it may."
        "Go on tomorrow, or ask Twilio for a higher limit.";
    Configuration 63039 "Messenger warns of too many messages"
        "The sender sends too much outside the 24-hour window, and may be restricted."
        "Send less to people who have not written within 24 hours.";
    Configuration 63040 "Template rejected"
        "WhatsApp has rejected the template."
        "Change the template and submit it again.";
    Configuration 63041 "Template paused"
        "WhatsApp has paused the template because people reacted badly to it."
        "Wait until it is resumed, or use another; send it only to people who expect it.";
    Configuration 63042 "Template disabled"
        "WhatsApp has disabled the template for good."
        "Create a new template.";
    Information 63043 ..= 63045 "Template's sample media not reachable"
        "The link to a template's sample media returned an error."
        "Correct the link in the template and submit it again; messages are not affected by this.";
    Information 63046 "Template approved"
        "WhatsApp has approved the template."
        "Nothing needs to be done: it can be used.";
    Information 63047 "Template's sample media of a wrong type"
        "The link to a template's sample media returned a content type that is not valid."
        "Correct the link in the template and submit it again; messages are not affected by this.";
    Transient 63049 "WhatsApp holds marketing back"
        "Meta chose not to deliver this marketing message: the person has had enough, or has a US number."
        "Try again after a day, then after longer. Marketing to US numbers does not arrive at all.";
    OptOut 63050 "Recipient opted out of marketing on WhatsApp"
        "The person has told WhatsApp that they want no marketing messages."
        "Send no marketing to this person on WhatsApp; other messages are still allowed.";
    Sender 63051 "WhatsApp account locked"
        "The WhatsApp Business account is locked, for a breach of rules or after 30 idle days."
        "Open it again in the Meta Business Manager.";
    Information 63052 "Old form of template used"
        "The message was matched to a template by its text, which WhatsApp has given up."
        "Send the template by its SID (`content_sid`).";
    Transient 63053 "Template not ready yet"
        "The template was approved a short time ago, and is not known everywhere."
        "Send it again in ten minutes.";
    Configuration 63054 "Template not available"
        "The template can not be used at present."
        "Look at the template in the Twilio Console.";
    Configuration 63055 ..= 63056 "Not possible with this kind of account"
        "The sender's kind of account, or its API, does not allow this message."
        "Look at the sender in the Twilio Console; the marketing API takes marketing templates only.";
    Transient 63057 "Too many templates submitted"
        "Templates were submitted faster than WhatsApp takes them."
        "Wait an hour, and submit fewer at a time.";
    Configuration 63058 "Business restricted in this country"
        "WhatsApp does not let this business write to people in this country."
        "Reach people there by SMS.";
    Configuration 63059 "Sender moved to another WhatsApp account"
        "The number now belongs to another WhatsApp Business account."
        "Register the sender again, or use the account that has it.";
    Configuration 63062 "Marketing terms not accepted"
        "The terms of Meta's Marketing Messages API have not been accepted."
        "Accept them in the Meta Business Manager.";
    Configuration 63100 "WhatsApp sender's details not valid"
        "A request to set up or change a WhatsApp sender lacks a field, or has one that is not valid."
        "Correct the field that Twilio's message names, and send the request again.";
    Configuration 63110 "Sender's number already on WhatsApp"
        "The number cannot become a WhatsApp sender, since it is registered with WhatsApp already."
        "Delete the number's account in the WhatsApp app, or move it from the other provider, and register it again.";
    Information 80901 "Stop word not passed on by Proxy"
        "A person sent a stop word through Twilio Proxy, which does not forward it."
        "Record the opt-out if the person means you.";
    Configuration 90007 "Validity period refused"
        "The validity period in the request is not valid."
        "Choose between 1 and 36,000 seconds, or leave it out.";
    Account 90010 "Account can not be used"
        "The account is not active, so the request was refused."
        "Look at the account in the Twilio Console, settle what is open, or write to Twilio's support.";
}
