//! The service through its port, on both stores.

mod access;
mod addresses;
mod answers;
mod api_keys;
mod audit;
mod audit_bounds;
mod budgets;
mod bulk;
mod callers;
mod configured_keys;
mod connection;
mod consent_page;
mod consents;
mod consequences;
mod erasure;
mod event_streams;
pub mod events;
mod exports;
mod forward;
mod history;
mod inner_addresses;
mod jwks;
mod keys;
mod limits;
mod ownership;
mod people;
mod persons;
mod proxies;
mod rejections;
mod reviews;
mod sending;
mod settings;
mod suspicious_traffic;
mod tenancy;
mod tokens;
mod unreadable;
mod upgrade;
mod webhooks;

/// Makes a test per store of each async function that takes `On`.
macro_rules! on_both_stores {
    ($($story:ident)+) => {
        mod embedded {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $story() {
                    super::$story(crate::support::service::On::Embedded).await;
                }
            )+
        }
        mod redis {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $story() {
                    super::$story(crate::support::service::On::Redis).await;
                }
            )+
        }
    };
}
pub(crate) use on_both_stores;
