//! The embedded PostgreSQL and its data directory, with real PostgreSQL in temporary directories.
//!
//! Run by root, most tests run twice: as root (PostgreSQL as the account postgres), and once more in a process of the
//! account nobody, where everything is one account's.

#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stdout, reason = "skipped tests say why, helper processes report")]

mod access;
mod account;
mod place;
mod processes;
mod recovering;
mod refusing;
mod sharing;
mod starting;
mod stopping;

/// Each of these runs as the account of this process, and, if that is root, again as nobody.
macro_rules! as_both_accounts {
    ($($module:ident { $($name:ident)* })*) => {
        mod as_this_account {
            $($(#[test] fn $name() { crate::account::run(crate::$module::$name()) })*)*
        }
        mod as_an_unprivileged_account {
            $($(#[test] fn $name() {
                crate::account::run_again_as_nobody(concat!("as_this_account::", stringify!($name)))
            })*)*
        }
    };
}

as_both_accounts! {
    starting {
        the_first_start_makes_everything
        a_second_start_finds_what_was_there
        a_start_adopts_what_a_killed_process_left
        two_starts_at_once_are_one
        a_start_that_takes_too_long_goes_on_in_the_background
        the_postmaster_inherits_nothing
        a_long_path_gets_a_short_socket
        extra_options_reach_postgresql_but_not_those_that_guard_it
    }
    recovering {
        a_start_recovers_from_a_killed_postmaster
        a_start_finishes_what_a_start_killed_at_any_step_began
        a_start_finishes_a_half_done_bootstrap
        a_start_cut_short_in_this_process_is_finished_by_the_next
        a_start_is_not_misled_by_a_living_process_with_the_old_id
        a_start_waits_for_a_postmaster_that_is_writing_its_note
        a_start_ends_what_outlives_a_killed_postmaster
        a_start_repairs_a_postmaster_whose_socket_is_gone
    }
    refusing {
        a_missing_major_version_is_named
        a_failed_start_shows_the_log
        a_directory_of_something_else_is_refused
    }
    stopping {
        stop_ends_a_postmaster_that_does_not_end_in_time
        stop_leaves_no_process_and_no_socket
    }
    sharing {
        a_second_server_is_refused_with_the_pid_of_the_first
        a_server_waits_for_a_command
        a_command_works_beside_a_server
        a_command_alone_starts_and_stops
    }
    access {
        the_serving_role_makes_nothing
    }
}
