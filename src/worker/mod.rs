//! Loops that run beside the requests.

pub mod dispatcher;
pub mod reconciler;
pub mod replayer;
pub mod tailer;
