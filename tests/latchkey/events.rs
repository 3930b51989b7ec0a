//! Watching what becomes of environments.

mod ends;
mod told;
mod unread;
mod watch;
