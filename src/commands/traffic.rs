//! `textledger traffic list`, `release`, `refuse` and `judge`.

use std::{fmt, path::Path, time::Duration};

use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::json;

use super::{
    actor, block_on, configure,
    remote::Method,
    say,
    through::{Place, Through},
};
use crate::{
    config,
    domain::{
        Principal, UnixMs,
        audit::Origin,
        pumping::{DECISION_LASTS_MAX, Prefix, Verdict},
    },
};

/// Where what is held is at a service.
const PATH: &str = "/api/sms/suspicious-traffic";

/// Bursts of first messages to neighbouring numbers, which are held until somebody decides, or for a day.
#[derive(Args)]
pub(super) struct Traffic {
    #[command(subcommand)]
    command: Which,
}

#[derive(Subcommand)]
enum Which {
    /// List what is held, by blocks of numbers, and the decisions in force.
    List(List),
    /// Let first messages to a block of numbers go: those that are held at once, new ones for a time.
    Release(Timed),
    /// Refuse first messages to a block of numbers: those that are held at once, new ones for a time.
    Refuse(Timed),
    /// End what was decided: first messages are judged as to all other numbers.
    Judge(Judge),
}

#[derive(Args)]
struct List {
    #[command(flatten)]
    through: Through,
}

#[derive(Args)]
#[command(after_help = "Examples:
  textledger traffic release +4479111
  textledger traffic refuse +4479111 --for 7d --url http://127.0.0.1:8080")]
struct Timed {
    /// What the numbers begin with, as they are listed.
    prefix: Prefix,
    /// For how long: a number and s, m, h or d, at most 30d.
    #[arg(long = "for", default_value = "24h", value_name = "TIME", value_parser = lasts)]
    lasts: Duration,
    #[command(flatten)]
    through: Through,
}

#[derive(Args)]
struct Judge {
    /// What the numbers begin with.
    prefix: Prefix,
    #[command(flatten)]
    through: Through,
}

/// What is held and decided, as a service tells it.
#[derive(Deserialize)]
struct Listed {
    blocks: Vec<Block>,
    is_complete: bool,
    decisions: Vec<Decision>,
}

#[derive(Deserialize)]
struct Block {
    prefix: String,
    held: usize,
    since: String,
    actors: Vec<HeldBy>,
}

#[derive(Deserialize)]
struct HeldBy {
    actor: Option<String>,
    held: usize,
}

#[derive(Deserialize)]
struct Decision {
    prefix: Prefix,
    decision: Verdict,
    until: String,
    actor: String,
}

/// What a decision has done.
#[derive(Deserialize)]
struct Decided {
    moved: usize,
}

impl Traffic {
    pub(super) fn run(self, config: Option<&Path>) -> anyhow::Result<()> {
        let config = configure(config)?;
        block_on(async {
            let (prefix, verdict, lasts, through) = match self.command {
                Which::List(List { through }) => {
                    let listed = list(through.open_to_read(&config).await?).await?;
                    return listed.say();
                }
                Which::Release(Timed { prefix, lasts, through }) => {
                    (prefix, Some(Verdict::Release), lasts, through)
                }
                Which::Refuse(Timed { prefix, lasts, through }) => {
                    (prefix, Some(Verdict::Refuse), lasts, through)
                }
                Which::Judge(Judge { prefix, through }) => (prefix, None, Duration::ZERO, through),
            };
            let user = actor::of_process();
            let Decided { moved } = match through.open(&config, &user).await? {
                Place::Here(app, organization) => {
                    let by = Origin::new(&Principal::command(&user), None);
                    let outgoing = app.outgoing.of(&organization);
                    Decided { moved: outgoing.decide_on_traffic(&by, &prefix, verdict, lasts).await? }
                }
                Place::There(service) => {
                    let mut body = json!({ "decision": verdict.map_or("judge", word) });
                    if verdict.is_some() {
                        body["for_s"] = lasts.as_secs().into();
                    }
                    let request = service.request(Method::POST, &format!("{PATH}/{prefix}"));
                    service.ask_for(request.json(&body)).await?
                }
            };
            match verdict {
                Some(Verdict::Release) => {
                    say(format_args!("{prefix} is released; of what was held leave: {moved}"))
                }
                Some(Verdict::Refuse) => {
                    say(format_args!("{prefix} is refused; of what was held are refused: {moved}"))
                }
                None => say(format_args!("{prefix} is judged as all other numbers")),
            }
        })
    }
}

/// How long a decision is to be in force.
fn lasts(text: &str) -> Result<Duration, String> {
    let lasts = config::duration(text).filter(|lasts| !lasts.is_zero() && *lasts <= DECISION_LASTS_MAX);
    lasts.ok_or_else(|| "expected a number and s, m, h or d, such as 7d, of at most 30d".to_owned())
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Release => "release",
        Verdict::Refuse => "refuse",
    }
}

async fn list(place: Place) -> anyhow::Result<Listed> {
    match place {
        Place::Here(app, organization) => {
            let traffic = app.outgoing.of(&organization).held_traffic().await?;
            let blocks = traffic.blocks.into_iter().map(|block| Block {
                prefix: block.prefix,
                held: block.held,
                since: time(block.since),
                actors: block
                    .actors
                    .into_iter()
                    .map(|(actor, held)| HeldBy { actor: actor.map(|actor| actor.to_string()), held })
                    .collect(),
            });
            let decisions = traffic.decisions.into_iter().map(|decision| Decision {
                prefix: decision.prefix,
                decision: decision.verdict,
                until: time(decision.until),
                actor: decision.by.to_string(),
            });
            Ok(Listed {
                blocks: blocks.collect(),
                is_complete: traffic.is_complete,
                decisions: decisions.collect(),
            })
        }
        Place::There(service) => service.ask_for(service.request(Method::GET, PATH)).await,
    }
}

impl Listed {
    fn say(&self) -> anyhow::Result<()> {
        self.blocks.iter().try_for_each(say)?;
        if !self.is_complete {
            say("and maybe more, which were not looked at or cannot be read")?;
        }
        self.decisions.iter().try_for_each(say)
    }
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} held {} since {}", self.prefix, self.held, self.since)?;
        for HeldBy { actor, held } in &self.actors {
            write!(f, " {}: {held}", actor.as_deref().unwrap_or("unknown"))?;
        }
        Ok(())
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { prefix, decision, until, actor } = self;
        write!(f, "{prefix} {} until {until} by {actor}", word(*decision))
    }
}

/// A time as the API writes it.
fn time(at: UnixMs) -> String {
    format!("{:.3}", at.to_timestamp().unwrap_or(jiff::Timestamp::MAX))
}
