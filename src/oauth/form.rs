//! What stands in a request.

use axum::body::Body;
use http::Request;

use crate::{
    domain::secret::Secret,
    form::{Form, NoForm},
};

/// Why a request makes no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Problem {
    /// There is something in the query.
    Query,
    /// It brings no form.
    NoForm(NoForm),
    /// A second way to authenticate (RFC 6749, section 2.3; RFC 6750, section 2).
    OtherCredential,
    /// No token.
    NoToken,
}

/// Nothing is in the query: whoever puts a token there is told so, by whatever method it comes.
pub(super) fn only_in_body(request: &Request<Body>) -> Result<(), Problem> {
    if request.uri().query().is_none_or(str::is_empty) { Ok(()) } else { Err(Problem::Query) }
}

/// The parameters of a request by a client that keeps no secret of its own.
pub(super) async fn parameters(request: Request<Body>, limit: usize) -> Result<Form, Problem> {
    without_credential(Form::read(request, limit).await?)
}

/// The token of a request; of its other parameters, none says more than the token itself.
pub(super) async fn token(request: Request<Body>, limit: usize) -> Result<Secret, Problem> {
    token_in(Form::read(request, limit).await?)
}

fn token_in(form: Form) -> Result<Secret, Problem> {
    without_credential(form)?.get("token").cloned().ok_or(Problem::NoToken)
}

fn without_credential(form: Form) -> Result<Form, Problem> {
    let is_there = |name| form.has(name);
    if ["client_secret", "client_assertion", "access_token"].into_iter().any(is_there) {
        return Err(Problem::OtherCredential);
    }
    Ok(form)
}

impl From<NoForm> for Problem {
    fn from(no_form: NoForm) -> Self {
        Self::NoForm(no_form)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_token_and_nothing_twice() {
        let read = |form: &str| {
            Form::parse(form.as_bytes())
                .map_err(Problem::from)
                .and_then(token_in)
                .map(|token| token.expose().to_owned())
        };
        for (form, token) in [
            ("token=abc", "abc"),
            ("token_type_hint=refresh_token&token=abc&x=y", "abc"),
            ("token=a%5Fb%2Bc+d&&", "a_b+c d"),
            ("%74oken=abc&client_id=me&token_type_hint=", "abc"),
            ("token=%ff", "\u{fffd}"),
        ] {
            assert_eq!(read(form), Ok(token.to_owned()), "{form}");
        }
        for (form, problem) in [
            ("", Problem::NoToken),
            ("token", Problem::NoToken),
            ("token=", Problem::NoToken),
            ("Token=abc", Problem::NoToken),
            ("{\"token\":\"abc\"}", Problem::NoToken),
            ("token=abc&token=abc", Problem::NoForm(NoForm::Repeated)),
            ("token=&token=abc", Problem::NoForm(NoForm::Repeated)),
            ("token=abc&%74oken=abc", Problem::NoForm(NoForm::Repeated)),
            ("token=abc&x=1&x=2", Problem::NoForm(NoForm::Repeated)),
            ("token=abc&client_secret=x", Problem::OtherCredential),
            ("access_token=x&token=abc", Problem::OtherCredential),
        ] {
            assert_eq!(read(form), Err(problem), "{form}");
        }
    }
}
