//! What a connection may do before and beside requests.
