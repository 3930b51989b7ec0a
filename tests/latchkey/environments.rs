//! Environments on the local runner, through the API.

mod archive;
mod changes;
mod classes;
mod content;
mod crashes;
mod disk;
mod hogs;
mod hostile;
mod input;
mod launch;
mod liars;
mod life;
mod limits;
mod lists;
mod network;
mod opened;
mod public_url;
mod reserve;
mod scale;
mod servers;
mod surroundings;
mod unprivileged;
mod unsupported;
