//! Every constraint that SQL holds, violated once.
