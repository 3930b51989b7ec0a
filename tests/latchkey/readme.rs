//! Every command of the README, run as pasted.
