//! One port, every protocol: the same answers to plain HTTP clients, whatever they speak.

mod bad_input;
mod connection;
mod cors;
mod deadlines;
mod hostile;
mod identity;
mod leaving;
mod limits;
mod plain_json;
mod refusals;
mod spoken;
mod strangers;
mod streams;
