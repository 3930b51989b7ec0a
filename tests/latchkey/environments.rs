//! Environments on the local runner, through the API.
