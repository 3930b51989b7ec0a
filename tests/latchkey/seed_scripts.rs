//! The scripts of the user guide, to the letter.
