//! What goes wrong around the service, and what must hold all the same.

mod aside;
mod between;
mod bulk;
mod crowding;
mod damaged_file;
mod failover;
mod full_disk;
mod lost_callbacks;
mod overload;
mod promotion;
mod redis_tls;
mod restart_away;
mod slow_store;
mod spool;
mod stopping;
mod store_away;
mod store_not_known;
