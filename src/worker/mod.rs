//! Loops that run beside the requests.

pub mod caretaker;
pub mod dispatcher;
pub mod forwarder;
mod jobs;
pub mod queues;
pub mod recognizer;
pub mod reconciler;
pub mod relayer;
pub mod replayer;
pub mod retention;
pub mod reviewer;
pub mod settings;
mod shares;
pub mod tailer;
pub mod verifier;
