//! The secret of a token is nowhere but with its holder.
