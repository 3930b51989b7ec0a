//! What goes wrong around the server: PostgreSQL away, two at once, a sudden end.

mod commit;
mod health;
mod herd;
mod last_used;
mod locks;
mod migrating;
mod outage;
mod queue;
mod racing;
mod recorder;
