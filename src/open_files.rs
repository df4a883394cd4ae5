//! How many files the process may have open, and how they are shared out.
//!
//! Every connection is a file to the system. A process without a free one can neither take a webhook nor open its spool, so
//! connections get what is left once everything else has its share.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files for the store, the spool, the log, and what the libraries keep open.
const RESERVE: usize = 128;

/// Files of a thread that serves requests: what it waits on, and its connection to Redis, made anew while the old one closes.
const FILES_PER_THREAD: usize = 8;

/// Files that an API connection can cost: its own, and that of the call to Twilio which its request makes.
const FILES_PER_API_CONNECTION: usize = 2;

/// The part of all files that calls to Twilio from the queue get, each of which is a connection.
const QUEUE_CALL_SHARE: usize = 16;

/// The most calls to Twilio from the queue at the same time, however many files there are.
const QUEUE_CALLS_MAX: usize = 1_024;

/// The part of the remaining files that an address for webhooks alone gets.
const WEBHOOK_SHARE: usize = 4;

/// The most connections at the API, however many files there are: at 64 KiB of body each, half a GiB of memory.
const API_CONNECTIONS_MAX: usize = 8_192;

/// The same at the address for webhooks alone.
const WEBHOOK_CONNECTIONS_MAX: usize = 4_096;

/// The fewest connections that are any use, even where the files do not suffice for them.
const CONNECTIONS_MIN: usize = 16;

/// A limit below which a busy service may turn connections away.
pub const LOW_LIMIT: usize = 4_096;

/// Raises the limit of open files as far as this process may, and returns it.
pub fn raise_limit() -> usize {
    let limit = getrlimit(Resource::Nofile);
    // Where this fails, the limit stays as it was, and is read again below.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    let limit = getrlimit(Resource::Nofile).current;
    limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX)
}

/// The most connections that may be open at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shares {
    /// At the main address.
    pub api: usize,
    /// At the address for webhooks alone; 0 without one.
    pub webhooks: usize,
    /// To Twilio, for messages of the queue.
    pub queue_calls: usize,
}

/// Shares out `limit` files among the connections of a process whose addresses have `threads` threads each.
pub fn share_out(limit: usize, threads: usize, has_webhook_address: bool) -> Shares {
    let addresses = 1 + usize::from(has_webhook_address);
    let queue_calls = (limit / QUEUE_CALL_SHARE).clamp(CONNECTIONS_MIN, QUEUE_CALLS_MAX);
    let left = limit.saturating_sub(RESERVE + addresses * threads * FILES_PER_THREAD + queue_calls);
    let webhooks = if has_webhook_address {
        (left / WEBHOOK_SHARE).clamp(CONNECTIONS_MIN, WEBHOOK_CONNECTIONS_MAX)
    } else {
        0
    };
    let api = left.saturating_sub(webhooks) / FILES_PER_API_CONNECTION;
    Shares { api: api.clamp(CONNECTIONS_MIN, API_CONNECTIONS_MAX), webhooks, queue_calls }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reserve_stays_free_whatever_the_limit() {
        for limit in [512, 1_024, 4_096, 20_000] {
            for threads in [1, 2, 16] {
                for has_webhook_address in [false, true] {
                    let shares = share_out(limit, threads, has_webhook_address);
                    let addresses = 1 + usize::from(has_webhook_address);
                    let used = FILES_PER_API_CONNECTION * shares.api + shares.webhooks + shares.queue_calls;
                    let kept = RESERVE + addresses * threads * FILES_PER_THREAD;
                    assert!(used + kept <= limit, "{limit} {threads} {shares:?}");
                }
            }
        }
        assert_eq!(share_out(1_024, 2, true), Shares { api: 300, webhooks: 200, queue_calls: 64 });
        assert_eq!(
            share_out(usize::MAX, 2, true),
            Shares { api: 8_192, webhooks: 4_096, queue_calls: 1_024 }
        );
        assert_eq!(share_out(64, 2, true), Shares { api: 16, webhooks: 16, queue_calls: 16 });
    }

    #[test]
    fn the_limit_is_raised_to_what_the_process_may() {
        let raised = raise_limit();
        assert_eq!(Some(raised as u64), getrlimit(Resource::Nofile).maximum.or(Some(u64::MAX)));
    }
}
