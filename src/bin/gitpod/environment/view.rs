//! What is shown of environments and classes.

use latchkey::{
    domain::size,
    pb::gitpod::v1::{
        Environment, EnvironmentClass, EnvironmentPhase,
        environment_status::content::{Progress, progress::Step},
    },
};
use serde_json::{Value, json as value};

use crate::{error::Failure, host::Host, output};

/// An environment as proto3 JSON, and at the top level `url`: its page, for people.
///
/// # Errors
/// As [`output::json`].
pub(super) fn json(environment: &Environment, host: &Host) -> Result<Value, Failure> {
    let mut data = output::json(environment)?;
    if let Value::Object(fields) = &mut data {
        fields.insert("url".to_owned(), value!(host.environment_page(&environment.id)));
    }
    Ok(data)
}

/// What people call the phase of an environment.
pub(super) fn phase_name(environment: &Environment) -> &'static str {
    match environment.status.as_ref().map_or(EnvironmentPhase::Unspecified, |status| status.phase()) {
        EnvironmentPhase::Unspecified => "unknown",
        EnvironmentPhase::Creating => "creating",
        EnvironmentPhase::Starting => "starting",
        EnvironmentPhase::Running => "running",
        EnvironmentPhase::Updating => "updating",
        EnvironmentPhase::Stopping => "stopping",
        EnvironmentPhase::Stopped => "stopped",
        EnvironmentPhase::Deleting => "deleting",
        EnvironmentPhase::Deleted => "deleted",
    }
}

/// The phase of an environment and, as long as it is cloned, how far that is.
pub(super) fn position(environment: &Environment) -> String {
    let phase = phase_name(environment);
    let content = environment.status.as_ref().and_then(|status| status.content.as_ref());
    match content.and_then(|content| content.progress.as_ref()).and_then(progress) {
        Some(progress) => format!("{phase}: {progress}"),
        None => phase.to_owned(),
    }
}

fn progress(progress: &Progress) -> Option<String> {
    let mut text = match progress.step() {
        Step::Unspecified => return None,
        Step::Counting => "the host counts objects",
        Step::Packing => "the host packs objects",
        Step::Receiving => "receiving objects",
        Step::Resolving => "resolving changes",
        Step::Writing => "writing files",
    }
    .to_owned();
    let (done, total) = (progress.done, progress.total);
    if let Some(percent) = (u128::from(done) * 100).checked_div(total.into()) {
        text.push_str(&format!(", {}% ({done} of {total})", percent.min(100)));
    } else if done > 0 {
        text.push_str(&format!(", {done}"));
    }
    if progress.bytes > 0 {
        text.push_str(&format!(", {}", size::described(progress.bytes)));
    }
    Some(text)
}

/// A line for each environment.
pub(super) fn table(environments: &[Environment]) -> String {
    let rows = environments.iter().map(|environment| {
        let metadata = environment.metadata.clone().unwrap_or_default();
        let failed = environment.status.as_ref().is_some_and(|status| !status.failure_message.is_empty());
        [
            environment.id.clone(),
            metadata.name,
            format!("{}{}", phase_name(environment), if failed { " (failed)" } else { "" }),
            metadata.original_context_url,
            output::moment(metadata.created_at.as_ref()),
        ]
    });
    output::table(["ID", "NAME", "PHASE", "REPOSITORY", "CREATED"], rows)
}

/// All that people want to know of one environment.
pub(super) fn details(environment: &Environment, host: &Host) -> String {
    let metadata = environment.metadata.clone().unwrap_or_default();
    let status = environment.status.clone().unwrap_or_default();
    let content = status.content.unwrap_or_default();
    let git = content.git.unwrap_or_default();
    let machine = environment.spec.as_ref().and_then(|spec| spec.machine.clone()).unwrap_or_default();
    output::details([
        ("ID", environment.id.clone()),
        ("Name", metadata.name),
        ("Phase", phase_name(environment).to_owned()),
        ("Failure", status.failure_message.join("; ")),
        ("Warning", status.warning_message.join("; ")),
        ("Repository", metadata.original_context_url),
        ("Branch", git.branch),
        ("Commit", git.latest_commit),
        ("Files", content.content_location_in_machine),
        ("Class", machine.class),
        ("Creator", metadata.creator.unwrap_or_default().id),
        ("Created", output::moment(metadata.created_at.as_ref())),
        ("Started", output::moment(metadata.last_started_at.as_ref())),
        ("URL", host.environment_page(&environment.id)),
    ])
}

/// A line for each class.
pub(super) fn class_table(classes: &[EnvironmentClass]) -> String {
    let rows = classes.iter().map(|class| {
        let offered = class.configuration.iter().map(|field| format!("{}={}", field.key, field.value));
        [
            class.id.clone(),
            class.display_name.clone(),
            class.description.clone(),
            offered.collect::<Vec<_>>().join(" "),
            if class.enabled { "yes" } else { "no" }.to_owned(),
        ]
    });
    output::table(["ID", "NAME", "DESCRIPTION", "OFFERS", "ENABLED"], rows)
}
