//! How many environments there may be, as the operator says it.

use std::{fmt::Display, ops::RangeInclusive, str::FromStr};

use clap::Args;

use crate::domain::{
    environment::{Allowance, EnvironmentLimits},
    size,
};

/// Of whatever is counted: what a list of a million takes is nothing that anybody waits for.
const COUNTS: RangeInclusive<u32> = 1..=1_000_000;

/// The flags. Texts, so that every mistake is reported together with all others.
#[derive(Debug, Clone, Args)]
pub struct EnvironmentLimitArgs {
    /// Environments that a user may have at the most
    #[arg(long, env = "LATCHKEY_ENVIRONMENTS_PER_USER", value_name = "N", default_value = "50")]
    pub environments_per_user: String,
    /// Environments of a user that may run at once
    #[arg(long, env = "LATCHKEY_RUNNING_PER_USER", value_name = "N", default_value = "20")]
    pub running_per_user: String,
    /// Disk that a user's environments may fill, such as 500MiB or 100GiB
    #[arg(long, env = "LATCHKEY_DISK_PER_USER", value_name = "SIZE", default_value = "100GiB")]
    pub disk_per_user: String,
    /// Environments that an organization may have at the most
    #[arg(long, env = "LATCHKEY_ENVIRONMENTS_PER_ORGANIZATION", value_name = "N", default_value = "1000")]
    pub environments_per_organization: String,
    /// Environments of an organization that may run at once
    #[arg(long, env = "LATCHKEY_RUNNING_PER_ORGANIZATION", value_name = "N", default_value = "200")]
    pub running_per_organization: String,
    /// Disk that an organization's environments may fill
    #[arg(long, env = "LATCHKEY_DISK_PER_ORGANIZATION", value_name = "SIZE", default_value = "1TiB")]
    pub disk_per_organization: String,
}

impl EnvironmentLimitArgs {
    /// Checks every flag; what is wrong goes to `mistakes`, and counts as the default.
    pub(super) fn check(&self, mistakes: &mut Vec<String>) -> EnvironmentLimits {
        let default = EnvironmentLimits::default();
        let mut bytes = |flag, text: &str, default| size(flag, text, mistakes).unwrap_or(default);
        let user_bytes = bytes("--disk-per-user", &self.disk_per_user, default.user.disk_bytes);
        let organization_bytes =
            bytes("--disk-per-organization", &self.disk_per_organization, default.organization.disk_bytes);
        let mut count = |flag, text: &str, default| number(flag, text, &COUNTS, mistakes).unwrap_or(default);
        EnvironmentLimits {
            user: Allowance {
                existing: count("--environments-per-user", &self.environments_per_user, default.user.existing),
                running: count("--running-per-user", &self.running_per_user, default.user.running),
                disk_bytes: user_bytes,
            },
            organization: Allowance {
                existing: count(
                    "--environments-per-organization",
                    &self.environments_per_organization,
                    default.organization.existing,
                ),
                running: count(
                    "--running-per-organization",
                    &self.running_per_organization,
                    default.organization.running,
                ),
                disk_bytes: organization_bytes,
            },
        }
    }
}

/// Reads a number of bytes, of which there is at least one.
pub(super) fn size(flag: &str, text: &str, mistakes: &mut Vec<String>) -> Option<u64> {
    let bytes = size::parse(text).filter(|bytes| *bytes > 0);
    if bytes.is_none() {
        mistakes.push(format!("{flag} {text}: must be a size such as 500MiB, 100GiB or 2TiB"));
    }
    bytes
}

/// Reads a number in a range.
pub(super) fn number<T: FromStr + PartialOrd + Display>(
    flag: &str,
    text: &str,
    range: &RangeInclusive<T>,
    mistakes: &mut Vec<String>,
) -> Option<T> {
    let number = text.parse().ok().filter(|number| range.contains(number));
    if number.is_none() {
        mistakes.push(format!("{flag} {text}: must be a number from {} to {}", range.start(), range.end()));
    }
    number
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        limits: EnvironmentLimitArgs,
    }

    fn check(args: &[&str]) -> Result<EnvironmentLimits, Vec<String>> {
        let cli = Cli::parse_from(std::iter::once("latchkey").chain(args.iter().copied()));
        let mut mistakes = Vec::new();
        let limits = cli.limits.check(&mut mistakes);
        if mistakes.is_empty() { Ok(limits) } else { Err(mistakes) }
    }

    #[test]
    fn what_is_not_said_is_as_by_default() {
        assert_eq!(check(&[]).unwrap(), EnvironmentLimits::default());
    }

    #[test]
    fn each_flag_sets_its_own_limit() {
        let flags = [
            "--environments-per-user",
            "--running-per-user",
            "--environments-per-organization",
            "--running-per-organization",
        ];
        let args: Vec<&str> =
            flags.into_iter().zip(["1", "2", "3", "4"]).flat_map(|(flag, value)| [flag, value]).collect();
        let limits = check(&args).unwrap();
        assert_eq!((limits.user.existing, limits.user.running), (1, 2));
        assert_eq!((limits.organization.existing, limits.organization.running), (3, 4));
        let limits = check(&["--disk-per-user", "5GiB", "--disk-per-organization", "6TiB"]).unwrap();
        assert_eq!((limits.user.disk_bytes, limits.organization.disk_bytes), (5 << 30, 6 << 40));
        for flag in ["--disk-per-user", "--disk-per-organization"] {
            for text in ["0", "0GiB", "-1", "5GB", "much", ""] {
                let mistakes = check(&[&format!("{flag}={text}")]).unwrap_err();
                assert!(mistakes.len() == 1 && mistakes[0].starts_with(flag), "{mistakes:?}");
            }
        }
        for flag in flags {
            for text in ["0", "-1", "many", "1000001", ""] {
                let mistakes = check(&[&format!("{flag}={text}")]).unwrap_err();
                assert!(mistakes.len() == 1 && mistakes[0].starts_with(flag), "{mistakes:?}");
            }
        }
    }
}
