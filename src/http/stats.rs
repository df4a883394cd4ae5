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
    domain::UnixMs,
    twilio::error_code::ErrorCode,
};

/// The window, unless the caller asks for another.
const WINDOW_DEFAULT: Duration = Duration::from_secs(60 * 60);

/// The longest window: 30 days.
const WINDOW_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The most parts of a window.
const BUCKETS_MAX: UnixMs = 1_500;

/// Parts of a window, unless the caller asks for others: as many as a chart shows well.
const BUCKETS_DEFAULT: UnixMs = 60;

/// The query of `GET /api/sms/stats`.
struct StatsQuery {
    window_ms: UnixMs,
    bucket_ms: UnixMs,
}

impl Declared for StatsQuery {
    fn declare(fields: &mut impl Fields) -> Read<Self> {
        let ms = |span: Option<Duration>| span.map(|span| span.as_millis() as UnixMs);
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
        let window_ms = ms(window?).unwrap_or(WINDOW_DEFAULT.as_millis() as UnixMs);
        let unit_ms = unit_of(window_ms).ms();
        if window_ms < unit_ms {
            fields.fault("window", "must be a time from 1m to 30d, such as 1h");
        }
        let bucket_ms =
            ms(bucket?).unwrap_or_else(|| window_ms.div_ceil(BUCKETS_DEFAULT).div_ceil(unit_ms) * unit_ms);
        if bucket_ms == 0 || bucket_ms % unit_ms != 0 || bucket_ms > window_ms {
            let unit = if unit_ms == 60_000 { "minutes" } else { "hours" };
            fields.fault("bucket", format!("must be whole {unit}, and no longer than the window"));
        } else if window_ms.div_ceil(bucket_ms) > BUCKETS_MAX {
            fields.fault("bucket", format!("must part the window into at most {BUCKETS_MAX}"));
        }
        Ok(Self { window_ms, bucket_ms })
    }
}

contract::parameters!(Query: StatsQuery);

/// The numbers as the API shows them.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Stats)]
struct Shown {
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
    series: Vec<Part>,
    errors: Vec<CountedError>,
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
struct Part {
    #[schema(format = DateTime)]
    at: String,
    counts: BTreeMap<String, u64>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = StatsError)]
struct CountedError {
    code: u32,
    count: u64,
    meaning: Option<&'static str>,
    mend: Option<&'static str>,
}

impl Shown {
    fn of(stats: Stats, bucket_ms: UnixMs) -> Self {
        let errors = stats.errors.into_iter().map(|(code, count)| {
            let described = ErrorCode::new(code).describe();
            CountedError {
                code,
                count,
                meaning: described.map(|described| described.meaning),
                mend: described.map(|described| described.mend),
            }
        });
        let series = stats.series.into_iter().map(|(at, counts)| Part { at: time(at), counts });
        Self {
            from: time(stats.from),
            until: time(stats.until),
            bucket: span(bucket_ms),
            totals: stats.totals,
            delivery_rate: stats.delivery_rate,
            opt_outs: stats.opt_outs,
            opt_ins: stats.opt_ins,
            time_to_delivery_ms: TimeToDelivery { p50: stats.p50_ms, p95: stats.p95_ms },
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
    responses(ReadProblems, (status = 200, body = Shown, description = "the numbers")),
)]
pub async fn stats(
    state: web::Data<State>,
    caller: Caller,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    caller.require(Right::Read)?;
    let StatsQuery { window_ms, bucket_ms } = contract::query(&request, &state.context())?;
    let stats = state.app.reads.of(&caller.organization).stats(window_ms, bucket_ms).await?;
    Ok(HttpResponse::Ok().json(Shown::of(stats, bucket_ms)))
}

/// `ms`, which is whole minutes, in the largest unit that it is whole in.
fn span(ms: UnixMs) -> String {
    let minutes = ms / 60_000;
    match (minutes % 60, minutes % (24 * 60)) {
        (_, 0) => format!("{}d", minutes / (24 * 60)),
        (0, _) => format!("{}h", minutes / 60),
        _ => format!("{minutes}m"),
    }
}
