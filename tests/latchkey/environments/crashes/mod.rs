//! Ends without a warning, of the server, of a sandbox and of the machine.

mod barrier;
mod death;
mod machine;
mod sandboxes;
mod servers;
mod strays;
mod wiping;

use barrier::Barrier;
use death::Death;
