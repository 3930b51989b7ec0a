//! Which page of a list is asked for, in the query: some plain-JSON clients send the size and the token of a page there, and
//! there alone, with a body that never changes. A server that did not look would give them the first page for ever.
//!
//! So `pageSize` (or `page_size`) and `token` in the query of a unary POST in JSON take the place of what the body has in
//! `pagination`, for every method whose input has such a field. Other methods, codecs and protocols know no such thing.

use std::sync::Arc;

use buffa_descriptor::{
    FieldKind, ScalarType, SingularKind,
    reflect::{DynamicMessage, ReflectMessageMut, Value},
};
use connectrpc::ConnectError;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};
use url::form_urlencoded;

use super::json::MessageType;

/// Where the input of a method says which page is wanted: the numbers of the fields.
#[derive(Debug, Clone)]
pub(super) struct Pagination {
    pagination: u32,
    page: MessageType,
    page_size: u32,
    token: u32,
}

impl Pagination {
    /// Of a message that has a field `pagination`, which has a number `page_size` and a string `token`.
    pub(super) fn of(input: &MessageType) -> Option<Self> {
        let pool = &input.pool;
        let pagination = pool.message(input.index).field_by_name("pagination")?;
        let FieldKind::Singular(SingularKind::Message(page)) = pagination.kind() else { return None };
        let scalar = |name, of: ScalarType| {
            let field = pool.message(page).field_by_name(name)?;
            (field.kind() == FieldKind::Singular(SingularKind::Scalar(of))).then(|| field.number())
        };
        Some(Self {
            pagination: pagination.number(),
            page: MessageType { pool: Arc::clone(pool), index: page },
            page_size: scalar("page_size", ScalarType::Int32)?,
            token: scalar("token", ScalarType::String)?,
        })
    }

    /// Puts what the query says in place of what the message says.
    pub(super) fn overlay(&self, query: &PageQuery, message: &mut DynamicMessage) -> Result<(), ConnectError> {
        if message.field_by_number(self.pagination).is_none() {
            let page = DynamicMessage::new(Arc::clone(&self.page.pool), self.page.index);
            set(message, self.pagination, Value::Message(page))?;
        }
        let Some(Value::Message(page)) = message.field_by_number_mut(self.pagination) else {
            return Err(ConnectError::internal("pagination is no message"));
        };
        if let Some(page_size) = query.page_size {
            set(page, self.page_size, Value::I32(page_size))?;
        }
        if let Some(token) = &query.token {
            set(page, self.token, Value::String(token.clone()))?;
        }
        Ok(())
    }
}

fn set(message: &mut DynamicMessage, number: u32, value: Value) -> Result<(), ConnectError> {
    let pool = Arc::clone(message.pool());
    let field = pool.message(message.message_index()).field(number);
    let is_set = field.is_some_and(|field| message.try_set(field, value).is_ok());
    is_set.then_some(()).ok_or_else(|| ConnectError::internal("the page that is asked for has no place in the message"))
}

/// What a query says of the page. It travels in the extensions of the request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct PageQuery {
    page_size: Option<i32>,
    token: Option<String>,
}

impl PageQuery {
    /// Reads a query; none if it says nothing of a page.
    ///
    /// # Errors
    /// INVALID_ARGUMENT, with the parameter's name, for what is no number, and for what is said twice: which of the two counts
    /// would be anybody's guess.
    pub(super) fn read(query: &str) -> Result<Option<Self>, Status> {
        let mut said = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let is_first = match name.as_ref() {
                "pageSize" | "page_size" => {
                    let number = value.parse().map_err(|_| invalid(&name, "must be a whole number, such as 25"))?;
                    said.page_size.replace(number).is_none()
                }
                "token" => said.token.replace(value.into_owned()).is_none(),
                _ => true,
            };
            if !is_first {
                return Err(invalid(&name, "is said more than once"));
            }
        }
        Ok(Some(said).filter(|said| *said != Self::default()))
    }
}

fn invalid(parameter: &str, problem: &str) -> Status {
    let details = ErrorDetails::with_bad_request_violation(parameter, problem);
    Status::with_error_details(Code::InvalidArgument, format!("{parameter} in the query: {problem}"), details)
}

#[cfg(test)]
mod tests {
    use buffa_descriptor::DescriptorPool;
    use prost::Message;
    use prost_types::{
        DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet,
        field_descriptor_proto::{Label, Type},
    };

    use super::{super::json, *};

    fn field(name: &str, number: i32, kind: Type, label: Label, type_name: Option<&str>) -> FieldDescriptorProto {
        FieldDescriptorProto {
            name: Some(name.to_owned()),
            number: Some(number),
            r#type: Some(kind.into()),
            label: Some(label.into()),
            type_name: type_name.map(str::to_owned),
            ..FieldDescriptorProto::default()
        }
    }

    /// Lists as a contract might have them: `Paged` has pages; the others only look as if they had.
    fn message(name: &str) -> MessageType {
        let message =
            |name: &str, field| DescriptorProto { name: Some(name.to_owned()), field, ..DescriptorProto::default() };
        let page = |kind| {
            let size = field("page_size", 1, kind, Label::Optional, None);
            vec![size, field("token", 2, Type::String, Label::Optional, None)]
        };
        let pagination = |label, of: &str| vec![field("pagination", 1, Type::Message, label, Some(of))];
        let file = FileDescriptorProto {
            name: Some("list.proto".to_owned()),
            package: Some("list".to_owned()),
            syntax: Some("proto3".to_owned()),
            message_type: vec![
                message("Page", page(Type::Int32)),
                message("OddPage", page(Type::String)),
                message("Paged", pagination(Label::Optional, ".list.Page")),
                message("Odd", pagination(Label::Optional, ".list.OddPage")),
                message("Many", pagination(Label::Repeated, ".list.Page")),
                message("Plain", vec![field("pagination", 1, Type::String, Label::Optional, None)]),
            ],
            ..FileDescriptorProto::default()
        };
        let set = FileDescriptorSet { file: vec![file] };
        let pool = DescriptorPool::decode(&set.encode_to_vec()).unwrap();
        let index = pool.message_index(&format!("list.{name}")).unwrap();
        MessageType { pool: Arc::new(pool), index }
    }

    fn overlaid(body: &str, query: &str) -> serde_json::Value {
        let descriptor = message("Paged");
        let mut message = json::to_message(&descriptor, body.as_bytes()).unwrap();
        let query = PageQuery::read(query).unwrap().unwrap();
        Pagination::of(&descriptor).unwrap().overlay(&query, &mut message).unwrap();
        serde_json::to_value(message).unwrap()["pagination"].clone()
    }

    #[test]
    fn the_query_wins_over_the_body_and_leaves_the_rest_of_it() {
        for (body, query, expected) in [
            ("{}", "pageSize=10&token=t2", r#"{"pageSize":10,"token":"t2"}"#),
            ("{}", "page_size=10", r#"{"pageSize":10}"#),
            (r#"{"pagination":null}"#, "token=t2", r#"{"token":"t2"}"#),
            (r#"{"pagination":{"pageSize":5,"token":"t1"}}"#, "token=t2", r#"{"pageSize":5,"token":"t2"}"#),
            (r#"{"pagination":{"pageSize":5,"token":"t1"}}"#, "page_size=-1", r#"{"pageSize":-1,"token":"t1"}"#),
            // Said to be empty: the first page.
            (r#"{"pagination":{"pageSize":5,"token":"t1"}}"#, "token=", r#"{"pageSize":5}"#),
            ("{}", "other=1&token=a%2Bb+c%3D&new", r#"{"token":"a+b c="}"#),
        ] {
            let expected: serde_json::Value = serde_json::from_str(expected).unwrap();
            assert_eq!(overlaid(body, query), expected, "{body} {query}");
        }
    }

    #[test]
    fn a_query_that_says_nothing_of_a_page_is_none() {
        for query in ["", "&", "=", "size=10", "Token=x", "pagination.token=x", "connect=v1&encoding=json"] {
            assert_eq!(PageQuery::read(query).unwrap(), None, "{query}");
        }
    }

    #[test]
    fn bad_parameters_are_refused_by_name() {
        for (query, parameter) in [
            ("pageSize=", "pageSize"),
            ("pageSize=ten", "pageSize"),
            ("page_size=1.5", "page_size"),
            ("page_size=1e2", "page_size"),
            ("page_size=%2010", "page_size"),
            ("pageSize=2147483648", "pageSize"),
            ("pageSize=1&page_size=1", "page_size"),
            ("token=a&token=a", "token"),
        ] {
            let status = PageQuery::read(query).unwrap_err();
            assert_eq!(status.code(), Code::InvalidArgument, "{query}");
            assert!(status.message().starts_with(&format!("{parameter} in the query: ")), "{query}: {status}");
            let violations = status.get_details_bad_request().unwrap().field_violations;
            assert_eq!(violations[0].field, parameter, "{query}");
        }
    }

    #[test]
    fn only_messages_with_pages_are_taken_for_such() {
        for (name, is_paged) in [("Paged", true), ("Odd", false), ("Many", false), ("Plain", false), ("Page", false)] {
            assert_eq!(Pagination::of(&message(name)).is_some(), is_paged, "{name}");
        }
    }
}
