//! What happened lately, in numbers.

use std::{collections::BTreeMap, time::Duration};

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    State,
    auth::{Caller, Right},
    contract::{
        self, Declared, Fields, Read, kinds,
        operations::{self, ReadProblems},
    },
    problem::Problem,
    time,
};
use crate::{
    app::reads::stats::{Stats, unit_of},
    domain::stats::Unit,
    twilio::error_code::ErrorCode,
};

/// The window, unless the caller asks for another.
const WINDOW_DEFAULT: Duration = Duration::from_secs(60 * 60);

/// The longest window: 30 days.
const WINDOW_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The most parts of a window.
const BUCKETS_MAX: u32 = 1_500;

/// Parts of a window, unless the caller asks for others: as many as a chart shows well.
const BUCKETS_DEFAULT: u32 = 60;

/// The query of `GET /api/sms/stats`.
struct StatsQuery {
    window: Duration,
    bucket: Duration,
}

impl Declared for StatsQuery {
    fn declare(fields: &mut impl Fields) -> Read<Self> {
        let window = fields.optional(
            "window",
            "How far back: `15m`, `1h`, `7d`; up to `30d`. `1h` if left out.",
            kinds::span(WINDOW_MAX, "1h"),
        );
        let bucket = fields.optional(
            "bucket",
            "The length of a part: whole minutes, for windows over a day whole hours. A sixtieth of the window if left out.",
            kinds::span(WINDOW_MAX, "1m"),
        );
        let window = window?.unwrap_or(WINDOW_DEFAULT);
        let unit = unit_of(window).length();
        if window < unit {
            fields.fault("window", "must be a time from 1m to 30d, such as 1h");
        }
        let bucket = bucket?.unwrap_or_else(|| unit * parts(window, unit * BUCKETS_DEFAULT));
        if bucket.is_zero() || bucket.as_millis() % unit.as_millis() != 0 || bucket > window {
            let unit = if unit == Unit::Minute.length() { "minutes" } else { "hours" };
            fields.fault("bucket", format!("must be whole {unit}, and no longer than the window"));
        } else if parts(window, bucket) > BUCKETS_MAX {
            fields.fault("bucket", format!("must part the window into at most {BUCKETS_MAX}"));
        }
        Ok(Self { window, bucket })
    }
}

contract::parameters!(Query: StatsQuery);

/// The numbers as the API shows them.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Stats)]
struct StatsView {
    #[schema(format = DateTime)]
    from: String,
    #[schema(format = DateTime)]
    until: String,
    /// How long a part is: `90m`, `6h`, `1d`.
    bucket: String,
    totals: BTreeMap<String, u64>,
    delivery_rate: Option<f64>,
    opt_outs: u64,
    opt_ins: u64,
    time_to_delivery_ms: TimeToDelivery,
    series: Vec<StatsPart>,
    errors: Vec<StatsError>,
    channels: BTreeMap<String, BTreeMap<String, u64>>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = StatsTimeToDelivery)]
struct TimeToDelivery {
    p50: Option<u64>,
    p95: Option<u64>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = StatsPart)]
struct StatsPart {
    #[schema(format = DateTime)]
    at: String,
    counts: BTreeMap<String, u64>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = StatsError)]
struct StatsError {
    code: u32,
    count: u64,
    meaning: Option<&'static str>,
    mend: Option<&'static str>,
}

impl StatsView {
    fn of(stats: Stats, bucket: Duration) -> Self {
        let ms = |time: Duration| time.as_millis() as u64;
        let errors = stats.errors.into_iter().map(|(code, count)| {
            let described = ErrorCode::new(code).describe();
            StatsError {
                code,
                count,
                meaning: described.map(|described| described.meaning),
                mend: described.map(|described| described.mend),
            }
        });
        let series = stats.series.into_iter().map(|(at, counts)| StatsPart { at: time(at), counts });
        Self {
            from: time(stats.from),
            until: time(stats.until),
            bucket: span(bucket),
            totals: stats.totals,
            delivery_rate: stats.delivery_rate,
            opt_outs: stats.opt_outs,
            opt_ins: stats.opt_ins,
            time_to_delivery_ms: TimeToDelivery { p50: stats.p50.map(ms), p95: stats.p95.map(ms) },
            series: series.collect(),
            errors: errors.collect(),
            channels: stats.channels,
        }
    }
}

/// What happened lately, in numbers.
///
/// Counted by when each status was heard of, over a window that ends now.
#[utoipa::path(
    get, path = "/api/sms/stats", tags = [operations::TAG, operations::EVENTS], operation_id = "getStats", params(StatsQuery),
    responses(ReadProblems, (status = 200, body = StatsView, description = "the numbers")),
)]
pub async fn stats(
    state: web::Data<State>,
    caller: Caller,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    caller.require(Right::Read)?;
    let StatsQuery { window, bucket } = contract::query(&request, &state.context())?;
    let stats = state.app.reads.of(&caller.organization).stats(window, bucket).await?;
    Ok(HttpResponse::Ok().json(StatsView::of(stats, bucket)))
}

/// How many of `part` make up `whole`, the last of them perhaps not whole.
fn parts(whole: Duration, part: Duration) -> u32 {
    whole.as_millis().div_ceil(part.as_millis()) as u32
}

/// `time`, which is whole minutes, in the largest unit that it is whole in.
fn span(time: Duration) -> String {
    let minutes = time.as_secs() / 60;
    match (minutes % 60, minutes % (24 * 60)) {
        (_, 0) => format!("{}d", minutes / (24 * 60)),
        (0, _) => format!("{}h", minutes / 60),
        _ => format!("{minutes}m"),
    }
}
