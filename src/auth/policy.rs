//! Who may call what: one row for each RPC, page and endpoint. What has no row is refused.

mod pages;

use std::{collections::HashMap, sync::LazyLock};

use foldhash::fast::FixedState;
use http::Method;

pub use pages::{PAGE_POLICIES, PagePolicy};

use crate::domain::ids::EnvironmentId;

/// Who may call an RPC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// Anybody, with or without a token.
    Public,
    /// A principal with a personal access token; at a page, with a session.
    Caller,
    /// A service account that may ask about others' tokens, with a personal access token.
    Service,
    /// The holder of a token for the environment that the call concerns.
    EnvironmentHolder,
}

/// What an RPC does to the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Nothing: a read-only token may call it.
    Read,
    /// Something. Making credentials is a write.
    Write,
}

/// Of what a call may have more than one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Streams {
    /// One request, one answer.
    Nothing,
    /// One request, and answers that may come for ever.
    Answers,
    /// Requests and answers that may come for ever.
    Both,
}

/// How something is asked for and answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// By the protocols that RPCs have; what is none says no more than a status and a text.
    Rpc,
    /// As OAuth has it: a form by POST, errors of its own, and the token as the password of a client as well (RFC 6749, section
    /// 2.3.1), since that is all that most clients can do.
    OAuth,
    /// By a browser, for a person: with a session in a cookie, and never with a token.
    Page,
}

/// The policy of an RPC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Its full name, `package.Service/Method`, or else its path without the first slash.
    pub rpc: &'static str,
    /// Who may call it.
    pub who: Who,
    /// What it does to the state.
    pub access: Access,
    /// Whether its request may hold a secret, which must not get into a URL.
    pub secret_in_request: bool,
    /// Whether it may last.
    pub streams: Streams,
    /// How it is asked for.
    pub door: Door,
}

const fn row(rpc: &'static str, who: Who, access: Access) -> Policy {
    Policy { rpc, who, access, secret_in_request: false, streams: Streams::Nothing, door: Door::Rpc }
}

const fn stream(rpc: &'static str, who: Who, streams: Streams) -> Policy {
    Policy { streams, ..row(rpc, who, Access::Read) }
}

const fn asking_about_tokens(rpc: &'static str) -> Policy {
    Policy { secret_in_request: true, ..row(rpc, Who::Service, Access::Read) }
}

const fn public_oauth(path: &'static str) -> Policy {
    oauth(path, Who::Public, Access::Write)
}

const fn oauth(path: &'static str, who: Who, access: Access) -> Policy {
    Policy { secret_in_request: true, door: Door::OAuth, ..row(path, who, access) }
}

/// Every RPC that is served, and the pages.
pub const POLICIES: &[Policy] = &[
    row("gitpod.v1.TokenService/CreatePersonalAccessToken", Who::Caller, Access::Write),
    row("gitpod.v1.TokenService/GetPersonalAccessToken", Who::Caller, Access::Read),
    row("gitpod.v1.TokenService/ListPersonalAccessTokens", Who::Caller, Access::Read),
    row("gitpod.v1.TokenService/UpdatePersonalAccessToken", Who::Caller, Access::Write),
    row("gitpod.v1.TokenService/DeletePersonalAccessToken", Who::Caller, Access::Write),
    asking_about_tokens("gitpod.v1.TokenService/IntrospectToken"),
    asking_about_tokens("gitpod.v1.TokenService/BatchIntrospectTokens"),
    row("gitpod.v1.UserService/GetAuthenticatedUser", Who::Caller, Access::Read),
    row("gitpod.v1.UserService/GetUser", Who::Caller, Access::Read),
    row("gitpod.v1.UserService/SetSuspended", Who::Caller, Access::Write),
    row("gitpod.v1.UserService/CreatePersonalAccessToken", Who::Caller, Access::Write),
    row("gitpod.v1.UserService/GetPersonalAccessToken", Who::Caller, Access::Read),
    row("gitpod.v1.UserService/ListPersonalAccessTokens", Who::Caller, Access::Read),
    row("gitpod.v1.UserService/DeletePersonalAccessToken", Who::Caller, Access::Write),
    row("gitpod.v1.RunnerService/GetRunner", Who::Caller, Access::Read),
    row("gitpod.v1.RunnerService/ListRunners", Who::Caller, Access::Read),
    Policy {
        // Where somebody has pasted a password along, it must not get into the logs of proxies too.
        secret_in_request: true,
        ..row("gitpod.v1.RunnerService/ParseContextURL", Who::Caller, Access::Read)
    },
    row("gitpod.v1.RunnerService/CheckAuthenticationForHost", Who::Caller, Access::Read),
    row("gitpod.v1.RunnerConfigurationService/GetEnvironmentClass", Who::Caller, Access::Read),
    row("gitpod.v1.RunnerConfigurationService/ListEnvironmentClasses", Who::Caller, Access::Read),
    row("gitpod.v1.IdentityService/GetAuthenticatedIdentity", Who::Caller, Access::Read),
    stream("gitpod.v1.EventService/WatchEvents", Who::Caller, Streams::Answers),
    row("gitpod.v1.EventService/ListAuditLogs", Who::Caller, Access::Read),
    row("gitpod.v1.EnvironmentService/CreateEnvironment", Who::Caller, Access::Write),
    row("gitpod.v1.EnvironmentService/GetEnvironment", Who::Caller, Access::Read),
    row("gitpod.v1.EnvironmentService/ListEnvironments", Who::Caller, Access::Read),
    row("gitpod.v1.EnvironmentService/StartEnvironment", Who::Caller, Access::Write),
    row("gitpod.v1.EnvironmentService/StopEnvironment", Who::Caller, Access::Write),
    row("gitpod.v1.EnvironmentService/DeleteEnvironment", Who::Caller, Access::Write),
    row("gitpod.v1.EnvironmentService/UpdateEnvironment", Who::Caller, Access::Write),
    row("gitpod.v1.EnvironmentService/ArchiveEnvironment", Who::Caller, Access::Write),
    row("gitpod.v1.EnvironmentService/UnarchiveEnvironment", Who::Caller, Access::Write),
    // Not there yet, whoever asks; once they are, they change something or make credentials.
    row("gitpod.v1.EnvironmentService/CreateEnvironmentFromProject", Who::Caller, Access::Write),
    row("gitpod.v1.EnvironmentService/CreateEnvironmentLogsToken", Who::Caller, Access::Write),
    row("gitpod.v1.EnvironmentService/CreatePortAccessToken", Who::Caller, Access::Write),
    row("gitpod.v1.EnvironmentService/AllowPortAccess", Who::Caller, Access::Write),
    row("gitpod.v1.EnvironmentService/MarkEnvironmentActive", Who::Caller, Access::Write),
    row("gitpod.v1.EnvironmentService/ListEnvironmentClasses", Who::Caller, Access::Read),
    row("gitpod.v1.EnvironmentService/CreateEnvironmentAccessToken", Who::Caller, Access::Write),
    Policy {
        secret_in_request: true,
        ..row("supervisor.v1.EnvironmentOpsService/Exec", Who::EnvironmentHolder, Access::Write)
    },
    row("supervisor.v1.EnvironmentOpsService/CancelExec", Who::EnvironmentHolder, Access::Write),
    asking_about_tokens("envoy.service.auth.v3.Authorization/Check"),
    // Balancers and people who explore have no token. Neither service tells anything of anybody.
    row("grpc.health.v1.Health/Check", Who::Public, Access::Read),
    stream("grpc.health.v1.Health/Watch", Who::Public, Streams::Answers),
    stream("grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Who::Public, Streams::Both),
    stream("grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", Who::Public, Streams::Both),
    row("livez", Who::Public, Access::Read),
    row("readyz", Who::Public, Access::Read),
    // Where OAuth's endpoints are, and how to authenticate there.
    row(".well-known/oauth-authorization-server", Who::Public, Access::Read),
];

/// The endpoints of OAuth, which are no RPCs.
pub const OAUTH_POLICIES: &[Policy] = &[
    oauth("oauth2/introspect", Who::Service, Access::Read),
    // Whose tokens, the use case says.
    oauth("oauth2/revoke", Who::Caller, Access::Write),
    // Whoever asks here has no token yet, and proves by a code that somebody has said yes.
    public_oauth("oauth2/device_authorization"),
    public_oauth("oauth2/token"),
];

static BY_PATH: LazyLock<HashMap<&'static str, &'static Policy, FixedState>> =
    LazyLock::new(|| POLICIES.iter().chain(OAUTH_POLICIES).map(|policy| (policy.rpc, policy)).collect());

/// The policy of what a request asks for: of a page, that depends on the method.
#[must_use]
pub fn of_request(method: &Method, path: &str) -> Option<&'static Policy> {
    of_path(path).or_else(|| pages::of(method, path))
}

/// The policy of the RPC, or of the endpoint of OAuth, that a path names.
#[must_use]
pub fn of_path(path: &str) -> Option<&'static Policy> {
    BY_PATH.get(path.strip_prefix('/')?).copied()
}

/// The operations of an environment are served at `/environments/ID/ops/…`, the URL in its status: the environment, and the
/// path of the RPC.
#[must_use]
pub fn split_environment(path: &str) -> Option<(EnvironmentId, &str)> {
    let (id, rest) = path.strip_prefix("/environments/")?.split_at_checked(36)?;
    let rpc = rest.strip_prefix("/ops")?;
    if rpc.starts_with('/') { Some((id.parse().ok()?, rpc)) } else { None }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost::Message;
    use prost_types::{FileDescriptorSet, MethodDescriptorProto, method_options::IdempotencyLevel};

    use super::*;

    /// Each RPC that descriptors have, with its full name.
    fn methods(descriptors: &[u8]) -> Vec<(String, MethodDescriptorProto)> {
        let mut methods = Vec::new();
        for file in FileDescriptorSet::decode(descriptors).unwrap().file {
            for service in &file.service {
                for method in &service.method {
                    methods.push((format!("{}.{}/{}", file.package(), service.name(), method.name()), method.clone()));
                }
            }
        }
        methods
    }

    /// The full name of each RPC of the contract, and whether it says that it has no side effects.
    fn contract() -> Vec<(String, bool)> {
        let says = |method: &MethodDescriptorProto| {
            let level = method.options.as_ref().map(|options| options.idempotency_level());
            level == Some(IdempotencyLevel::NoSideEffects)
        };
        methods(crate::pb::FILE_DESCRIPTOR_SET).into_iter().map(|(rpc, method)| (rpc, says(&method))).collect()
    }

    #[test]
    fn every_rpc_has_a_policy_and_every_policy_an_rpc() {
        let known: BTreeSet<String> = contract().into_iter().map(|(rpc, _)| rpc).collect();
        for rpc in &known {
            assert!(of_path(&format!("/{rpc}")).is_some(), "{rpc} has no policy");
        }
        for policy in POLICIES {
            let public = policy.who == Who::Public;
            assert_eq!(known.contains(policy.rpc), !public, "{}", policy.rpc);
        }
        assert_eq!(BY_PATH.len(), POLICIES.len() + OAUTH_POLICIES.len(), "a policy is written twice");
    }

    #[test]
    fn endpoints_of_oauth_take_secrets_and_but_for_two_from_who_has_a_token() {
        for policy in OAUTH_POLICIES {
            let makes_tokens = ["oauth2/device_authorization", "oauth2/token"].contains(&policy.rpc);
            assert!(policy.secret_in_request && (policy.who == Who::Public) == makes_tokens, "{}", policy.rpc);
        }
        assert!(OAUTH_POLICIES.iter().all(|policy| policy.door == Door::OAuth));
        assert!(POLICIES.iter().all(|policy| policy.door == Door::Rpc));
    }

    #[test]
    fn no_side_effects_is_said_of_exactly_the_reads_without_secrets() {
        for (rpc, no_side_effects) in contract() {
            let policy = of_path(&format!("/{rpc}")).unwrap();
            assert_eq!(no_side_effects, policy.access == Access::Read && !policy.secret_in_request, "{rpc}");
        }
    }

    #[test]
    fn whatever_may_last_is_known() {
        for descriptors in [
            crate::pb::FILE_DESCRIPTOR_SET,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
        ] {
            for (rpc, method) in methods(descriptors) {
                // Health has a newer RPC than the contract's, which is not served.
                let Some(policy) = of_path(&format!("/{rpc}")) else { continue };
                let streams = match (method.client_streaming(), method.server_streaming()) {
                    (false, false) => Streams::Nothing,
                    (false, true) => Streams::Answers,
                    (true, true | false) => Streams::Both,
                };
                assert_eq!(policy.streams, streams, "{rpc}");
            }
        }
    }

    #[test]
    fn paths_are_matched_whole() {
        for path in [
            "",
            "/",
            "gitpod.v1.TokenService/GetPersonalAccessToken",
            "//livez",
            "/livez/",
            "/gitpod.v1.tokenservice/GetPersonalAccessToken",
        ] {
            assert_eq!(of_path(path), None, "{path}");
        }
    }
}
