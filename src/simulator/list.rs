//! The list of messages: filters, pages, and the wrapper around a page.
//!
//! Source: <https://www.twilio.com/docs/messaging/api/message-resource#read-multiple-message-resources>.

use jiff::{Timestamp, civil::Date, tz::TimeZone};
use serde_json::{Value, json};

use super::{
    errors::ApiError,
    message::{API_VERSION, Message},
    model::Model,
};
use crate::twilio::{AccountSid, Form};

const PAGE_SIZE_DEFAULT: usize = 50;
const PAGE_SIZE_MAX: usize = 1000;

/// What a list is asked for.
pub struct Query {
    to: Option<String>,
    from: Option<String>,
    date_sent: Vec<DateSent>,
    page_size: usize,
    page: usize,
    position: Position,
}

/// Where a page lies in the list, which is newest first. Pages are tied to places in the order in which messages were
/// accepted or received, so that neither new messages nor deleted ones shift them.
enum Position {
    /// At the beginning.
    First,
    /// After the message of this place.
    After(u64),
    /// Before the message of this place.
    Before(u64),
}

/// A bound on the date of sending.
struct DateSent {
    comparison: Comparison,
    day_or_time: DayOrTime,
}

#[derive(Clone, Copy)]
enum Comparison {
    On,
    OnOrBefore,
    OnOrAfter,
}

enum DayOrTime {
    Day(Date),
    Time(Timestamp),
}

impl Query {
    /// Reads the query of a request.
    pub fn read(query: &str) -> Result<Self, ApiError> {
        let form = Form::parse(query.as_bytes());
        let get = |name: &str| form.get(name).map(|v| v.into_owned()).filter(|value| !value.is_empty());
        let invalid = |name: &str| ApiError::bad_request(20422, format!("Invalid value of {name}"));
        let number = |name: &str| match get(name) {
            Some(text) => text.parse::<usize>().map(Some).map_err(|_| invalid(name)),
            None => Ok(None),
        };

        let mut date_sent = Vec::new();
        // The inequalities are part of the names: `DateSent>=2026-03-09` is `DateSent>` with a value.
        for (name, comparison) in [
            ("DateSent", Comparison::On),
            ("DateSent<", Comparison::OnOrBefore),
            ("DateSent>", Comparison::OnOrAfter),
        ] {
            if let Some(text) = get(name) {
                let day_or_time = DayOrTime::parse(&text).ok_or_else(|| invalid(name))?;
                date_sent.push(DateSent { comparison, day_or_time });
            }
        }
        let position = match get("PageToken") {
            None => Position::First,
            Some(token) => Position::parse(&token).ok_or_else(|| invalid("PageToken"))?,
        };
        Ok(Self {
            to: get("To"),
            from: get("From"),
            date_sent,
            page_size: number("PageSize")?.unwrap_or(PAGE_SIZE_DEFAULT).clamp(1, PAGE_SIZE_MAX),
            page: number("Page")?.unwrap_or(0),
            position,
        })
    }

    /// The page, as the API answers it. A page begins behind a place and not behind a message, which may be deleted
    /// meanwhile.
    pub fn answer(&self, model: &Model, account_sid: &AccountSid, now: Timestamp) -> Value {
        let lag = model.faults().list_lag;
        let fits = |(_, message): &(u64, &Message)| message.date_created + lag <= now && self.fits(message);
        // One more than fits on the page tells whether there is another page.
        let wanted = self.page_size + 1;
        let (messages, is_more_before, is_more_after) = match self.position {
            Position::Before(place) => {
                let newer = model.messages().skip_while(|(at, _)| *at <= place);
                let mut messages: Vec<_> = newer.filter(fits).take(wanted).collect();
                let is_more = messages.len() == wanted;
                messages.truncate(self.page_size);
                messages.reverse();
                (messages, is_more, true)
            }
            Position::First | Position::After(_) => {
                let place = match self.position {
                    Position::After(place) => place,
                    _ => u64::MAX,
                };
                let older = model.messages().rev().skip_while(|(at, _)| *at >= place);
                let mut messages: Vec<_> = older.filter(fits).take(wanted).collect();
                let is_more = messages.len() == wanted;
                messages.truncate(self.page_size);
                (messages, matches!(self.position, Position::After(_)), is_more)
            }
        };

        let uri = |page: usize, token: Option<String>| self.uri(account_sid, page, token);
        let next = messages.last().filter(|_| is_more_after).map(|(at, _)| Position::After(*at));
        let previous = messages.first().filter(|_| is_more_before).map(|(at, _)| Position::Before(*at));
        let start = self.page * self.page_size;
        json!({
            "messages": messages.iter().map(|(_, message)| message.to_json(account_sid)).collect::<Vec<_>>(),
            "page": self.page,
            "page_size": self.page_size,
            "start": start,
            "end": start + messages.len().saturating_sub(1),
            "uri": uri(self.page, self.position.to_token()),
            "first_page_uri": uri(0, None),
            "next_page_uri": next.map(|place| uri(self.page + 1, place.to_token())),
            "previous_page_uri": previous.map(|place| uri(self.page.saturating_sub(1), place.to_token())),
        })
    }

    fn fits(&self, message: &Message) -> bool {
        // A message that waits has no date of sending yet; it is listed by the date of its creation.
        let date_sent = message.date_sent.unwrap_or(message.date_created);
        self.to.as_ref().is_none_or(|to| message.to.to_twilio() == *to)
            && self
                .from
                .as_ref()
                .is_none_or(|from| message.from.as_ref().is_some_and(|address| address.to_twilio() == *from))
            && self.date_sent.iter().all(|bound| bound.holds(date_sent))
    }

    fn uri(&self, account_sid: &AccountSid, page: usize, token: Option<String>) -> String {
        let filters = [("To", self.to.clone()), ("From", self.from.clone())]
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
            .chain(self.date_sent.iter().map(DateSent::to_parameter));
        let place = [("PageSize", self.page_size.to_string()), ("Page", page.to_string())];
        let pairs: Vec<_> = filters.chain(place).chain(token.map(|token| ("PageToken", token))).collect();
        let query = Form::from_iter(pairs.iter().map(|(name, value)| (*name, value.as_str()))).encode();
        format!("/{API_VERSION}/Accounts/{account_sid}/Messages.json?{query}")
    }
}

impl Position {
    fn parse(token: &str) -> Option<Self> {
        let place = u64::from_str_radix(token.get(2..)?, 16).ok()?;
        match token.get(..2)? {
            "PA" => Some(Position::After(place)),
            "PB" => Some(Position::Before(place)),
            _ => None,
        }
    }

    fn to_token(&self) -> Option<String> {
        match self {
            Position::First => None,
            Position::After(place) => Some(format!("PA{place:032x}")),
            Position::Before(place) => Some(format!("PB{place:032x}")),
        }
    }
}

impl DayOrTime {
    fn parse(text: &str) -> Option<Self> {
        let time = text.parse().ok().map(DayOrTime::Time);
        time.or_else(|| text.parse().ok().map(DayOrTime::Day))
    }
}

impl DateSent {
    fn holds(&self, date_sent: Timestamp) -> bool {
        let ordering = match &self.day_or_time {
            DayOrTime::Day(day) => date_sent.to_zoned(TimeZone::UTC).date().cmp(day),
            DayOrTime::Time(time) => date_sent.cmp(time),
        };
        match self.comparison {
            Comparison::On => ordering.is_eq(),
            Comparison::OnOrBefore => ordering.is_le(),
            Comparison::OnOrAfter => ordering.is_ge(),
        }
    }

    fn to_parameter(&self) -> (&'static str, String) {
        let name = match self.comparison {
            Comparison::On => "DateSent",
            Comparison::OnOrBefore => "DateSent<",
            Comparison::OnOrAfter => "DateSent>",
        };
        let value = match &self.day_or_time {
            DayOrTime::Day(day) => day.to_string(),
            DayOrTime::Time(time) => time.to_string(),
        };
        (name, value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulator::create::Draft;

    fn account_sid() -> AccountSid {
        AccountSid::parse(&format!("AC{}", "a".repeat(32))).unwrap()
    }

    /// A model with a message per minute to the numbers 0, 1, 2, 0, 1, …
    fn model(messages: usize) -> Model {
        let mut model = Model::new(account_sid(), Some(1));
        let start: Timestamp = "2026-03-09T23:58:00Z".parse().unwrap();
        for index in 0..messages {
            let to = format!("+1415555010{}", index % 3);
            let form = Form::from_iter([("To", to.as_str()), ("From", "+15005550006"), ("Body", "Hi")]);
            let draft =
                Draft::read(&form, false, super::super::now()).unwrap_or_else(|error| panic!("{error}"));
            let now = start + jiff::Span::new().minutes(i64::try_from(index).unwrap());
            model.create(draft, now).unwrap_or_else(|error| panic!("{error}"));
        }
        model
    }

    fn page(model: &Model, query: &str) -> Value {
        Query::read(query).unwrap().answer(model, &account_sid(), super::super::now())
    }

    fn sids(page: &Value) -> Vec<&str> {
        page["messages"].as_array().unwrap().iter().map(|message| message["sid"].as_str().unwrap()).collect()
    }

    fn query_of(uri: &Value) -> Option<&str> {
        Some(uri.as_str()?.split_once('?')?.1)
    }

    #[test]
    fn pages_hold_every_message_once_newest_first_and_lead_back() {
        let model = model(7);
        let expected: Vec<_> = model.messages().rev().map(|(_, message)| message.sid.to_string()).collect();
        let mut pages = vec![page(&model, "PageSize=3")];
        while let Some(query) = query_of(&pages.last().unwrap()["next_page_uri"]) {
            pages.push(page(&model, query));
        }
        let seen: Vec<_> = pages.iter().flat_map(sids).collect();
        assert_eq!(seen, expected);
        let numbers: Vec<_> =
            pages.iter().map(|page| (&page["page"], &page["start"], &page["end"])).collect();
        assert_eq!(
            numbers,
            [
                (&json!(0), &json!(0), &json!(2)),
                (&json!(1), &json!(3), &json!(5)),
                (&json!(2), &json!(6), &json!(6))
            ]
        );

        assert_eq!(pages[0]["previous_page_uri"], Value::Null);
        let back = page(&model, query_of(&pages[2]["previous_page_uri"]).unwrap());
        assert_eq!(sids(&back), sids(&pages[1]));
        let back = page(&model, query_of(&back["previous_page_uri"]).unwrap());
        assert_eq!((sids(&back), &back["previous_page_uri"]), (sids(&pages[0]), &Value::Null));
    }

    #[test]
    fn a_full_last_page_has_none_after_it() {
        let model = model(4);
        let first = page(&model, "PageSize=2");
        let second = page(&model, query_of(&first["next_page_uri"]).unwrap());
        assert_eq!(second["next_page_uri"], Value::Null);
    }

    #[test]
    fn filters_hold_on_every_page() {
        let model = model(9);
        let first = page(&model, "To=%2B14155550101&From=%2B15005550006&PageSize=2&DateSent%3E=2026-03-09");
        let second = page(&model, query_of(&first["next_page_uri"]).unwrap());
        assert_eq!((sids(&first).len(), sids(&second).len()), (2, 1));
        for message in
            first["messages"].as_array().unwrap().iter().chain(second["messages"].as_array().unwrap())
        {
            assert_eq!(message["to"], "+14155550101");
        }
        assert!(sids(&page(&model, "From=%2B15005550007")).is_empty());
    }

    #[test]
    fn dates_are_days_or_times_with_an_inequality_in_the_name() {
        // Two messages on the 9th, the others on the 10th.
        let model = model(5);
        for (query, expected) in [
            ("DateSent=2026-03-09", 2),
            ("DateSent=2026-03-10", 3),
            ("DateSent>=2026-03-10", 3),
            ("DateSent%3E=2026-03-09", 5),
            ("DateSent%3C=2026-03-09", 2),
            ("DateSent>=2026-03-09T23:59:00Z", 4),
            ("DateSent<=2026-03-09T23:59:00Z&DateSent>=2026-03-09T23:59:00Z", 1),
            ("DateSent>=2026-03-11", 0),
        ] {
            assert_eq!(sids(&page(&model, query)).len(), expected, "{query}");
        }
    }

    #[test]
    fn what_can_not_be_read_is_refused_by_name() {
        for (query, name) in [
            ("DateSent=yesterday", "DateSent"),
            ("PageSize=many", "PageSize"),
            ("PageToken=PX1", "PageToken"),
            ("PageToken=PASM1", "PageToken"),
            ("PageToken=é", "PageToken"),
        ] {
            let error = Query::read(query).err().unwrap();
            assert!(error.http_status == 400 && error.message.contains(name), "{query}");
        }
        assert_eq!(page(&model(1), "PageSize=5000")["page_size"], 1000);
    }
}
