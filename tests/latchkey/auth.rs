//! Who is let in: every way to present a token, good and bad.
