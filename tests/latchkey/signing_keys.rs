//! Signing keys: start-up checks, rotation, revocation.
