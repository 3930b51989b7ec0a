//! Compiles the Protobuf definitions, without protoc, to messages, services and the descriptor set that reflection and
//! the JSON codec read.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message;

const FILES: [&str; 8] = [
    "gitpod/v1/token.proto",
    "gitpod/v1/user.proto",
    "gitpod/v1/identity.proto",
    "gitpod/v1/environment.proto",
    "gitpod/v1/event.proto",
    "gitpod/v1/runner.proto",
    "supervisor/v1/environmentopts.proto",
    "envoy/service/auth/v3/external_auth.proto",
];

/// Messages that hold a secret, or may: `src/pb/secrets.rs` says how they are written for people.
const SECRETS: [&str; 10] = [
    ".gitpod.v1.IntrospectTokenRequest",
    ".gitpod.v1.BatchIntrospectTokensRequest",
    ".gitpod.v1.ParseContextURLRequest",
    ".gitpod.v1.CreatePersonalAccessTokenResponse",
    ".gitpod.v1.CreateEnvironmentAccessTokenResponse",
    ".gitpod.v1.CreateEnvironmentLogsTokenResponse",
    ".gitpod.v1.CreatePortAccessTokenResponse",
    ".supervisor.v1.ExecRequest",
    ".envoy.service.auth.v3.HeaderValue",
    ".envoy.service.auth.v3.AttributeContext.HttpRequest",
];

/// What the conformance suite calls: of interest to its test alone.
const CONFORMANCE: &str = "tests/conformance/proto";
const CONFORMANCE_FILES: [&str; 2] =
    ["connectrpc/conformance/v1/service.proto", "connectrpc/conformance/v1/server_compat.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    println!("cargo::rerun-if-changed={CONFORMANCE}");
    // The migrations are embedded by a macro, which does not tell cargo what it read.
    println!("cargo::rerun-if-changed=migrations");
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    let descriptors = protox::compile(FILES, ["proto"])?;
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure().skip_debug(SECRETS).emit_rerun_if_changed(false).compile_fds(descriptors)?;

    let descriptors = protox::compile(CONFORMANCE_FILES, [CONFORMANCE])?;
    fs::write(out.join("conformance.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure().build_client(false).emit_rerun_if_changed(false).compile_fds(descriptors)?;
    Ok(())
}
